/// @file box_muller.hpp
/// The Box-Muller transform from random words to normal values. It calls no log, sin or cos of the
/// mathematical library, so that the values do not depend on the platform's library.
///
/// Source: Box and Muller, "A note on the generation of random normal deviates" (1958). With u
/// uniform on (0, 1) and an angle uniform on the circle, two independent normals are
///
///     z0 = r cos(angle),   z1 = r sin(angle),   r = sqrt(-2 log u)
///
/// u and the angle use all bits of two B-bit integers a and b, B = 32 or 64. b is a signed integer
/// in the formula of x:
///
///     u = (a + 1/2) / 2^B
///     x = (b + 1/2) / 2^B
///     angle = pi x + (b odd ? pi : 0)
///
/// u is neither 0 nor 1, and x is in (-1/2, 1/2).
///
/// Every a b + c is a multiply_add and every loop runs over whole blocks, so that a value depends
/// neither on the compiler nor on its place in a vector. The sine and cosine are also the same on
/// targets with and without a fused multiply-add (Unfused). Between such targets the radius may
/// differ by one unit in the last place, and a normal, radius times sine or cosine, by two.
/// Selections are made on bits, in the same way for one number and for a register
/// (detail/simd.hpp). -ffast-math keeps the distribution, but neither the bits nor the precision of
/// the smallest r.
#pragma once

#include <array>
#include <cmath>  // std::frexp
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>

#include "../../detail/kernel/multiply_add.hpp"
#include "../../tensor.hpp"
#include "philox.hpp"
#include "simd.hpp"

namespace diffusion {
namespace detail {

/// Type in which normals are computed for a Scalar: float for half and bfloat16, which are then
/// rounded once, otherwise Scalar.
template <class Scalar>
using NormalType = Arithmetic<Scalar>;

/// Number of normals of type T from the four words of a counter. A uniform takes one word for float
/// and two for double and long double.
template <class T>
inline constexpr std::size_t normals_per_counter = std::is_same_v<T, float> ? 4 : 2;

/// The normals of a block of counters: normals_per_counter per lane.
template <class T>
using NormalBlock = std::array<Lanes<T>, normals_per_counter<T>>;

/// Minimax polynomials with coefficients of type T, lowest degree first:
///
///     log:  -2 pi^2 log(1 + f) / f               on [-1/3, 1/3]
///     sin:  sin(pi sqrt(q)) / (pi sqrt(q))       on [0, 1/4]
///
/// Their relative error is at most 2^-24 (float), 2^-53 (double) or 2^-64 (long double). The radius
/// contains the factor pi, so that the polynomial of the sine begins with 1, which saves a
/// rounding.
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

/// Computes a b + c with the target's multiply_add.
struct Fused {
  template <class T>
  T multiply_add(T a, T b, T c) const {
    return detail::multiply_add(a, b, c);
  }
};

/// Computes a b + c, rounded twice on every target. An empty asm statement keeps compilers from
/// fusing the product with the sum, because they must assume that it changes the product.
struct Unfused {
  template <class Real>
  Real multiply_add(Real a, Real b, Real c) const {
    Real product = a * b;
    if constexpr (!std::is_same_v<Real, long double>) {
#if defined(__FMA__) && defined(__GNUC__)
      asm("" : "+v"(product));
#elif defined(__ARM_FEATURE_FMA) && defined(__GNUC__)
      asm("" : "+w"(product));
#elif defined(FP_FAST_FMAF) && defined(__GNUC__)
      asm("" : "+m"(product));
#endif
    }
    return product + c;
  }
};

/// The polynomial c[First] + c[First + Step] x + c[First + 2 Step] x^2 + ...
template <std::size_t First, std::size_t Step, class Real, class T, std::size_t Size, class Arithmetic = Fused>
inline Real horner(const std::array<T, Size>& c, Real x, const Arithmetic& arithmetic = {}) {
  if constexpr (First + Step >= Size) {
    return Real{} + c[First];
  } else {
    return arithmetic.multiply_add(x, horner<First + Step, Step>(c, x, arithmetic), Real{} + c[First]);
  }
}

/// (pi r)^2 = -2 pi^2 log u from t, which is u for u < 1/2 and u - 1 for u >= 1/2. Thus u keeps its
/// relative precision near 0, where the tails come from, and 1 - u keeps it near 1. With u = 2^e m
/// and m in [2/3, 4/3):
///
///     log u = e log 2 + log(1 + (m - 1))
template <class Numbers, class Arithmetic = Fused>
inline typename Numbers::Real pi_r_squared(typename Numbers::Real t, const Arithmetic& arithmetic = {}) {
  using T = typename Numbers::Scalar;
  using Real = typename Numbers::Real;
  // -2 pi^2 log 2 in two parts. The product of e and the first part is exact in float and double.
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
    using Bits = typename Numbers::Bits;
    using Integer = typename Numbers::Integer;
    constexpr int mantissa = std::numeric_limits<T>::digits - 1;  // bits
    constexpr auto bits = [](std::uint64_t x) { return static_cast<typename Single<T>::Bits>(x); };
    constexpr auto one_bits = bits(sizeof(T) == 4 ? 0x3F800000 : 0x3FF0000000000000);
    constexpr auto two_thirds_bits = bits(sizeof(T) == 4 ? 0x3F2AAAAB : 0x3FE5555555555555);
    constexpr auto mantissa_mask = bits((std::uint64_t{1} << mantissa) - 1);
    constexpr T integers = static_cast<T>(std::uint64_t{1} << mantissa);  // integers + k has the mantissa k
    constexpr auto integers_bits = bits(sizeof(T) == 4 ? 0x4B000000 : 0x4330000000000000);
    constexpr T exponent_bias = std::numeric_limits<T>::max_exponent - 1;

    const Real one = bit_cast<Real>(bit_cast<Bits>(bit_cast<Integer>(t) >> (8 * sizeof(T) - 1)) & one_bits);
    const Real u = t + one;
    const Bits shifted = bit_cast<Bits>(u) + (one_bits - two_thirds_bits);
    const Real e = bit_cast<Real>((shifted >> mantissa) | integers_bits) - (integers + exponent_bias);
    const Real m = bit_cast<Real>((shifted & mantissa_mask) + two_thirds_bits);
    // t - (u - 1) is the rounding error of u = t + 1. Adding it makes f exactly t where e = 0.
    const Real f = (m - T(1)) + (t - (u - one));
    // Even and odd powers are separate, so that the processor can work on both at once.
    const Real square = f * f;
    const Real higher =
        arithmetic.multiply_add(f, horner<2, 2>(c, square, arithmetic), horner<1, 2>(c, square, arithmetic));
    const Real small = arithmetic.multiply_add(square, higher, arithmetic.multiply_add(e, Real{} + e_low, c[0] * f));
    return arithmetic.multiply_add(e, Real{} + e_high, small);
  }
}

/// sin(pi x) / pi, for x in [-1/2, 1/2]; the same bits with and without fused multiply-adds.
template <class Numbers>
inline typename Numbers::Real sin_pi_over_pi(typename Numbers::Real x) {
  const Unfused unfused;
  const typename Numbers::Real square = x * x;
  return unfused.multiply_add(x * square, horner<1, 1>(Polynomials<typename Numbers::Scalar>::sin, square, unfused), x);
}

/// -x where the word is odd, otherwise x.
template <class Numbers>
inline typename Numbers::Real negate_if_odd(typename Numbers::Real x, typename Numbers::Bits word) {
  using T = typename Numbers::Scalar;
  if constexpr (std::is_same_v<T, long double>) {
    return word & 1 ? -x : x;
  } else {
    return bit_cast<typename Numbers::Real>(bit_cast<typename Numbers::Bits>(x) ^ (word << (8 * sizeof(T) - 1)));
  }
}

/// Converts each 32-bit word, read as a signed integer, to a floating-point number. (Few targets
/// can convert unsigned integers.)
template <class Numbers>
inline typename Numbers::Real signed_word(typename Numbers::Bits word) {
  using T = typename Numbers::Scalar;
  using Real = typename Numbers::Real;
  if constexpr (sizeof(T) == 4) {
    return converted<Real>(bit_cast<typename Numbers::Integer>(word));
  } else if constexpr (Numbers::size == 1) {
    return static_cast<T>(static_cast<std::int32_t>(static_cast<std::uint32_t>(word)));
  } else {  // 2^52 + k has the mantissa k
    return bit_cast<Real>((word ^ 0x80000000u) | 0x4330000000000000u) - (0x1p52 + 0x1p31);
  }
}

/// (i + 1/2) / 2^32 for the signed 32-bit integer i, in (-1/2, 1/2).
template <class Numbers>
inline typename Numbers::Real centred(typename Numbers::Bits i) {
  using T = typename Numbers::Scalar;
  using Real = typename Numbers::Real;
  return multiply_add(signed_word<Numbers>(i), Real{} + T(0x1p-32), Real{} + T(0x1p-33));
}
/// (i + 1/2) / 2^64 for the signed 64-bit integer i = 2^32 high + low, in (-1/2, 1/2).
template <class Numbers>
inline typename Numbers::Real centred(typename Numbers::Bits high, typename Numbers::Bits low) {
  using T = typename Numbers::Scalar;
  using Real = typename Numbers::Real;
  const Real low_and_half = signed_word<Numbers>(low ^ 0x80000000u) + T(0x1.00000001p31);
  return multiply_add(signed_word<Numbers>(high), Real{} + T(0x1p-32), low_and_half * T(0x1p-64));
}

/// The highest bit of the 32-bit word `high`, copied into all 32 bits.
template <class Numbers>
inline typename Numbers::Bits sign_bits(typename Numbers::Bits high) {
  using Bits = typename Numbers::Bits;
  const Bits sign = bit_cast<Bits>(-bit_cast<typename Numbers::Integer>(high >> 31));
  return sizeof(typename Numbers::Scalar) == 4 ? sign : sign & 0xFFFFFFFFu;
}

/// Computes the normals of a block of words. Calls keep(i, z) once per register: z[k] is normal k
/// of lanes i, i + 1, ...
///
/// For float, words 0 and 1 make z[0] and z[1], words 2 and 3 make z[2] and z[3], and |z| < 6.8.
/// For double and long double, words 0 to 3 are two 64-bit integers, high word first, that make
/// z[0] and z[1], and |z| < 9.5.
///
/// cos(pi x) is computed as sin(pi y) with y = 1/2 - |x|. y is made from the complemented bits of
/// b, not by subtraction, and so is precise near 0.
template <class Numbers, class Keep>
inline void for_each_normals(const WordBlock& words, const Keep& keep) {
  using T = typename Numbers::Scalar;
  using Bits = typename Numbers::Bits;
  using Real = typename Numbers::Real;
  for (std::size_t i = 0; i < lane_count; i += Numbers::size) {
    const auto word = [&](std::size_t k) { return load_words<Numbers>(words[k].at + i); };
    std::array<Real, normals_per_counter<T>> z;
    const auto pair = [&z](std::size_t k, Real t, Real y, Real x, Bits odd) {
      const Real pi_r = negate_if_odd<Numbers>(square_root(pi_r_squared<Numbers>(t)), odd);
      z[k] = pi_r * sin_pi_over_pi<Numbers>(y);
      z[k + 1] = pi_r * sin_pi_over_pi<Numbers>(x);
    };
    if constexpr (std::is_same_v<T, float>) {
      for (std::size_t k = 0; k < 4; k += 2) {
        const Bits a = word(k), b = word(k + 1);
        pair(k, centred<Numbers>(a), centred<Numbers>(b ^ sign_bits<Numbers>(b) ^ 0x7FFFFFFFu), centred<Numbers>(b), b);
      }
    } else {
      const Bits high = word(2), low = word(3), sign = sign_bits<Numbers>(high);
      pair(0, centred<Numbers>(word(0), word(1)), centred<Numbers>(high ^ sign ^ 0x7FFFFFFFu, low ^ sign ^ 0xFFFFFFFFu),
           centred<Numbers>(high, low), low);
    }
    keep(i, z);
  }
}

/// Stores the normals lane by lane: z[k].at[i] is normal k of lane i. Not inlined, like
/// philox4x32_10.
template <class T, class Numbers = Registers<T>>
[[gnu::noinline]] void normals(const WordBlock& words, NormalBlock<T>& z) {
  for_each_normals<Numbers>(words, [&z](std::size_t i, const auto& registers) {
    for (std::size_t k = 0; k < z.size(); ++k) write(z[k].at + i, registers[k]);
  });
}

/// Stores the normals counter by counter: z[k + normals_per_counter<T> i] is normal k of lane i.
template <class T, class Numbers = Registers<T>>
[[gnu::noinline]] void normals(const WordBlock& words, T* z) {
  for_each_normals<Numbers>(words, [z](std::size_t i, const auto& registers) {
    write_interleaved<Numbers>(z + registers.size() * i, registers);
  });
}

}  // namespace detail
}  // namespace diffusion
