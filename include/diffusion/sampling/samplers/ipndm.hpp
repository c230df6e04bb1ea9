/// @file ipndm.hpp
#pragma once

#include <cstddef>  // std::size_t

#include "../../detail/check.hpp"
#include "../detail/adams_bashforth.hpp"
#include "../steps.hpp"

namespace diffusion {

/// Improved PNDM: orders that rise from 1, one call of the model a step; Zhang, Chen 2023 (DEIS).
struct Ipndm {
  int order = 4;  // 1 to 4

  template <class Tensor>
  struct State {
    Prediction<Tensor> prediction;
    History<Tensor, 4> epsilons;
  };

  void check() const { detail::check_order("Ipndm", order, 4); }

  template <class Tensor, class Denoise, class Noise>
  void step(const Step& step, Tensor& x, const Denoise& denoise, const Noise&, State<Tensor>& state) const {
    if (step.first) state.epsilons.clear();
    denoise(x, step.from, state.prediction);
    if (step.from.alpha == 0.0) {
      return step_with_fixed_x_start(x, x, step.from, step.to, state.prediction.x_start);
    }
    state.epsilons.push(state.prediction.epsilon, 0.0);
    const double ratio = step.to.alpha / step.from.alpha;
    detail::adams_bashforth_step(x, x, ratio, step.to.sigma - step.from.sigma * ratio, state.epsilons,
                                 static_cast<std::size_t>(order));
  }
};

}  // namespace diffusion
