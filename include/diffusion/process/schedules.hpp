/// @file schedules.hpp
/// Beta schedules: how much noise each step of the forward process adds.
///
///     q(x_t | x_{t-1}) = N(sqrt(1 - beta_t) x_{t-1}, beta_t I),     abar_t = product of (1 - beta_s) over s = 0..t
///
/// Every function returns betas[0], ..., betas[T - 1] with T = num_timesteps, each in (0, 1], or throws
/// std::invalid_argument: for num_timesteps < 1, for a parameter out of its range, and for parameters whose betas would
/// leave (0, 1]. In the formulas i is the index of a beta and ramp(a, b)_i = a + i (b - a) / (T - 1).
///
/// Where a textbook formula subtracts nearly equal numbers (1 - abar_i / abar_{i-1} does), an equal one is used that
/// does not; betas are then right to a few units in the last place at every i, for T = 1 to 100000 and beyond (a ramp,
/// which is numpy's linspace bit for bit, to a few of its larger end). Fused multiply-adds change nothing of that.
/// -ffast-math does: rescaled betas are then right to 1e-11 only, linear ones may not equal the references' bit for bit,
/// and a NaN among the arguments may pass unnoticed.
#pragma once

#include <Eigen/Core>
#include <algorithm>  // std::max, std::min
#include <cmath>
#include <stdexcept>  // std::invalid_argument
#include <string>
#include <type_traits>

#include "../detail/check.hpp"
#include "../detail/error.hpp"
#include "../detail/math/linspace.hpp"
#include "detail/tables.hpp"

namespace diffusion {
namespace detail {

inline void check_ramp(const char* where, Eigen::Index num_timesteps, double beta_start, double beta_end) {
  check_num_timesteps(where, num_timesteps);
  check_beta(where, "beta_start", beta_start);
  check_beta(where, "beta_end", beta_end);
}

}  // namespace detail

/// Linear between two given ends; Ho et al. 2020, Section 4 (T = 1000, from 0.0001 to 0.02); "linear" in diffusers:
///     beta = ramp(beta_start, beta_end)
[[nodiscard]] inline Eigen::ArrayXd linear_beta_schedule(Eigen::Index num_timesteps, double beta_start,
                                                         double beta_end) {
  detail::check_ramp("linear_beta_schedule", num_timesteps, beta_start, beta_end);
  return detail::linspace(beta_start, beta_end, num_timesteps);
}

/// Linear, with ends that scale so that abar_{T-1} stays about the same for every T; "linear" in guided-diffusion:
///     beta = ramp(0.0001 k, 0.02 k),  k = 1000 / T
/// Throws for T < 20, where the last beta, 20 / T, is above 1. At T = 20 the last beta is 1 and abar_{T-1} = 0.
[[nodiscard]] inline Eigen::ArrayXd linear_beta_schedule(Eigen::Index num_timesteps) {
  detail::check_num_timesteps("linear_beta_schedule", num_timesteps);
  if (num_timesteps < 20) {
    detail::fail<std::invalid_argument>("linear_beta_schedule", "num_timesteps = ", num_timesteps,
                                        " is below 20: the last beta, 20 / num_timesteps, would exceed 1");
  }
  const double scale = 1000.0 / static_cast<double>(num_timesteps);
  return linear_beta_schedule(num_timesteps, detail::rounded(scale * 0.0001), detail::rounded(scale * 0.02));
}

/// Linear in sqrt(beta); "scaled_linear" in diffusers, "quad" in Ho et al.'s code:
///     beta = ramp(sqrt(beta_start), sqrt(beta_end))^2
/// Defaults: latent diffusion, Rombach et al. 2022, as released in Stable Diffusion.
[[nodiscard]] inline Eigen::ArrayXd scaled_linear_beta_schedule(Eigen::Index num_timesteps, double beta_start = 0.00085,
                                                                double beta_end = 0.012) {
  detail::check_ramp("scaled_linear_beta_schedule", num_timesteps, beta_start, beta_end);
  return detail::linspace(std::sqrt(beta_start), std::sqrt(beta_end), num_timesteps).square();
}

/// Cosine; Nichol and Dhariwal 2021, Eq. (17); "squaredcos_cap_v2" in diffusers:
///     beta_i = min(1 - f((i + 1) / T) / f(i / T), max_beta),  f(t) = cos^2((t + 0.008) / 1.008 * pi / 2)
/// With a and b the two angles that is 1 - cos^2 b / cos^2 a = sin(a + b) sin(b - a) / cos^2 a, where nothing cancels.
/// Uncapped, the last beta would be 1.
[[nodiscard]] inline Eigen::ArrayXd cosine_beta_schedule(Eigen::Index num_timesteps, double max_beta = 0.999) {
  detail::check_num_timesteps("cosine_beta_schedule", num_timesteps);
  detail::check_beta("cosine_beta_schedule", "max_beta", max_beta);
  const double T = static_cast<double>(num_timesteps);
  const double step = 1.57079632679489661923 / (1.008 * T);  // b - a, the same for every i
  // Where a cosine or sine is near 0, the rounding of its angle would cost many digits, but not that of the complement:
  // pi/2 - a = (T - i) step and pi - (a + b) = (2 (T - i) - 1) step; from 0, a + b = (2 i + 1 + 0.016 T) step.
  const auto sin_a_plus_b = [&](double i) {
    const double from_0 = 2.0 * i + 1.0 + 0.016 * T;
    const double from_pi = 2.0 * (T - i) - 1.0;
    return std::sin((std::min)(from_0, from_pi) * step);
  };
  Eigen::ArrayXd betas(num_timesteps);
  for (Eigen::Index k = 0; k < num_timesteps; ++k) {
    const double i = static_cast<double>(k);
    const double cos_a = std::sin((T - i) * step);
    betas[k] = (std::min)(sin_a_plus_b(i) * std::sin(step) / (cos_a * cos_a), max_beta);
  }
  return betas;
}

/// Sigmoid in beta; Xu et al. 2022 (GeoDiff); "sigmoid" in diffusers:
///     beta = beta_start + (beta_end - beta_start) / (1 + exp(-ramp(-6, 6)))
[[nodiscard]] inline Eigen::ArrayXd sigmoid_beta_schedule(Eigen::Index num_timesteps, double beta_start = 0.0001,
                                                          double beta_end = 0.02) {
  detail::check_ramp("sigmoid_beta_schedule", num_timesteps, beta_start, beta_end);
  Eigen::ArrayXd betas = detail::linspace(-6.0, 6.0, num_timesteps);
  const double largest = (std::max)(beta_start, beta_end);  // which the rounding of a sum could exceed
  for (double& u : betas) {
    u = (std::min)(beta_start / (1.0 + std::exp(u)) + beta_end / (1.0 + std::exp(-u)), largest);
  }
  return betas;
}

/// Sigmoid in abar; Jabri et al. 2022; Chen 2023, Algorithm 1. With s(u) = 1 / (1 + exp(-u)):
///     abar(t) = (s(end / tau) - s(u(t))) / (s(end / tau) - s(start / tau)),  u(t) = (start + t (end - start)) / tau
///     beta_i  = min(1 - abar((i + 1) / T) / abar(i / T), max_beta)
/// With u = u(i / T), v = u((i + 1) / T) and e = end / tau, s(b) - s(a) = s(a) s(b) (exp(-a) - exp(-b)) makes that
///     (1 - exp(u - v)) / (1 - exp(u - e)) * s(v) / s(e)
/// right to 1e-15 + 2e-16 |start / tau| of itself. Throws unless start < end, both finite, and tau is positive and
/// finite; also where a beta underflows to 0 (start / tau below about -700).
[[nodiscard]] inline Eigen::ArrayXd jabri_sigmoid_beta_schedule(Eigen::Index num_timesteps, double start = -3.0,
                                                                double end = 3.0, double tau = 1.0,
                                                                double max_beta = 0.999) {
  const char* const where = "jabri_sigmoid_beta_schedule";
  detail::check_num_timesteps(where, num_timesteps);
  if (!(start < end && std::isfinite(end - start))) {
    detail::fail<std::invalid_argument>(where, "start = ", start, " must be below end = ", end, ", both finite");
  }
  detail::check_positive(where, "tau", tau);
  detail::check_beta(where, "max_beta", max_beta);
  const double T = static_cast<double>(num_timesteps);
  const double e = end / tau;
  const double step = (end - start) / tau / T;  // v - u, the same for every i
  // s(v) / s(e) for v <= e; each exponent is at most 0, so that nothing overflows.
  const auto sigmoid_ratio = [e](double v) {
    return std::exp((std::min)(v, 0.0) - (std::min)(e, 0.0)) * (1.0 + std::exp(-std::abs(e))) /
           (1.0 + std::exp(-std::abs(v)));
  };
  Eigen::ArrayXd betas(num_timesteps);
  for (Eigen::Index k = 0; k < num_timesteps; ++k) {
    const double i = static_cast<double>(k);
    const double v = (start + (end - start) * ((i + 1.0) / T)) / tau;
    betas[k] = (std::min)(std::expm1(-step) / std::expm1(-step * (T - i)) * sigmoid_ratio(v), max_beta);
  }
  detail::check_betas(where, betas);
  return betas;
}

/// Constant; "const" in Ho et al.'s code:
///     beta_i = beta
[[nodiscard]] inline Eigen::ArrayXd constant_beta_schedule(Eigen::Index num_timesteps, double beta = 0.02) {
  detail::check_num_timesteps("constant_beta_schedule", num_timesteps);
  detail::check_beta("constant_beta_schedule", "beta", beta);
  return Eigen::ArrayXd::Constant(num_timesteps, beta);
}

/// Linear for the first part, then constant; "warmup10" and "warmup50" in Ho et al.'s code (fractions 0.1 and 0.5):
///     beta_i = beta_end, but for i < n = floor(T warmup_fraction) the ramp of n entries from beta_start to beta_end
/// Throws unless 0 <= warmup_fraction <= 1.
[[nodiscard]] inline Eigen::ArrayXd warmup_beta_schedule(Eigen::Index num_timesteps, double beta_start = 0.0001,
                                                         double beta_end = 0.02, double warmup_fraction = 0.1) {
  detail::check_ramp("warmup_beta_schedule", num_timesteps, beta_start, beta_end);
  if (!(warmup_fraction >= 0.0 && warmup_fraction <= 1.0)) {
    detail::fail<std::invalid_argument>("warmup_beta_schedule", "warmup_fraction = ", warmup_fraction,
                                        " is outside [0, 1]");
  }
  const auto n = static_cast<Eigen::Index>(static_cast<double>(num_timesteps) * warmup_fraction);
  Eigen::ArrayXd betas = Eigen::ArrayXd::Constant(num_timesteps, beta_end);
  betas.head(n) = detail::linspace(beta_start, beta_end, n);
  return betas;
}

/// Each step erases an equal part of the signal's variance; Sohl-Dickstein et al. 2015, Section 2.4.1; "jsd" in
/// Ho et al.'s code:
///     beta_i = 1 / (T - i),  so abar_i = 1 - (i + 1) / T: the last beta is 1 and abar_{T-1} = 0
[[nodiscard]] inline Eigen::ArrayXd jsd_beta_schedule(Eigen::Index num_timesteps) {
  detail::check_num_timesteps("jsd_beta_schedule", num_timesteps);
  Eigen::ArrayXd betas(num_timesteps);
  for (Eigen::Index i = 0; i < num_timesteps; ++i) betas[i] = 1.0 / static_cast<double>(num_timesteps - i);
  return betas;
}

/// Any schedule given as abar; the helper of that name in guided-diffusion. alpha_bar: a callable double -> double:
///     beta_i = min(1 - alpha_bar((i + 1) / T) / alpha_bar(i / T), max_beta)
/// The difference of two neighbours cancels: rounding of about 1e-16 in alpha_bar is one of about 1e-16 / beta_i in
/// beta_i, 1e-11 and more for a thousand steps; for the cosine, cosine_beta_schedule has no such loss.
/// alpha_bar is called once at each of 0, 1/T, ..., 1. Throws unless alpha_bar(t) is positive and finite for t < 1, and
/// unless it falls from each of these to the next.
template <class AlphaBar>
[[nodiscard]] Eigen::ArrayXd betas_for_alpha_bar(Eigen::Index num_timesteps, AlphaBar&& alpha_bar,
                                                 double max_beta = 0.999) {
  static_assert(std::is_invocable_r_v<double, AlphaBar&, double>,
                "diffusion: alpha_bar must be callable with a double and return a double");
  const char* const where = "betas_for_alpha_bar";
  detail::check_num_timesteps(where, num_timesteps);
  detail::check_beta(where, "max_beta", max_beta);
  const double T = static_cast<double>(num_timesteps);
  Eigen::ArrayXd betas(num_timesteps);
  double before = alpha_bar(0.0);
  for (Eigen::Index i = 0; i < num_timesteps; ++i) {
    if (!(before > 0.0 && std::isfinite(before))) {
      detail::fail<std::invalid_argument>(where, "alpha_bar(", static_cast<double>(i) / T, ") = ", before,
                                          " must be positive and finite");
    }
    const double after = alpha_bar(static_cast<double>(i + 1) / T);
    betas[i] = (std::min)((before - after) / before, max_beta);
    before = after;
  }
  detail::check_betas(where, betas);
  return betas;
}

/// The betas of a given abar, with abar_{-1} = 1:
///     beta_i = 1 - abar_i / abar_{i-1} = (abar_{i-1} - abar_i) / abar_{i-1}
/// Throws unless 1 > abar_0 > abar_1 > ... >= 0: only the last may be 0.
[[nodiscard]] inline Eigen::ArrayXd betas_from_alphas_cumprod(const Eigen::ArrayXd& alphas_cumprod) {
  const char* const where = "betas_from_alphas_cumprod";
  if (alphas_cumprod.size() == 0) detail::fail<std::invalid_argument>(where, "alphas_cumprod is empty");
  Eigen::ArrayXd betas(alphas_cumprod.size());
  double before = 1.0;
  for (Eigen::Index i = 0; i < betas.size(); ++i) {
    const double after = alphas_cumprod[i];
    if (!(after >= 0.0 && after < 1.0)) {
      detail::fail<std::invalid_argument>(where, "alphas_cumprod[", i, "] = ", after, " is outside [0, 1)");
    }
    if (!(after < before)) {
      detail::fail<std::invalid_argument>(where, "alphas_cumprod[", i, "] = ", after, " is not below alphas_cumprod[",
                                          i - 1, "] = ", before);
    }
    betas[i] = (before - after) / before;
    before = after;
  }
  return betas;
}

/// The betas changed so that they end in pure noise, abar_{T-1} = 0, and keep beta_0; Lin et al. 2024, Algorithm 1:
/// sqrt(abar), here r, is shifted to end at 0 and stretched to begin where it did.
///     r'_i = (r_i - r_{T-1}) r_0 / (r_0 - r_{T-1}),  beta'_i = 1 - (r'_i / r'_{i-1})^2 = fall (2 - fall)
///     fall = 1 - r'_i / r'_{i-1} = (1 - r_i / r_{i-1}) / (1 - r_{T-1} / r_{i-1})
/// The last beta is exactly 1. Betas that already contain a 1 (abar_{T-1} = 0) are returned as they are.
/// Throws unless there are at least two betas, each in (0, 1].
[[nodiscard]] inline Eigen::ArrayXd rescale_zero_terminal_snr(const Eigen::ArrayXd& betas) {
  const char* const where = "rescale_zero_terminal_snr";
  detail::check_betas(where, betas);
  const Eigen::Index last = betas.size() - 1;
  if (last == 0) {
    detail::fail<std::invalid_argument>(where, "betas has one entry; keeping the first beta and ending at 1 takes two");
  }
  if ((betas == 1.0).any()) return betas;
  Eigen::ArrayXd rescaled = betas;
  rescaled[last] = 1.0;
  double log_r = 0.5 * std::log1p(-betas[last]);  // log(r_{T-1} / r_{i-1}), of i = T - 1 now and of the loop's i below
  double lost = 0.0;                              // what rounding has taken from log_r so far
  for (Eigen::Index i = last - 1; i > 0; --i) {
    const double term = 0.5 * std::log1p(-betas[i]) - lost;
    const double sum = log_r + term;
    lost = (sum - log_r) - term;
    log_r = sum;
    const double fall = betas[i] / (1.0 + std::sqrt(1.0 - betas[i])) / -std::expm1(log_r);
    rescaled[i] = fall * (2.0 - fall);
  }
  detail::check_betas(where, rescaled);  // betas near the least double underflow
  return rescaled;
}

/// A schedule by the name it has elsewhere, with the defaults of where the name is from:
///     "linear"                        guided-diffusion: linear_beta_schedule(T)
///     "scaled_linear"                 Stable Diffusion: scaled_linear_beta_schedule(T)
///     "cosine", "squaredcos_cap_v2"   cosine_beta_schedule(T)
///     "sigmoid"                       diffusers: sigmoid_beta_schedule(T)
///     "jabri_sigmoid"                 jabri_sigmoid_beta_schedule(T)
///     "quad"                          Ho et al.: scaled_linear_beta_schedule(T, 0.0001, 0.02)
///     "const", "jsd"                  Ho et al.: constant_beta_schedule(T), jsd_beta_schedule(T)
///     "warmup10", "warmup50"          Ho et al.: warmup_beta_schedule(T, 0.0001, 0.02, 0.1), (..., 0.5)
/// Throws for any other name, listing these.
[[nodiscard]] inline Eigen::ArrayXd named_beta_schedule(const std::string& name, Eigen::Index num_timesteps) {
  struct Named {
    const char* name;
    Eigen::ArrayXd (*make)(Eigen::Index T);
  };
  static constexpr Named schedules[] = {
      {"linear", [](Eigen::Index T) { return linear_beta_schedule(T); }},
      {"scaled_linear", [](Eigen::Index T) { return scaled_linear_beta_schedule(T); }},
      {"cosine", [](Eigen::Index T) { return cosine_beta_schedule(T); }},
      {"squaredcos_cap_v2", [](Eigen::Index T) { return cosine_beta_schedule(T); }},
      {"sigmoid", [](Eigen::Index T) { return sigmoid_beta_schedule(T); }},
      {"jabri_sigmoid", [](Eigen::Index T) { return jabri_sigmoid_beta_schedule(T); }},
      {"quad", [](Eigen::Index T) { return scaled_linear_beta_schedule(T, 0.0001, 0.02); }},
      {"const", [](Eigen::Index T) { return constant_beta_schedule(T); }},
      {"jsd", [](Eigen::Index T) { return jsd_beta_schedule(T); }},
      {"warmup10", [](Eigen::Index T) { return warmup_beta_schedule(T, 0.0001, 0.02, 0.1); }},
      {"warmup50", [](Eigen::Index T) { return warmup_beta_schedule(T, 0.0001, 0.02, 0.5); }},
  };
  std::string names;
  for (const Named& schedule : schedules) {
    if (name == schedule.name) return schedule.make(num_timesteps);
    names.append(names.empty() ? "" : ", ").append(schedule.name);
  }
  detail::fail<std::invalid_argument>("named_beta_schedule", "name = \"", name, "\" is none of ", names);
}

}  // namespace diffusion
