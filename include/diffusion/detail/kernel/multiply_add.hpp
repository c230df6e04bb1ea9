/// @file multiply_add.hpp
/// a * b + c that gives the same bits wherever it stands.
#pragma once

#include <cfloat>  // FLT_EVAL_METHOD
#include <cmath>   // std::fma
#include <limits>
#include <type_traits>  // std::bool_constant

#if FLT_EVAL_METHOD == 2
#error "diffusion: not for x87 arithmetic, which rounds where a register is stored; compile with -msse2 -mfpmath=sse"
#endif

namespace diffusion {
namespace detail {

/// Whether the target has a fused multiply-add. A type, because functions that depend on it take it as a template
/// argument: object files built for different targets then have different names for them, and each calls its own.
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA) || defined(FP_FAST_FMAF)
using FusedMultiplyAdd = std::bool_constant<true>;
#else
using FusedMultiplyAdd = std::bool_constant<false>;
#endif

/// a * b + c, rounded once where the target has a fused multiply-add and twice where it has none. Written out, because a
/// compiler that may contract a * b + c does so in one loop (or in its vector body) and not in another (or in its
/// remainder), and results would depend on the position of an element in memory. Types wider than double have no fused
/// instruction anywhere.
template <class T, class Fused = FusedMultiplyAdd>
inline T multiply_add(T a, T b, T c) {
  if constexpr (Fused::value && !(std::numeric_limits<T>::digits > 53)) {
    return std::fma(a, b, c);
  } else {
    return a * b + c;
  }
}

}  // namespace detail
}  // namespace diffusion
