/// @file packets.hpp
/// SIMD loops over contiguous elements, and the functions that they apply to each element.
#pragma once

#include <array>
#include <cstddef>  // std::size_t
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>  // std::index_sequence

#include "../../tensor.hpp"
#include "multiply_add.hpp"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
// g++ warns that a SIMD type loses its alignment attribute as a template argument. Nothing here
// needs that alignment.
#pragma GCC diagnostic ignored "-Wignored-attributes"
#endif

namespace diffusion {
namespace detail {

using Eigen::Index;

/// The SIMD type in which a function of elements is computed, or `Arithmetic<Scalar>` if there is
/// none. Everything that depends on the instruction set takes this type as a template argument, so
/// that object files for different instruction sets can be linked into one program.
template <class Function, class Scalar, bool in_packets = Function::in_packets>
struct PacketOf {
  using type = Arithmetic<Scalar>;
};
template <class Function, class Scalar>
struct PacketOf<Function, Scalar, true> {
  using type = std::conditional_t<std::is_same_v<Scalar, Arithmetic<Scalar>>,
                                  typename Eigen::internal::packet_traits<Scalar>::type, Arithmetic<Scalar>>;
};

/// Number of values in a packet.
template <class Packet>
inline constexpr Index size_of = Eigen::internal::unpacket_traits<Packet>::size;

/// Loads and stores packets of contiguous values.
template <class Packet>
struct SideBySide {
  template <class Scalar>
  static Packet load(const Scalar* from) {
    if constexpr (size_of<Packet> == 1) {
      return static_cast<Packet>(*from);
    } else {
      return Eigen::internal::ploadu<Packet>(from);
    }
  }
  template <class Scalar>
  static void store(Scalar* to, const Packet& value) {
    if constexpr (size_of<Packet> == 1) {
      *to = static_cast<Scalar>(value);
    } else {
      Eigen::internal::pstoreu(to, value);
    }
  }
};

/// Loads one value into all lanes of a packet and stores the first lane. A remainder shorter than a
/// packet is computed this way, by the instructions for whole packets, so that a result does not
/// depend on the position of its element in memory.
template <class Packet>
struct Copies {
  template <class Scalar>
  static Packet load(const Scalar* from) {
    return Eigen::internal::pset1<Packet>(*from);
  }
  template <class Scalar>
  static void store(Scalar* to, const Packet& value) {
    *to = Eigen::internal::pfirst(value);
  }
};

/// The arguments of a function of elements: coefficients a(k) and inputs x(k), as packets.
template <class Packet, class Access, class Scalar, std::size_t K>
struct Operands {
  const std::array<Packet, K>& coefficients;
  const Scalar* const* inputs;
  Index i;

  const Packet& a(std::size_t k) const { return coefficients[k]; }
  Packet x(std::size_t k) const { return Access::load(inputs[k] + i); }
};

/// a x + b, rounded as multiply_add rounds.
template <class Packet>
inline Packet fused(const Packet& a, const Packet& x, const Packet& b) {
  if constexpr (size_of<Packet> == 1) {
    return multiply_add(a, x, b);
  } else {
    return Eigen::internal::pmadd(a, x, b);
  }
}

// ---- functions of an element: its coefficients a and inputs x give the result ----

/// a_0 x_0 + (a_1 x_1 + (...)), or a_0 if there are no inputs.
template <std::size_t terms>
struct Affine {
  static constexpr std::size_t coefficients = terms > 0 ? terms : 1, inputs = terms;
  static constexpr bool in_packets = true;

  template <class Element>
  auto operator()(const Element& element) const {
    if constexpr (terms == 0) {
      return element.a(0);
    } else {
      return sum<0>(element);
    }
  }

 private:
  template <std::size_t k, class Element>
  static auto sum(const Element& element) {
    if constexpr (k + 1 == terms) {
      return Eigen::internal::pmul(element.a(k), element.x(k));
    } else {
      return fused(element.a(k), element.x(k), sum<k + 1>(element));
    }
  }
};

/// (x_0 + a_0 x_1) / a_1
struct Quotient {
  static constexpr std::size_t coefficients = 2, inputs = 2;
#if defined(__ARM_NEON) && !defined(__aarch64__)
  static constexpr bool in_packets = false;  // no division instruction; Eigen's pdiv has 16 correct bits
#else
  static constexpr bool in_packets = true;
#endif
  template <class Element>
  auto operator()(const Element& element) const {
    return Eigen::internal::pdiv(fused(element.a(0), element.x(1), element.x(0)), element.a(1));
  }
};

/// x_0 clamped to [a_0, a_1]. NaN stays NaN.
struct Clamp {
  static constexpr std::size_t coefficients = 2, inputs = 1;
  static constexpr bool in_packets = true;

  template <class Element>
  auto operator()(const Element& element) const {
    const auto x = element.x(0), low = element.a(0), high = element.a(1);
    if constexpr (size_of<std::decay_t<decltype(x)>> == 1) {
      return x < low ? low : x > high ? high : x;
    } else {
      using namespace Eigen::internal;
      return pmin<Eigen::PropagateNaN>(pmax<Eigen::PropagateNaN>(x, low), high);
    }
  }
};

/// f({a_0, a_1, ...}, x_0, x_1, ...) in `Arithmetic<Scalar>`, one value at a time. Where f adds a
/// product it must use multiply_add.
template <class F, std::size_t K, std::size_t Inputs>
struct Mapped {
  static constexpr std::size_t coefficients = K, inputs = Inputs;
  static constexpr bool in_packets = false;
  F f;

  template <class Element>
  auto operator()(const Element& element) const {
    return call(element, std::make_index_sequence<K>(), std::make_index_sequence<Inputs>());
  }

 private:
  template <class Element, std::size_t... k, std::size_t... input>
  auto call(const Element& element, std::index_sequence<k...>, std::index_sequence<input...>) const {
    return f(std::array{element.a(k)...}, element.x(input)...);
  }
};

/// Computes out = function(coefficients, inputs) over contiguous elements. `out` may be one of the
/// inputs.
template <class Packet, class Function, class Scalar>
struct PacketLoop {
  using PacketType = Packet;
  using Real = Arithmetic<Scalar>;
  static constexpr std::size_t coefficients = Function::coefficients;

  Function function;
  Scalar* out;
  std::array<const Scalar*, Function::inputs> inputs;

  /// Computes elements [i, i + size) with the same coefficients for all.
  void operator()(Index i, Index size, const std::array<Real, coefficients>& c) const {
    using Whole = SideBySide<Packet>;
    constexpr Index width = size_of<Packet>;
    const PacketLoop loop = *this;  // a copy: stores to `out` cannot change it
    const auto a = load<Copies<Packet>>(c.data(), 1);
    const Index end = i + size;
    if constexpr (width > 1) {
      for (; i + 4 * width <= end; i += 4 * width) {
        const Packet first = loop.template value<Whole>(i, a), second = loop.template value<Whole>(i + width, a),
                     third = loop.template value<Whole>(i + 2 * width, a),
                     fourth = loop.template value<Whole>(i + 3 * width, a);
        Whole::store(loop.out + i, first);
        Whole::store(loop.out + i + width, second);
        Whole::store(loop.out + i + 2 * width, third);
        Whole::store(loop.out + i + 3 * width, fourth);
      }
    }
    for (; i + width <= end; i += width) Whole::store(loop.out + i, loop.template value<Whole>(i, a));
    if constexpr (width > 1) {
      for (; i < end; ++i) Copies<Packet>::store(loop.out + i, loop.template value<Copies<Packet>>(i, a));
    }
  }

  /// Computes `lines` ranges of `size` elements, which begin at i, i + apart, i + 2 apart, ...
  /// Coefficient k of the j-th element of each range is c[k * stride + j].
  template <int lines>
  void in_lines(Index i, Index size, Index apart, const Real* c, Index stride) const {
    using Whole = SideBySide<Packet>;
    constexpr Index width = size_of<Packet>;
    const PacketLoop loop = *this;
    const Index end = i + size;
    if constexpr (width > 1) {
      for (; i + 2 * width <= end; i += 2 * width, c += 2 * width) {
        const auto a = load<Whole>(c, stride), b = load<Whole>(c + width, stride);
        Index at = i;
        for (int line = 0; line < lines; ++line, at += apart) {
          const Packet first = loop.template value<Whole>(at, a), second = loop.template value<Whole>(at + width, b);
          Whole::store(loop.out + at, first);
          Whole::store(loop.out + at + width, second);
        }
      }
    }
    for (; i + width <= end; i += width, c += width) loop.template one_in_lines<lines, Whole>(i, apart, c, stride);
    if constexpr (width > 1) {
      for (; i < end; ++i, ++c) loop.template one_in_lines<lines, Copies<Packet>>(i, apart, c, stride);
    }
  }

 private:
  using CoefficientPackets = std::array<Packet, coefficients>;

  template <class Access>
  static CoefficientPackets load(const Real* c, Index stride) {
    return load<Access>(c, stride, std::make_index_sequence<coefficients>());
  }
  template <class Access, std::size_t... k>
  static CoefficientPackets load(const Real* c, Index stride, std::index_sequence<k...>) {
    return {Access::load(c + static_cast<Index>(k) * stride)...};
  }
  template <class Access>
  Packet value(Index i, const CoefficientPackets& a) const {
    return function(Operands<Packet, Access, Scalar, coefficients>{a, inputs.data(), i});
  }
  template <int lines, class Access>
  void one_in_lines(Index i, Index apart, const Real* c, Index stride) const {
    const auto a = load<Access>(c, stride);
    for (int line = 0; line < lines; ++line, i += apart) Access::store(out + i, value<Access>(i, a));
  }
};

}  // namespace detail
}  // namespace diffusion

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
