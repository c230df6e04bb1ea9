/// @file beta_quantile.hpp
/// Quantiles of the beta distribution.
#pragma once

#include <cmath>    // std::exp, std::lgamma, std::log, std::log1p
#include <utility>  // std::swap

namespace diffusion {
namespace detail {

/// P(X <= x) for X ~ Beta(a, b) and x at most the mean, where the continued fraction of DLMF
/// 8.17.22 converges fast:
///
///     I_x(a, b) = x^a (1 - x)^b / (a B(a, b)) * 1 / (1 + d_1 / (1 + d_2 / (1 + ...)))
///     d_{2m+1} = -(a + m) (a + b + m) x / ((a + 2m) (a + 2m + 1))
///     d_{2m} = m (b - m) x / ((a + 2m - 1) (a + 2m))
inline double lower_beta_probability(double x, double a, double b) {
  if (x <= 0.0) return 0.0;
  double fraction = 1.0;  // from the innermost of 200 terms outwards; more terms do not change it
  for (int k = 200; k >= 1; --k) {
    const double m = k / 2;
    const double d = k % 2 == 1 ? -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0))
                                : m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
    fraction = 1.0 + d / fraction;
  }
  const double log_beta = std::lgamma(a) + std::lgamma(b) - std::lgamma(a + b);
  return std::exp(a * std::log(x) + b * std::log1p(-x) - log_beta) / (a * fraction);
}

/// Returns x with P(X <= x) = p for X ~ Beta(a, b), with an absolute error of about 1e-15.
inline double beta_quantile(double p, double a, double b) {
  if (a == b && p == 0.5) return 0.5;  // by symmetry; the search below would end beside it
  const bool mirrored = p > lower_beta_probability(a / (a + b), a, b);
  if (mirrored) {  // 1 - X ~ Beta(b, a)
    p = 1.0 - p;
    std::swap(a, b);
  }
  double low = 0.0, high = a / (a + b);
  for (double middle = 0.5 * (low + high); low < middle && middle < high; middle = 0.5 * (low + high)) {
    (lower_beta_probability(middle, a, b) < p ? low : high) = middle;
  }
  const double x = p <= 0.0 ? 0.0 : high;
  return mirrored ? 1.0 - x : x;
}

}  // namespace detail
}  // namespace diffusion
