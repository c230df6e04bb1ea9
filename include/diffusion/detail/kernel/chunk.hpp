/// @file chunk.hpp
/// Splits a tensor into two chunks along one axis: the channels of a model that learns variances,
/// or a doubled batch.
#pragma once

#include <algorithm>  // std::copy_n
#include <cstddef>    // std::size_t
#include <unsupported/Eigen/CXX11/Tensor>

#include "../../tensor.hpp"
#include "../shape.hpp"

namespace diffusion {
namespace detail {

/// Number of contiguous values per block. In memory, a tensor that is twice as long as `part` along
/// the axis alternates blocks of its first chunk with blocks of its second.
template <int axis, class Part>
Eigen::Index chunk_block(const Part& part) {
  static_assert(axis < Traits<Part>::rank);
  constexpr bool row_major = Traits<Part>::layout == Eigen::RowMajor;
  const auto sizes = shape(part);
  Eigen::Index block = 1;
  for (int k = row_major ? axis : 0; k < (row_major ? Traits<Part>::rank : axis + 1); ++k) {
    block *= sizes[static_cast<std::size_t>(k)];
  }
  return block;
}

/// Copies chunk `which` (0 or 1) of `whole` to `part`.
template <int axis, class Whole, class Part>
void chunk(const Whole& whole, int which, Part& part) {
  const Eigen::Index size = static_cast<Eigen::Index>(part.size()), block = chunk_block<axis>(part);
  for (Eigen::Index at = 0; at < size; at += block) {
    std::copy_n(whole.data() + 2 * at + which * block, static_cast<std::size_t>(block), part.data() + at);
  }
}

/// Copies `part` to chunk `which` (0 or 1) of `whole`.
template <int axis, class Part, class Whole>
void set_chunk(const Part& part, Whole& whole, int which) {
  const Eigen::Index size = static_cast<Eigen::Index>(part.size()), block = chunk_block<axis>(part);
  for (Eigen::Index at = 0; at < size; at += block) {
    std::copy_n(part.data() + at, static_cast<std::size_t>(block), whole.data() + 2 * at + which * block);
  }
}

}  // namespace detail
}  // namespace diffusion
