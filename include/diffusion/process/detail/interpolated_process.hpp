/// @file interpolated_process.hpp
/// Noise levels of a process between its timesteps.
#pragma once

#include <algorithm>  // std::upper_bound
#include <cmath>      // std::exp, std::hypot, std::log
#include <cstddef>    // std::size_t
#include <vector>

#include "../gaussian_diffusion.hpp"
#include "../noise_level.hpp"

namespace diffusion {
namespace detail {

/// Piecewise linear interpolation through the points (xs[i], ys[i]), evaluated at x. Outside the
/// range of xs it returns the y of the nearer end. xs must be ascending.
inline double interpolate(const std::vector<double>& xs, const std::vector<double>& ys, double x) {
  const auto above = static_cast<std::size_t>(std::upper_bound(xs.begin(), xs.end(), x) - xs.begin());
  if (above == 0) return ys.front();
  if (above == xs.size()) return ys.back();
  const double weight = (x - xs[above - 1]) / (xs[above] - xs[above - 1]);
  return weight == 0.0 ? ys[above - 1] : ys[above - 1] + weight * (ys[above] - ys[above - 1]);
}

/// Path of a process between its timesteps. log(sigma / alpha) is piecewise linear in the model
/// time, which is the timestep of the original process.
struct InterpolatedProcess {
  std::vector<double> time, log_sigma;

  template <class Scalar>
  explicit InterpolatedProcess(const GaussianDiffusion<Scalar>& process) {
    for (Index t = 0; t < process.num_timesteps(); ++t) {
      time.push_back(static_cast<double>(process.timestep_map()[static_cast<std::size_t>(t)]));
      log_sigma.push_back(std::log(process.sqrt_recipm1_alphas_cumprod()[t]));
    }
  }
  NoiseLevel at(double half_log_snr) const {
    return variance_preserving_level(interpolate(log_sigma, time, -half_log_snr), std::exp(-half_log_snr));
  }
  NoiseLevel at_time(double t) const { return variance_preserving_level(t, std::exp(interpolate(time, log_sigma, t))); }
  operator NoisePath() const {
    return {[path = *this](double half_log_snr) { return path.at(half_log_snr); },
            [path = *this](double t) { return path.at_time(t); }};
  }
};

/// Level of the process at timestep t in [0, T - 1], which need not be an integer. At an integer t
/// it has exactly the values of the tables.
template <class Scalar>
NoiseLevel process_level(const GaussianDiffusion<Scalar>& process, const InterpolatedProcess& path, double t) {
  const auto whole = static_cast<Index>(t);
  const double time = path.time[static_cast<std::size_t>(whole)];
  if (static_cast<double>(whole) == t) {
    return {time, process.sqrt_alphas_cumprod()[whole], process.sqrt_one_minus_alphas_cumprod()[whole]};
  }
  const double next = path.time[static_cast<std::size_t>(whole + 1)];
  return path.at_time(time + (t - static_cast<double>(whole)) * (next - time));
}

}  // namespace detail
}  // namespace diffusion
