/// @file ddim.hpp
/// The coefficients of a DDIM step. Written out for x_0 and x_t they hold subtractions that cancel when steps are short; here are
/// equal forms that have none.
#pragma once

#include <Eigen/Core>
#include <cmath>      // std::sqrt
#include <stdexcept>  // std::invalid_argument

#include "../tensor.hpp"
#include "error.hpp"
#include "multiply_add.hpp"

namespace diffusion {
namespace detail {

/// x_{t-1} = x_start * x_0 + x_t * x_t + noise * N(0, 1)
struct DdimCoefficients {
  double x_start, x_t, noise;
};

/// 1 - abar_{t-1} of any process; 0 at t = 0.
template <class Process>
double one_minus_prev(const Process& process, Eigen::Index t) {
  return t == 0 ? 0.0 : process.one_minus_alphas_cumprod()[t - 1];
}

/// (1 - abar_{t-1} - sigma_t^2) (1 - abar_t) / (1 - abar_{t-1}) = (1 - eta^2) beta_t + alpha_t (1 - abar_{t-1}), of which the
/// square root must be taken. Negative when eta is too large for t.
template <class Process>
double ddim_rest(const Process& process, Eigen::Index t, double eta) {
  const double beta = process.betas()[t];
  const double prev = process.alphas_cumprod_prev()[t];
  const double alpha = beta < 0.5 || prev == 0.0 ? 1.0 - beta : process.alphas_cumprod()[t] / prev;
  return multiply_add((1.0 - eta) * (1.0 + eta), beta, alpha * one_minus_prev(process, t));
}

/// Song, Meng, Ermon 2021, Eqs. (12) and (16), with epsilon = (x_t - sqrt(abar_t) x_0) / sqrt(1 - abar_t):
///     x_{t-1} = sqrt(abar_{t-1}) x_0 + sqrt(1 - abar_{t-1} - sigma^2) epsilon + sigma noise
///     sigma   = eta sqrt(posterior_variance)
/// so k = sqrt(1 - abar_{t-1} - sigma^2) / sqrt(1 - abar_t) multiplies x_t, and x_0 is multiplied by
///     sqrt(abar_{t-1}) - k sqrt(abar_t)
///         = (abar_{t-1} beta_t + sigma^2 abar_t) / ((1 - abar_t) (sqrt(abar_{t-1}) + k sqrt(abar_t)))
template <class Process>
DdimCoefficients ddim_coefficients(const Process& process, Eigen::Index t, double eta) {
  const double one_minus = process.one_minus_alphas_cumprod()[t], prev = process.alphas_cumprod_prev()[t];
  const double sigma = eta * std::sqrt(process.posterior_variance()[t]);
  if (t == 0) return {1.0, 0.0, 0.0};
  const double k = std::sqrt(one_minus_prev(process, t) * ddim_rest(process, t, eta)) / one_minus;
  const double numerator = multiply_add(prev, process.betas()[t], sigma * sigma * process.alphas_cumprod()[t]);
  const double denominator = one_minus * multiply_add(k, process.sqrt_alphas_cumprod()[t], std::sqrt(prev));
  return {prev == 0.0 ? 0.0 : numerator / denominator, k, sigma};
}

/// The step up: x_{t+1} = sqrt(abar_{t+1}) x_0 + sqrt(1 - abar_{t+1}) epsilon, where abar_T = 0. So k = sqrt(1 - abar_{t+1}) /
/// sqrt(1 - abar_t) multiplies x_t, and x_0 is multiplied by
///     sqrt(abar_{t+1}) - k sqrt(abar_t) = (abar_{t+1} - abar_t) / ((1 - abar_t) (sqrt(abar_{t+1}) + k sqrt(abar_t)))
template <class Process>
DdimCoefficients ddim_reverse_coefficients(const Process& process, Eigen::Index t) {
  const bool last = t + 1 == process.num_timesteps();
  const double one_minus = process.one_minus_alphas_cumprod()[t], alpha_bar = process.alphas_cumprod()[t];
  const double one_minus_next = last ? 1.0 : process.one_minus_alphas_cumprod()[t + 1];
  const double k = std::sqrt(one_minus_next / one_minus);
  const double fall = last ? alpha_bar : alpha_bar * process.betas()[t + 1];  // abar_t - abar_{t+1}
  const double denominator =
      one_minus * multiply_add(k, process.sqrt_alphas_cumprod()[t], std::sqrt(process.alphas_cumprod_next()[t]));
  return {alpha_bar == 0.0 ? 0.0 : -fall / denominator, k, 0.0};
}

/// Throws std::invalid_argument unless eta >= 0, eta = 0 where there is no noise, and 1 - abar_{t-1} - sigma_t^2 >= 0 at
/// every timestep of t.
template <class Process>
void check_eta(const char* where, const Process& process, TimestepsView t, double eta, bool noisy) {
  if (!(eta >= 0.0 && std::isfinite(eta))) {
    fail<std::invalid_argument>(where, "eta = ", eta, " must be finite and not negative");
  }
  if (eta > 0.0 && !noisy) fail<std::invalid_argument>(where, "eta = ", eta, " needs noise, and none is given");
  for (Eigen::Index n = 0; n < (t.uniform() ? 1 : t.size()); ++n) {
    if (t[n] > 0 && !(ddim_rest(process, t[n], eta) >= 0.0)) {
      fail<std::invalid_argument>(where, "eta = ", eta, " is too large at t = ", t[n],
                                  ": 1 - alphas_cumprod_prev - sigma^2 would be negative");
    }
  }
}

}  // namespace detail
}  // namespace diffusion
