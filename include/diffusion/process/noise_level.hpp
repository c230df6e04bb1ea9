/// @file noise_level.hpp
/// Noise levels (the amounts of signal and noise in a sample) and continuous paths of noise levels.
#pragma once

#include <cmath>  // std::hypot, std::isfinite, std::log
#include <functional>
#include <stdexcept>  // std::invalid_argument
#include <string>

#include "../detail/error.hpp"

namespace diffusion {

/// Amounts of signal and noise in a sample x, and the model time that belongs to them.
///
///     x = alpha x_0 + sigma epsilon
struct NoiseLevel {
  double t,   ///< Model time: the time that is passed to a network.
      alpha,  ///< Factor of x_0; finite, not negative.
      sigma;  ///< Factor of epsilon; finite, not negative. alpha and sigma are not both 0.
};

/// Noise-to-signal ratio of a level.
///
///     s = sigma / alpha
///
/// It is 0 at a clean level (sigma = 0) and infinite where no signal is left (alpha = 0).
[[nodiscard]] inline double noise_to_signal(const NoiseLevel& level) { return level.sigma / level.alpha; }

/// Half log-SNR of a level.
///
///     lambda = log(alpha / sigma) = -log(sigma / alpha)
///
/// It is infinite at a clean level and -infinite where no signal is left.
[[nodiscard]] inline double half_log_snr(const NoiseLevel& level) { return std::log(level.alpha / level.sigma); }

/// Level of a variance-preserving path with noise-to-signal ratio s and model time t.
///
///     alpha = 1 / sqrt(1 + s^2),   sigma = s / sqrt(1 + s^2)
///
/// s = 0 gives a clean level, and an infinite s gives pure noise.
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

/// Noise level as a continuous function, for samplers that evaluate the model between the levels of
/// a grid.
struct NoisePath {
  std::function<NoiseLevel(double half_log_snr)> at;  ///< Returns the level with this half log-SNR.
  std::function<NoiseLevel(double t)> at_time;        ///< Returns the level with this model time.
};

}  // namespace diffusion
