/// @file simd.hpp
/// Types and operations for computing noise on one number or on a register of numbers. Registers
/// are the vector types of g++ and clang++, which support +, *, ^ and >> like a single number. The
/// code is therefore written once, and its results do not depend on the register width. This file
/// has the operations without such an operator. All of them are exact or correctly rounded.
#pragma once

#include <array>
#include <cmath>  // std::sqrt
#include <cstddef>
#include <cstdint>
#include <cstring>  // std::memcpy
#include <type_traits>
#include <utility>  // std::index_sequence

#include "../../detail/kernel/multiply_add.hpp"

// Bytes per register; undefined at the end of this file.
#if defined(__GNUC__) && defined(__SSE2__) && defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)  // in g++ since version 12
#if defined(__AVX__) || defined(__FMA__)
#include <immintrin.h>
#else
#include <emmintrin.h>  // parses in a third of the time
#endif
#if defined(__AVX512F__) && defined(__FMA__)
#define DIFFUSION_REGISTER 64
#elif defined(__AVX2__)
#define DIFFUSION_REGISTER 32
#else
#define DIFFUSION_REGISTER 16
#endif
#endif
#endif

namespace diffusion {
namespace detail {

/// Number of counters in a block, which is stored word by word (structure of arrays). Enough to
/// fill the vector registers of any target, and few enough that all stages of a block stay in the
/// L1 cache.
inline constexpr std::size_t lane_count = 64;

/// One number per lane of a block.
template <class T>
struct alignas(64) Lanes {
  T at[lane_count];
};

/// Types for computing one number at a time: a floating-point number and the integers of its size.
template <class T>
struct Single {
  using Scalar = T;
  using Real = T;
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  using Integer = std::make_signed_t<Bits>;
  static constexpr std::size_t size = 1;
};

/// An instruction set: bytes per register (0 if numbers are computed one at a time) and whether it
/// has a fused multiply-add. Types and functions that depend on it have it, or a register type, in
/// their signature. Otherwise the linker would silently merge those of the same name when object
/// files for different instruction sets are linked into one program.
template <std::size_t bytes, class Fused>
struct InstructionSet {};
#ifdef DIFFUSION_REGISTER
using ThisInstructionSet = InstructionSet<DIFFUSION_REGISTER, FusedMultiplyAdd>;
#else
using ThisInstructionSet = InstructionSet<0, FusedMultiplyAdd>;
#endif

/// Types for computing on registers: the types of Single, one register of each.
#ifdef DIFFUSION_REGISTER
template <class T, class Set = ThisInstructionSet>
struct Registers {
  using Scalar = T;
  typedef T Real __attribute__((vector_size(DIFFUSION_REGISTER)));
  typedef typename Single<T>::Bits Bits __attribute__((vector_size(DIFFUSION_REGISTER)));
  typedef typename Single<T>::Integer Integer __attribute__((vector_size(DIFFUSION_REGISTER)));
  static constexpr std::size_t size = DIFFUSION_REGISTER / sizeof(T);
};
template <class Set>
struct Registers<long double, Set> : Single<long double> {};
#else
template <class T, class Set = ThisInstructionSet>
struct Registers : Single<T> {};
#endif

/// A register of 64-bit lanes, each with a 32-bit word in its low half. The high half may have any
/// value.
using Words = typename Registers<double>::Bits;

/// The bits of `from` as a To.
template <class To, class From>
inline To bit_cast(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}
/// Reads a register from memory of any alignment.
template <class Register, class T>
inline Register read_as(const T* from) {
  Register to;
  std::memcpy(&to, from, sizeof to);
  return to;
}
/// Writes a register to memory of any alignment.
template <class Register, class T>
inline void write(T* to, const Register& from) {
  std::memcpy(to, &from, sizeof from);
}

/// The 64-bit product of the low halves of a and b.
inline std::uint64_t product(std::uint64_t a, std::uint64_t b) { return (a & 0xFFFFFFFFu) * (b & 0xFFFFFFFFu); }

/// The square root. Registers have their own overloads, because compilers do not vectorise a loop
/// over std::sqrt, which may set errno.
template <class T, std::enable_if_t<std::is_floating_point_v<T>, int> = 0>
inline T square_root(T x) {
  return std::sqrt(x);
}

// The same operations on registers. AVX-512 uses masked forms, because g++ 12 warns about undefined
// registers in the unmasked ones.
#if DIFFUSION_REGISTER == 64
inline Words product(Words a, Words b) {
  return bit_cast<Words>(_mm512_maskz_mul_epu32(0xFF, bit_cast<__m512i>(a), bit_cast<__m512i>(b)));
}
template <class Bits>  // a template, so that the register type is part of its name
inline Bits zero_extended(const std::uint32_t* words) {
  return bit_cast<Bits>(_mm512_maskz_cvtepu32_epi64(0xFF, read_as<__m256i>(words)));
}
inline __m512 square_root(__m512 x) { return _mm512_maskz_sqrt_ps(0xFFFF, x); }
inline __m512d square_root(__m512d x) { return _mm512_maskz_sqrt_pd(0xFF, x); }
inline __m512 multiply_add(__m512 a, __m512 b, __m512 c) { return _mm512_fmadd_ps(a, b, c); }
inline __m512d multiply_add(__m512d a, __m512d b, __m512d c) { return _mm512_fmadd_pd(a, b, c); }
#elif DIFFUSION_REGISTER == 32
inline Words product(Words a, Words b) {
  return bit_cast<Words>(_mm256_mul_epu32(bit_cast<__m256i>(a), bit_cast<__m256i>(b)));
}
template <class Bits>
inline Bits zero_extended(const std::uint32_t* words) {
  return bit_cast<Bits>(_mm256_cvtepu32_epi64(read_as<__m128i>(words)));
}
inline __m256 square_root(__m256 x) { return _mm256_sqrt_ps(x); }
inline __m256d square_root(__m256d x) { return _mm256_sqrt_pd(x); }
#ifdef __FMA__
inline __m256 multiply_add(__m256 a, __m256 b, __m256 c) { return _mm256_fmadd_ps(a, b, c); }
inline __m256d multiply_add(__m256d a, __m256d b, __m256d c) { return _mm256_fmadd_pd(a, b, c); }
#endif
#elif DIFFUSION_REGISTER == 16
inline Words product(Words a, Words b) {
  return bit_cast<Words>(_mm_mul_epu32(bit_cast<__m128i>(a), bit_cast<__m128i>(b)));
}
template <class Bits>
inline Bits zero_extended(const std::uint32_t* words) {
  return bit_cast<Bits>(_mm_set_epi64x(words[1], words[0]));
}
inline __m128 square_root(__m128 x) { return _mm_sqrt_ps(x); }
inline __m128d square_root(__m128d x) { return _mm_sqrt_pd(x); }
#ifdef __FMA__
inline __m128 multiply_add(__m128 a, __m128 b, __m128 c) { return _mm_fmadd_ps(a, b, c); }
inline __m128d multiply_add(__m128d a, __m128d b, __m128d c) { return _mm_fmadd_pd(a, b, c); }
#endif
#endif

/// Loads one 32-bit word per number, each extended to the width of a number.
template <class Numbers>
inline typename Numbers::Bits load_words(const std::uint32_t* words) {
  using Bits = typename Numbers::Bits;
  if constexpr (Numbers::size == 1) {
    return static_cast<Bits>(*words);
#ifdef DIFFUSION_REGISTER
  } else if constexpr (sizeof(typename Numbers::Scalar) == 4) {
    return read_as<Bits>(words);
  } else {
    return zero_extended<Bits>(words);
#endif
  }
}

/// Converts integers to floating-point numbers, rounded.
template <class Real, class Integer>
inline Real converted(const Integer& i) {
#ifdef DIFFUSION_REGISTER
  if constexpr (!std::is_arithmetic_v<Real>)
    return __builtin_convertvector(i, Real);
  else
#endif
    return static_cast<Real>(i);
}

#ifdef DIFFUSION_REGISTER
/// The first (half = 0) or second (half = 1) half of a_0, b_0, a_1, b_1, ...
template <std::size_t half, class Register, std::size_t... i>
inline Register interleaved(const Register& a, const Register& b, std::index_sequence<i...>) {
  constexpr std::size_t size = sizeof...(i);
  return __builtin_shufflevector(a, b, (half * (size / 2) + i / 2 + i % 2 * size)...);
}
#endif

/// Writes two or four registers a, b, ... to memory as a_0, b_0, ..., a_1, b_1, ...
template <class Numbers, class T, class Register, std::size_t count>
inline void write_interleaved(T* to, const std::array<Register, count>& r) {
  static_assert(count == 2 || count == 4);
  if constexpr (Numbers::size == 1) {
    for (std::size_t k = 0; k < count; ++k) to[k] = r[k];
#ifdef DIFFUSION_REGISTER
  } else {
    constexpr auto all = std::make_index_sequence<Numbers::size>();
    constexpr std::size_t half = count / 2;
    std::array<Register, half> first, second;
    for (std::size_t k = 0; k < half; ++k) {
      first[k] = interleaved<0>(r[k], r[k + half], all);
      second[k] = interleaved<1>(r[k], r[k + half], all);
    }
    if constexpr (count == 4) {
      write_interleaved<Numbers>(to, first);
      write_interleaved<Numbers>(to + 2 * Numbers::size, second);
    } else {
      write(to, first[0]);
      write(to + Numbers::size, second[0]);
    }
#endif
  }
}

#undef DIFFUSION_REGISTER

}  // namespace detail
}  // namespace diffusion
