/// @file ipndm.hpp
/// The iPNDM sampler.
#pragma once

#include <cstddef>  // std::size_t

#include "../../detail/check.hpp"
#include "../detail/adams_bashforth.hpp"
#include "../steps.hpp"

namespace diffusion {

/// Improved PNDM: DDIM steps along Adams-Bashforth combinations of the last epsilons. The order
/// rises from 1 in the first step, and each step calls the model once. Zhang, Chen 2023 (DEIS).
struct Ipndm {
  /// Highest order, 1 to 4; always 4 in diffusers.
  int order = 4;
  /// Takes x_0 in a step to a clean level, as ComfyUI does.
  bool lower_order_final = false;

  /// Memory of a run.
  template <class Tensor>
  struct State {
    History<Tensor, 4> epsilons;  ///< Last epsilons; their places are not used.
  };

  /// Throws std::invalid_argument unless 1 <= order <= 4.
  void check() const { detail::check_order("Ipndm", order, 4); }

  /// Moves x to step.to.
  template <class Tensor, class Noise>
  void advance(const Step& step, const ModelCall&, Tensor& x, Prediction<Tensor>& prediction, const Noise&,
               State<Tensor>& state) const {
    if (step.first) state.epsilons.clear();
    if (step.from.alpha == 0.0 || (lower_order_final && step.to.sigma == 0.0)) {
      return step_with_fixed_x_start(x, x, step.from, step.to, prediction.x_start, step.device);
    }
    state.epsilons.push(prediction.epsilon, 0.0);
    const double ratio = step.to.alpha / step.from.alpha;
    detail::adams_bashforth_step(x, x, ratio, step.to.sigma - step.from.sigma * ratio, state.epsilons,
                                 static_cast<std::size_t>(order), step.device);
  }
};

}  // namespace diffusion
