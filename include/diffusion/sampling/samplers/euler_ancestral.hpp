/// @file euler_ancestral.hpp
#pragma once

#include "../../detail/check.hpp"
#include "../steps.hpp"

namespace diffusion {

/// Euler to a lower level, then up to the next by noise; k-diffusion's sample_euler_ancestral. With s = sigma / alpha:
///     s_up = min(s_to, eta s_to sqrt(1 - s_to^2 / s^2)),   s_down = sqrt(s_to^2 - s_up^2)
/// eta = 0 is Euler, eta = 1 draws from the posterior q(x_to | x, x_0) as Ddpm does.
struct EulerAncestral {
  double eta = 1.0;
  double s_noise = 1.0;

  template <class Tensor>
  using State = OneCallState<Tensor>;

  void check() const {
    detail::check_not_negative("EulerAncestral", "eta", eta);
    detail::check_not_negative("EulerAncestral", "s_noise", s_noise);
  }

  template <class Tensor, class Denoise, class Noise>
  void step(const Step& step, Tensor& x, const Denoise& denoise, const Noise& noise, State<Tensor>& state) const {
    denoise(x, step.from, state.prediction);
    const auto [down, up] = ancestral_step(step.from, step.to, eta);
    step_with_fixed_x_start(x, x, step.from, down, state.prediction.x_start);
    add_step_noise(x, up * s_noise, noise, state.noise);
  }
};

}  // namespace diffusion
