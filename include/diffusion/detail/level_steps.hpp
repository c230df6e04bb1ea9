/// @file level_steps.hpp
/// What samplers share: ways from one level of noise to another. With s = sigma / alpha and z = x / alpha, z = x_0 + s
/// epsilon.
#pragma once

#include <algorithm>  // std::max, std::min
#include <cmath>      // std::abs, std::isfinite, std::log, std::log1p, std::sqrt
#include <limits>
#include <stdexcept>  // std::domain_error, std::invalid_argument
#include <utility>    // std::pair

#include "../sampling.hpp"
#include "check.hpp"
#include "kernel/linear_combination.hpp"

namespace diffusion {
namespace detail {

/// Whether a step ends without noise, or starts without signal. There lambda is infinite, and every sampler takes the
/// step that is exact if the prediction of x_0 is: move_by_x_start.
inline bool at_an_end(const Step& step) { return step.to.sigma == 0.0 || step.from.alpha == 0.0; }

/// Throws std::domain_error where there is no noise to start from, and so neither lambda nor an epsilon that x_0 tells.
inline void check_has_noise(const NoiseLevel& from) {
  if (from.sigma == 0.0) {
    fail<std::domain_error>("sample", "sigma = 0 at t = ", from.t,
                            ": this sampler cannot start without noise; Ddim, Pndm, Ipndm and Lms can");
  }
}

/// lambda_to - lambda_from, lambda = log(alpha / sigma)
inline double half_log_snr_rise(const NoiseLevel& from, const NoiseLevel& to) {
  check_has_noise(from);
  return std::log((to.alpha / from.alpha) * (from.sigma / to.sigma));
}

/// out = alpha_to x_0 + sigma_to epsilon with epsilon = (x - alpha x_0) / sigma. out may be x.
template <class Tensor>
void move_by_x_start(Tensor& out, const Tensor& x, const NoiseLevel& from, const NoiseLevel& to,
                     const Tensor& x_start) {
  check_has_noise(from);
  const double ratio = to.sigma / from.sigma;
  combine<Tensor>(out, {{ratio, x}, {to.alpha - from.alpha * ratio, x_start}});
}

/// out = alpha_to x_0 + sigma_to epsilon with x_0 = (x - sigma epsilon) / alpha. out may be x.
template <class Tensor>
void move_by_epsilon(Tensor& out, const Tensor& x, const NoiseLevel& from, const NoiseLevel& to,
                     const Tensor& epsilon) {
  const double ratio = to.alpha / from.alpha;
  combine<Tensor>(out, {{ratio, x}, {to.sigma - from.sigma * ratio, epsilon}});
}

/// The level of the path that lies in the middle of two in log sigma / alpha.
inline NoiseLevel geometric_middle(const TimeGrid& grid, const NoiseLevel& a, const NoiseLevel& b) {
  return grid.at(0.5 * (half_log_snr(a) + half_log_snr(b)));
}

/// Whether a step is of no length, but for rounding and for what a grid puts between two equal levels (time_grid.hpp). Its noise
/// would be made of that.
inline bool no_length(const NoiseLevel& from, const NoiseLevel& to) {
  return std::abs(noise_to_signal(to) / noise_to_signal(from) - 1.0) < 1e-13;
}

/// Throws std::invalid_argument unless the noise falls: steps that add noise of their own do not go up.
inline void check_goes_down(const NoiseLevel& from, const NoiseLevel& to) {
  if (!(noise_to_signal(to) <= noise_to_signal(from))) {
    fail<std::invalid_argument>("sample",
                                "this sampler goes down only, but a step of the grid goes from sigma / alpha = ",
                                noise_to_signal(from), " up to ", noise_to_signal(to));
  }
}

/// Throws std::invalid_argument unless the levels with noise are told as timesteps, which edm_grid's are not below s = 1.
inline void check_tells_timesteps(const char* where, const TimeGrid& grid) {
  for (const NoiseLevel& level : grid.levels()) {
    if (level.sigma > 0.0 && level.t < 0.0) {
      fail<std::invalid_argument>(where, "t = ", level.t, " at sigma = ", level.sigma,
                                  " is no timestep, which this sampler reckons with");
    }
  }
}

/// An ancestral step from s to s_to goes down to s_down and back up by noise of deviation s_up, s_down^2 + s_up^2 = s_to^2:
///     s_up = min(s_to, eta s_to sqrt(1 - s_to^2 / s^2)),   s_down = s_to sqrt(max(0, 1 - eta^2 + eta^2 s_to^2 / s^2))
/// With eta = 1 that is the posterior q(x_to | x, x_0).
struct AncestralStep {
  NoiseLevel down;  // the noise below, at the scale of `to`
  double up;        // the noise above, at the scale of `to`: alpha_to s_up
};
inline AncestralStep ancestral_step(const NoiseLevel& from, const NoiseLevel& to, double eta) {
  if (eta == 0.0 || no_length(from, to)) return {to, 0.0};
  check_goes_down(from, to);
  const double ratio = noise_to_signal(to) / noise_to_signal(from);
  const double up = (std::min)(to.sigma, eta * to.sigma * std::sqrt((1.0 - ratio) * (1.0 + ratio)));
  const double down = (1.0 - eta) * (1.0 + eta) + eta * eta * ratio * ratio;
  return {{to.t, to.alpha, to.sigma * std::sqrt((std::max)(0.0, down))}, up};
}

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

/// x += deviation N(0, 1). No noise is asked for where the deviation is 0.
template <class Tensor, class Noise>
void add_step_noise(Tensor& x, double deviation, const Noise& noise, Tensor& z) {
  if (deviation == 0.0) return;
  noise(z, x);
  combine<Tensor>(x, {{1.0, x}, {deviation, z}});
}

inline void check_order(const char* where, int order, int most) { check_in(where, "order", order, 1, most); }

}  // namespace detail

/// Stochastic steps may begin by adding noise: where s_tmin <= s <= s_tmax, s rises to (1 + gamma) s; Karras et al. 2022
/// (EDM), Algorithm 2, with gamma = min(s_churn / n, sqrt(2) - 1). Noise is drawn only where gamma > 0 (k-diffusion
/// draws in every step, so that its run has the same noise if all steps churn).
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
