/// @file loss_weights.hpp
/// Weights of training losses over timesteps, as functions of the signal-to-noise ratio:
///
///     snr = abar_t / (1 - abar_t)
///
/// The name of a weight ends with the quantity whose squared error it multiplies: epsilon, x_start
/// or v. One objective has a weight for each of them, because at one t the three errors are
/// multiples of each other:
///
///     |x_0 - pred|^2 = |epsilon - pred|^2 / snr = |v - pred|^2 / (snr + 1)
///     w_epsilon = w_x_start / snr
///     w_v = w_x_start / (snr + 1)
///
/// All weights here are finite at snr = 0 (zero terminal SNR). At snr = infinity they return their
/// limits, which may be infinite. They throw std::invalid_argument unless snr >= 0 and the
/// parameters are positive and finite.
#pragma once

#include <algorithm>  // std::min, std::max
#include <cmath>      // std::isinf, std::pow
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>

#include "../detail/arguments.hpp"
#include "../detail/check.hpp"
#include "../detail/shape.hpp"
#include "../process/gaussian_diffusion.hpp"
#include "../tensor.hpp"

namespace diffusion {

namespace detail {

/// Throws std::invalid_argument unless snr >= 0 and the parameter, if there is one, is positive and
/// finite.
inline void check_snr(const char* where, double snr) { check_at_least(where, "snr", snr, 0.0); }
/// @copydoc check_snr(const char*, double)
inline void check_snr(const char* where, double snr, const char* name, double parameter) {
  check_snr(where, snr);
  check_positive(where, name, parameter);
}

}  // namespace detail

// ---- min-SNR-gamma ----

/// Min-SNR-gamma weight for the error of epsilon. Hang et al. 2023:
///
///     min(snr, gamma) / snr
///
/// It is 1 at snr = 0 and 0 at infinity. Throws std::invalid_argument unless snr >= 0 and gamma is
/// positive and finite.
[[nodiscard]] inline double min_snr_weight_epsilon(double snr, double gamma = 5.0) {
  detail::check_snr("min_snr_weight_epsilon", snr, "gamma", gamma);
  return snr <= gamma ? 1.0 : gamma / snr;
}

/// Min-SNR-gamma weight for the error of x_0. Hang et al. 2023:
///
///     min(snr, gamma)
///
/// It is 0 at snr = 0 and gamma at infinity. Throws as min_snr_weight_epsilon does.
[[nodiscard]] inline double min_snr_weight_x_start(double snr, double gamma = 5.0) {
  detail::check_snr("min_snr_weight_x_start", snr, "gamma", gamma);
  return (std::min)(snr, gamma);
}

/// Min-SNR-gamma weight for the error of v. Hang et al. 2023:
///
///     min(snr, gamma) / (snr + 1)
///
/// It is 0 at snr = 0 and at infinity. Throws as min_snr_weight_epsilon does.
[[nodiscard]] inline double min_snr_weight_v(double snr, double gamma = 5.0) {
  detail::check_snr("min_snr_weight_v", snr, "gamma", gamma);
  return (std::min)(snr, gamma) / (snr + 1.0);
}

// ---- soft min-SNR ----

/// Soft min-SNR weight for the error of epsilon. Crowson et al. 2024:
///
///     gamma / (snr + gamma)
///
/// It is 1 at snr = 0 and 0 at infinity. Throws std::invalid_argument unless snr >= 0 and gamma is
/// positive and finite.
[[nodiscard]] inline double soft_min_snr_weight_epsilon(double snr, double gamma = 4.0) {
  detail::check_snr("soft_min_snr_weight_epsilon", snr, "gamma", gamma);
  return gamma / (snr + gamma);
}

/// Soft min-SNR weight for the error of x_0. Crowson et al. 2024:
///
///     snr gamma / (snr + gamma)
///
/// It is 0 at snr = 0 and gamma at infinity. Throws as soft_min_snr_weight_epsilon does.
[[nodiscard]] inline double soft_min_snr_weight_x_start(double snr, double gamma = 4.0) {
  detail::check_snr("soft_min_snr_weight_x_start", snr, "gamma", gamma);
  return snr <= gamma ? snr * (gamma / (snr + gamma)) : gamma / (1.0 + gamma / snr);
}

/// Soft min-SNR weight for the error of v. Crowson et al. 2024:
///
///     snr gamma / ((snr + gamma) (snr + 1))
///
/// It is 0 at snr = 0 and at infinity. Throws as soft_min_snr_weight_epsilon does.
[[nodiscard]] inline double soft_min_snr_weight_v(double snr, double gamma = 4.0) {
  detail::check_snr("soft_min_snr_weight_v", snr, "gamma", gamma);
  return soft_min_snr_weight_x_start(snr, gamma) / (snr + 1.0);
}

// ---- P2 ----

/// P2 (perception prioritized) weight for the error of epsilon. Choi et al. 2022:
///
///     1 / (k + snr)^gamma
///
/// It is k^-gamma at snr = 0 and 0 at infinity. Throws std::invalid_argument unless snr >= 0 and k
/// and gamma are positive and finite.
[[nodiscard]] inline double p2_weight_epsilon(double snr, double k = 1.0, double gamma = 1.0) {
  detail::check_snr("p2_weight_epsilon", snr, "k", k);
  detail::check_snr("p2_weight_epsilon", snr, "gamma", gamma);
  return std::pow(k + snr, -gamma);
}

// ---- truncated SNR; the weight for epsilon would be infinite at snr = 0 ----

/// Truncated SNR weight for the error of x_0. Salimans, Ho 2022, Section 4:
///
///     max(snr, 1)
///
/// It is 1 at snr = 0 and infinite at infinity. Throws std::invalid_argument unless snr >= 0.
[[nodiscard]] inline double truncated_snr_weight_x_start(double snr) {
  detail::check_snr("truncated_snr_weight_x_start", snr);
  return (std::max)(snr, 1.0);
}

/// Truncated SNR weight for the error of v. Salimans, Ho 2022, Section 4:
///
///     max(snr, 1) / (snr + 1)
///
/// It is 1 at snr = 0 and at infinity, and 1/2 at snr = 1. Throws std::invalid_argument unless
/// snr >= 0.
[[nodiscard]] inline double truncated_snr_weight_v(double snr) {
  detail::check_snr("truncated_snr_weight_v", snr);
  return 1.0 / (1.0 + (std::min)(snr, 1.0 / snr));
}

// ---- EDM; the weight for epsilon would be infinite at snr = 0 ----

/// EDM weight for the error of x_0. Karras et al. 2022, Table 1, with sigma^2 = 1 / snr:
///
///     (sigma^2 + sigma_data^2) / (sigma sigma_data)^2 = snr + 1 / sigma_data^2
///
/// It is 1 / sigma_data^2 at snr = 0 and infinite at infinity. Throws std::invalid_argument unless
/// snr >= 0 and sigma_data is positive and finite.
[[nodiscard]] inline double edm_weight_x_start(double snr, double sigma_data = 0.5) {
  detail::check_snr("edm_weight_x_start", snr, "sigma_data", sigma_data);
  return snr + 1.0 / (sigma_data * sigma_data);
}

/// EDM weight for the error of v. Karras et al. 2022, Table 1:
///
///     (snr + 1 / sigma_data^2) / (snr + 1)
///
/// It is 1 / sigma_data^2 at snr = 0 and 1 at infinity. For sigma_data = 1 it is 1 everywhere.
/// Throws as edm_weight_x_start does.
[[nodiscard]] inline double edm_weight_v(double snr, double sigma_data = 0.5) {
  detail::check_snr("edm_weight_v", snr, "sigma_data", sigma_data);
  return std::isinf(snr) ? 1.0 : edm_weight_x_start(snr, sigma_data) / (snr + 1.0);
}

// ---- weights of a batch ----

/// Weights by which to multiply the loss of each sample, or its gradient:
///
///     w[n] = weight(snr[n]),   snr[n] = abar_t[n] / (1 - abar_t[n])
///
/// The result has shape [N], or [1] if t is one integer. `weight` is a callable double -> double,
/// and the values that it returns are not checked:
///
///     loss_weights(process, t, [](double snr) { return min_snr_weight_v(snr); })
///
/// loss_weights_into writes into `out`, a tensor or map of rank 1 with one value per timestep, or
/// of any size if t is one integer, and allocates nothing. Throws std::out_of_range if a timestep
/// is outside [0, T), and std::invalid_argument if the sizes of `out` and t differ.
template <class Scalar, class Weight>
[[nodiscard]] Eigen::Tensor<Scalar, 1> loss_weights(const GaussianDiffusion<Scalar>& process, TimestepsView t,
                                                    const Weight& weight) {
  Eigen::Tensor<Scalar, 1> out(t.uniform() ? 1 : t.size());
  loss_weights_into(out, process, t, weight);
  return out;
}
/// @copydoc loss_weights()
template <class Out, class Scalar, class Weight>
void loss_weights_into(Out&& out, const GaussianDiffusion<Scalar>& process, TimestepsView t, const Weight& weight) {
  static_assert(std::is_invocable_r_v<double, const Weight&, double>,
                "diffusion: weight must be callable as weight(snr), double -> double; a function with more parameters "
                "needs a lambda around it");
  static_assert(detail::Traits<Out>::rank == 1, "diffusion: `out` must be a tensor of rank 1, one weight per sample");
  if constexpr (std::is_invocable_r_v<double, const Weight&, double> && detail::Traits<Out>::rank == 1 &&
                detail::tensors_agree<Scalar, Out>()) {
    detail::check_timesteps("loss_weights", "t", t, static_cast<Eigen::Index>(out.size()), 0, process.num_timesteps());
    for (Eigen::Index n = 0; n < static_cast<Eigen::Index>(out.size()); ++n) {
      const double snr = process.alphas_cumprod()[t[n]] / process.one_minus_alphas_cumprod()[t[n]];
      out.data()[n] = static_cast<Scalar>(weight(snr));
    }
  }
}

}  // namespace diffusion
