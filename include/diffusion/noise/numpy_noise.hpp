/// @file numpy_noise.hpp
/// A noise source that equals numpy.random.RandomState, number for number, so that a sampler can
/// start from the same noise as a NumPy program.
#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <random>     // std::mt19937
#include <stdexcept>  // std::invalid_argument
#include <string>     // std::to_string
#include <unsupported/Eigen/CXX11/Tensor>

#include "../detail/error.hpp"
#include "../detail/kernel/row_major.hpp"
#include "../tensor.hpp"
#include "noise_source.hpp"

namespace diffusion {

/// Noise equal to RandomState.standard_normal, and so to numpy.random.randn after
/// numpy.random.seed.
///
///     r = numpy.random.RandomState(seed)                  NumpyNoise noise(seed);
///     a = r.standard_normal(shape)                        noise(a);
///     b = r.standard_normal(other_shape)                  noise(b);
///
/// numpy.random.default_rng draws other numbers and is not supported. A tensor of any layout is
/// filled in row-major order, like NumPy's array of the same shape.
///
/// NumPy draws doubles. A double has the same bits if log() is the one that NumPy was built with,
/// and is otherwise within 1e-15 max(|z|, 1). The other scalar types get the double, rounded, like
/// r.standard_normal(shape).astype(...).
///
/// The generator is MT19937. Two of its numbers make a uniform u of 53 bits: the highest 27 bits of
/// the first, then the highest 26 bits of the second. Marsaglia's polar method draws pairs u, u'
/// until 0 < s < 1:
///
///     x = 2 u - 1,   y = 2 u' - 1,   s = x^2 + y^2
///
/// The pair gives two normals:
///
///     y sqrt(-2 log(s) / s),   x sqrt(-2 log(s) / s)
///
/// The second is kept for the next value, in this call or a later one.
class NumpyNoise {
 public:
  /// Seeds the generator as RandomState(seed) does. Throws std::invalid_argument if seed >= 2^32;
  /// NumPy refuses such seeds too.
  explicit NumpyNoise(std::uint64_t seed) : engine_(static_cast<std::uint32_t>(seed)) {
    if (seed >> 32 != 0) {
      detail::fail<std::invalid_argument>("NumpyNoise", "seed = ", std::to_string(seed), " is outside [0, 2^32)");
    }
  }

  /// Fills x like standard_normal. An empty tensor does not advance the generator.
  template <class X>
  void operator()(X&& x) {
    if constexpr (detail::can_be_filled<X>()) {
      auto walk = detail::row_major_walk<0>(x);
      for (Eigen::Index i = 0; i < static_cast<Eigen::Index>(x.size()); ++i) {
        x.data()[walk.next()] = static_cast<typename detail::Traits<X>::Scalar>(normal());
      }
    }
  }

 private:
  /// The next N(0, 1) value.
  double normal() {
    if (kept_) {
      const double z = *kept_;
      kept_.reset();
      return z;
    }
    double x = 0, y = 0, s = 0;
    do {
      x = 2 * uniform() - 1;
      y = 2 * uniform() - 1;
      // The squares are rounded before they are added, as in NumPy's builds, which have no fused
      // multiply-add. This matters for s near 1, where the last bits of s determine log(s). A
      // compiler may fuse x * x + y * y, but not across a volatile.
      const volatile double xx = x * x, yy = y * y;
      s = xx + yy;
    } while (s >= 1 || s == 0);
    const double factor = std::sqrt(-2 * std::log(s) / s);
    kept_ = factor * x;
    return factor * y;
  }

  /// Uniform on [0, 1).
  double uniform() {
    const auto high = static_cast<double>(engine_() >> 5);
    const auto low = static_cast<double>(engine_() >> 6);
    return (high * 0x1p26 + low) * 0x1p-53;
  }

  std::mt19937 engine_;
  std::optional<double> kept_;  // second value of the last pair, until it is used
};

}  // namespace diffusion
