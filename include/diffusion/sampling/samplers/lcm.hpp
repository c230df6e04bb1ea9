/// @file lcm.hpp
/// The sampler of latent consistency models.
#pragma once

#include <cmath>  // std::hypot

#include "../../detail/check.hpp"
#include "../../detail/kernel/linear_combination.hpp"
#include "../steps.hpp"

namespace diffusion {

/// Multistep sampling of a latent consistency model. Luo et al. 2023, Algorithm 3: the model
/// predicts x_0 directly; x_0 is then re-noised to the next level. The prediction is mixed with x
/// so that it equals x at t = 0. With u = timestep_scaling t:
///
///     x_0' = sigma_data^2 / (u^2 + sigma_data^2) x + u / sqrt(u^2 + sigma_data^2) x_0
///     x_to = alpha_to x_0' + sigma_to noise
///
/// lcm_timesteps returns the timesteps that such a model was distilled for.
struct Lcm {
  /// Factor on the model time t in the mixture, >= 0.
  double timestep_scaling = 10.0;
  /// Standard deviation of the data in the mixture, >= 0; always 0.5 in diffusers. With 0,
  /// x_0' = x_0.
  double sigma_data = 0.5;

  /// Memory of a run.
  template <class Tensor>
  using State = NoiseState<Tensor>;

  /// Throws std::invalid_argument if a parameter is out of range.
  void check() const {
    detail::check_not_negative("Lcm", "timestep_scaling", timestep_scaling);
    detail::check_not_negative("Lcm", "sigma_data", sigma_data);
  }

  /// Throws std::invalid_argument if sigma_data > 0 and the grid has no timesteps (edm_grid).
  template <class Tensor, class Noise>
  NoiseLevel begin(const Step& step, Tensor&, const Noise&, State<Tensor>&) const {
    if (sigma_data > 0.0 && step.first) check_has_timesteps("Lcm", step.grid);
    return step.from;
  }
  /// Moves x to step.to.
  template <class Tensor, class Noise>
  void advance(const Step& step, const ModelCall&, Tensor& x, Prediction<Tensor>& prediction, const Noise& noise,
               State<Tensor>& state) const {
    const bool mixes = sigma_data > 0.0;
    const double u = timestep_scaling * step.from.t, n = std::hypot(u, sigma_data);
    const double c_skip = mixes ? sigma_data / n * (sigma_data / n) : 0.0, c_out = mixes ? u / n : 1.0;
    combine<Tensor>(x, {{step.to.alpha * c_skip, x}, {step.to.alpha * c_out, prediction.x_start}}, step.device);
    add_step_noise(x, step.to.sigma, noise, state.noise, step.device);
  }
};

}  // namespace diffusion
