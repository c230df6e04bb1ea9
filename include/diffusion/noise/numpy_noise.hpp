/// @file numpy_noise.hpp
/// The noise of numpy.random.RandomState, number for number, to start a sampler where a NumPy program starts it.
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

/// RandomState.standard_normal, which is also numpy.random.randn after numpy.random.seed:
///     r = numpy.random.RandomState(seed)                  NumpyNoise noise(seed);
///     a = r.standard_normal(shape)                        noise(a);
///     b = r.standard_normal(other_shape)                  noise(b);
/// (numpy.random.default_rng is another generator with another method.) A tensor is filled in row-major order whatever its
/// layout, as NumPy's array of the same shape.
///
/// NumPy draws doubles. For double the promise is the same bits where the logarithm is the one NumPy was built with, and
/// 1e-15 max(|z|, 1) elsewhere; the other scalar types get the double, rounded, as r.standard_normal(shape).astype(..).
///
/// The generator is MT19937, of which two numbers make a uniform u of 53 bits: the highest 27 bits of the first before the
/// highest 26 of the second. Pairs x = 2 u - 1, y = 2 u' - 1 are drawn until 0 < s = x^2 + y^2 < 1, and
///     y sqrt(-2 log(s) / s),  x sqrt(-2 log(s) / s)
/// are two normals (Marsaglia's polar method). The second is kept for the next value, in this call or a later one.
class NumpyNoise {
 public:
  /// Throws std::invalid_argument for a seed of 2^32 or more, as NumPy does.
  explicit NumpyNoise(std::uint64_t seed) : engine_(static_cast<std::uint32_t>(seed)) {
    if (seed >> 32 != 0) {
      detail::fail<std::invalid_argument>("NumpyNoise", "seed = ", std::to_string(seed), " is outside [0, 2^32)");
    }
  }

  /// standard_normal. A call with an empty tensor changes nothing.
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
      // Rounded before they are added, as in NumPy's builds, which have no fused multiply-add: where s is near 1 the radius is
      // made of its last bits. A compiler may fuse x * x + y * y, but not across a volatile.
      const volatile double xx = x * x, yy = y * y;
      s = xx + yy;
    } while (s >= 1 || s == 0);
    const double factor = std::sqrt(-2 * std::log(s) / s);
    kept_ = factor * x;
    return factor * y;
  }

  /// On [0, 1).
  double uniform() {
    const auto high = static_cast<double>(engine_() >> 5);
    const auto low = static_cast<double>(engine_() >> 6);
    return (high * 0x1p26 + low) * 0x1p-53;
  }

  std::mt19937 engine_;
  std::optional<double> kept_;  // until the next value
};

}  // namespace diffusion
