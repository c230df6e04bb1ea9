/// @file shape.hpp
/// Evaluation of expressions, shapes of tensors, and allocation of results.
#pragma once

#include <algorithm>  // std::copy_n
#include <array>
#include <cstddef>  // std::size_t
#include <string>
#include <type_traits>
#include <utility>  // std::index_sequence

#include "../tensor.hpp"
#include "error.hpp"
#include "kernel/in_parallel.hpp"

namespace diffusion {
namespace detail {

/// Returns a reference to x if its values are in memory, otherwise the evaluated expression. Bind
/// the result to a const reference.
template <class X>
decltype(auto) evaluated(const X& x) {
  if constexpr (is_tensor_v<X> && !is_stored_v<X>) {
    return PlainTensor<X>(x);
  } else {
    return (x);
  }
}

template <class X, std::size_t... axis>
std::array<Eigen::Index, sizeof...(axis)> shape(const X& x, std::index_sequence<axis...>) {
  if constexpr (is_tensor_v<X>) {
    return {static_cast<Eigen::Index>(x.dimension(axis))...};
  } else {
    return {};  // unreachable: a static_assert has rejected X already
  }
}
/// Sizes of the axes of a tensor whose values are in memory.
template <class X>
auto shape(const X& x) {
  if constexpr (is_adapted_v<X>) {
    return TensorOperations<X>::shape(x);
  } else {
    return shape(x, std::make_index_sequence<static_cast<std::size_t>(Traits<X>::rank)>());
  }
}

/// Whether x has this shape. A loop, because comparing two std::arrays calls memcmp.
template <class X, class Sizes>
bool has_shape(const X& x, const Sizes& sizes) {
  const auto mine = shape(x);
  if (mine.size() != sizes.size()) return false;
  bool same = true;
  for (std::size_t axis = 0; axis < sizes.size(); ++axis) same = same && mine[axis] == sizes[axis];
  return same;
}

/// A shape as text, for example "[2, 3, 8, 8]": the shape of a tensor, or the given sizes.
template <class X>
std::string shape_text(const X& x) {
  if constexpr (is_tensor_v<X> || is_adapted_v<X>) {
    return shape_text(shape(x));
  } else {
    std::string out;
    for (const auto size : x) out += (out.empty() ? "" : ", ") + text(static_cast<Eigen::Index>(size));
    return "[" + out + "]";
  }
}

/// The sizes as the dimensions type of X, with X's index type.
template <class X, std::size_t Rank>
typename X::Dimensions dimensions_of(const std::array<Eigen::Index, Rank>& sizes) {
  typename X::Dimensions dimensions;
  for (std::size_t axis = 0; axis < Rank; ++axis) dimensions[axis] = static_cast<typename X::Index>(sizes[axis]);
  return dimensions;
}

/// Returns an uninitialised plain tensor of x's shape. The values of x must be in memory.
template <class X>
PlainTensor<X> like(const X& x) {
  if constexpr (is_adapted_v<X>) {
    return x;
  } else {
    return PlainTensor<X>(dimensions_of<PlainTensor<X>>(shape(x)));
  }
}

/// Resizes a plain tensor to this shape. Allocates only if the number of values changes.
template <class X, std::size_t Rank>
void resize(X& x, const std::array<Eigen::Index, Rank>& sizes) {
  if (!has_shape(x, sizes)) x.resize(dimensions_of<X>(sizes));
}

/// Gives `out` the shape of x, with unspecified values.
template <class Out, class X>
void resize_like(Out& out, const X& x) {
  if constexpr (is_adapted_v<Out>) {
    if (!has_shape(out, shape(x))) out = x;
  } else {
    resize(out, shape(x));
  }
}

/// Copies the values of `from` to `to`, a tensor of the same shape and layout. Both may be the same
/// tensor.
template <class From, class To, class Device = Eigen::DefaultDevice>
void copy(const From& from, To& to, const Device& device = Device()) {
  if constexpr (is_adapted_v<To>) {
    if (&from != &to) to = from;
  } else {
    if (from.data() == to.data()) return;
    in_parallel(device, static_cast<Eigen::Index>(from.size()), sizeof(*to.data()),
                [&](Eigen::Index begin, Eigen::Index end) {
                  std::copy_n(from.data() + begin, static_cast<std::size_t>(end - begin), to.data() + begin);
                });
  }
}

/// Calls the `_into` form f of a function on a new tensor: allocates `out` with the shape of x,
/// calls f(out, x) and returns `out`.
template <class X, class F>
PlainTensor<X> returned(const X& x_or_expression, const F& f) {
  const auto& x = evaluated(x_or_expression);
  PlainTensor<X> out = like(x);
  f(out, x);
  return out;
}

}  // namespace detail
}  // namespace diffusion
