/// @file dpm2.hpp
/// The midpoint sampler of k-diffusion.
#pragma once

#include "../churn.hpp"
#include "../detail/midpoint_step.hpp"

namespace diffusion {

/// The midpoint method for dz / ds = epsilon, where z = x / alpha and s = sigma / alpha. The
/// midpoint is taken in log s. The method follows DPM-Solver-2 (Lu et al. 2022) and Algorithm 2 of
/// Karras et al. 2022; it is k-diffusion's sample_dpm_2. A step calls the model twice, or once if
/// it ends clean or starts without signal.
struct Dpm2 {
  /// Noise added before each step; none by default.
  Churn churn = {};

  /// Memory of a run.
  template <class Tensor>
  using State = TwoCallState<Tensor>;

  /// Throws std::invalid_argument if a parameter is out of range.
  void check() const { churn.check("Dpm2"); }

  /// One step; sample() calls it.
  template <class Tensor, class Denoise, class Noise>
  void step(const Step& step, Tensor& x, const Denoise& denoise, const Noise& noise, State<Tensor>& state) const {
    const NoiseLevel from = churn.apply(step, x, noise, state.noise);
    detail::midpoint_step(x, step, from, step.to, denoise, state);
  }
};

}  // namespace diffusion
