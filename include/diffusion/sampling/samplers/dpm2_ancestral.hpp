/// @file dpm2_ancestral.hpp
/// The midpoint sampler of k-diffusion with ancestral noise.
#pragma once

#include <optional>

#include "../../detail/check.hpp"
#include "../detail/midpoint_step.hpp"

namespace diffusion {

/// The midpoint step of Dpm2 with ancestral noise. It goes down to s_down and back up by noise, as
/// EulerAncestral does; k-diffusion's sample_dpm_2_ancestral. A step calls the model twice, or once
/// if it ends clean or starts without signal.
struct Dpm2Ancestral {
  /// Amount of ancestral noise, >= 0; 0 is Dpm2 without churn. See ancestral_step.
  double eta = 1.0;
  /// Factor on the standard deviation of the noise, >= 0; 1 is exact.
  double s_noise = 1.0;

  /// Memory of a run.
  template <class Tensor>
  using State = TwoCallState<Tensor>;

  /// Throws std::invalid_argument if a parameter is out of range.
  void check() const {
    detail::check_not_negative("Dpm2Ancestral", "eta", eta);
    detail::check_not_negative("Dpm2Ancestral", "s_noise", s_noise);
  }

  /// The second call is at the midpoint.
  template <class Tensor, class Noise>
  std::optional<NoiseLevel> advance(const Step& step, const ModelCall& call, Tensor& x, Prediction<Tensor>& prediction,
                                    const Noise& noise, State<Tensor>& state) const {
    const auto [down, up] = ancestral_step(step.from, step.to, eta);
    const auto next = detail::midpoint_step(step, call, x, prediction, step.from, down, state);
    if (!next) add_step_noise(x, up * s_noise, noise, state.noise, step.device);
    return next;
  }
};

}  // namespace diffusion
