/// @file multiply_add.hpp
/// a * b + c with the same bits wherever it is compiled for one target.
#pragma once

#include <cfloat>  // FLT_EVAL_METHOD
#include <cmath>   // std::fma
#include <limits>
#include <type_traits>  // std::bool_constant

#if FLT_EVAL_METHOD == 2
#error "diffusion: x87 arithmetic is not supported, as it rounds whenever a register is stored; use -msse2 -mfpmath=sse"
#endif

namespace diffusion {
namespace detail {

/// Whether the target has a fused multiply-add. Functions that depend on it take this type as a
/// template argument: object files compiled for different targets then have different symbols, and
/// each calls its own version.
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA) || defined(FP_FAST_FMAF)
using FusedMultiplyAdd = std::bool_constant<true>;
#else
using FusedMultiplyAdd = std::bool_constant<false>;
#endif

/// a * b + c, rounded once if the target has a fused multiply-add, otherwise twice. A compiler may
/// contract a plain a * b + c in the vector body of a loop, but not in its remainder. The result
/// would then depend on the position of an element in memory. Types wider than double are always
/// rounded twice, because most targets have no fused instruction for them.
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
