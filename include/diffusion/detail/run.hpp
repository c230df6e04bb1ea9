/// @file run.hpp
/// One run: a function of each element and its coefficients over elements that lie side by side, in SIMD packets.
#pragma once

#include <algorithm>  // std::max
#include <array>
#include <cstddef>  // std::size_t
#include <tuple>    // std::apply
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>

#include "../tensor.hpp"
#include "multiply_add.hpp"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
// A SIMD type is a template argument here; its alignment, which g++ says is ignored, is not asked for.
#pragma GCC diagnostic ignored "-Wignored-attributes"
#endif

namespace diffusion {
namespace detail {

using Eigen::Index;

/// One value or a SIMD packet of them: the same arithmetic, so that a result does not depend on where in a run it stands.
template <class Value, class Scalar>
inline Value load(const Scalar* from) {
  if constexpr (std::is_same_v<Value, Arithmetic<Scalar>>) {
    return static_cast<Value>(*from);
  } else {
    return Eigen::internal::ploadu<Value>(from);
  }
}
template <class Scalar, class Value>
inline void store(Scalar* to, const Value& value) {
  if constexpr (std::is_same_v<Value, Arithmetic<Scalar>>) {
    *to = static_cast<Scalar>(value);
  } else {
    Eigen::internal::pstoreu(to, value);
  }
}
template <class Real, class Value>
inline Value fused(const Value& a, const Value& x, const Value& b) {
  if constexpr (std::is_same_v<Value, Real>) {
    return multiply_add(a, x, b);
  } else {
    return Eigen::internal::pmadd(a, x, b);
  }
}

/// Coefficients that hold for a whole run of elements.
template <class Real, std::size_t K>
struct Constant {
  std::array<Real, K> value;
  template <class Value>
  Value at(std::size_t k, Index) const {
    if constexpr (std::is_same_v<Value, Real>) {
      return value[k];
    } else {
      return Eigen::internal::pset1<Value>(value[k]);
    }
  }
};

/// How many values a Value holds.
template <class Value>
inline constexpr Index size_of = Eigen::internal::unpacket_traits<Value>::size;

/// a_k x_k[i] + (a_{k+1} x_{k+1}[i] + ...)
template <class Real, std::size_t k = 0, class Value, std::size_t K, class Scalar, std::size_t Inputs>
inline Value affine_at(const std::array<Value, K>& a, const std::array<const Scalar*, Inputs>& x, Index i) {
  if constexpr (Inputs == 0) {
    return a[0];
  } else if constexpr (k + 1 == Inputs) {
    return Eigen::internal::pmul(a[k], load<Value>(x[k] + i));
  } else {
    return fused<Real>(a[k], load<Value>(x[k] + i), affine_at<Real, k + 1>(a, x, i));
  }
}

/// What the walk computes of an element: of its coefficients a and the inputs x at i. This one is the affine combination.
struct AffineElement {
  static constexpr bool in_packets = true;
  template <class Real, class Value, std::size_t K, class Scalar, std::size_t Inputs>
  Value at(const std::array<Value, K>& a, const std::array<const Scalar*, Inputs>& x, Index i) const {
    static_assert(K == (std::max)(Inputs, std::size_t(1)), "one coefficient per tensor");
    return affine_at<Real>(a, x, i);
  }
};

/// (x_0 + a_0 x_1) / a_1
struct QuotientElement {
#if defined(__ARM_NEON) && !defined(__aarch64__)
  static constexpr bool in_packets = false;  // it has no division, and that of Eigen's packets is right to 16 bits only
#else
  static constexpr bool in_packets = true;
#endif
  template <class Real, class Value, class Scalar>
  Value at(const std::array<Value, 2>& a, const std::array<const Scalar*, 2>& x, Index i) const {
    return Eigen::internal::pdiv(fused<Real>(a[0], load<Value>(x[1] + i), load<Value>(x[0] + i)), a[1]);
  }
};

/// x limited to [a_0, a_1]. A NaN stays one.
struct ClampElement {
  static constexpr bool in_packets = true;
  template <class Real, class Value, class Scalar>
  Value at(const std::array<Value, 2>& a, const std::array<const Scalar*, 1>& x, Index i) const {
    const Value value = load<Value>(x[0] + i);
    if constexpr (std::is_same_v<Value, Real>) {
      return value < a[0] ? a[0] : value > a[1] ? a[1] : value;
    } else {
      using namespace Eigen::internal;
      return pmin<Eigen::PropagateNaN>(pmax<Eigen::PropagateNaN>(value, a[0]), a[1]);
    }
  }
};

/// f(a, x_0, x_1, ...) in Arithmetic<Scalar>, element by element. Where f adds a product it must use multiply_add.
template <class F>
struct FunctionElement {
  static constexpr bool in_packets = false;
  template <class Real, std::size_t K, class Scalar, std::size_t Inputs>
  Real at(const std::array<Real, K>& a, const std::array<const Scalar*, Inputs>& x, Index i) const {
    return std::apply([&](auto... from) { return f(a, load<Real>(from + i)...); }, x);
  }
  F f;
};

/// The coefficients of the elements from i on.
template <class Value, std::size_t K, class Coefficients>
inline std::array<Value, K> coefficients_at(const Coefficients& c, Index i) {
  std::array<Value, K> a;
  for (std::size_t k = 0; k < K; ++k) a[k] = c.template at<Value>(k, i);
  return a;
}

/// out[i] = element(c[i], x[i]) for `count` Values from i on, `Values` in a step while there are as many; in `rows` runs, `stride`
/// apart, that share each coefficient that is loaded. (Rows: an integral_constant where the number is known.)
template <class Value, int Values, std::size_t K, class Element, class Scalar, std::size_t Inputs, class Coefficients,
          class Rows>
inline void span(const Element& element, Scalar* out, const std::array<const Scalar*, Inputs>& x, Index i,
                 std::size_t count, const Coefficients& c, Rows rows, Index stride) {
#ifdef __clang__
#pragma clang loop unroll(disable)  // it would take 32 Values in a step, and be slow at what is left
#endif
  for (std::size_t steps = count / std::size_t(Values); steps > 0; --steps, i += Values * size_of<Value>) {
    std::array<Value, K> a[Values];
    for (int v = 0; v < Values; ++v) a[v] = coefficients_at<Value, K>(c, i + v * size_of<Value>);
    Index at = i;
    for (Index row = 0; row < rows; ++row, at += stride) {
      Value result[Values];
      for (int v = 0; v < Values; ++v) {
        result[v] = element.template at<Arithmetic<Scalar>>(a[v], x, at + v * size_of<Value>);
      }
      for (int v = 0; v < Values; ++v) store(out + at + v * size_of<Value>, result[v]);
    }
  }
  // Written so that compilers see that there can be but one step of two, and one of one.
  if constexpr (Values > 1)
    span<Value, Values / 2, K>(element, out, x, i, count % std::size_t(Values), c, rows, stride);
}

/// f(Value()) with the widest Value that Element is computed in and of which `size` elements fill one at least. (In line, so that
/// what f refers to stays in registers.)
template <class Element, class Scalar, class F>
[[gnu::always_inline]] inline void with_widest(Index size, const F& f) {
  using Real = Arithmetic<Scalar>;
  if constexpr (Element::in_packets && std::is_same_v<Scalar, Real>) {
    using Packet = typename Eigen::internal::packet_traits<Scalar>::type;
    using Half = typename Eigen::internal::unpacket_traits<Packet>::half;
    using Quarter = typename Eigen::internal::unpacket_traits<Half>::half;
    if (size >= size_of<Packet>) return f(Packet());
    if constexpr (size_of<Half> < size_of<Packet>) {
      if (size >= size_of<Half>) return f(Half());
    }
    if constexpr (size_of<Quarter> < size_of<Half>) {
      if (size >= size_of<Quarter>) return f(Quarter());
    }
  }
  f(Real());
}

/// Whether `size` elements are whole Values, and so many that it pays to ask.
template <class Value>
inline bool many_whole(Index size) {
  return size > 8 * size_of<Value> && size % size_of<Value> == 0;
}

/// out[i] = element(c[i], x[i]) for i in [0, size) in Values, of which there must be one at least. When `whole`, they are all
/// there is, and memory is read in its order. Otherwise the last ends at size, and may overlap the one before.
template <class Value, std::size_t K, class Element, class Scalar, std::size_t Inputs, class Coefficients>
inline void run_in(const Element& element, Scalar* out, const std::array<const Scalar*, Inputs>& x, Index size,
                   const Coefficients& c, bool whole) {
  using Real = Arithmetic<Scalar>;
  constexpr std::integral_constant<Index, 1> one;
  if constexpr (std::is_same_v<Value, Real>) {
    span<Value, 1, K>(element, out, x, 0, static_cast<std::size_t>(size), c, one, 0);
  } else {
    const Index end = size - size_of<Value>;
    Value last{};  // computed first: where out is x, the one before writes what the last one reads
    if (!whole) last = element.template at<Real>(coefficients_at<Value, K>(c, end), x, end);
    // A step of four pays for its loop where there are as many: of narrower packets there are but two.
    constexpr int values = std::is_same_v<Value, typename Eigen::internal::packet_traits<Scalar>::type> ? 4 : 1;
    const auto before = static_cast<std::size_t>(whole ? size : size - 1) / size_of<Value>;
    span<Value, values, K>(element, out, x, 0, before, c, one, 0);
    if (!whole) store(out + end, last);
  }
}

/// out[i] = element(c[i], x[i]) for i in [0, size).
template <std::size_t K, class Element, class Scalar, std::size_t Inputs, class Coefficients>
inline void run(const Element& element, Scalar* out, const std::array<const Scalar*, Inputs>& x, Index size,
                const Coefficients& c) {
  with_widest<Element, Scalar>(size, [&](auto value) {
    using Value = decltype(value);
    run_in<Value, K>(element, out, x, size, c, many_whole<Value>(size));
  });
}

/// The same in `Rows` runs, `stride` apart, whose size must be whole packets of the target.
template <int Rows, std::size_t K, class Element, class Scalar, std::size_t Inputs, class Coefficients>
inline void run_side_by_side(const Element& element, Scalar* out, const std::array<const Scalar*, Inputs>& x,
                             Index size, Index stride, const Coefficients& c) {
  using Real = Arithmetic<Scalar>;
  const auto total = static_cast<std::size_t>(size);
  constexpr std::integral_constant<Index, Rows> rows;
  if constexpr (Element::in_packets && std::is_same_v<Scalar, Real>) {
    using Packet = typename Eigen::internal::packet_traits<Scalar>::type;
    constexpr int values = Rows > 2 ? 1 : 4;  // four runs pay for the loop themselves
    span<Packet, values, K>(element, out, x, 0, total / size_of<Packet>, c, rows, stride);
  } else {
    span<Real, 1, K>(element, out, x, 0, total, c, rows, stride);
  }
}

}  // namespace detail
}  // namespace diffusion

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
