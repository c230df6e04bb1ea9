/// @file dpm2.hpp
#pragma once

#include "../churn.hpp"
#include "../detail/midpoint_step.hpp"

namespace diffusion {

/// The midpoint method for dz / ds = epsilon, its middle being that of log s; after DPM-Solver-2 (Lu et al. 2022) and
/// Algorithm 2 of Karras et al. 2022; k-diffusion's sample_dpm_2. Two calls of the model a step, one where it ends clean.
struct Dpm2 {
  Churn churn = {};

  template <class Tensor>
  using State = TwoCallState<Tensor>;

  void check() const { churn.check("Dpm2"); }

  template <class Tensor, class Denoise, class Noise>
  void step(const Step& step, Tensor& x, const Denoise& denoise, const Noise& noise, State<Tensor>& state) const {
    const NoiseLevel from = churn.apply(step, x, noise, state.noise);
    detail::midpoint_step(x, step, from, step.to, denoise, state);
  }
};

}  // namespace diffusion
