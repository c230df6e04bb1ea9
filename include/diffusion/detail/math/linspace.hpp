/// @file linspace.hpp
/// numpy.full, numpy.linspace and numpy.round, bit for bit. The reference implementations compute
/// schedules and timesteps with them. They are loops: an Eigen expression in a function that is not
/// a template is compiled by every program that includes the header.
#pragma once

#include <Eigen/Core>
#include <cmath>  // std::floor

namespace diffusion {
namespace detail {

/// Returns x, rounded to double. The volatile keeps the compiler from fusing the product x with a
/// later addition: a fused multiply-add rounds once where the references round twice.
inline double rounded(double x) {
  const volatile double y = x;
  return y;
}

/// numpy.full(size, value): every entry is `value`.
inline Eigen::ArrayXd full(Eigen::Index size, double value) {
  Eigen::ArrayXd out(size);
  for (Eigen::Index i = 0; i < size; ++i) out[i] = value;
  return out;
}

/// numpy.linspace(start, stop, size), bit for bit: entry i is start + i * step and the last one is
/// exactly stop. For size 1 the only entry is start.
inline Eigen::ArrayXd linspace(double start, double stop, Eigen::Index size) {
  Eigen::ArrayXd ramp = full(size, start);
  if (size < 2) return ramp;
  const double step = (stop - start) / static_cast<double>(size - 1);
  for (Eigen::Index i = 0; i < size; ++i) ramp[i] += rounded(static_cast<double>(i) * step);
  ramp[size - 1] = stop;
  return ramp;
}

/// Rounds x >= 0 to the nearest integer, halves to even, independently of the rounding mode.
inline Eigen::Index round_half_even(double x) {
  const double below = std::floor(x);
  const auto integer = static_cast<Eigen::Index>(below);
  const double rest = x - below;
  return rest > 0.5 || (rest == 0.5 && integer % 2 == 1) ? integer + 1 : integer;
}

}  // namespace detail
}  // namespace diffusion
