/// @file ddpm.hpp
#pragma once

#include <cmath>  // std::isinf, std::sqrt

#include "../../detail/kernel/linear_combination.hpp"
#include "../steps.hpp"

namespace diffusion {

/// Ancestral sampling; Ho et al. 2020 (DDPM), Algorithm 2, between any two levels. With s = sigma / alpha and r = s_to / s,
///     x_to = (sigma_to / sigma) r x + alpha_to (1 - r^2) x_0 + deviation noise
/// where deviation^2 is the variance of the posterior q(x_to | x, x_0), sigma_to^2 (1 - r^2), if fixed_small; or beta,
/// the variance of the forward step, if fixed_large. Without noise where the step ends clean.
struct Ddpm {
  enum class Variance { fixed_small, fixed_large };
  Variance variance = Variance::fixed_small;

  template <class Tensor>
  using State = OneCallState<Tensor>;

  template <class Tensor, class Denoise, class Noise>
  void step(const Step& step, Tensor& x, const Denoise& denoise, const Noise& noise, State<Tensor>& state) const {
    const NoiseLevel &from = step.from, &to = step.to;
    check_goes_down(from, to);
    denoise(x, from, state.prediction);
    const double s = noise_to_signal(from), s_to = noise_to_signal(to), r = s_to / s;
    const double rest = (1.0 - r) * (1.0 + r);
    combine<Tensor>(x, {{to.sigma / from.sigma * r, x}, {to.alpha * rest, state.prediction.x_start}});
    if (to.sigma == 0.0 || is_zero_length(from, to)) return;
    // beta = 1 - abar / abar_to of the variance-preserving path, abar = 1 / (1 + s^2), brought to the scale of x.
    const double beta = std::isinf(s) ? 1.0 : (s - s_to) * (s + s_to) / (1.0 + s * s);
    const double large = to.alpha * std::sqrt(beta * (1.0 + s_to * s_to));
    const double small = to.sigma * std::sqrt(rest);
    add_step_noise(x, variance == Variance::fixed_small ? small : large, noise, state.noise);
  }
};

}  // namespace diffusion
