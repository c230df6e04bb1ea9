/// @file ddpm.hpp
/// The DDPM sampler.
#pragma once

#include <cmath>  // std::isinf, std::sqrt

#include "../../detail/kernel/linear_combination.hpp"
#include "../steps.hpp"

namespace diffusion {

/// DDPM, ancestral sampling between any two levels. Ho et al. 2020, Algorithm 2, with
/// s = sigma / alpha and r = s_to / s:
///
///     x_to = (sigma_to / sigma) r x + alpha_to (1 - r^2) x_0 + deviation noise
///
/// A step that ends clean adds no noise.
struct Ddpm {
  /// The variance of the noise that a step adds.
  enum class Variance {
    fixed_small,  ///< sigma_to^2 (1 - r^2), the variance of the posterior q(x_to | x, x_0)
    fixed_large   ///< beta (alpha_to^2 + sigma_to^2), where the forward step has variance beta = 1 - abar / abar_to
  };
  /// The variance of the noise; variance_type in diffusers.
  Variance variance = Variance::fixed_small;

  /// Memory of a run.
  template <class Tensor>
  using State = NoiseState<Tensor>;

  /// Moves x to step.to. Throws std::invalid_argument if sigma / alpha rises.
  template <class Tensor, class Noise>
  void advance(const Step& step, const ModelCall&, Tensor& x, Prediction<Tensor>& prediction, const Noise& noise,
               State<Tensor>& state) const {
    const NoiseLevel &from = step.from, &to = step.to;
    check_goes_down(from, to);
    const double s = noise_to_signal(from), s_to = noise_to_signal(to), r = s_to / s;
    const double rest = (1.0 - r) * (1.0 + r);
    combine<Tensor>(x, {{to.sigma / from.sigma * r, x}, {to.alpha * rest, prediction.x_start}}, step.device);
    if (to.sigma == 0.0 || is_zero_length(from, to)) return;
    // abar = 1 / (1 + s^2). alpha_to^2 + sigma_to^2 is 1 on a variance-preserving path; it scales
    // beta to the other paths.
    const double beta = std::isinf(s) ? 1.0 : (s - s_to) * (s + s_to) / (1.0 + s * s);
    const double large = to.alpha * std::sqrt(beta * (1.0 + s_to * s_to));
    const double small = to.sigma * std::sqrt(rest);
    add_step_noise(x, variance == Variance::fixed_small ? small : large, noise, state.noise, step.device);
  }
};

}  // namespace diffusion
