/// @file loss_weights.hpp
/// Weights of training losses over timesteps, as functions of the signal-to-noise ratio snr =
/// abar_t / (1 - abar_t).
///
/// A weight belongs to what the mean squared error is of, as the name says: epsilon, x_start or v.
/// One objective has one weight for each, because at one t the three errors are multiples of each
/// other:
///
///     |x_0 - pred|^2 = |epsilon - pred|^2 / snr = |v - pred|^2 / (snr + 1)
///
/// so w_epsilon = w_x_start / snr and w_v = w_x_start / (snr + 1). No weight here divides by snr
/// where that may be 0: all are finite there (zero terminal SNR), and at snr = infinity they are
/// their limits. Throws std::invalid_argument unless snr >= 0 and for parameters that are not
/// positive and finite.
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

inline void check_snr(const char* where, double snr) { check_at_least(where, "snr", snr, 0.0); }
inline void check_snr(const char* where, double snr, const char* name, double parameter) {
  check_snr(where, snr);
  check_positive(where, name, parameter);
}

}  // namespace detail

// ---- min-SNR-gamma; Hang et al. 2023: x_0 weighted with min(snr, gamma) ----

/// min(snr, gamma) / snr: 1 at snr = 0, 0 at infinity.
[[nodiscard]] inline double min_snr_weight_epsilon(double snr, double gamma = 5.0) {
  detail::check_snr("min_snr_weight_epsilon", snr, "gamma", gamma);
  return snr <= gamma ? 1.0 : gamma / snr;
}

/// min(snr, gamma): 0 at snr = 0, gamma at infinity.
[[nodiscard]] inline double min_snr_weight_x_start(double snr, double gamma = 5.0) {
  detail::check_snr("min_snr_weight_x_start", snr, "gamma", gamma);
  return (std::min)(snr, gamma);
}

/// min(snr, gamma) / (snr + 1): 0 at snr = 0 and at infinity.
[[nodiscard]] inline double min_snr_weight_v(double snr, double gamma = 5.0) {
  detail::check_snr("min_snr_weight_v", snr, "gamma", gamma);
  return (std::min)(snr, gamma) / (snr + 1.0);
}

// ---- soft min-SNR; Crowson et al. 2024: x_0 weighted with snr gamma / (snr + gamma) ----

/// gamma / (snr + gamma): 1 at snr = 0, 0 at infinity.
[[nodiscard]] inline double soft_min_snr_weight_epsilon(double snr, double gamma = 4.0) {
  detail::check_snr("soft_min_snr_weight_epsilon", snr, "gamma", gamma);
  return gamma / (snr + gamma);
}

/// snr gamma / (snr + gamma): 0 at snr = 0, gamma at infinity.
[[nodiscard]] inline double soft_min_snr_weight_x_start(double snr, double gamma = 4.0) {
  detail::check_snr("soft_min_snr_weight_x_start", snr, "gamma", gamma);
  return snr <= gamma ? snr * (gamma / (snr + gamma)) : gamma / (1.0 + gamma / snr);
}

/// snr gamma / ((snr + gamma) (snr + 1)): 0 at snr = 0 and at infinity.
[[nodiscard]] inline double soft_min_snr_weight_v(double snr, double gamma = 4.0) {
  detail::check_snr("soft_min_snr_weight_v", snr, "gamma", gamma);
  return soft_min_snr_weight_x_start(snr, gamma) / (snr + 1.0);
}

// ---- P2, perception prioritized; Choi et al. 2022 ----

/// 1 / (k + snr)^gamma, of epsilon: k^-gamma at snr = 0, 0 at infinity.
[[nodiscard]] inline double p2_weight_epsilon(double snr, double k = 1.0, double gamma = 1.0) {
  detail::check_snr("p2_weight_epsilon", snr, "k", k);
  detail::check_snr("p2_weight_epsilon", snr, "gamma", gamma);
  return std::pow(k + snr, -gamma);
}

// ---- truncated SNR; Salimans, Ho 2022, Section 4: x_0 weighted with max(snr, 1) ----
// (For epsilon the weight is infinite at snr = 0.)

/// max(snr, 1): 1 at snr = 0, infinite at infinity.
[[nodiscard]] inline double truncated_snr_weight_x_start(double snr) {
  detail::check_snr("truncated_snr_weight_x_start", snr);
  return (std::max)(snr, 1.0);
}

/// max(snr, 1) / (snr + 1): 1 at snr = 0 and at infinity, 1/2 at snr = 1.
[[nodiscard]] inline double truncated_snr_weight_v(double snr) {
  detail::check_snr("truncated_snr_weight_v", snr);
  return 1.0 / (1.0 + (std::min)(snr, 1.0 / snr));
}

// ---- EDM; Karras et al. 2022, Table 1: x_0 weighted with (s^2 + sd^2) / (s sd)^2 ----
// With s^2 = 1 / snr and sd = sigma_data that is snr + 1 / sd^2. For epsilon the weight is infinite at snr = 0.

/// snr + 1 / sigma_data^2: 1 / sigma_data^2 at snr = 0, infinite at infinity.
[[nodiscard]] inline double edm_weight_x_start(double snr, double sigma_data = 0.5) {
  detail::check_snr("edm_weight_x_start", snr, "sigma_data", sigma_data);
  return snr + 1.0 / (sigma_data * sigma_data);
}

/// (snr + 1 / sigma_data^2) / (snr + 1): 1 / sigma_data^2 at snr = 0, 1 at infinity; 1 everywhere
/// for data of variance 1.
[[nodiscard]] inline double edm_weight_v(double snr, double sigma_data = 0.5) {
  detail::check_snr("edm_weight_v", snr, "sigma_data", sigma_data);
  return std::isinf(snr) ? 1.0 : edm_weight_x_start(snr, sigma_data) / (snr + 1.0);
}

// ---- for a batch ----

/// weight(abar_t / (1 - abar_t)) for each of the timesteps, [N] (of one integer, [1]): what to
/// multiply the loss of each sample with, or its gradient. `weight` is a callable double -> double:
///
///     loss_weights(process, t, [](double snr) { return min_snr_weight_v(snr); })
///
/// Throws std::out_of_range for timesteps outside [0, T); what `weight` returns is taken as it is.
template <class Scalar, class Weight>
[[nodiscard]] Eigen::Tensor<Scalar, 1> loss_weights(const GaussianDiffusion<Scalar>& process, TimestepsView t,
                                                    const Weight& weight) {
  Eigen::Tensor<Scalar, 1> out(t.uniform() ? 1 : t.size());
  loss_weights_into(out, process, t, weight);
  return out;
}
template <class Out, class Scalar, class Weight>
void loss_weights_into(Out&& out, const GaussianDiffusion<Scalar>& process, TimestepsView t, const Weight& weight) {
  static_assert(std::is_invocable_r_v<double, const Weight&, double>,
                "diffusion: weight must be callable as weight(snr), double -> double; a function with more parameters "
                "needs a lambda around it");
  static_assert(detail::Traits<Out>::rank == 1, "diffusion: weights are a tensor of rank 1, one per sample");
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
