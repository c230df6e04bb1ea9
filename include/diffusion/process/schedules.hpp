/// @file schedules.hpp
/// Beta schedules: the variance of the noise that each step of the forward process adds.
///
///     q(x_t | x_{t-1}) = N(sqrt(1 - beta_t) x_{t-1}, beta_t I)
///     abar_t           = (1 - beta_0) (1 - beta_1) ... (1 - beta_t)
///
/// Every function returns betas[0], ..., betas[T - 1] with T = num_timesteps, each in (0, 1]. It
/// throws std::invalid_argument if num_timesteps is outside [1, 2^53], a parameter is out of its
/// range, or a beta would be outside (0, 1]. In the formulas i is the index of a beta, and
///
///     ramp(a, b)_i = a + i (b - a) / (T - 1),   or a if T = 1
///
/// Where a textbook formula subtracts nearly equal numbers, as 1 - abar_i / abar_{i-1} does, an
/// equivalent formula without cancellation is used. The betas are then accurate to a few units in
/// the last place at every i, for T = 1 to 100000 and beyond. A ramp equals numpy's linspace bit
/// for bit, and its error is a few units in the last place of its larger end. Both hold with and
/// without fused multiply-adds. With -ffast-math, rescaled betas are accurate to 1e-11 only, linear
/// betas may differ from the references in some bits, and a NaN argument may pass unnoticed.
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

/// Throws std::invalid_argument unless 1 <= num_timesteps <= 2^53 and both ends are in (0, 1].
inline void check_ramp(const char* where, Eigen::Index num_timesteps, double beta_start, double beta_end) {
  check_num_timesteps(where, num_timesteps);
  check_beta(where, "beta_start", beta_start);
  check_beta(where, "beta_end", beta_end);
}

}  // namespace detail

/// Linear schedule between two given ends, "linear" in diffusers.
///
///     beta = ramp(beta_start, beta_end)
///
/// Source: Ho et al 2020 (DDPM), Section 4, with T = 1000 and betas from 0.0001 to 0.02. Throws
/// std::invalid_argument unless both ends are in (0, 1].
[[nodiscard]] inline Eigen::ArrayXd linear_beta_schedule(Eigen::Index num_timesteps, double beta_start,
                                                         double beta_end) {
  detail::check_ramp("linear_beta_schedule", num_timesteps, beta_start, beta_end);
  return detail::linspace(beta_start, beta_end, num_timesteps);
}

/// Linear schedule that is scaled with T, "linear" in guided-diffusion.
///
///     beta = ramp(0.0001 k, 0.02 k),   k = 1000 / T
///
/// The scaling keeps abar_{T-1} about the same for every T. Throws std::invalid_argument if T < 20,
/// where the last beta, 20 / T, would exceed 1. At T = 20 the last beta is 1 and abar_{T-1} = 0.
[[nodiscard]] inline Eigen::ArrayXd linear_beta_schedule(Eigen::Index num_timesteps) {
  detail::check_num_timesteps("linear_beta_schedule", num_timesteps);
  if (num_timesteps < 20) {
    detail::fail<std::invalid_argument>("linear_beta_schedule", "num_timesteps = ", num_timesteps,
                                        " is below 20: the last beta, 20 / num_timesteps, would exceed 1; "
                                        "pass beta_start and beta_end");
  }
  const double scale = 1000.0 / static_cast<double>(num_timesteps);
  return linear_beta_schedule(num_timesteps, detail::rounded(scale * 0.0001), detail::rounded(scale * 0.02));
}

/// Schedule with linear sqrt(beta), "scaled_linear" in diffusers and "quad" in the DDPM code.
///
///     beta = ramp(sqrt(beta_start), sqrt(beta_end))^2
///
/// The defaults are those of Stable Diffusion (latent diffusion, Rombach et al 2022). Throws
/// std::invalid_argument unless both ends are in (0, 1].
[[nodiscard]] inline Eigen::ArrayXd scaled_linear_beta_schedule(Eigen::Index num_timesteps, double beta_start = 0.00085,
                                                                double beta_end = 0.012) {
  detail::check_ramp("scaled_linear_beta_schedule", num_timesteps, beta_start, beta_end);
  Eigen::ArrayXd betas = detail::linspace(std::sqrt(beta_start), std::sqrt(beta_end), num_timesteps);
  for (double& beta : betas) beta *= beta;
  return betas;
}

/// Cosine schedule, "squaredcos_cap_v2" in diffusers.
///
///     beta_i = min(1 - f((i + 1) / T) / f(i / T), max_beta)
///     f(t)   = cos^2((t + 0.008) / 1.008 * pi / 2)
///
/// Let a and b be the angles in f(i / T) and f((i + 1) / T). The code uses an equivalent formula
/// without cancellation:
///
///     1 - cos^2 b / cos^2 a = sin(a + b) sin(b - a) / cos^2 a
///
/// The last beta would be 1 without the cap. Source: Nichol, Dhariwal 2021, Eq. (17). Throws
/// std::invalid_argument unless max_beta is in (0, 1].
[[nodiscard]] inline Eigen::ArrayXd cosine_beta_schedule(Eigen::Index num_timesteps, double max_beta = 0.999) {
  detail::check_num_timesteps("cosine_beta_schedule", num_timesteps);
  detail::check_beta("cosine_beta_schedule", "max_beta", max_beta);
  const double T = static_cast<double>(num_timesteps);
  const double step = 1.57079632679489661923 / (1.008 * T);  // b - a, the same for every i
  // Where a cosine or sine is near 0, the rounding of its angle would cost many digits. The
  // complement of the angle is small there and loses none:
  //     pi/2 - a     = (T - i) step
  //     pi - (a + b) = (2 (T - i) - 1) step
  //     a + b        = (2 i + 1 + 0.016 T) step
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

/// Schedule with a sigmoid in beta, "sigmoid" in diffusers.
///
///     beta = beta_start + (beta_end - beta_start) / (1 + exp(-ramp(-6, 6)))
///
/// Source: Xu et al 2022 (GeoDiff). Throws std::invalid_argument unless both ends are in (0, 1].
[[nodiscard]] inline Eigen::ArrayXd sigmoid_beta_schedule(Eigen::Index num_timesteps, double beta_start = 0.0001,
                                                          double beta_end = 0.02) {
  detail::check_ramp("sigmoid_beta_schedule", num_timesteps, beta_start, beta_end);
  Eigen::ArrayXd betas = detail::linspace(-6.0, 6.0, num_timesteps);
  const double largest = (std::max)(beta_start, beta_end);  // rounding could take the sum above it
  for (double& u : betas) {
    u = (std::min)(beta_start / (1.0 + std::exp(u)) + beta_end / (1.0 + std::exp(-u)), largest);
  }
  return betas;
}

/// Schedule with a sigmoid in abar.
///
///     beta_i  = min(1 - abar((i + 1) / T) / abar(i / T), max_beta)
///     abar(t) = (s(end / tau) - s(u(t))) / (s(end / tau) - s(start / tau))
///     u(t)    = (start + t (end - start)) / tau,   s(u) = 1 / (1 + exp(-u))
///
/// With u = u(i / T), v = u((i + 1) / T) and e = end / tau, the code uses an equivalent formula
/// without cancellation, which follows from s(b) - s(a) = s(a) s(b) (exp(-a) - exp(-b)):
///
///     1 - abar((i + 1) / T) / abar(i / T) = (1 - exp(u - v)) / (1 - exp(u - e)) * s(v) / s(e)
///
/// The relative error of beta_i is at most 1e-15 + 2e-16 |start / tau|. Sources: Jabri et al 2022;
/// Chen 2023, Algorithm 1. Throws std::invalid_argument unless start < end with a finite
/// difference, tau is positive and finite, and max_beta is in (0, 1]. Also throws if a beta
/// underflows to 0 (start / tau below about -700).
[[nodiscard]] inline Eigen::ArrayXd jabri_sigmoid_beta_schedule(Eigen::Index num_timesteps, double start = -3.0,
                                                                double end = 3.0, double tau = 1.0,
                                                                double max_beta = 0.999) {
  const char* const where = "jabri_sigmoid_beta_schedule";
  detail::check_num_timesteps(where, num_timesteps);
  if (!(start < end && std::isfinite(end - start))) {
    detail::fail<std::invalid_argument>(where, "start = ", start, " must be less than end = ", end,
                                        ", and end - start must be finite");
  }
  detail::check_positive(where, "tau", tau);
  detail::check_beta(where, "max_beta", max_beta);
  const double T = static_cast<double>(num_timesteps);
  const double e = end / tau;
  const double step = (end - start) / tau / T;  // v - u, the same for every i
  // s(v) / s(e) for v <= e. Each exponent is at most 0, so no exponential overflows.
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

/// Constant schedule, "const" in the DDPM code.
///
///     beta_i = beta
///
/// Throws std::invalid_argument unless beta is in (0, 1].
[[nodiscard]] inline Eigen::ArrayXd constant_beta_schedule(Eigen::Index num_timesteps, double beta = 0.02) {
  detail::check_num_timesteps("constant_beta_schedule", num_timesteps);
  detail::check_beta("constant_beta_schedule", "beta", beta);
  return detail::full(num_timesteps, beta);
}

/// Linear ramp followed by a constant, "warmup10" and "warmup50" in the DDPM code.
///
///     n      = floor(T warmup_fraction)
///     beta_i = beta_start + i (beta_end - beta_start) / (n - 1)   if i < n
///     beta_i = beta_end                                           otherwise
///
/// If n = 1, beta_0 is beta_start. warmup10 and warmup50 have the fractions 0.1 and 0.5. Throws
/// std::invalid_argument unless both ends are in (0, 1] and 0 <= warmup_fraction <= 1.
[[nodiscard]] inline Eigen::ArrayXd warmup_beta_schedule(Eigen::Index num_timesteps, double beta_start = 0.0001,
                                                         double beta_end = 0.02, double warmup_fraction = 0.1) {
  detail::check_ramp("warmup_beta_schedule", num_timesteps, beta_start, beta_end);
  if (!(warmup_fraction >= 0.0 && warmup_fraction <= 1.0)) {
    detail::fail<std::invalid_argument>("warmup_beta_schedule", "warmup_fraction = ", warmup_fraction,
                                        " is outside [0, 1]");
  }
  const auto n = static_cast<Eigen::Index>(static_cast<double>(num_timesteps) * warmup_fraction);
  const Eigen::ArrayXd ramp = detail::linspace(beta_start, beta_end, n);
  Eigen::ArrayXd betas(num_timesteps);
  for (Eigen::Index i = 0; i < num_timesteps; ++i) betas[i] = i < n ? ramp[i] : beta_end;
  return betas;
}

/// Schedule that erases 1 / T of the signal's variance in each step, "jsd" in the DDPM code.
///
///     beta_i = 1 / (T - i),   abar_i = 1 - (i + 1) / T
///
/// The last beta is 1 and abar_{T-1} = 0. Source: Sohl-Dickstein et al 2015, Section 2.4.1.
[[nodiscard]] inline Eigen::ArrayXd jsd_beta_schedule(Eigen::Index num_timesteps) {
  detail::check_num_timesteps("jsd_beta_schedule", num_timesteps);
  Eigen::ArrayXd betas(num_timesteps);
  for (Eigen::Index i = 0; i < num_timesteps; ++i) betas[i] = 1.0 / static_cast<double>(num_timesteps - i);
  return betas;
}

/// Schedule for an arbitrary function abar(t), like the function of the same name in
/// guided-diffusion.
///
///     beta_i = min(1 - alpha_bar((i + 1) / T) / alpha_bar(i / T), max_beta)
///
/// `alpha_bar` is a callable double -> double. It is called once at each of 0, 1/T, ..., 1.
///
/// The difference alpha_bar(i / T) - alpha_bar((i + 1) / T) cancels: a rounding error of 1e-16 in
/// alpha_bar becomes a relative error of about 1e-16 / beta_i in beta_i. For the cosine's alpha_bar
/// it is up to 4e-12 at T = 1000, and it grows with T. cosine_beta_schedule has no such loss.
/// Throws std::invalid_argument unless max_beta is in (0, 1], alpha_bar(t) is positive and finite
/// for t < 1, and alpha_bar decreases from each of these t to the next.
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

/// Recovers the betas from a table of abar.
///
///     beta_i = 1 - abar_i / abar_{i-1} = (abar_{i-1} - abar_i) / abar_{i-1},   abar_{-1} = 1
///
/// Throws std::invalid_argument if the table is empty, or unless 1 > abar_0 > abar_1 > ... >= 0:
/// only the last entry may be 0.
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

/// Rescales betas to end in pure noise (zero terminal SNR, abar_{T-1} = 0) and to keep beta_0.
///
/// The sequence r_i = sqrt(abar_i) is shifted so that it ends at 0, and scaled so that r_0 stays
/// the same:
///
///     r'_i    = (r_i - r_{T-1}) r_0 / (r_0 - r_{T-1})
///     beta'_i = 1 - (r'_i / r'_{i-1})^2 = fall_i (2 - fall_i)
///     fall_i  = 1 - r'_i / r'_{i-1} = (1 - r_i / r_{i-1}) / (1 - r_{T-1} / r_{i-1})
///
/// The last beta is exactly 1. Betas that already contain a 1 (abar_{T-1} = 0) are returned
/// unchanged. Source: Lin et al 2024, Algorithm 1. Throws std::invalid_argument unless there are at
/// least two betas, each in (0, 1], or if a rescaled beta underflows to 0.
[[nodiscard]] inline Eigen::ArrayXd rescale_zero_terminal_snr(const Eigen::ArrayXd& betas) {
  const char* const where = "rescale_zero_terminal_snr";
  detail::check_betas(where, betas);
  const Eigen::Index last = betas.size() - 1;
  if (last == 0) {
    detail::fail<std::invalid_argument>(where,
                                        "betas has one entry; at least two are needed to keep the first and end at 1");
  }
  for (Eigen::Index i = 0; i <= last; ++i) {
    if (betas[i] == 1.0) return betas;
  }
  Eigen::ArrayXd rescaled = betas;
  rescaled[last] = 1.0;
  double log_r = 0.5 * std::log1p(-betas[last]);  // log(r_{T-1} / r_{i-1}) for i = T - 1, then for the loop's i
  double lost = 0.0;                              // rounding error of the last addition to log_r
  for (Eigen::Index i = last - 1; i > 0; --i) {
    const double term = 0.5 * std::log1p(-betas[i]) - lost;
    const double sum = log_r + term;
    lost = (sum - log_r) - term;
    log_r = sum;
    const double fall = betas[i] / (1.0 + std::sqrt(1.0 - betas[i])) / -std::expm1(log_r);
    rescaled[i] = fall * (2.0 - fall);
  }
  detail::check_betas(where, rescaled);  // betas near the smallest double underflow to 0
  return rescaled;
}

/// Schedule by name, with the defaults of the library that the name comes from.
///
///     "linear"                        guided-diffusion: linear_beta_schedule(T)
///     "scaled_linear"                 Stable Diffusion: scaled_linear_beta_schedule(T)
///     "cosine", "squaredcos_cap_v2"   cosine_beta_schedule(T)
///     "sigmoid"                       diffusers: sigmoid_beta_schedule(T)
///     "jabri_sigmoid"                 jabri_sigmoid_beta_schedule(T)
///     "quad"                          DDPM: scaled_linear_beta_schedule(T, 0.0001, 0.02)
///     "const", "jsd"                  DDPM: constant_beta_schedule(T), jsd_beta_schedule(T)
///     "warmup10", "warmup50"          DDPM: warmup_beta_schedule(T, 0.0001, 0.02, f), f = 0.1, 0.5
///
/// Throws std::invalid_argument for any other name; the message lists the valid ones. Also throws
/// as the function of the schedule does.
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
  detail::fail<std::invalid_argument>("named_beta_schedule", "name = \"", name, "\" is not one of ", names);
}

}  // namespace diffusion
