/// @file euler.hpp
#pragma once

#include "../churn.hpp"
#include "../steps.hpp"

namespace diffusion {

/// Euler's method for dz / ds = epsilon, z = x / alpha and s = sigma / alpha; Karras et al. 2022 (EDM), Algorithm 2
/// without its second half. Without churn it is Ddim with epsilon = (x - alpha x_0) / sigma.
struct Euler {
  Churn churn = {};

  template <class Tensor>
  using State = OneCallState<Tensor>;

  void check() const { churn.check("Euler"); }

  template <class Tensor, class Denoise, class Noise>
  void step(const Step& step, Tensor& x, const Denoise& denoise, const Noise& noise, State<Tensor>& state) const {
    const NoiseLevel from = churn.apply(step, x, noise, state.noise);
    denoise(x, from, state.prediction);
    step_with_fixed_x_start(x, x, from, step.to, state.prediction.x_start);
  }
};

}  // namespace diffusion
