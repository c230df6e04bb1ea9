/// @file linspace.hpp
/// numpy.linspace and numpy.round, bit for bit: the references' schedules and lists of timesteps hang on both.
#pragma once

#include <Eigen/Core>
#include <cmath>  // std::floor

namespace diffusion {
namespace detail {

/// x, rounded to a double. A compiler that contracts a * b + c to a fused multiply-add rounds once where the references
/// round twice; it cannot reach through a volatile.
inline double rounded(double x) {
  const volatile double y = x;
  return y;
}

/// numpy.linspace(start, stop, size), bit for bit: start + i * step, but stop in the last entry; for size 1, start.
inline Eigen::ArrayXd linspace(double start, double stop, Eigen::Index size) {
  Eigen::ArrayXd ramp = Eigen::ArrayXd::Constant(size, start);
  if (size < 2) return ramp;
  const double step = (stop - start) / static_cast<double>(size - 1);
  for (Eigen::Index i = 0; i < size; ++i) ramp[i] += rounded(static_cast<double>(i) * step);
  ramp[size - 1] = stop;
  return ramp;
}

/// The nearest integer, halves to the even one, whatever the rounding mode. x >= 0.
inline Eigen::Index round_half_even(double x) {
  const double below = std::floor(x);
  const auto integer = static_cast<Eigen::Index>(below);
  const double rest = x - below;
  return rest > 0.5 || (rest == 0.5 && integer % 2 == 1) ? integer + 1 : integer;
}

}  // namespace detail
}  // namespace diffusion
