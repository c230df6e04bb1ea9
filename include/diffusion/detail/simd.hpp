/// @file simd.hpp
/// The two operations for which compilers do not find the vector instruction from a plain loop: the product of two 32-bit words,
/// and the square root (which they keep scalar because std::sqrt may set errno). Both are exact, or correctly rounded, so
/// the result is the same with and without the instruction. The rest of the noise is plain loops.
#pragma once

#include <cmath>  // std::sqrt
#include <cstddef>
#include <cstdint>
#include <cstring>  // std::memcpy

#if defined(__GNUC__) && defined(__SSE2__)  // g++ and clang++
#include <immintrin.h>
#endif

namespace diffusion {
namespace detail {

/// Counters are worked on so many at a time, word by word (structure of arrays): enough to fill the vector registers of
/// any target, few enough that all stages of a block stay in the first-level cache.
constexpr std::size_t lanes = 64;

/// One number of every lane.
template <class T>
struct alignas(64) Plane {
  T at[lanes];
};

// Words: as many 64-bit lanes as a register holds, each with a word in its low half. The high half may hold anything, so that
// products need no unpacking. product(a, b): of the low halves, lane by lane.
#if defined(__GNUC__) && defined(__AVX512F__)
typedef std::uint64_t Words __attribute__((vector_size(64)));
inline Words product(Words a, Words b) {
  return reinterpret_cast<Words>(
      _mm512_maskz_mul_epu32(0xFF, reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
}
#elif defined(__GNUC__) && defined(__AVX2__)
typedef std::uint64_t Words __attribute__((vector_size(32)));
inline Words product(Words a, Words b) {
  return reinterpret_cast<Words>(_mm256_mul_epu32(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
}
#elif defined(__GNUC__) && defined(__SSE2__)
typedef std::uint64_t Words __attribute__((vector_size(16)));
inline Words product(Words a, Words b) {
  return reinterpret_cast<Words>(_mm_mul_epu32(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(b)));
}
#else
using Words = std::uint64_t;
#endif
/// Of one lane.
inline std::uint64_t product(std::uint64_t a, std::uint64_t b) { return (a & 0xFFFFFFFFu) * (b & 0xFFFFFFFFu); }

inline Words load(const std::uint64_t* lane) {
  Words words;
  std::memcpy(&words, lane, sizeof words);
  return words;
}
inline void store(std::uint64_t* lane, Words words) { std::memcpy(lane, &words, sizeof words); }

template <class T>
inline void square_root(Plane<T>& x) {
  for (std::size_t i = 0; i < lanes; ++i) x.at[i] = std::sqrt(x.at[i]);
}

#if defined(__GNUC__) && defined(__AVX__)
inline void square_root(Plane<float>& x) {
  for (std::size_t i = 0; i < lanes; i += 8) _mm256_store_ps(x.at + i, _mm256_sqrt_ps(_mm256_load_ps(x.at + i)));
}
inline void square_root(Plane<double>& x) {
  for (std::size_t i = 0; i < lanes; i += 4) _mm256_store_pd(x.at + i, _mm256_sqrt_pd(_mm256_load_pd(x.at + i)));
}
#elif defined(__GNUC__) && defined(__SSE2__)
inline void square_root(Plane<float>& x) {
  for (std::size_t i = 0; i < lanes; i += 4) _mm_store_ps(x.at + i, _mm_sqrt_ps(_mm_load_ps(x.at + i)));
}
inline void square_root(Plane<double>& x) {
  for (std::size_t i = 0; i < lanes; i += 2) _mm_store_pd(x.at + i, _mm_sqrt_pd(_mm_load_pd(x.at + i)));
}
#endif

}  // namespace detail
}  // namespace diffusion
