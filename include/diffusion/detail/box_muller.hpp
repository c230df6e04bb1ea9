/// @file box_muller.hpp
/// Random words to normal variates, in arithmetic of our own: nothing here calls the mathematical library, so the same
/// words give the same normals on every platform. Box and Muller, "A note on the generation of random normal deviates"
/// (1958): with u uniform on (0, 1) and an angle uniform on the circle,
///     r = sqrt(-2 log u),   z0 = r cos(angle),   z1 = r sin(angle)
/// are two independent normals. Of two B-bit numbers a and b, B = 32 or 64, all bits are used:
///     u = (a + 1/2) / 2^B,   angle = pi x + (b odd ? pi : 0),   x = (b + 1/2) / 2^B, b read as a signed number,
/// so u is neither 0 nor 1, and x is in (-1/2, 1/2).
///
/// Every sum of a product is a multiply_add and every loop runs over whole blocks, so that a value does not depend on the
/// compiler, nor on its place in a vector. Nor does the angle's part depend on whether the target fuses them (Unfused);
/// the radius, which is a square root, does by one unit in the last place, and so their product by two. Selections are
/// made on bits, not on comparisons of floating-point numbers, which a compiler that respects floating-point traps does
/// not vectorise. (-ffast-math keeps the distribution but not the bits, nor the precision of the smallest r.)
#pragma once

#include <array>
#include <cmath>  // std::frexp
#include <cstddef>
#include <cstdint>
#include <cstring>  // std::memcpy
#include <limits>
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>

#include "multiply_add.hpp"
#include "philox.hpp"
#include "simd.hpp"

namespace diffusion {
namespace detail {

/// The type in which the normals of a Scalar are drawn: float for half and bfloat16 (rounded once), Scalar otherwise.
template <class Scalar>
using NormalType =
    std::conditional_t<std::is_same_v<Scalar, Eigen::half> || std::is_same_v<Scalar, Eigen::bfloat16>, float, Scalar>;

/// How many normals of type T four words make: a uniform takes one word for float, two for double and long double.
template <class T>
constexpr std::size_t normals_per_counter = std::is_same_v<T, float> ? 4 : 2;

template <class T>
using NormalBlock = std::array<Plane<T>, normals_per_counter<T>>;

/// Minimax polynomials, lowest degree first, their coefficients rounded one after another to T:
///     log:  -2 pi^2 log(1 + f) / f               on [-1/3, 1/3],
///     sin:  sin(pi sqrt(q)) / (pi sqrt(q))       on [0, 1/4],
/// to within a relative 2^-24 (float), 2^-53 (double), 2^-64 (long double). The factor pi is with the radius, because a
/// polynomial for the sine that begins with 1 saves a rounding.
template <class T>
struct Polynomials;

// clang-format off
template <>
struct Polynomials<float> {
  static constexpr std::array<float, 9> log = {
      -19.7392082f, 9.86959171f, -6.57979536f, 4.93634319f, -3.94693518f, 3.24048066f, -2.80279756f, 3.03690171f,
      -2.59979963f};
  static constexpr std::array<float, 5> sin = {1.0f, -1.64493334f, 0.811715961f, -0.190444589f, 0.0247196183f};
};

template <>
struct Polynomials<double> {
  static constexpr std::array<double, 20> log = {
      -19.739208802178716, 9.869604401089358, -6.579736267394682, 4.9348022005461161, -3.9478417599378544,
      3.289868133258504, -2.8198870274278653, 2.4674011509144402, -2.1932422345618021, 1.9739179299973579,
      -1.7945784609018032, 1.6450322176064311, -1.5163045049846913, 1.4079688031049933, -1.3416518733584772,
      1.2580378834214645, -0.97409558931808982, 0.9188775219555575, -1.7569774134911131, 1.6712549753911998};
  static constexpr std::array<double, 9> sin = {
      1.0, -1.6449340668482264, 0.81174242528334617, -0.19075182412167535, 0.026147847807943447, -0.0023460809132988605,
      0.00014842791661816342, -6.9722674232571798e-6, 2.4518340700585633e-7};
};

template <>
struct Polynomials<long double> {
  static constexpr std::array<long double, 25> log = {
      -19.7392088021787172371L, 9.86960440108935861073L, -6.57973626739290628996L, 4.93480220054468678072L,
      -3.94784176043559749056L, 3.28986813369439909231L, -2.81988697175754758606L, 2.46740110053448391276L,
      -2.19324542129671338684L, 1.97392086149138651884L, -1.79447357267646042962L, 1.64493489248026925867L,
      -1.51839963263697298951L, 1.40991976873458858767L, -1.3159603723855181946L, 1.23415656813286112969L,
      -1.16109312370301781244L, 1.09072397649526828928L, -1.0374329507996234845L, 1.03734740544226311943L,
      -0.96469339097269332455L, 0.628184724132117718184L, -0.676908079664811224824L, 1.60565328735269022362L,
      -1.43203724598862760945L};
  static constexpr std::array<long double, 10> sin = {
      1.0L, -1.64493406684822643631L, 0.811742425283353616914L, -0.190751824122082711427L, 0.0261478478176139563327L,
      -0.00234608103483112698561L, 0.000148428787273966455193L, -0.00000697584099976306489152L,
      2.53010039240626724443e-7L, -7.09316143159545804766e-9L};
};
// clang-format on

template <class To, class From>
inline To bit_cast(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

/// a b + c with the target's multiply_add.
struct Fused {
  template <class T>
  T multiply_add(T a, T b, T c) const {
    return detail::multiply_add(a, b, c);
  }
};

/// a b + c, rounded twice on every target. Compilers fuse a product with the sum that follows it, in a vectorised loop
/// too, unless something stands between: here the exclusive or with a zero that they cannot know is one.
class Unfused {
 public:
  template <class T>
  T multiply_add(T a, T b, T c) const {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA) || defined(FP_FAST_FMAF)
    if constexpr (sizeof(T) == 4) {
      return bit_cast<T>(bit_cast<std::uint32_t>(a * b) ^ zero_) + c;
    } else if constexpr (sizeof(T) == 8) {
      return bit_cast<T>(bit_cast<std::uint64_t>(a * b) ^ zero_) + c;
    }
#endif
    return a * b + c;
  }

 private:
  static std::uint32_t unknown_zero() {
    const volatile std::uint32_t zero = 0;
    return zero;
  }
  std::uint32_t zero_ = unknown_zero();
};

/// c[First] + c[First + Step] x + c[First + 2 Step] x^2 + ...
template <std::size_t First, std::size_t Step, class T, std::size_t Size, class Arithmetic = Fused>
inline T horner(const std::array<T, Size>& c, T x, const Arithmetic& arithmetic = {}) {
  if constexpr (First + Step >= Size) {
    return c[First];
  } else {
    return arithmetic.multiply_add(x, horner<First + Step, Step>(c, x, arithmetic), c[First]);
  }
}

/// (pi r)^2 = -2 pi^2 log u, where t = u below 1/2 and t = u - 1 from 1/2 on: so that u keeps its relative precision near 0,
/// where the tails come from, and 1 - u near 1. With u = 2^e m, m in [2/3, 4/3): log u = e log 2 + log(1 + (m - 1)).
template <class T, class Arithmetic = Fused>
inline T pi_r_squared(T t, const Arithmetic& arithmetic = {}) {
  // -2 pi^2 log 2 in two parts, of which the first, times e, is exact in float and double.
  constexpr T e_high = sizeof(T) == 4 ? T(-13.6796875) : T(-13.682176113128662109375);
  constexpr T e_low = static_cast<T>(-13.68217692771423308969496L - static_cast<long double>(e_high));
  constexpr auto& c = Polynomials<T>::log;
  if constexpr (std::is_same_v<T, long double>) {
    const T one = t < 0 ? 1 : 0;
    const T u = t + one;
    int e = 0;
    T m = std::frexp(u, &e);  // in [1/2, 1)
    if (3 * m < 2) m *= 2, --e;
    const T f = (m - 1) + (t - (u - one));
    return static_cast<T>(e) * e_high + (static_cast<T>(e) * e_low + f * horner<0, 1>(c, f));
  } else {
    using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
    constexpr int mantissa = std::numeric_limits<T>::digits - 1;  // bits
    constexpr Bits one_bits = sizeof(T) == 4 ? Bits(0x3F800000) : Bits(0x3FF0000000000000);
    constexpr Bits two_thirds_bits = sizeof(T) == 4 ? Bits(0x3F2AAAAB) : Bits(0x3FE5555555555555);
    constexpr Bits mantissa_mask = (Bits(1) << mantissa) - 1;
    constexpr T integers = static_cast<T>(Bits(1) << mantissa);  // integers + k has the mantissa k
    constexpr Bits integers_bits = sizeof(T) == 4 ? Bits(0x4B000000) : Bits(0x4330000000000000);
    constexpr T exponent_bias = std::numeric_limits<T>::max_exponent - 1;

    const T one = bit_cast<T>(Bits((Bits(0) - (bit_cast<Bits>(t) >> (8 * sizeof(T) - 1))) & one_bits));  // 1 for t < 0
    const T u = t + one;
    const Bits shifted = bit_cast<Bits>(u) + (one_bits - two_thirds_bits);
    const T e = bit_cast<T>(Bits((shifted >> mantissa) | integers_bits)) - (integers + exponent_bias);
    const T m = bit_cast<T>(Bits((shifted & mantissa_mask) + two_thirds_bits));
    // What u = t + 1 lost in rounding is t - (u - 1). Given back, it makes f exactly t where e = 0.
    const T f = (m - 1) + (t - (u - one));
    // The even and the odd powers apart, so that the processor can work on both at once.
    const T square = f * f;
    const T higher =
        arithmetic.multiply_add(f, horner<2, 2>(c, square, arithmetic), horner<1, 2>(c, square, arithmetic));
    const T small = arithmetic.multiply_add(square, higher, arithmetic.multiply_add(e, e_low, c[0] * f));
    return arithmetic.multiply_add(e, e_high, small);
  }
}

/// sin(pi x) / pi, for x in [-1/2, 1/2]; the same bits with and without fused multiply-adds.
template <class T>
inline T sin_pi_over_pi(T x, const Unfused& unfused) {
  const T square = x * x;
  return unfused.multiply_add(x * square, horner<1, 1>(Polynomials<T>::sin, square, unfused), x);
}

/// x, or -x where the word is odd.
template <class T>
inline T negate_if_odd(T x, std::uint32_t word) {
  if constexpr (std::is_same_v<T, float>) {
    return bit_cast<float>(bit_cast<std::uint32_t>(x) ^ (word << 31));
  } else if constexpr (std::is_same_v<T, double>) {
    return bit_cast<double>(bit_cast<std::uint64_t>(x) ^ (std::uint64_t{word} << 63));
  } else {
    return word & 1 ? -x : x;
  }
}

/// (i + 1/2) / 2^B for the signed number i, in (-1/2, 1/2): B = 32 for a word, B = 64 for i = 2^32 high + low. Written
/// without conversions of unsigned numbers, which few targets have.
template <class T>
inline T centred(std::uint32_t i) {
  return multiply_add(static_cast<T>(static_cast<std::int32_t>(i)), T(0x1p-32), T(0x1p-33));
}
template <class T>
inline T centred(std::uint32_t high, std::uint32_t low) {
  const T low_and_half = static_cast<T>(static_cast<std::int32_t>(low ^ 0x80000000u)) + T(0x1.00000001p31);
  return multiply_add(static_cast<T>(static_cast<std::int32_t>(high)), T(0x1p-32), low_and_half * T(0x1p-64));
}

/// All bits of the word of which `high` has the highest bit, if that is set.
inline std::uint32_t sign_bits(std::uint32_t high) {
  return static_cast<std::uint32_t>(-static_cast<std::int32_t>(high >> 31));
}

/// The normals of a block of words: z0, z1 of words 0 and 1 and z2, z3 of words 2 and 3 for float; z0, z1 of words 0 to 3,
/// the 64-bit numbers high word first, for double and long double. |z| < 6.8 and 9.5.
///
/// cos(pi x) is sin(pi y) with y = 1/2 - |x|; y comes from the bits of b, whose complement it is, and so is precise near 0.
inline void normals(const WordBlock& words, NormalBlock<float>& z) {
  const Unfused unfused;
  for (std::size_t pair = 0; pair < 4; pair += 2) {
    const Plane<std::uint32_t>&a = words[pair], &b = words[pair + 1];
    Plane<float> pi_r;
    for (std::size_t i = 0; i < lanes; ++i) pi_r.at[i] = pi_r_squared(centred<float>(a.at[i]));
    square_root(pi_r);
    for (std::size_t i = 0; i < lanes; ++i) {
      const float r = negate_if_odd(pi_r.at[i], b.at[i]);
      const float y = centred<float>(b.at[i] ^ sign_bits(b.at[i]) ^ 0x7FFFFFFFu);
      z[pair].at[i] = r * sin_pi_over_pi(y, unfused);
      z[pair + 1].at[i] = r * sin_pi_over_pi(centred<float>(b.at[i]), unfused);
    }
  }
}

template <class T>
inline void normals(const WordBlock& words, NormalBlock<T>& z) {
  const Unfused unfused;
  const Plane<std::uint32_t>&high = words[2], &low = words[3];
  Plane<T> pi_r;
  for (std::size_t i = 0; i < lanes; ++i) pi_r.at[i] = pi_r_squared(centred<T>(words[0].at[i], words[1].at[i]));
  square_root(pi_r);
  for (std::size_t i = 0; i < lanes; ++i) {
    const T r = negate_if_odd(pi_r.at[i], low.at[i]);
    const std::uint32_t sign = sign_bits(high.at[i]);
    const T y = centred<T>(high.at[i] ^ sign ^ 0x7FFFFFFFu, low.at[i] ^ sign ^ 0xFFFFFFFFu);
    z[0].at[i] = r * sin_pi_over_pi(y, unfused);
    z[1].at[i] = r * sin_pi_over_pi(centred<T>(high.at[i], low.at[i]), unfused);
  }
}

}  // namespace detail
}  // namespace diffusion
