/// @file double_double.hpp
/// A number as the unevaluated sum of two doubles, about 32 digits: enough for a product of 10^6 factors to be right to
/// the last bit of its double.
#pragma once

#include <cmath>  // std::fma

namespace diffusion {
namespace detail {

/// high + low with |low| <= ulp(high) / 2.
struct DoubleDouble {
  double high = 0.0;
  double low = 0.0;
};

/// x + y = s + e exactly (Knuth's TwoSum).
inline DoubleDouble two_sum(double x, double y) {
  const double s = x + y;
  const double y_part = s - x;
  const double x_part = s - y_part;
  return {s, (x - x_part) + (y - y_part)};
}

/// x * y = p + e exactly. fma, not a split: contraction cannot change what it rounds.
inline DoubleDouble two_product(double x, double y) {
  const double p = x * y;
  return {p, std::fma(x, y, -p)};
}

/// x + y to about 2^-104 relative, also when the two nearly cancel.
inline DoubleDouble operator+(const DoubleDouble& x, const DoubleDouble& y) {
  const DoubleDouble high = two_sum(x.high, y.high);
  const DoubleDouble low = two_sum(x.low, y.low);
  const DoubleDouble sum = two_sum(high.high, high.low + low.high);
  return two_sum(sum.high, sum.low + low.low);
}

inline DoubleDouble operator-(const DoubleDouble& x) { return {-x.high, -x.low}; }
inline DoubleDouble operator-(const DoubleDouble& x, const DoubleDouble& y) { return x + (-y); }

/// x * y to about 2^-104 relative.
inline DoubleDouble operator*(const DoubleDouble& x, double y) {
  const DoubleDouble p = two_product(x.high, y);
  return two_sum(p.high, std::fma(x.low, y, p.low));
}

}  // namespace detail
}  // namespace diffusion
