/// @file sigmas.hpp
/// Lists of noise levels sigma / alpha for a run of n steps. Each list has n + 1 entries: n that
/// fall from sigma_max to sigma_min, then 0. time_grid.hpp makes a TimeGrid from such a list.
///
/// In the equations, i = 0, ..., n - 1 and ramp(i) = i / (n - 1), or 0 if n = 1. Every function
/// throws std::invalid_argument unless 1 <= n <= 2^53, 0 < sigma_min < sigma_max < infinity, and
/// its parameters are in range.
#pragma once

#include <Eigen/Core>
#include <algorithm>  // std::min
#include <cmath>      // std::exp, std::expm1, std::log, std::pow, std::sqrt
#include <cstddef>    // std::size_t
#include <limits>
#include <stdexcept>  // std::invalid_argument
#include <vector>

#include "../detail/check.hpp"
#include "../detail/error.hpp"
#include "../detail/math/beta_quantile.hpp"
#include "../detail/math/linspace.hpp"

namespace diffusion {
namespace detail {

/// Throws std::invalid_argument unless 1 <= n <= 2^53 and 0 < sigma_min < sigma_max < infinity.
inline void check_sigma_range(const char* where, Eigen::Index n, double sigma_min, double sigma_max) {
  check_count(where, "n", n);
  check_positive(where, "sigma_min", sigma_min);
  check_positive(where, "sigma_max", sigma_max);
  if (!(sigma_min < sigma_max)) {
    fail<std::invalid_argument>(where, "sigma_min = ", sigma_min, " must be less than sigma_max = ", sigma_max);
  }
}

/// Returns f(u) for n evenly spaced values of u from `first` to `last`, then 0.
template <class F>
Eigen::ArrayXd sigmas_along(Eigen::Index n, double first, double last, const F& f) {
  const Eigen::ArrayXd ramp = linspace(first, last, n);
  Eigen::ArrayXd sigmas = full(n + 1, 0.0);
  for (Eigen::Index i = 0; i < n; ++i) {
    sigmas[i] = (std::min)(f(ramp[i]), (std::numeric_limits<double>::max)());  // rounding may take f to infinity
  }
  return sigmas;
}

}  // namespace detail

/// Sigmas that are evenly spaced in sigma^(1 / rho). See Karras, Aittala, Aila, Laine 2022 (EDM),
/// Eq. (5):
///
///     sigma_i = (sigma_max^(1/rho) + ramp(i) (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho
///
/// rho must be positive and finite.
[[nodiscard]] inline Eigen::ArrayXd karras_sigmas(Eigen::Index n, double sigma_min, double sigma_max,
                                                  double rho = 7.0) {
  detail::check_sigma_range("karras_sigmas", n, sigma_min, sigma_max);
  detail::check_positive("karras_sigmas", "rho", rho);
  // A sum of two positive terms; high + u (low - high) would cancel if low is much smaller than
  // high.
  const double high = std::pow(sigma_max, 1.0 / rho), low = std::pow(sigma_min, 1.0 / rho);
  Eigen::ArrayXd sigmas =
      detail::sigmas_along(n, 0.0, 1.0, [&](double u) { return std::pow((1.0 - u) * high + u * low, rho); });
  if (!std::isfinite(high) || low == 0.0) {
    // A power overflows or underflows. Then every sigma except the last is (1 - u)^rho sigma_max.
    sigmas = detail::sigmas_along(n, 0.0, 1.0, [&](double u) { return sigma_max * std::pow(1.0 - u, rho); });
    if (n > 1) sigmas[n - 1] = sigma_min;
  }
  return sigmas;
}

/// Sigmas that are evenly spaced in log sigma for rho = 1, and denser near sigma_min for a larger
/// rho:
///
///     log sigma_i = log sigma_min + (1 - ramp(i))^rho (log sigma_max - log sigma_min)
///
/// rho must be positive and finite.
[[nodiscard]] inline Eigen::ArrayXd polyexponential_sigmas(Eigen::Index n, double sigma_min, double sigma_max,
                                                           double rho = 1.0) {
  detail::check_sigma_range("polyexponential_sigmas", n, sigma_min, sigma_max);
  detail::check_positive("polyexponential_sigmas", "rho", rho);
  const double high = std::log(sigma_max), low = std::log(sigma_min);
  return detail::sigmas_along(n, 1.0, 0.0, [&](double u) { return std::exp(std::pow(u, rho) * (high - low) + low); });
}

/// Sigmas that are evenly spaced in log sigma: polyexponential_sigmas with rho = 1.
[[nodiscard]] inline Eigen::ArrayXd exponential_sigmas(Eigen::Index n, double sigma_min, double sigma_max) {
  detail::check_sigma_range("exponential_sigmas", n, sigma_min, sigma_max);
  return polyexponential_sigmas(n, sigma_min, sigma_max);
}

/// Sigmas that are evenly spaced in lambda = log(alpha / sigma); Lu et al 2022 (DPM-Solver),
/// Section 3.3. The list is that of exponential_sigmas.
[[nodiscard]] inline Eigen::ArrayXd lu_sigmas(Eigen::Index n, double sigma_min, double sigma_max) {
  detail::check_sigma_range("lu_sigmas", n, sigma_min, sigma_max);
  return polyexponential_sigmas(n, sigma_min, sigma_max);
}

/// Sigmas of the variance-preserving process in continuous time, at n evenly spaced times t from 1
/// to eps_s. See Song et al 2021 (score SDE), Eq. (33):
///
///     sigma(t) = sqrt(exp(beta_d t^2 / 2 + beta_min t) - 1)
///
/// beta_d and beta_min must be positive and finite, sigma(1) finite, and eps_s in (0, 1).
[[nodiscard]] inline Eigen::ArrayXd vp_sigmas(Eigen::Index n, double beta_d = 19.9, double beta_min = 0.1,
                                              double eps_s = 1e-3) {
  detail::check_count("vp_sigmas", "n", n);
  detail::check_positive("vp_sigmas", "beta_d", beta_d);
  detail::check_positive("vp_sigmas", "beta_min", beta_min);
  if (!(eps_s > 0.0 && eps_s < 1.0)) {
    detail::fail<std::invalid_argument>("vp_sigmas", "eps_s = ", eps_s, " is outside (0, 1)");
  }
  const auto sigma = [&](double t) { return std::sqrt(std::expm1(0.5 * beta_d * t * t + beta_min * t)); };
  detail::check_positive("vp_sigmas", "sigma(1)", sigma(1.0));
  return detail::sigmas_along(n, 1.0, eps_s, sigma);
}

/// Quantiles of a Beta(a, b) distribution, scaled to [sigma_min, sigma_max]; Lee et al 2024 ("Beta
/// Sampling is All You Need"):
///
///     sigma_i = sigma_min + quantile(1 - ramp(i)) (sigma_max - sigma_min)
///
/// a and b must be positive and finite.
[[nodiscard]] inline Eigen::ArrayXd beta_sigmas(Eigen::Index n, double sigma_min, double sigma_max, double a = 0.6,
                                                double b = 0.6) {
  detail::check_sigma_range("beta_sigmas", n, sigma_min, sigma_max);
  detail::check_positive("beta_sigmas", "a", a);
  detail::check_positive("beta_sigmas", "b", b);
  return detail::sigmas_along(n, 0.0, 1.0, [&](double u) {
    return sigma_min + detail::beta_quantile(1.0 - u, a, b) * (sigma_max - sigma_min);
  });
}

/// The models with a schedule of ten steps in Sabour, Fidler, Kreis 2024 ("Align Your Steps").
enum class AysModel {
  stable_diffusion,       ///< Stable Diffusion 1.5
  stable_diffusion_xl,    ///< Stable Diffusion XL
  stable_video_diffusion  ///< Stable Video Diffusion; it has sigmas, but no timesteps
};

/// The sigmas of Align Your Steps for n steps; Sabour et al 2024. The published schedule has eleven
/// levels. For n other than 10, the n + 1 levels are evenly spaced in this schedule, with linear
/// interpolation in log sigma. The last entry is 0; it replaces the eleventh level, 0.029 (0.002
/// for stable_video_diffusion).
[[nodiscard]] inline Eigen::ArrayXd ays_sigmas(AysModel model, Eigen::Index n = 10) {
  detail::check_count("ays_sigmas", "n", n);
  constexpr double levels[3][11] = {{14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029},
                                    {14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029},
                                    {700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002}};
  const auto index = static_cast<std::size_t>(model);
  if (index > 2)
    detail::fail<std::invalid_argument>("ays_sigmas", "model = ", static_cast<int>(model), " is not an AysModel");
  const double* level = levels[index];
  Eigen::ArrayXd sigmas = detail::full(n + 1, 0.0);
  for (Eigen::Index i = 0; i < n; ++i) {
    const Eigen::Index k = 10 * i / n, rest = 10 * i % n;  // level k + rest / n
    sigmas[i] = level[k] * std::pow(level[k + 1] / level[k], static_cast<double>(rest) / static_cast<double>(n));
  }
  return sigmas;
}

/// The ten timesteps of Align Your Steps, for a process of T = 1000. Throws std::invalid_argument
/// for stable_video_diffusion, which has no timesteps.
[[nodiscard]] inline std::vector<double> ays_timesteps(AysModel model) {
  if (model == AysModel::stable_diffusion) return {999, 850, 736, 645, 545, 455, 343, 233, 124, 24};
  if (model == AysModel::stable_diffusion_xl) return {999, 845, 730, 587, 443, 310, 193, 116, 53, 13};
  detail::fail<std::invalid_argument>("ays_timesteps", "stable_video_diffusion has no timesteps; use ays_sigmas");
}

// ---- flow matching: sigmas in [0, 1] ----

/// Returns sigma after a shift towards more noise, which large pictures need. See Esser et al 2024
/// (Stable Diffusion 3), Eq. (23):
///
///     sigma' = shift sigma / (1 + (shift - 1) sigma) = shift sigma / (shift sigma + (1 - sigma))
///
/// The second form is computed; it maps 0 to 0 and 1 to 1 exactly. Throws std::invalid_argument
/// unless shift is positive and finite.
[[nodiscard]] inline double shifted_sigma(double sigma, double shift) {
  detail::check_positive("shifted_sigma", "shift", shift);
  return shift * sigma / (shift * sigma + (1.0 - sigma));
}

/// Returns the mu of a picture with this number of tokens; Flux computes its shift from mu. mu is
/// linear in the number of tokens:
///
///     mu(256) = 0.5,   mu(4096) = 1.15
///
/// The shift for shifted_sigma is exp(mu), or mu itself for a model whose time shift is "linear".
[[nodiscard]] inline double dynamic_shift_mu(double tokens) {
  return 0.5 + (tokens - 256.0) * (1.15 - 0.5) / (4096.0 - 256.0);
}

/// n evenly spaced sigmas from 1 to sigma_min, then 0. sigma_min must be in (0, 1).
[[nodiscard]] inline Eigen::ArrayXd flow_matching_sigmas(Eigen::Index n, double sigma_min = 1e-3) {
  detail::check_sigma_range("flow_matching_sigmas", n, sigma_min, 1.0);
  return detail::sigmas_along(n, 1.0, sigma_min, [](double u) { return u; });
}

/// Returns the list stretched so that its last positive sigma, `last`, becomes `terminal`:
///
///     1 - sigma' = (1 - sigma) (1 - terminal) / (1 - last)
///
/// A list whose only positive entry is 1 is returned unchanged. Throws std::invalid_argument unless
/// terminal is in (0, 1) and the sigmas are in [0, 1] and fall. The last sigma may repeat its
/// predecessor.
[[nodiscard]] inline Eigen::ArrayXd stretched_to_terminal(Eigen::ArrayXd sigmas, double terminal) {
  if (!(terminal > 0.0 && terminal < 1.0)) {
    detail::fail<std::invalid_argument>("stretched_to_terminal", "terminal = ", terminal, " is outside (0, 1)");
  }
  for (Eigen::Index i = 0; i < sigmas.size(); ++i) {
    const char* const where = "stretched_to_terminal";
    if (!(sigmas[i] >= 0.0 && sigmas[i] <= 1.0)) {
      detail::fail<std::invalid_argument>(where, "sigmas[", i, "] = ", sigmas[i], " is outside [0, 1]");
    }
    const bool repeats = i > 0 && i + 1 == sigmas.size() && sigmas[i] == sigmas[i - 1];
    if (i > 0 && !(sigmas[i] < sigmas[i - 1]) && !repeats) {
      detail::fail<std::invalid_argument>(where, "sigmas[", i, "] = ", sigmas[i], " is not below sigmas[", i - 1,
                                          "] = ", sigmas[i - 1]);
    }
  }
  double last = 1.0;
  for (const double s : sigmas) last = s > 0.0 ? s : last;
  const double scale = (1.0 - last) / (1.0 - terminal);
  for (double& s : sigmas) s = s > 0.0 && last < 1.0 ? 1.0 - (1.0 - s) / scale : s;
  return sigmas;
}

}  // namespace diffusion
