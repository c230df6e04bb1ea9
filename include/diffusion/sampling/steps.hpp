/// @file steps.hpp
/// Building blocks of samplers: a step of a run, and moves from one noise level to another. The
/// equations are in s = sigma / alpha and z = x / alpha, where z = x_0 + s epsilon.
#pragma once

#include <Eigen/Core>
#include <algorithm>  // std::max, std::min
#include <cmath>      // std::abs, std::log, std::sqrt
#include <stdexcept>  // std::domain_error, std::invalid_argument
#include <utility>    // std::swap

#include "../detail/error.hpp"
#include "../detail/kernel/linear_combination.hpp"
#include "../detail/shape.hpp"
#include "../model/prediction.hpp"
#include "../process/noise_level.hpp"
#include "time_grid.hpp"

namespace diffusion {

/// A reference to an Eigen device of any type, by default the calling thread. It may be passed
/// wherever a device may, and must not outlive the device.
using detail::DeviceRef;

/// One step of a run, from one noise level to the next. A Step refers to its grid and must not
/// outlive it; to remember a step, copy its levels.
struct Step {
  NoiseLevel from,          ///< Level at which the step starts.
      to;                   ///< Level at which the step ends.
  Eigen::Index index,       ///< Index of the step in the whole grid, also if the run starts part-way.
      count;                ///< Number of steps of the whole grid.
  const TimeGrid& grid;     ///< Grid of the run, for its path (grid.at) and for its other levels.
  bool first = index == 0;  ///< True in the first step of a run: the State must forget earlier runs.
  DeviceRef device = {};    ///< Device of the run, by default the calling thread.
};

/// Writes a linear combination of at most 8 tensors of one shape, here out = a x + b y:
///
///     combine<Tensor>(out, {{a, x}, {b, y}}, step.device)
///
/// out may be any of the tensors.
using detail::combine;
/// A linear combination of at most 8 tensors, where the number is known only at run time:
///
///     LinearCombination<Tensor>().add(a, x).add(b, y).into(out, x, step.device)
///
/// out takes the shape of x here, and may be any of the tensors. A LinearCombination is a range of
/// terms, each with a `coefficient` and a pointer to its `tensor`, for TensorOperations.
using detail::LinearCombination;

/// A call of the model within a step, for which the run has asked.
struct ModelCall {
  NoiseLevel level;    ///< Level of x in this call.
  Eigen::Index index;  ///< Number of earlier calls in this step.
};

/// Stores `value` in the State of a sampler without a copy. `value` becomes a tensor of the same
/// shape with unspecified values, so that later steps allocate nothing.
template <class Tensor>
void store(Tensor& slot, Tensor& value) {
  detail::resize_like(slot, value);
  std::swap(slot, value);
}

/// The State of a sampler that calls the model once per step.
template <class Tensor>
struct NoiseState {
  Tensor noise;  ///< Noise of one step.
};

/// The State of a sampler that calls the model twice per step: what it needs again in the second
/// call. Tensors that it does not use stay empty.
template <class Tensor>
struct TwoCallState {
  Tensor x,         ///< x in the first call.
      x_start,      ///< Prediction of x_0 in the first call.
      epsilon,      ///< Prediction of epsilon in the first call.
      noise;        ///< Noise of one step.
  NoiseLevel from;  ///< Level of the first call, if churn has changed it.
};

/// True if the step ends clean or starts without signal, where lambda = log(alpha / sigma) is
/// infinite. Samplers that compute with lambda take step_with_fixed_x_start() there, which is
/// exact if the prediction of x_0 is exact.
inline bool touches_clean_or_pure_noise(const Step& step) { return step.to.sigma == 0.0 || step.from.alpha == 0.0; }

/// As above, and also true if the step ends without signal, as the last one of a reversed grid may.
/// Samplers that keep predictions by their lambda take step_with_fixed_x_start() there.
inline bool touches_infinite_lambda(const Step& step) {
  return touches_clean_or_pure_noise(step) || step.to.alpha == 0.0;
}

/// Throws std::domain_error if from.sigma == 0: lambda is infinite there, and epsilon cannot be
/// recovered from x_0.
inline void check_has_noise(const NoiseLevel& from) {
  if (from.sigma == 0.0) {
    detail::fail<std::domain_error>("sample", "sigma = 0 at t = ", from.t,
                                    ": this sampler cannot start without noise; use Ddim, Pndm, Ipndm or Lms");
  }
}

/// Returns lambda_to - lambda_from, where lambda = log(alpha / sigma). Throws std::domain_error if
/// from.sigma == 0.
inline double half_log_snr_rise(const NoiseLevel& from, const NoiseLevel& to) {
  check_has_noise(from);
  return std::log((to.alpha / from.alpha) * (from.sigma / to.sigma));
}

/// Moves x from one level to another with a given prediction of x_0, as Euler's method and DDIM do.
/// epsilon follows from x and x_0:
///
///     epsilon = (x - alpha_from x_0) / sigma_from
///     out     = alpha_to x_0 + sigma_to epsilon
///
/// out may be x. Throws std::domain_error if from.sigma == 0.
template <class Tensor>
void step_with_fixed_x_start(Tensor& out, const Tensor& x, const NoiseLevel& from, const NoiseLevel& to,
                             const Tensor& x_start, const DeviceRef& device = {}) {
  check_has_noise(from);
  const double ratio = to.sigma / from.sigma;
  detail::combine<Tensor>(out, {{ratio, x}, {to.alpha - from.alpha * ratio, x_start}}, device);
}

/// Moves x from one level to another with a given prediction of epsilon. x_0 follows from x and
/// epsilon:
///
///     x_0 = (x - sigma_from epsilon) / alpha_from
///     out = alpha_to x_0 + sigma_to epsilon
///
/// out may be x. from.alpha must not be 0.
template <class Tensor>
void step_with_fixed_epsilon(Tensor& out, const Tensor& x, const NoiseLevel& from, const NoiseLevel& to,
                             const Tensor& epsilon, const DeviceRef& device = {}) {
  const double ratio = to.alpha / from.alpha;
  detail::combine<Tensor>(out, {{ratio, x}, {to.sigma - from.sigma * ratio, epsilon}}, device);
}

/// Returns the level of the grid's path halfway between a and b in log(sigma / alpha).
inline NoiseLevel midpoint_in_log_sigma(const TimeGrid& grid, const NoiseLevel& a, const NoiseLevel& b) {
  return grid.at(0.5 * (half_log_snr(a) + half_log_snr(b)));
}

/// True if the step has zero length up to rounding. A grid may end with two nearly equal levels
/// (see time_grid.hpp). Adding noise in such a step would only amplify rounding errors.
inline bool is_zero_length(const NoiseLevel& from, const NoiseLevel& to) {
  return std::abs(noise_to_signal(to) / noise_to_signal(from) - 1.0) < 1e-13;
}

/// Throws std::invalid_argument if sigma / alpha rises. Called by samplers that only work from
/// noise to data, as most samplers that add noise do.
inline void check_goes_down(const NoiseLevel& from, const NoiseLevel& to) {
  if (!(noise_to_signal(to) <= noise_to_signal(from))) {
    detail::fail<std::invalid_argument>("sample",
                                        "this sampler only goes from noise to data (Ddim can invert), but a step of "
                                        "the grid raises sigma / alpha from ",
                                        noise_to_signal(from), " to ", noise_to_signal(to));
  }
}

/// Throws std::invalid_argument if a level with noise has a negative model time. The model time of
/// edm_grid, log(sigma) / 4, is negative below sigma = 1. Samplers that compute with timesteps call
/// this. `where` is the name of the sampler, for the message.
inline void check_has_timesteps(const char* where, const TimeGrid& grid) {
  for (const NoiseLevel& level : grid.levels()) {
    if (level.sigma > 0.0 && level.t < 0.0) {
      detail::fail<std::invalid_argument>(where, "t = ", level.t, " at sigma = ", level.sigma,
                                          " is not a timestep; this sampler needs a grid of timesteps");
    }
  }
}

/// An ancestral step from s to s_to, where s = sigma / alpha. It goes down to s_down, then back up
/// by noise of standard deviation s_up, with s_down^2 + s_up^2 = s_to^2:
///
///     s_up   = min(s_to, eta s_to sqrt(1 - s_to^2 / s^2))
///     s_down = s_to sqrt(max(0, 1 - eta^2 + eta^2 s_to^2 / s^2))
///
/// With eta = 1 this is the posterior q(x_to | x, x_0).
struct AncestralStep {
  NoiseLevel down;  ///< The level to go down to: alpha_to and alpha_to s_down.
  double up;        ///< Standard deviation of the noise to add then: alpha_to s_up.
};

/// Returns the two parts of an ancestral step. With eta = 0 or for a step of zero length, `down` is
/// `to` and `up` is 0. Throws std::invalid_argument if sigma / alpha rises and eta > 0.
inline AncestralStep ancestral_step(const NoiseLevel& from, const NoiseLevel& to, double eta) {
  if (eta == 0.0 || is_zero_length(from, to)) return {to, 0.0};
  check_goes_down(from, to);
  const double ratio = noise_to_signal(to) / noise_to_signal(from);
  const double up = (std::min)(to.sigma, eta * to.sigma * std::sqrt((1.0 - ratio) * (1.0 + ratio)));
  const double down = (1.0 - eta) * (1.0 + eta) + eta * eta * ratio * ratio;
  return {{to.t, to.alpha, to.sigma * std::sqrt((std::max)(0.0, down))}, up};
}

/// Adds noise to x: x += deviation N(0, 1). Draws no noise if the deviation is 0. `z` is scratch
/// memory.
template <class Tensor, class Noise>
void add_step_noise(Tensor& x, double deviation, const Noise& noise, Tensor& z, const DeviceRef& device = {}) {
  if (deviation == 0.0) return;
  noise(z, x);
  detail::combine<Tensor>(x, {{1.0, x}, {deviation, z}}, device);
}

}  // namespace diffusion
