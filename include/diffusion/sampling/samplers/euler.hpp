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
  using State = OneCallState<Tensor>;

  /// Throws std::invalid_argument if a parameter is out of range.
  void check() const { churn.check("Euler"); }

  /// One step; sample() calls it.
  template <class Tensor, class Denoise, class Noise>
  void step(const Step& step, Tensor& x, const Denoise& denoise, const Noise& noise, State<Tensor>& state) const {
    const NoiseLevel from = churn.apply(step, x, noise, state.noise);
    denoise(x, from, state.prediction);
    step_with_fixed_x_start(x, x, from, step.to, state.prediction.x_start);
  }
};

}  // namespace diffusion
