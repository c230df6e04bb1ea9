/// @file churn.hpp
/// Churn: noise that a sampler adds before its step.
#pragma once

#include <algorithm>  // std::min
#include <cmath>      // std::log1p, std::sqrt
#include <limits>
#include <stdexcept>  // std::invalid_argument
#include <utility>    // std::pair

#include "../detail/check.hpp"
#include "../detail/kernel/linear_combination.hpp"
#include "steps.hpp"

namespace diffusion {

/// Noise that a sampler adds before its step. Karras et al. 2022 (EDM), Algorithm 2: where
/// s_tmin <= s <= s_tmax, noise raises s = sigma / alpha to (1 + gamma) s. In a run of n steps,
///
///     gamma = min(s_churn / n, sqrt(2) - 1)
///
/// A step that starts without signal adds none. Noise is drawn only if gamma > 0. (k-diffusion
/// draws noise in every step, so both draw the same noise only if every step churns.) The names are
/// those of k-diffusion and diffusers.
struct Churn {
  /// Amount of noise, >= 0; the default 0 adds none.
  double s_churn = 0.0;
  /// Least s at which noise is added, >= 0.
  double s_tmin = 0.0;
  /// Largest s at which noise is added, >= 0; infinity by default.
  double s_tmax = std::numeric_limits<double>::infinity();
  /// Factor on the standard deviation of the noise, >= 0; 1 is exact.
  double s_noise = 1.0;

  /// Throws std::invalid_argument unless s_churn, s_tmin and s_tmax are at least 0 and s_noise is
  /// at least 0 and finite. `where` is the name of the sampler, for the message.
  void check(const char* where) const {
    for (const auto& [name, value] : {std::pair("s_churn", s_churn), {"s_tmin", s_tmin}, {"s_tmax", s_tmax}}) {
      if (!(value >= 0.0)) detail::fail<std::invalid_argument>(where, name, " = ", value, " must not be negative");
    }
    detail::check_not_negative(where, "s_noise", s_noise);
  }

  /// Adds the noise of one step to x and returns the level of x after that, which is step.from if
  /// no noise was added. `z` is scratch memory.
  template <class Tensor, class Noise>
  NoiseLevel apply(const Step& step, Tensor& x, const Noise& noise, Tensor& z) const {
    const double s = noise_to_signal(step.from);
    const double gamma = s >= s_tmin && s <= s_tmax && step.from.alpha > 0.0
                             ? (std::min)(s_churn / static_cast<double>(step.count), std::sqrt(2.0) - 1.0)
                             : 0.0;
    if (gamma == 0.0) return step.from;
    const NoiseLevel up = step.grid.at(half_log_snr(step.from) - std::log1p(gamma));
    const double risen = s * std::sqrt(gamma * (2.0 + gamma));  // sqrt(s_up^2 - s^2)
    noise(z, x);
    detail::combine<Tensor>(x, {{up.alpha / step.from.alpha, x}, {up.alpha * risen * s_noise, z}}, step.device);
    return up;
  }
};

}  // namespace diffusion
