/// @file euler_ancestral.hpp
/// The Euler sampler with ancestral noise.
#pragma once

#include "../../detail/check.hpp"
#include "../steps.hpp"

namespace diffusion {

/// Euler's method with ancestral noise: an Euler step down to s_down, then noise of standard
/// deviation s_up back up to s_to. k-diffusion's sample_euler_ancestral, with s = sigma / alpha:
///
///     s_up   = min(s_to, eta s_to sqrt(1 - s_to^2 / s^2))
///     s_down = sqrt(s_to^2 - s_up^2)
///
/// With eta = 1 it draws from the posterior q(x_to | x, x_0), as Ddpm does.
struct EulerAncestral {
  /// Amount of ancestral noise, >= 0; 0 is Euler without churn.
  double eta = 1.0;
  /// Factor on the standard deviation of the noise, >= 0; 1 is exact.
  double s_noise = 1.0;

  /// Memory of a run.
  template <class Tensor>
  using State = NoiseState<Tensor>;

  /// Throws std::invalid_argument if a parameter is out of range.
  void check() const {
    detail::check_not_negative("EulerAncestral", "eta", eta);
    detail::check_not_negative("EulerAncestral", "s_noise", s_noise);
  }

  /// Moves x to step.to.
  template <class Tensor, class Noise>
  void advance(const Step& step, const ModelCall&, Tensor& x, Prediction<Tensor>& prediction, const Noise& noise,
               State<Tensor>& state) const {
    const auto [down, up] = ancestral_step(step.from, step.to, eta);
    step_with_fixed_x_start(x, x, step.from, down, prediction.x_start, step.device);
    add_step_noise(x, up * s_noise, noise, state.noise, step.device);
  }
};

}  // namespace diffusion
