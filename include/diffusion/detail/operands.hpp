/// @file operands.hpp
/// What every operation asks of its tensors and timesteps before it touches a value, and the allocation of its result.
#pragma once

#include <algorithm>  // std::copy_n
#include <array>
#include <cstddef>  // std::size_t
#include <cstdint>
#include <stdexcept>  // std::invalid_argument, std::out_of_range
#include <string>
#include <type_traits>
#include <utility>  // std::declval, std::index_sequence

#include "../tensor.hpp"
#include "error.hpp"

namespace diffusion {
namespace detail {

/// The tensor itself where its values are in memory; an expression, evaluated. (Bind it to a const reference.)
template <class X>
decltype(auto) stored(const X& x) {
  if constexpr (is_tensor_v<X> && !is_stored_v<X>) {
    return PlainTensor<X>(x);
  } else {
    return (x);
  }
}

/// A tensor argument in memory and the name it bears in messages.
template <class Stored>
struct Argument {
  const char* name;
  Stored tensor;  // a reference to the caller's tensor, or the evaluated expression
};
template <class X>
Argument<decltype(stored(std::declval<const X&>()))> argument(const char* name, const X& x) {
  return {name, stored(x)};
}

template <class X, std::size_t... axis>
std::array<Eigen::Index, sizeof...(axis)> shape(const X& x, std::index_sequence<axis...>) {
  if constexpr (is_tensor_v<X>) {
    return {static_cast<Eigen::Index>(x.dimension(axis))...};
  } else {
    return {};  // who asks has said that this is no tensor
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

/// An uninitialised plain tensor of the shape of x, a tensor in memory.
template <class X>
PlainTensor<X> like(const X& x) {
  typename PlainTensor<X>::Dimensions dimensions;
  const auto sizes = shape(x);
  for (std::size_t axis = 0; axis < sizes.size(); ++axis) {
    dimensions[axis] = static_cast<typename PlainTensor<X>::Index>(sizes[axis]);
  }
  return PlainTensor<X>(dimensions);
}

/// The value form of an operation: its `_into` form, f(out, x), plus one allocation.
template <class X, class F>
PlainTensor<X> returned(const X& x_or_expression, const F& f) {
  const auto& x = stored(x_or_expression);
  PlainTensor<X> out = like(x);
  f(out, x);
  return out;
}

/// The same for an operation that gives the moments of a Gaussian, Moments<Tensor>: one allocation for each.
template <template <class> class Moments, class X, class F>
Moments<PlainTensor<X>> returned_moments(const X& x_or_expression, const F& f) {
  const auto& x = stored(x_or_expression);
  Moments<PlainTensor<X>> out{like(x), like(x), like(x)};
  f(out, x);
  return out;
}

/// Whether all are tensors of the given scalar type, of one layout and one rank; if not, one sentence says which is wrong.
template <class Scalar, class First, class... More>
constexpr bool tensors_agree() {
  constexpr bool tensors = is_tensor_v<First> && (is_tensor_v<More> && ...);
  static_assert(tensors,
                "diffusion: this argument must be an Eigen tensor: an Eigen::Tensor, TensorMap, TensorFixedSize or an "
                "expression of them");
  if constexpr (tensors) {
    constexpr bool scalars = std::is_same_v<typename Traits<First>::Scalar, Scalar> &&
                             (std::is_same_v<typename Traits<More>::Scalar, Scalar> && ...);
    constexpr bool layouts = ((Traits<First>::layout == Traits<More>::layout) && ...);
    constexpr bool ranks = ((Traits<First>::rank == Traits<More>::rank) && ...);
    static_assert(scalars,
                  "diffusion: the scalar type of every tensor must be the Scalar of the process; convert with "
                  "x.cast<Scalar>()");
    static_assert(layouts,
                  "diffusion: the tensors mix RowMajor and ColMajor; convert one with swap_layout() and shuffle()");
    static_assert(ranks, "diffusion: the tensors differ in rank");
    return scalars && layouts && ranks;
  }
  return false;
}

/// Whether all can be written to; if not, one sentence says so.
template <class... Out>
constexpr bool can_be_results() {
  constexpr bool writable = (is_writable_v<Out> && ...);
  static_assert(writable,
                "diffusion: `out` must be an Eigen::Tensor, TensorMap or TensorFixedSize that is not const (to write a "
                "part of a tensor, map it)");
  return writable;
}

/// Whether Moments has the tensors mean, variance and log_variance; if not, one sentence says so.
template <class Moments, class = void>
inline constexpr bool has_moments_v = false;
template <class Moments>
inline constexpr bool has_moments_v<
    Moments, std::void_t<decltype(Moments::mean), decltype(Moments::variance), decltype(Moments::log_variance)>> = true;
template <class Moments>
constexpr bool are_moments() {
  static_assert(has_moments_v<Moments>,
                "diffusion: `out` must have the tensors mean, variance and log_variance: a diffusion::MeanVariance");
  return has_moments_v<Moments>;
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

// Out of line, like `fail`, is also what a message is made of; and an Argument is not handed on, which would put it in memory.

template <class X, class Y>
[[noreturn, gnu::cold, gnu::noinline]] void fail_of_shapes(const char* where, const char* x_name, const X& x,
                                                           const char* y_name, const Y& y) {
  fail<std::invalid_argument>(where, y_name, " has shape ", shape_text(y), ", but ", x_name, " has ", shape_text(x));
}

[[noreturn, gnu::cold, gnu::noinline]] inline void fail_of_entries(const char* where, const char* name,
                                                                   Eigen::Index entries, Eigen::Index batch) {
  fail<std::invalid_argument>(where, name, " has ", entries, " entries for a batch of ", batch, " samples");
}

/// Throws for the first of the timesteps that is not in [first, last).
[[noreturn, gnu::cold, gnu::noinline]] inline void fail_of_timesteps(const char* where, const char* name,
                                                                     TimestepsView t, Eigen::Index first,
                                                                     Eigen::Index last) {
  Eigen::Index n = 0;
  while (first <= t[n] && t[n] < last) ++n;
  const std::string index = t.uniform() ? "" : "[" + text(n) + "]";
  fail<std::out_of_range>(where, name, index, " = ", t[n], " is outside [", first, ", ", last, ")");
}

/// Throws std::invalid_argument unless y has x's shape.
template <class X, class Y>
[[gnu::always_inline]] inline void check_same_shape(const char* where, const Argument<X>& x, const Argument<Y>& y) {
  if (!has_shape(y.tensor, shape(x.tensor))) fail_of_shapes(where, x.name, x.tensor, y.name, y.tensor);
}

/// N, the size of the first axis. Throws std::invalid_argument for rank 0.
template <class X>
Eigen::Index batch_size(const char* where, const Argument<X>& x) {
  if constexpr (Traits<X>::rank == 0) {
    fail<std::invalid_argument>(where, x.name, " has rank 0; its first axis must be the batch");
  } else {
    return shape(x.tensor)[0];
  }
}

/// Whether first <= t[n] < last for all n < count. The sign bits of t[n] - first and of last - 1 - t[n] tell, and are asked for
/// once, so that compilers take many entries at a time.
[[gnu::noinline]] inline bool all_within(const Eigen::Index* t, Eigen::Index count, Eigen::Index first,
                                         Eigen::Index last) {
  const auto bits = [](Eigen::Index i) { return static_cast<std::uint64_t>(i); };
  std::uint64_t signs = 0;
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC unroll 4  // clang does so by itself
#endif
  for (Eigen::Index n = 0; n < count; ++n) signs |= (bits(t[n]) - bits(first)) | (bits(last - 1) - bits(t[n]));
  return signs >> 63 == 0;
}

/// Throws std::invalid_argument unless t has one entry per sample, std::out_of_range unless first <= t[n] < last. (In line, it
/// costs a small call a few instructions.)
[[gnu::always_inline]] inline void check_timesteps(const char* where, const char* name, const TimestepsView& t,
                                                   Eigen::Index batch, Eigen::Index first, Eigen::Index last) {
  if (!t.uniform() && t.size() != batch) fail_of_entries(where, name, t.size(), batch);
  const bool within =
      t.uniform() || batch == 1 ? first <= t[0] && t[0] < last : all_within(t.entries(), batch, first, last);
  if (!within) fail_of_timesteps(where, name, t, first, last);
}

/// Gives a plain tensor the shape; takes memory only where the size changes.
template <class X, std::size_t Rank>
void resize(X& x, const std::array<Eigen::Index, Rank>& sizes) {
  if (has_shape(x, sizes)) return;
  typename X::Dimensions dimensions;
  for (std::size_t axis = 0; axis < Rank; ++axis) dimensions[axis] = static_cast<typename X::Index>(sizes[axis]);
  x.resize(dimensions);
}

/// to = from, both of one shape.
template <class From, class To>
void copy(const From& from, To& to) {
  if (from.data() != to.data()) std::copy_n(from.data(), static_cast<std::size_t>(from.size()), to.data());
}

/// Throws std::invalid_argument, with both shapes, unless what `name` gave for x has the shape `sizes`.
template <class Out, class X, std::size_t Rank>
void check_result(const char* where, const char* name, const Out& out, const X& x,
                  const std::array<Eigen::Index, Rank>& sizes) {
  if (!has_shape(out, sizes)) {
    fail<std::invalid_argument>(where, name, " has shape ", shape_text(out), ", but for x of shape ", shape_text(x),
                                " it must have ", shape_text(sizes));
  }
}

/// noise(x), or noise(x, device) where the source can use the device.
template <class Noise, class X, class Device>
void draw(Noise& noise, X& x, const Device& device) {
  if constexpr (std::is_invocable_v<Noise&, X&, const Device&>) {
    noise(x, device);
  } else {
    static_assert(
        std::is_invocable_v<Noise&, X&>,
        "diffusion: noise must be a tensor of x's shape or a noise source, a callable noise(x) that fills the "
        "tensor x");
    if constexpr (std::is_invocable_v<Noise&, X&>) noise(x);
  }
}

}  // namespace detail
}  // namespace diffusion
