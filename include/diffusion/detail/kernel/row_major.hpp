/// @file row_major.hpp
/// Logical row-major order: in which noise is drawn and samples are summed, whatever the layout of the tensor.
#pragma once

#include <array>
#include <cstddef>
#include <unsupported/Eigen/CXX11/Tensor>

#include "../../tensor.hpp"
#include "../shape.hpp"

namespace diffusion {
namespace detail {

/// Walks the indices of axes First, First + 1, ... of a tensor in row-major order, the last axis fastest, and returns the offset
/// of each in the tensor's memory (at index 0 of the axes before First).
template <int Rank, int Layout, int First>
class RowMajorWalk {
 public:
  using Index = Eigen::Index;

  explicit RowMajorWalk(const std::array<Index, static_cast<std::size_t>(Rank)>& shape) : shape_(shape) {
    Index stride = 1;
    for (std::size_t i = 0; i < rank; ++i) {
      const std::size_t axis = Layout == Eigen::RowMajor ? rank - 1 - i : i;
      stride_[axis] = stride;
      stride *= shape_[axis];
    }
  }

  /// Goes to a position of the order. No axis may be empty.
  void seek(Index position) {
    offset_ = 0;
    for (std::size_t axis = rank; axis-- > first;) {
      index_[axis] = position % shape_[axis];
      position /= shape_[axis];
      offset_ += index_[axis] * stride_[axis];
    }
  }

  /// The offset in memory of the present position, which moves on by one (from the last one to the first).
  Index next() {
    const Index offset = offset_;
    for (std::size_t axis = rank; axis-- > first;) {
      offset_ += stride_[axis];
      if (++index_[axis] < shape_[axis]) break;
      offset_ -= index_[axis] * stride_[axis];
      index_[axis] = 0;
    }
    return offset;
  }

 private:
  static constexpr std::size_t rank = static_cast<std::size_t>(Rank), first = static_cast<std::size_t>(First);
  std::array<Index, rank> shape_, stride_{}, index_{};
  Index offset_ = 0;
};

/// A walk over all axes of x but the first `First`.
template <int First, class X>
RowMajorWalk<Traits<X>::rank, Traits<X>::layout, First> row_major_walk(const X& x) {
  return RowMajorWalk<Traits<X>::rank, Traits<X>::layout, First>(shape(x));
}

}  // namespace detail
}  // namespace diffusion
