/// @file euler.hpp
/// The Euler sampler of EDM.
#pragma once

#include "../churn.hpp"
#include "../steps.hpp"

namespace diffusion {

/// Euler's method for dz / ds = epsilon, where z = x / alpha and s = sigma / alpha. Karras et al.
/// 2022 (EDM), Algorithm 2, without its second-order correction. Without churn it is Ddim with
/// epsilon = (x - alpha x_0) / sigma.
struct Euler {
  /// Noise added before each step; none by default.
  Churn churn = {};

  /// Memory of a run.
  template <class Tensor>
  using State = NoiseState<Tensor>;

  /// Throws std::invalid_argument if a parameter is out of range.
  void check() const { churn.check("Euler"); }

  /// Adds the noise of churn.
  template <class Tensor, class Noise>
  NoiseLevel begin(const Step& step, Tensor& x, const Noise& noise, State<Tensor>& state) const {
    return churn.apply(step, x, noise, state.noise);
  }
  /// Moves x to step.to.
  template <class Tensor, class Noise>
  void advance(const Step& step, const ModelCall& call, Tensor& x, Prediction<Tensor>& prediction, const Noise&,
               State<Tensor>&) const {
    step_with_fixed_x_start(x, x, call.level, step.to, prediction.x_start, step.device);
  }
};

}  // namespace diffusion
