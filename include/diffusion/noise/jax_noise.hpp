/// @file jax_noise.hpp
/// A noise source that equals jax.random.normal, number for number, so that a sampler can start
/// from the same noise as a JAX program.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>  // std::invalid_argument
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>

#include "../detail/error.hpp"
#include "../detail/kernel/row_major.hpp"
#include "../tensor.hpp"
#include "noise_source.hpp"

namespace diffusion {
namespace detail {

/// Two words: a key, a counter, or the random words they give.
using ThreefryWords = std::array<std::uint32_t, 2>;

/// Threefry-2x32-20: two random words as a function of a key and a counter x. Source: Salmon,
/// Moraes, Dror and Shaw (SC 2011).
inline ThreefryWords threefry2x32(const ThreefryWords& key, ThreefryWords x) {
  constexpr std::uint32_t rotations[2][4] = {{13, 15, 26, 6}, {17, 29, 16, 24}};
  const std::array<std::uint32_t, 3> keys = {key[0], key[1], key[0] ^ key[1] ^ 0x1BD11BDAu};
  x[0] += keys[0];
  x[1] += keys[1];
  for (std::uint32_t group = 0; group < 5; ++group) {
    for (const std::uint32_t rotation : rotations[group % 2]) {
      x[0] += x[1];
      x[1] = (x[1] << rotation | x[1] >> (32 - rotation)) ^ x[0];
    }
    x[0] += keys[(group + 1) % 3];
    x[1] += keys[(group + 2) % 3] + group + 1;
  }
  return x;
}

/// The x with erf(x) = y, -1 < y < 1, as XLA computes it for floats. It uses the two polynomials in
/// w = -log(1 - y^2) of Giles, "Approximating the erfinv function" (2010). For |y| near 1, rounding
/// y^2 costs up to 6e-6 |x|; JAX's numbers contain this error.
inline float erf_inv(float y) {
  constexpr float centre[] = {2.81022636e-08f, 3.43273939e-07f, -3.5233877e-06f, -4.39150654e-06f, 0.00021858087f,
                              -0.00125372503f, -0.00417768164f, 0.246640727f,    1.50140941f};
  constexpr float tail[] = {-0.000200214257f, 0.000100950558f, 0.00134934322f, -0.00367342844f, 0.00573950773f,
                            -0.0076224613f,   0.00943887047f,  1.00167406f,    2.83297682f};
  const float w = -std::log1p(-y * y);
  const float x = w < 5 ? w - 2.5f : std::sqrt(w) - 3;
  float p = 0;
  for (const float c : w < 5 ? centre : tail) p = p * x + c;
  return p * y;
}

/// The same for doubles, to almost full precision, by two steps of Halley's method. They start from
/// the float result, or for |y| >= 0.99 from erfc(x) ~ exp(-x^2) / (sqrt(pi) x). The error of x is
/// computed with erf or erfc, whichever is smaller.
inline double erf_inv(double y) {
  constexpr double pi = 3.141592653589793238463;
  const double target = std::abs(y);
  const double log_tail = -std::log(1 - target);
  double x = target < 0.99 ? static_cast<double>(erf_inv(static_cast<float>(target)))
                           : std::sqrt(log_tail - std::log(pi * log_tail) / 2);
  for (int step = 0; step < 2; ++step) {
    const double error = target < 0.5 ? std::erf(x) - target : (1 - target) - std::erfc(x);
    const double newton = error * (std::sqrt(pi) / 2) * std::exp(x * x);
    x -= newton / (1 + x * newton);
  }
  return std::copysign(x, y);
}

/// Whether the scalar type of X is float or double.
template <class X>
inline constexpr bool has_jax_scalar_v =
    std::is_same_v<typename Traits<X>::Scalar, float> || std::is_same_v<typename Traits<X>::Scalar, double>;

/// True if JaxNoise can fill an X. Otherwise one readable static_assert fails.
template <class X>
constexpr bool can_be_filled_by_jax() {
  if constexpr (can_be_filled<X>()) {
    static_assert(
        has_jax_scalar_v<X>,
        "diffusion: the scalar type of JaxNoise must be float or double; JAX draws its 16-bit types from other "
        "random bits");
    return has_jax_scalar_v<X>;
  }
  return false;
}

}  // namespace detail

/// How JAX assigns counters to the elements of a tensor: its flag jax_threefry_partitionable.
enum class JaxThreefry {
  partitionable,  ///< True, the default since JAX 0.5: the counter of an element is its index
  original        ///< False, the default before 0.5: the counter also depends on the tensor's size
};

/// Noise equal to jax.random.normal with JAX's default generator, threefry2x32.
///
///     key = jax.random.key(seed)                          JaxNoise noise(seed);
///     a = jax.random.normal(key, shape)                   noise(a);
///     key, sub = jax.random.split(key)
///     b = jax.random.normal(sub, shape)                   noise(b);
///     key, sub = jax.random.split(key)
///     c = jax.random.normal(sub, shape)                   noise(c);
///
/// The first call uses the key itself, and every later call splits it first. A program that handles
/// its keys differently can be reproduced with split() and fold_in(), which return a JaxNoise with
/// another key:
///
///     key, sub = jax.random.split(key)
///     a = jax.random.normal(sub, shape)                   noise.split()(a);
///     a = jax.random.normal(jax.random.fold_in(key, i), shape)        noise.fold_in(i)(a);
///
/// A tensor of any layout is filled in row-major order. A float z is within 2e-6 max(|z|, 1) of
/// JAX, whose own error in the tails is up to four times that. A double, which needs jax_enable_x64
/// in JAX, is within 1e-13 max(|z|, 1). Other scalar types do not compile.
///
/// The key is { floor(seed / 2^32), seed mod 2^32 }. Without jax_enable_x64, JAX drops the high
/// half of a seed; pass only the low half then. Element i of n forms one integer, of 32 bits for
/// float and 64 for double, from the random words (a, b) of a counter:
///
///     partitionable, float     a xor b       of { floor(i / 2^32), i mod 2^32 }
///     partitionable, double    2^32 a + b    of { floor(i / 2^32), i mod 2^32 }
///     original, float          a             of { i, h + i } for i < h = ceil(n / 2)
///                              b             of { i - h, i } for i >= h
///     original, double         2^32 a + b    of { i, n + i }
///
/// The second word of { i, h + i } is 0 if h + i = n. The highest 23 bits of the integer (52 for
/// double), read as a fraction, are a uniform u in [0, 1). The value is z, with 2^-53 instead of
/// 2^-24 for double:
///
///     z = sqrt(2) erfinv(2 u - 1 + 2^-24)
class JaxNoise {
 public:
  /// Whether the scalar type of X is float or double.
  template <class X>
  static constexpr bool fills = detail::has_jax_scalar_v<X>;

  /// Starts from the key jax.random.key(seed).
  explicit JaxNoise(std::uint64_t seed, JaxThreefry threefry = JaxThreefry::partitionable)
      : JaxNoise({static_cast<std::uint32_t>(seed >> 32), static_cast<std::uint32_t>(seed)}, threefry) {}

  /// Starts from the words of a key, like jax.random.wrap_key_data(key).
  explicit JaxNoise(const std::array<std::uint32_t, 2>& key, JaxThreefry threefry = JaxThreefry::partitionable)
      : key_(key), threefry_(threefry) {}

  /// The words of the present key, like jax.random.key_data(key).
  const std::array<std::uint32_t, 2>& key() const { return key_; }

  /// Does key, sub = jax.random.split(key): keeps key and returns a source with the key sub.
  [[nodiscard]] JaxNoise split() {
    detail::ThreefryWords kept, sub;
    if (threefry_ == JaxThreefry::partitionable) {
      kept = detail::threefry2x32(key_, {0, 0});
      sub = detail::threefry2x32(key_, {0, 1});
    } else {
      const detail::ThreefryWords even = detail::threefry2x32(key_, {0, 2}), odd = detail::threefry2x32(key_, {1, 3});
      kept = {even[0], odd[0]};
      sub = {even[1], odd[1]};
    }
    key_ = kept;
    return JaxNoise(sub, threefry_);
  }

  /// Returns a source with the key jax.random.fold_in(key, data).
  [[nodiscard]] JaxNoise fold_in(std::uint32_t data) const {
    return JaxNoise(detail::threefry2x32(key_, {0, data}), threefry_);
  }

  /// Fills x like jax.random.normal. Every call but the first splits the key before it draws.
  ///
  /// A call with an empty tensor counts. With JaxThreefry::original, throws std::invalid_argument
  /// if x takes 2^32 - 1 random words or more, one per float and two per double: JAX does not draw
  /// so many from one sequence of counters.
  template <class X>
  void operator()(X&& x) {
    if constexpr (detail::can_be_filled_by_jax<X>()) {
      using Scalar = typename detail::Traits<X>::Scalar;
      using Bits = std::conditional_t<std::is_same_v<Scalar, float>, std::uint32_t, std::uint64_t>;
      const auto size = static_cast<std::uint64_t>(x.size());
      if (threefry_ == JaxThreefry::original && size * (sizeof(Bits) / 4) >= 0xFFFFFFFFu) {
        detail::fail<std::invalid_argument>("JaxNoise", "x has ", static_cast<Eigen::Index>(size),
                                            " values; JaxThreefry::original supports fewer than 2^32 - 1 floats or ",
                                            "2^31 doubles");
      }
      const detail::ThreefryWords key = called_ ? split().key_ : key_;
      called_ = true;
      auto walk = detail::row_major_walk<0>(x);
      for (std::uint64_t i = 0; i < size; ++i) x.data()[walk.next()] = normal<Scalar>(bits(key, i, size, Bits()));
    }
  }

 private:
  std::uint32_t bits(const detail::ThreefryWords& key, std::uint64_t i, std::uint64_t size, std::uint32_t) const {
    if (threefry_ == JaxThreefry::partitionable) {
      const detail::ThreefryWords words = detail::threefry2x32(key, halves(i));
      return words[0] ^ words[1];
    }
    const std::uint64_t half = (size + 1) / 2;
    const std::uint64_t first = i % half, second = first + half;
    return detail::threefry2x32(key, {low(first), second < size ? low(second) : 0})[static_cast<std::size_t>(i / half)];
  }
  std::uint64_t bits(const detail::ThreefryWords& key, std::uint64_t i, std::uint64_t size, std::uint64_t) const {
    const detail::ThreefryWords counter =
        threefry_ == JaxThreefry::partitionable ? halves(i) : detail::ThreefryWords{low(i), low(size + i)};
    const detail::ThreefryWords words = detail::threefry2x32(key, counter);
    return std::uint64_t{words[0]} << 32 | words[1];
  }

  static std::uint32_t low(std::uint64_t x) { return static_cast<std::uint32_t>(x); }
  static detail::ThreefryWords halves(std::uint64_t x) { return {low(x >> 32), low(x)}; }

  template <class Scalar, class Bits>
  static Scalar normal(Bits bits) {
    constexpr int mantissa = std::numeric_limits<Scalar>::digits - 1;
    constexpr Scalar epsilon = std::numeric_limits<Scalar>::epsilon();
    const auto number = static_cast<std::int64_t>(bits >> (8 * sizeof(Bits) - mantissa));
    const Scalar u = static_cast<Scalar>(number) * epsilon;
    return static_cast<Scalar>(1.414213562373095048802) * detail::erf_inv(2 * u - (1 - epsilon / 2));
  }

  detail::ThreefryWords key_;
  JaxThreefry threefry_;
  bool called_ = false;  // if true, the next call splits the key first
};

}  // namespace diffusion
