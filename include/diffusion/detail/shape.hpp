/// @file shape.hpp
/// Tensors in memory, their shapes, and the allocation of results.
#pragma once

#include <algorithm>  // std::copy_n
#include <array>
#include <cstddef>  // std::size_t
#include <string>
#include <type_traits>
#include <utility>  // std::index_sequence

#include "../tensor.hpp"
#include "error.hpp"

namespace diffusion {
namespace detail {

/// The tensor itself where its values are in memory; otherwise the value of the expression. (Bind it to a const reference.)
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
/// The sizes of the axes of a tensor in memory.
template <class X>
auto shape(const X& x) {
  return shape(x, std::make_index_sequence<static_cast<std::size_t>(Traits<X>::rank)>());
}

/// Whether these are the sizes of x. (The comparison of std::arrays is a call of memcmp.)
template <class X, std::size_t Rank>
bool has_shape(const X& x, const std::array<Eigen::Index, Rank>& sizes) {
  const auto mine = shape(x);
  bool same = true;
  for (std::size_t axis = 0; axis < Rank; ++axis) same = same && mine[axis] == sizes[axis];
  return same;
}

/// "[2, 3, 8, 8]"
template <std::size_t Rank>
std::string shape_text(const std::array<Eigen::Index, Rank>& sizes) {
  std::string out;
  for (const Eigen::Index size : sizes) out += (out.empty() ? "" : ", ") + text(size);
  return "[" + out + "]";
}
template <class X>
std::string shape_text(const X& x) {
  return shape_text(shape(x));
}

template <class X, std::size_t Rank>
typename X::Dimensions dimensions_of(const std::array<Eigen::Index, Rank>& sizes) {
  typename X::Dimensions dimensions;
  for (std::size_t axis = 0; axis < Rank; ++axis) dimensions[axis] = static_cast<typename X::Index>(sizes[axis]);
  return dimensions;
}

/// An uninitialised plain tensor of the shape of x, a tensor in memory.
template <class X>
PlainTensor<X> like(const X& x) {
  return PlainTensor<X>(dimensions_of<PlainTensor<X>>(shape(x)));
}

/// Gives a plain tensor the shape; allocates only where the size changes.
template <class X, std::size_t Rank>
void resize(X& x, const std::array<Eigen::Index, Rank>& sizes) {
  if (!has_shape(x, sizes)) x.resize(dimensions_of<X>(sizes));
}

/// Copies the values of a tensor in memory to one of its shape, which may be the same.
template <class From, class To>
void copy(const From& from, To& to) {
  if (from.data() != to.data()) std::copy_n(from.data(), static_cast<std::size_t>(from.size()), to.data());
}

/// The value form of an operation: its `_into` form, f(out, x), plus one allocation.
template <class X, class F>
PlainTensor<X> returned(const X& x_or_expression, const F& f) {
  const auto& x = evaluated(x_or_expression);
  PlainTensor<X> out = like(x);
  f(out, x);
  return out;
}

}  // namespace detail
}  // namespace diffusion
