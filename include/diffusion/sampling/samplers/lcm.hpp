/// @file lcm.hpp
#pragma once

#include <cmath>  // std::hypot

#include "../../detail/check.hpp"
#include "../../detail/kernel/linear_combination.hpp"
#include "../steps.hpp"

namespace diffusion {

/// Multistep sampling of a latent consistency model; Luo et al. 2023, Algorithm 3. The model predicts x_0 directly;
/// it is then re-noised to the next level. The prediction is mixed with x so that it is x at t = 0: with u = timestep_scaling t,
///
///     x_0' = sigma_data^2 / (u^2 + sigma_data^2) x + u / sqrt(u^2 + sigma_data^2) x_0
///     x_to = alpha_to x_0' + sigma_to noise
///
/// or, with sigma_data = 0, x_0' = x_0. Otherwise a grid without timesteps (edm_grid) is refused. lcm_timesteps gives the
/// timesteps that such a model was distilled for.
struct Lcm {
  double timestep_scaling = 10.0;
  double sigma_data = 0.5;

  template <class Tensor>
  using State = OneCallState<Tensor>;

  void check() const {
    detail::check_not_negative("Lcm", "timestep_scaling", timestep_scaling);
    detail::check_not_negative("Lcm", "sigma_data", sigma_data);
  }

  template <class Tensor, class Denoise, class Noise>
  void step(const Step& step, Tensor& x, const Denoise& denoise, const Noise& noise, State<Tensor>& state) const {
    const bool mixes = sigma_data > 0.0;
    if (mixes && step.first) check_has_timesteps("Lcm", step.grid);
    denoise(x, step.from, state.prediction);
    const double u = timestep_scaling * step.from.t, n = std::hypot(u, sigma_data);
    const double c_skip = mixes ? sigma_data / n * (sigma_data / n) : 0.0, c_out = mixes ? u / n : 1.0;
    combine<Tensor>(x, {{step.to.alpha * c_skip, x}, {step.to.alpha * c_out, state.prediction.x_start}});
    add_step_noise(x, step.to.sigma, noise, state.noise);
  }
};

}  // namespace diffusion
