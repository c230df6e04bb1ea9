/// @file churn.hpp
/// Noise added before a step.
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

/// Noise that a stochastic sampler adds before its step: where s_tmin <= s <= s_tmax, s = sigma /
/// alpha rises to (1 + gamma) s; Karras et al. 2022 (EDM), Algorithm 2, with
///
///     gamma = min(s_churn / n, sqrt(2) - 1)
///
/// for a run of n steps. Noise is drawn only where gamma > 0. (k-diffusion draws in every step: the
/// noise of a run is the same only if every step churns.)
struct Churn {
  double s_churn = 0.0;
  double s_tmin = 0.0;
  double s_tmax = std::numeric_limits<double>::infinity();
  double s_noise = 1.0;  // the deviation of the noise, which is right if 1

  void check(const char* where) const {
    for (const auto& [name, value] : {std::pair("s_churn", s_churn), {"s_tmin", s_tmin}, {"s_tmax", s_tmax}}) {
      if (!(value >= 0.0)) detail::fail<std::invalid_argument>(where, name, " = ", value, " must not be negative");
    }
    detail::check_not_negative(where, "s_noise", s_noise);
  }

  /// x is moved up from step.from to the level that is returned.
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
    detail::combine<Tensor>(x, {{up.alpha / step.from.alpha, x}, {up.alpha * risen * s_noise, z}});
    return up;
  }
};

}  // namespace diffusion
