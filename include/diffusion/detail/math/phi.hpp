/// @file phi.hpp
/// Phi functions of exponential integrators; Hochbruck, Ostermann 2010, Eq. (2.11).
#pragma once

#include <cmath>  // std::abs, std::expm1

namespace diffusion {
namespace detail {

/// The function phi_k at z, for k >= 1:
///
///     phi_1(z) = (exp(z) - 1) / z
///     phi_{k+1}(z) = (phi_k(z) - 1 / k!) / z
///     phi_k(z) = sum_j z^j / (j + k)!,   j = 0, 1, ...
///
/// For |z| < 1 the recurrence loses digits by cancellation, so the sum is used.
inline double phi(int k, double z) {
  double factorial = 1.0;  // k!
  for (int i = 2; i <= k; ++i) factorial *= i;
  if (std::abs(z) < 1.0) {
    double term = 1.0 / factorial, sum = 0.0;
    for (int j = 1; sum + term != sum; ++j) {
      sum += term;
      term *= z / (j + k);
    }
    return sum;
  }
  if (k == 1) return std::expm1(z) / z;
  return (phi(k - 1, z) - k / factorial) / z;
}

}  // namespace detail
}  // namespace diffusion
