/// @file steps.hpp
/// The toolkit of samplers: a step of a run, and ways from one level of noise to another. They are
/// equations in s = sigma / alpha and z = x / alpha, where z = x_0 + s epsilon.
#pragma once

#include <Eigen/Core>
#include <algorithm>  // std::max, std::min
#include <cmath>      // std::abs, std::log, std::sqrt
#include <stdexcept>  // std::domain_error, std::invalid_argument

#include "../detail/error.hpp"
#include "../detail/kernel/linear_combination.hpp"
#include "../model/prediction.hpp"
#include "../process/noise_level.hpp"
#include "time_grid.hpp"

namespace diffusion {

/// One step of a run, from one level of noise to the next. It refers to the grid: keep a copy of
/// the levels, not of the step.
struct Step {
  NoiseLevel from, to;
  Eigen::Index index, count;  // step `index` of the `count` steps of the whole grid, also where a run starts part-way
  const TimeGrid& grid;       // for grid.at, and for samplers that look ahead
  bool first = index == 0;    // whether the run begins here: a State must forget any run before
};

/// combine<Tensor>(out, {{a, x}, {b, y}}) writes out = a x + b y + ... for tensors of one shape. out may be any of them.
using detail::combine;
/// The same for a number of terms that is known at run time: LinearCombination<Tensor>().add(a, x).add(b, y).into(out, x).
using detail::LinearCombination;

/// The State of a sampler with one call of the model a step.
template <class Tensor>
struct OneCallState {
  Prediction<Tensor> prediction;
  Tensor noise;
};

/// The State of a sampler with two calls of the model a step, the second at a guess.
template <class Tensor>
struct TwoCallState {
  Prediction<Tensor> first, second;
  Tensor guess, noise;
};

/// True if the step ends without noise or starts without signal. Lambda is infinite there, and
/// every sampler takes step_with_fixed_x_start, which is exact if the prediction of x_0 is.
inline bool touches_clean_or_pure_noise(const Step& step) { return step.to.sigma == 0.0 || step.from.alpha == 0.0; }

/// Throws std::domain_error if from.sigma == 0: lambda is infinite there, and epsilon cannot be
/// recovered from x_0.
inline void check_has_noise(const NoiseLevel& from) {
  if (from.sigma == 0.0) {
    detail::fail<std::domain_error>("sample", "sigma = 0 at t = ", from.t,
                                    ": this sampler cannot start without noise; Ddim, Pndm, Ipndm and Lms can");
  }
}

/// Returns lambda_to - lambda_from, where lambda = log(alpha / sigma). Throws std::domain_error if
/// from.sigma == 0.
inline double half_log_snr_rise(const NoiseLevel& from, const NoiseLevel& to) {
  check_has_noise(from);
  return std::log((to.alpha / from.alpha) * (from.sigma / to.sigma));
}

/// Moves x along the straight line through the predicted x_0, which stays fixed; the step of
/// Euler's method and of DDIM:
///
///     epsilon = (x - alpha_from x_0) / sigma_from
///     out     = alpha_to x_0 + sigma_to epsilon
///
/// out may be x. Throws std::domain_error if from.sigma == 0.
template <class Tensor>
void step_with_fixed_x_start(Tensor& out, const Tensor& x, const NoiseLevel& from, const NoiseLevel& to,
                             const Tensor& x_start) {
  check_has_noise(from);
  const double ratio = to.sigma / from.sigma;
  detail::combine<Tensor>(out, {{ratio, x}, {to.alpha - from.alpha * ratio, x_start}});
}

/// The same with a fixed prediction of epsilon:
///
///     x_0 = (x - sigma_from epsilon) / alpha_from
///     out = alpha_to x_0 + sigma_to epsilon
///
/// out may be x. from.alpha must not be 0.
template <class Tensor>
void step_with_fixed_epsilon(Tensor& out, const Tensor& x, const NoiseLevel& from, const NoiseLevel& to,
                             const Tensor& epsilon) {
  const double ratio = to.alpha / from.alpha;
  detail::combine<Tensor>(out, {{ratio, x}, {to.sigma - from.sigma * ratio, epsilon}});
}

/// Returns the level of the grid's path halfway between a and b in log(sigma / alpha).
inline NoiseLevel midpoint_in_log_sigma(const TimeGrid& grid, const NoiseLevel& a, const NoiseLevel& b) {
  return grid.at(0.5 * (half_log_snr(a) + half_log_snr(b)));
}

/// True if the step has zero length up to rounding (a grid may hold two nearly equal levels, see
/// time_grid.hpp). Adding noise there would only amplify rounding error.
inline bool is_zero_length(const NoiseLevel& from, const NoiseLevel& to) {
  return std::abs(noise_to_signal(to) / noise_to_signal(from) - 1.0) < 1e-13;
}

/// Throws std::invalid_argument unless sigma / alpha falls or stays: samplers that add noise only
/// go down.
inline void check_goes_down(const NoiseLevel& from, const NoiseLevel& to) {
  if (!(noise_to_signal(to) <= noise_to_signal(from))) {
    detail::fail<std::invalid_argument>(
        "sample",
        "this sampler goes down only, but a step of the grid goes from sigma / alpha = ", noise_to_signal(from),
        " up to ", noise_to_signal(to));
  }
}

/// Throws std::invalid_argument if a noisy level has a negative model time, as the levels of
/// edm_grid (log(sigma) / 4) have below sigma = 1: some samplers compute with timesteps.
inline void check_has_timesteps(const char* where, const TimeGrid& grid) {
  for (const NoiseLevel& level : grid.levels()) {
    if (level.sigma > 0.0 && level.t < 0.0) {
      detail::fail<std::invalid_argument>(where, "t = ", level.t, " at sigma = ", level.sigma,
                                          " is no timestep, which this sampler reckons with");
    }
  }
}

/// An ancestral step from s to s_to, where s = sigma / alpha. It goes down to s_down and back up by
/// noise of deviation s_up, where s_down^2 + s_up^2 = s_to^2:
///
///     s_up   = min(s_to, eta s_to sqrt(1 - s_to^2 / s^2))
///     s_down = s_to sqrt(max(0, 1 - eta^2 + eta^2 s_to^2 / s^2))
///
/// With eta = 1 this is the posterior q(x_to | x, x_0).
struct AncestralStep {
  NoiseLevel down;  // the noise below, at the scale of `to`
  double up;        // the noise above, at the scale of `to`: alpha_to s_up
};

/// Returns the two parts of an ancestral step. With eta = 0, and for a step of zero length, it goes
/// straight to `to`. Throws std::invalid_argument if the step goes up and eta > 0.
inline AncestralStep ancestral_step(const NoiseLevel& from, const NoiseLevel& to, double eta) {
  if (eta == 0.0 || is_zero_length(from, to)) return {to, 0.0};
  check_goes_down(from, to);
  const double ratio = noise_to_signal(to) / noise_to_signal(from);
  const double up = (std::min)(to.sigma, eta * to.sigma * std::sqrt((1.0 - ratio) * (1.0 + ratio)));
  const double down = (1.0 - eta) * (1.0 + eta) + eta * eta * ratio * ratio;
  return {{to.t, to.alpha, to.sigma * std::sqrt((std::max)(0.0, down))}, up};
}

/// x += deviation N(0, 1). `z` is scratch memory. Draws no noise if the deviation is 0.
template <class Tensor, class Noise>
void add_step_noise(Tensor& x, double deviation, const Noise& noise, Tensor& z) {
  if (deviation == 0.0) return;
  noise(z, x);
  detail::combine<Tensor>(x, {{1.0, x}, {deviation, z}});
}

}  // namespace diffusion
