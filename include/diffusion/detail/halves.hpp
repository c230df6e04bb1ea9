/// @file halves.hpp
/// The two halves of a tensor along one axis: of a model's channels, or of a batch that is two.
#pragma once

#include <algorithm>  // std::copy_n
#include <cstddef>    // std::size_t

#include "../tensor.hpp"
#include "operands.hpp"

namespace diffusion {
namespace detail {

/// How many values of a half of a tensor along an axis lie together.
template <int axis, class Half>
Eigen::Index block_of_half(const Half& half) {
  static_assert(axis < Traits<Half>::rank);
  const auto sizes = shape(half);
  constexpr bool row_major = Traits<Half>::layout == Eigen::RowMajor;
  Eigen::Index block = 1;
  for (int k = row_major ? axis : 0; k < (row_major ? Traits<Half>::rank : axis + 1); ++k) {
    block *= sizes[static_cast<std::size_t>(k)];
  }
  return block;
}

/// f(value of the half, the same value in the whole) for each block of values that lie together. A tensor of twice the size of
/// `half` along an axis is, in memory, blocks of its first half alternating with blocks of its second.
template <int axis, class Half, class Whole, class F>
void for_blocks_of_half(Half& half, Whole& whole, int which, const F& f) {
  const auto size = static_cast<Eigen::Index>(half.size());
  const Eigen::Index block = block_of_half<axis>(half);
  if (size == 0) return;
  for (Eigen::Index at = 0; at < size; at += block) f(half.data() + at, whole.data() + 2 * at + which * block, block);
}

/// half = half `which`, 0 or 1, of whole.
template <int axis, class Whole, class Half>
void take_half(const Whole& whole, int which, Half& half) {
  for_blocks_of_half<axis>(half, whole, which, [](auto* to, const auto* from, Eigen::Index count) {
    std::copy_n(from, static_cast<std::size_t>(count), to);
  });
}

/// Half `which` of whole = half.
template <int axis, class Half, class Whole>
void put_half(const Half& half, Whole& whole, int which) {
  for_blocks_of_half<axis>(half, whole, which, [](const auto* from, auto* to, Eigen::Index count) {
    std::copy_n(from, static_cast<std::size_t>(count), to);
  });
}

}  // namespace detail
}  // namespace diffusion
