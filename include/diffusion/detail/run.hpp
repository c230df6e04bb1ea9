/// @file run.hpp
/// One run: a function of each element and its coefficients over elements that lie side by side, in SIMD packets.
#pragma once

#include <algorithm>  // std::max
#include <array>
#include <cstddef>  // std::size_t
#include <tuple>    // std::apply
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>

#include "multiply_add.hpp"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
// A SIMD type is a template argument here; its alignment, which g++ says is ignored, is not asked for.
#pragma GCC diagnostic ignored "-Wignored-attributes"
#endif

namespace diffusion {
namespace detail {

using Eigen::Index;

/// What element arithmetic is done in: at least float.
template <class Scalar>
using Arithmetic =
    std::conditional_t<std::is_same_v<Scalar, Eigen::half> || std::is_same_v<Scalar, Eigen::bfloat16>, float, Scalar>;

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
constexpr Index size_of = Eigen::internal::unpacket_traits<Value>::size;

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
  static constexpr bool in_packets = true;
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

/// out[i] = element(c[i], x[i]) in `steps` steps of one Value from i on; in `Rows` runs, `stride` apart, that share each coefficient
/// that is loaded. Returns where it came to.
template <class Value, int Rows, std::size_t K, class Element, class Scalar, std::size_t Inputs, class Coefficients>
inline Index span(const Element& element, Scalar* out, const std::array<const Scalar*, Inputs>& x, Index i,
                  std::size_t steps, Index stride, const Coefficients& c) {
  for (; steps > 0; --steps, i += size_of<Value>) {
    std::array<Value, K> a;
    for (std::size_t k = 0; k < K; ++k) a[k] = c.template at<Value>(k, i);
    for (int row = 0; row < Rows; ++row) {
      const Index at = i + row * stride;
      store(out + at, element.template at<Arithmetic<Scalar>>(a, x, at));
    }
  }
  return i;
}

/// out[i] = element(c[i], x[i]) for i in [0, size), by the widest packets of the target, then narrower ones, then one by one.
template <int Rows, std::size_t K, class Element, class Scalar, std::size_t Inputs, class Coefficients>
inline void run(const Element& element, Scalar* out, const std::array<const Scalar*, Inputs>& x, Index size,
                Index stride, const Coefficients& c) {
  using Real = Arithmetic<Scalar>;
  const auto total = static_cast<std::size_t>(size);
  if constexpr (Element::in_packets && std::is_same_v<Scalar, Real>) {
    using Packet = typename Eigen::internal::packet_traits<Scalar>::type;
    using Half = typename Eigen::internal::unpacket_traits<Packet>::half;
    using Quarter = typename Eigen::internal::unpacket_traits<Half>::half;
    constexpr std::size_t packet = size_of<Packet>, half = size_of<Half>, quarter = size_of<Quarter>;
    Index i = span<Packet, Rows, K>(element, out, x, 0, total / packet, stride, c);
    // What is left is less than a packet. Written so that compilers see how few steps there can be.
    if constexpr (half < packet) i = span<Half, Rows, K>(element, out, x, i, total % packet / half, stride, c);
    if constexpr (quarter < half) i = span<Quarter, Rows, K>(element, out, x, i, total % half / quarter, stride, c);
    if constexpr (1 < quarter) span<Real, Rows, K>(element, out, x, i, total % quarter, stride, c);
  } else {
    span<Real, Rows, K>(element, out, x, 0, total, stride, c);
  }
}

}  // namespace detail
}  // namespace diffusion

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
