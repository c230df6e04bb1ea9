/// @file noise_level.hpp
/// How much signal and noise there is, and the paths that levels of noise lie on.
#pragma once

#include <cmath>  // std::hypot, std::isfinite, std::log
#include <functional>
#include <stdexcept>  // std::invalid_argument
#include <string>

#include "../detail/error.hpp"

namespace diffusion {

/// x = alpha x_0 + sigma epsilon; t is the model time.
struct NoiseLevel {
  double t, alpha, sigma;
};

/// sigma / alpha: 0 when clean, infinite where no signal is left.
[[nodiscard]] inline double noise_to_signal(const NoiseLevel& level) { return level.sigma / level.alpha; }

/// lambda = log(alpha / sigma) = -log(sigma / alpha)
[[nodiscard]] inline double half_log_snr(const NoiseLevel& level) { return std::log(level.alpha / level.sigma); }

/// The level of a variance-preserving path where sigma / alpha = s.
[[nodiscard]] inline NoiseLevel variance_preserving_level(double t, double s) {
  return {t, 1.0 / std::hypot(1.0, s), 1.0 / std::hypot(1.0, 1.0 / s)};
}

namespace detail {

/// Throws std::invalid_argument unless alpha and sigma are finite, not negative and not both 0.
inline void check_level(const char* where, const NoiseLevel& level, const std::string& name = "level") {
  const double sum = level.alpha + level.sigma;
  if (!(level.alpha >= 0.0 && level.sigma >= 0.0 && sum > 0.0 && std::isfinite(sum))) {
    fail<std::invalid_argument>(where, name, " has alpha = ", level.alpha, " and sigma = ", level.sigma,
                                "; they must be finite, not negative and not both zero");
  }
}

}  // namespace detail

/// All the levels between the stops of a grid, by lambda and by model time.
struct NoisePath {
  std::function<NoiseLevel(double half_log_snr)> at;
  std::function<NoiseLevel(double t)> at_time;
};

}  // namespace diffusion
