/// @file arguments.hpp
/// Checks of tensors and timesteps. Every operation runs them before it reads or writes a value.
#pragma once

#include <array>
#include <cstddef>  // std::size_t
#include <cstdint>
#include <stdexcept>  // std::invalid_argument, std::out_of_range
#include <string>
#include <type_traits>
#include <utility>  // std::declval

#include "../tensor.hpp"
#include "error.hpp"
#include "shape.hpp"

namespace diffusion {
namespace detail {

/// A tensor argument whose values are in memory, with its name for messages.
template <class Evaluated>
struct Argument {
  const char* name;
  Evaluated tensor;  // a reference to the caller's tensor, or the evaluated expression
};
template <class X>
Argument<decltype(evaluated(std::declval<const X&>()))> argument(const char* name, const X& x) {
  return {name, evaluated(x)};
}

/// Whether all are tensors of the given scalar type and share one layout and one rank. If not, a
/// static_assert says which requirement fails.
template <class Scalar, class First, class... More>
constexpr bool tensors_agree() {
  constexpr bool tensors = is_tensor_v<First> && (is_tensor_v<More> && ...);
  static_assert(tensors,
                "diffusion: this argument must be an Eigen tensor: an Eigen::Tensor, TensorMap, TensorFixedSize or an "
                "expression of them; Denoiser, sample and add_noise also take a type with diffusion::TensorOperations");
  if constexpr (tensors) {
    constexpr bool scalars = std::is_same_v<typename Traits<First>::Scalar, Scalar> &&
                             (std::is_same_v<typename Traits<More>::Scalar, Scalar> && ...);
    constexpr bool layouts = ((Traits<First>::layout == Traits<More>::layout) && ...);
    constexpr bool ranks = ((Traits<First>::rank == Traits<More>::rank) && ...);
    static_assert(scalars,
                  "diffusion: all tensors must have the same scalar type, that of the process if there is one; convert "
                  "with x.cast<Scalar>()");
    static_assert(layouts,
                  "diffusion: the tensors mix RowMajor and ColMajor; convert one with swap_layout() and shuffle()");
    static_assert(ranks, "diffusion: the tensors differ in rank");
    return scalars && layouts && ranks;
  }
  return false;
}

/// Whether all Out can be written to. If not, a static_assert says so.
template <class... Out>
constexpr bool can_be_results() {
  constexpr bool writable = (is_writable_v<Out> && ...);
  static_assert(writable,
                "diffusion: `out` must be an Eigen::Tensor, TensorMap or TensorFixedSize that is not const (to write "
                "to a part of a tensor, pass a TensorMap of it)");
  return writable;
}

/// Whether Moments has the members mean, variance and log_variance.
template <class Moments, class = void>
inline constexpr bool has_moments_v = false;
template <class Moments>
inline constexpr bool has_moments_v<
    Moments, std::void_t<decltype(Moments::mean), decltype(Moments::variance), decltype(Moments::log_variance)>> = true;
/// As above. If it has not, a static_assert says so.
template <class Moments>
constexpr bool are_moments() {
  static_assert(has_moments_v<Moments>,
                "diffusion: `out` must have the tensors mean, variance and log_variance: a diffusion::MeanVariance");
  return has_moments_v<Moments>;
}

// Failure paths are separate cold functions, so that the checks stay small when inlined.

template <class X, class Y>
[[noreturn, gnu::cold, gnu::noinline]] void fail_of_shapes(const char* where, const char* x_name, const X& x,
                                                           const char* y_name, const Y& y) {
  fail<std::invalid_argument>(where, y_name, " has shape ", shape_text(y), ", but ", x_name, " has ", shape_text(x));
}

[[noreturn, gnu::cold, gnu::noinline]] inline void fail_of_entries(const char* where, const char* name,
                                                                   Eigen::Index entries, Eigen::Index batch) {
  fail<std::invalid_argument>(where, name, " has ", entries, " entries for a batch of ", batch, " samples");
}

/// Throws std::out_of_range for the first timestep outside [first, last).
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
void check_same_shape(const char* where, const Argument<X>& x, const Argument<Y>& y) {
  if (!has_shape(y.tensor, shape(x.tensor))) fail_of_shapes(where, x.name, x.tensor, y.name, y.tensor);
}

/// Returns the size of the first axis. Throws std::invalid_argument if x has rank 0.
template <class X>
Eigen::Index batch_size(const char* where, const Argument<X>& x) {
  if constexpr (Traits<X>::rank == 0) {
    fail<std::invalid_argument>(where, x.name, " has rank 0; its first axis must be the batch");
  } else {
    return shape(x.tensor)[0];
  }
}

/// Throws std::invalid_argument unless `out`, the result for x, has the shape `sizes`. The message
/// calls the result `name`.
template <class Out, class X, class Sizes>
void check_result(const char* where, const char* name, const Out& out, const X& x, const Sizes& sizes) {
  if (!has_shape(out, sizes)) {
    fail<std::invalid_argument>(where, name, " has shape ", shape_text(out), ", but for x of shape ", shape_text(x),
                                " it must have ", shape_text(sizes));
  }
}

/// Whether first <= t[n] < last for all n < count. Branch-free, so that it vectorises: t[n] is in
/// range if and only if the sign bits of t[n] - first and last - 1 - t[n] are both 0.
inline bool all_within(const Eigen::Index* t, Eigen::Index count, Eigen::Index first, Eigen::Index last) {
  const auto bits = [](Eigen::Index i) { return static_cast<std::uint64_t>(i); };
  std::uint64_t signs = 0;
  for (Eigen::Index n = 0; n < count; ++n) signs |= (bits(t[n]) - bits(first)) | (bits(last - 1) - bits(t[n]));
  return signs >> 63 == 0;
}

/// Throws std::invalid_argument unless t is uniform or has one entry per sample, and
/// std::out_of_range unless first <= t[n] < last for every entry.
inline void check_timesteps(const char* where, const char* name, const TimestepsView& t, Eigen::Index batch,
                            Eigen::Index first, Eigen::Index last) {
  if (!t.uniform() && t.size() != batch) fail_of_entries(where, name, t.size(), batch);
  const bool within =
      t.uniform() || batch == 1 ? first <= t[0] && t[0] < last : all_within(t.entries(), batch, first, last);
  if (!within) fail_of_timesteps(where, name, t, first, last);
}

}  // namespace detail
}  // namespace diffusion
