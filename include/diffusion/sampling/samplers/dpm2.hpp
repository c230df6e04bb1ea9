/// @file dpm2.hpp
/// The midpoint sampler of k-diffusion.
#pragma once

#include <optional>

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

  /// Adds the noise of churn.
  template <class Tensor, class Noise>
  NoiseLevel begin(const Step& step, Tensor& x, const Noise& noise, State<Tensor>& state) const {
    return state.from = churn.apply(step, x, noise, state.noise);
  }
  /// The second call is at the midpoint.
  template <class Tensor, class Noise>
  std::optional<NoiseLevel> advance(const Step& step, const ModelCall& call, Tensor& x, Prediction<Tensor>& prediction,
                                    const Noise&, State<Tensor>& state) const {
    return detail::midpoint_step(step, call, x, prediction, state.from, step.to, state);
  }
};

}  // namespace diffusion
