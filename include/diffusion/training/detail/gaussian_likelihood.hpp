/// @file gaussian_likelihood.hpp
/// Scalar functions of Gaussians in double: the KL divergence, the probability of the bin of a
/// pixel value, and their derivatives. No intermediate result suffers from cancellation; only
/// differences of the arguments themselves may.
#pragma once

#include <array>
#include <cmath>  // std::exp, std::expm1, std::log, std::log1p, std::erfc, std::cosh, std::abs, std::copysign
#include <cstddef>

#include "../../detail/kernel/multiply_add.hpp"

namespace diffusion {

namespace detail {

/// Converts nats to bits.
inline double bits(double nats) { return 1.4426950408889634073599246810019 * nats; }

/// Derivatives of a function of a Gaussian.
struct GaussianGradient {
  double mean;
  double log;  // with respect to the log-variance or the log standard deviation, whichever the function takes
};

/// e^d - 1 - d >= 0, without cancellation near d = 0.
inline double expm1_minus(double d) {
  if (!(std::abs(d) < 0.5)) return std::expm1(d) - d;
  double sum = 1.0;  // d^2/2 (1 + d/3 (1 + d/4 (...)))
  for (int k = 16; k >= 3; --k) sum = multiply_add(sum, d / k, 1.0);
  return 0.5 * d * d * sum;
}

/// KL divergence in nats, from the difference m = m1 - m2 of the means:
///
///     KL(N(m1, e^logvar1) || N(m2, e^logvar2)) = 1/2 (e^d - 1 - d + m^2 e^-logvar2)
///     d = logvar1 - logvar2
///
inline double normal_kl(double m, double logvar1, double logvar2) {
  return 0.5 * multiply_add(m * m, std::exp(-logvar2), expm1_minus(logvar1 - logvar2));
}
/// KL divergence in nats, from both means.
inline double normal_kl_of_means(double mean1, double logvar1, double mean2, double logvar2) {
  return normal_kl(mean1 - mean2, logvar1, logvar2);
}
/// Derivatives of normal_kl with respect to m2 and logvar2.
inline GaussianGradient normal_kl_gradient(double m, double logvar1, double logvar2) {
  const double precision = std::exp(-logvar2);
  return {-m * precision, -0.5 * multiply_add(m * m, precision, std::expm1(logvar1 - logvar2))};
}

// ---- the approximation of the normal distribution function in guided-diffusion ----
//
//     1/2 (1 + tanh(sqrt(2 / pi) (z + 0.044715 z^3))) = sigmoid(2 sqrt(2 / pi) (z + 0.044715 z^3))

inline constexpr double two_sqrt_two_over_pi = 1.5957691216057307117597842397375;
inline constexpr double cubic = 0.044715;
inline constexpr double least_probability = 1e-12;
inline constexpr double log_least_probability = -27.631021115928548208215897456;

inline double sigmoid(double l) { return 1.0 / (1.0 + std::exp(-l)); }
/// log(sigmoid(l)), without overflow for large |l|.
inline double log_sigmoid(double l) { return l < 0.0 ? l - std::log1p(std::exp(l)) : -std::log1p(std::exp(-l)); }

inline double approximate_logit(double z) { return two_sqrt_two_over_pi * z * multiply_add(cubic * z, z, 1.0); }
/// Derivative of approximate_logit.
inline double approximate_slope(double z) { return two_sqrt_two_over_pi * multiply_add(3.0 * cubic * z, z, 1.0); }
inline double approximate_normal_cdf(double z) { return sigmoid(approximate_logit(z)); }

/// The bin of a pixel value x, one of 256 in [-1, 1], relative to the mean of a Gaussian and in
/// units of its standard deviation.
struct Bin {
  enum Kind { inner, lowest, highest };  // the lowest and the highest bin extend to infinity
  Kind kind;
  double centre, half_width;  // (x - mean) / sigma, 1 / (255 sigma)
  double lower, upper;        // ends of the bin
  double recip_sigma;

  Bin(double x, double mean, double log_scale) {
    recip_sigma = std::exp(-log_scale);
    half_width = recip_sigma / 255.0;
    centre = recip_sigma * (x - mean);
    lower = recip_sigma * (x - mean - 1.0 / 255.0);
    upper = recip_sigma * (x - mean + 1.0 / 255.0);
    kind = x < -0.999 ? lowest : x > 0.999 ? highest : inner;
  }

  /// Derivatives with respect to the mean and log sigma of a function of lower and upper. Even the
  /// plain sum is a multiply_add: if a term is a product, a compiler could fuse it with the sum in
  /// one caller and not in another.
  GaussianGradient gradient(double by_lower, double by_upper) const {
    return {-recip_sigma * multiply_add(by_lower, 1.0, by_upper), -multiply_add(lower, by_lower, upper * by_upper)};
  }
};

/// Difference between the logits at the two ends of a bin; it is positive:
///
///     2 sqrt(2 / pi) (2 h + 0.044715 ((z + h)^3 - (z - h)^3))
///
inline double approximate_logit_difference(const Bin& bin) {
  const double squares = multiply_add(3.0 * bin.centre, bin.centre, bin.half_width * bin.half_width);
  return two_sqrt_two_over_pi * 2.0 * bin.half_width * multiply_add(cubic, squares, 1.0);
}
/// Probability of an inner bin, where u and l are the logits at its ends:
///
///     sigmoid(u) - sigmoid(l) = sigmoid(u) sigmoid(-l) (1 - e^-(u - l))
///
inline double approximate_bin_probability(const Bin& bin) {
  return sigmoid(approximate_logit(bin.upper)) * sigmoid(-approximate_logit(bin.lower)) *
         -std::expm1(-approximate_logit_difference(bin));
}

inline double approximate_log_likelihood(const Bin& bin) {
  // The comparisons are written so that a NaN is returned as NaN.
  if (bin.kind != Bin::inner) {
    const double l = bin.kind == Bin::lowest ? approximate_logit(bin.upper) : -approximate_logit(bin.lower);
    const double log = log_sigmoid(l);
    return log < log_least_probability ? log_least_probability : log;
  }
  const double probability = approximate_bin_probability(bin);
  return probability < least_probability ? log_least_probability : std::log(probability);
}

/// Derivatives of approximate_log_likelihood with respect to the mean and log sigma.
inline GaussianGradient approximate_log_likelihood_gradient(const Bin& bin) {
  const double upper = approximate_logit(bin.upper), lower = approximate_logit(bin.lower);
  const double upper_slope = approximate_slope(bin.upper), lower_slope = approximate_slope(bin.lower);
  if (bin.kind == Bin::lowest) {
    if (log_sigmoid(upper) < log_least_probability) return {0.0, 0.0};
    return bin.gradient(0.0, upper_slope * sigmoid(-upper));
  }
  if (bin.kind == Bin::highest) {
    if (log_sigmoid(-lower) < log_least_probability) return {0.0, 0.0};
    return bin.gradient(-lower_slope * sigmoid(lower), 0.0);
  }
  if (approximate_bin_probability(bin) < least_probability) return {0.0, 0.0};
  // d log(1 - e^-D) = dD / (e^D - 1) for the difference D of the logits. `slopes` is the slope at
  // the upper end minus that at the lower end, and `moments` the same for z times the slope. Both
  // are computed without cancellation.
  const double by_difference = 1.0 / std::expm1(approximate_logit_difference(bin));
  const double slopes = two_sqrt_two_over_pi * 12.0 * cubic * bin.centre * bin.half_width;
  const double squares = multiply_add(3.0 * bin.centre, bin.centre, bin.half_width * bin.half_width);
  const double moments = two_sqrt_two_over_pi * 2.0 * bin.half_width * multiply_add(3.0 * cubic, squares, 1.0);
  const GaussianGradient ends = bin.gradient(-lower_slope * sigmoid(lower), upper_slope * sigmoid(-upper));
  return {multiply_add(-bin.recip_sigma * slopes, by_difference, ends.mean),
          multiply_add(-moments, by_difference, ends.log)};
}

// ---- the exact normal distribution function ----

inline constexpr double sqrt_half = 0.70710678118654752440084436210485;
inline constexpr double log_sqrt_two_pi = 0.91893853320467274178032973640562;

inline double log_normal_density(double z) { return multiply_add(-0.5 * z, z, -log_sqrt_two_pi); }

/// log(1 - Phi(z)) for z >= 0.
inline double log_upper_tail(double z) {
  if (!(z > 20.0)) return std::log(0.5 * std::erfc(z * sqrt_half));
  // Phi(-z) = phi(z) / z (1 - 1/z^2 + 1 3/z^4 - 1 3 5/z^6 ...), used long before erfc underflows.
  const double r = 1.0 / (z * z);
  double sum = 1.0;
  for (int k = 11; k >= 1; k -= 2) sum = multiply_add(sum, -k * r, 1.0);
  return log_normal_density(z) - std::log(z) + std::log(sum);
}
/// log(Phi(z)).
inline double log_normal_cdf(double z) {
  return z < 0.0 ? log_upper_tail(-z) : std::log1p(-0.5 * std::erfc(z * sqrt_half));
}

/// log(Phi(upper) - Phi(lower)) for lower = z - h, upper = z + h, z >= 0 and h > 0.
inline double log_bin_probability(double z, double h, double lower, double upper) {
  if (h <= 0.5 && z * h <= 1.0) {
    // The ends nearly agree. The probability is phi(z) times the integral of e^(-z s - s^2/2) from
    // -h to h, computed by Gauss-Legendre quadrature with 8 points. The relative error of the
    // quadrature is below 1e-16 here.
    constexpr std::array<double, 4> node = {0.18343464249564980493947614236018, 0.52553240991632898581773904918925,
                                            0.79666647741362673959155393647583, 0.96028985649753623168356086856947};
    constexpr std::array<double, 4> weight = {0.36268378337836198296515044927720, 0.31370664587788728733796220198660,
                                              0.22238103445337447054435599442624, 0.10122853629037625915253135430996};
    double sum = 0.0;
    for (std::size_t k = 0; k < node.size(); ++k) {
      const double s = h * node[k];
      sum = multiply_add(weight[k] * std::cosh(z * s), std::exp(-0.5 * s * s), sum);
    }
    return log_normal_density(z) + std::log(2.0 * h * sum);
  }
  if (lower < 0.0) return std::log1p(-0.5 * (std::erfc(upper * sqrt_half) + std::erfc(-lower * sqrt_half)));
  const double log_lower = log_upper_tail(lower);
  return log_lower + std::log1p(-std::exp(log_upper_tail(upper) - log_lower));
}

inline double exact_log_likelihood(const Bin& bin) {
  if (bin.kind == Bin::lowest) return log_normal_cdf(bin.upper);
  if (bin.kind == Bin::highest) return log_normal_cdf(-bin.lower);
  return bin.centre < 0.0 ? log_bin_probability(-bin.centre, bin.half_width, -bin.upper, -bin.lower)
                          : log_bin_probability(bin.centre, bin.half_width, bin.lower, bin.upper);
}

/// Derivatives of exact_log_likelihood with respect to the mean and log sigma.
inline GaussianGradient exact_log_likelihood_gradient(const Bin& bin) {
  const double log_likelihood = exact_log_likelihood(bin);
  if (bin.kind == Bin::lowest) return bin.gradient(0.0, std::exp(log_normal_density(bin.upper) - log_likelihood));
  if (bin.kind == Bin::highest) return bin.gradient(-std::exp(log_normal_density(bin.lower) - log_likelihood), 0.0);
  // The derivative of log P, P = Phi(z + h) - Phi(z - h), is (phi(z + h) - phi(z - h)) / P with
  // respect to the centre z and (phi(z + h) + phi(z - h)) / P with respect to the half-width h.
  // Here phi(z + h) = phi(z - h) e^(-2 z h).
  const double z = std::abs(bin.centre), h = bin.half_width;
  const double near = std::exp(log_normal_density(bin.centre < 0.0 ? bin.upper : bin.lower) - log_likelihood);
  const double by_centre = std::copysign(near * std::expm1(-2.0 * z * h), -bin.centre);
  const double by_half_width = near * (1.0 + std::exp(-2.0 * z * h));
  return {-bin.recip_sigma * by_centre, -multiply_add(bin.centre, by_centre, h * by_half_width)};
}

}  // namespace detail
}  // namespace diffusion
