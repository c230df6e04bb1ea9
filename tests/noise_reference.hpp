/// @file noise_reference.hpp
/// Shared by the tests of noise sources: filled tensors, the Box-Muller transform in long double,
/// and a distance in ulps.
#pragma once

#include <algorithm>  // std::max
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <unsupported/Eigen/CXX11/Tensor>

namespace noise_reference {

using Eigen::RowMajor;

template <class Scalar, int Rank, int Layout = RowMajor>
using Tensor = Eigen::Tensor<Scalar, Rank, Layout>;

/// Returns a tensor of these sizes, filled by the noise source.
template <class X, class Noise, class... Sizes>
X filled(Noise& noise, Sizes... sizes) {
  X x(sizes...);
  noise(x);
  return x;
}

/// Returns r cos(angle) and r sin(angle) for two random numbers, as box_muller.hpp defines them, by
/// the standard library in long double. To keep precision it uses 1 - u for u near 1 and reduces
/// the angle to at most pi/4.
inline std::array<long double, 2> box_muller(std::uint64_t a, std::uint64_t b, int bits) {
  const long double scale = std::ldexp(1.0L, -bits), pi = 3.14159265358979323846264338327950288L;
  const std::uint64_t all = ~std::uint64_t{0} >> (64 - bits);
  const long double log_u = a > all / 2 ? std::log1p(-(static_cast<long double>(all - a) + 0.5L) * scale)
                                        : std::log((static_cast<long double>(a) + 0.5L) * scale);
  const long double r = (b % 2 == 0 ? 1 : -1) * std::sqrt(-2 * log_u);
  // |x| = (m + 1/2) / 2^bits
  const bool negative = b > all / 2;
  const std::uint64_t m = negative ? all - b : b;
  const bool steep = m > all / 4;
  const long double small = pi * scale * (static_cast<long double>(steep ? all / 2 - m : m) + 0.5L);
  const long double cosine = steep ? std::sin(small) : std::cos(small),
                    sine = steep ? std::cos(small) : std::sin(small);
  return {r * cosine, r * (negative ? -sine : sine)};
}

/// Returns |got - expected| in units in the last place of max(|expected|, 1), of type T or of a
/// 64-bit significand if T has more bits.
template <class T>
double ulps(T got, long double expected) {
  const long double magnitude = (std::max)(std::abs(expected), 1.0L);
  const long double epsilon = (std::max)(static_cast<long double>(std::numeric_limits<T>::epsilon()), 0x1p-63L);
  const long double ulp = std::ldexp(epsilon, std::ilogb(magnitude));
  return static_cast<double>(std::abs(static_cast<long double>(got) - expected) / ulp);
}

}  // namespace noise_reference
