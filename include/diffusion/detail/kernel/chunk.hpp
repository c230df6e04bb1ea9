/// @file chunk.hpp
/// The two chunks of a tensor along one axis: of a model's channels, or of a batch that holds another one twice.
#pragma once

#include <algorithm>  // std::copy_n
#include <cstddef>    // std::size_t
#include <unsupported/Eigen/CXX11/Tensor>

#include "../../tensor.hpp"
#include "../shape.hpp"

namespace diffusion {
namespace detail {

/// Number of values of `part` that lie together in memory in a tensor of twice its size along an axis. In that tensor, blocks of
/// as many values of its first chunk alternate with blocks of its second.
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

/// part = chunk `which`, 0 or 1, of whole.
template <int axis, class Whole, class Part>
void chunk(const Whole& whole, int which, Part& part) {
  const Eigen::Index size = static_cast<Eigen::Index>(part.size()), block = chunk_block<axis>(part);
  for (Eigen::Index at = 0; at < size; at += block) {
    std::copy_n(whole.data() + 2 * at + which * block, static_cast<std::size_t>(block), part.data() + at);
  }
}

/// Chunk `which` of whole = part.
template <int axis, class Part, class Whole>
void set_chunk(const Part& part, Whole& whole, int which) {
  const Eigen::Index size = static_cast<Eigen::Index>(part.size()), block = chunk_block<axis>(part);
  for (Eigen::Index at = 0; at < size; at += block) {
    std::copy_n(part.data() + at, static_cast<std::size_t>(block), whole.data() + 2 * at + which * block);
  }
}

}  // namespace detail
}  // namespace diffusion
