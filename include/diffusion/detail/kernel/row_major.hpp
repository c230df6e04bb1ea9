/// @file row_major.hpp
/// Logical row-major order, in which noise is drawn and samples are summed in either layout.
#pragma once

#include <array>
#include <cstddef>
#include <unsupported/Eigen/CXX11/Tensor>

#include "../../tensor.hpp"
#include "../shape.hpp"

namespace diffusion {
namespace detail {

/// Iterates over the indices of axes First, First + 1, ... of a tensor in row-major order, the last
/// axis fastest. Gives the offset of each in the tensor's memory, with index 0 on the axes before
/// First.
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

  /// Moves to a position in row-major order. No axis may be empty.
  void seek(Index position) {
    offset_ = 0;
    for (std::size_t axis = rank; axis-- > first;) {
      index_[axis] = position % shape_[axis];
      position /= shape_[axis];
      offset_ += index_[axis] * stride_[axis];
    }
  }

  /// Returns the offset in memory of the current position and moves to the next one. After the last
  /// position comes the first.
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

/// Returns a walk over all axes of x except the first `First`.
template <int First, class X>
RowMajorWalk<Traits<X>::rank, Traits<X>::layout, First> row_major_walk(const X& x) {
  return RowMajorWalk<Traits<X>::rank, Traits<X>::layout, First>(shape(x));
}

}  // namespace detail
}  // namespace diffusion
