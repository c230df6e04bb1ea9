/// @file layout.hpp
/// Conversion of a tensor to the other layout.
#pragma once

#include <algorithm>  // std::copy_n
#include <cstddef>
#include <unsupported/Eigen/CXX11/Tensor>
#include <vector>

namespace layouts {

/// Offsets in ColMajor memory of all elements, in the order of RowMajor memory.
inline std::vector<Eigen::Index> column_major_places(const std::vector<Eigen::Index>& dims) {
  std::vector<Eigen::Index> strides(dims.size()), index(dims.size(), 0);
  Eigen::Index size = 1;
  for (std::size_t d = 0; d < dims.size(); size *= dims[d++]) strides[d] = size;
  std::vector<Eigen::Index> places(static_cast<std::size_t>(size));
  Eigen::Index at = 0;
  for (Eigen::Index& place : places) {
    place = at;
    for (std::size_t d = dims.size(); d-- > 0;) {  // the next index, the last axis fastest
      at += strides[d];
      if (++index[d] < dims[d]) break;
      at -= strides[d] * dims[d];
      index[d] = 0;
    }
  }
  return places;
}

/// Dimensions of a tensor or of an evaluator.
template <class X>
std::vector<Eigen::Index> dims_of(const X& x) {
  std::vector<Eigen::Index> dims;
  for (const auto dim : x.dimensions()) dims.push_back(static_cast<Eigen::Index>(dim));
  return dims;
}

}  // namespace layouts

/// Returns a copy of x in the layout `Layout`, with every element at the same index [i, j, ..].
template <int Layout, class Scalar, int Rank, int Options, class Index>
Eigen::Tensor<Scalar, Rank, Layout, Index> with_layout(const Eigen::Tensor<Scalar, Rank, Options, Index>& x) {
  constexpr int layout_of_x = Eigen::Tensor<Scalar, Rank, Options, Index>::Layout;
  if constexpr (layout_of_x == Layout) {
    return x;
  } else {
    Eigen::Tensor<Scalar, Rank, Layout, Index> out;
    out.resize(x.dimensions());
    if constexpr (Rank < 2) {
      std::copy_n(x.data(), static_cast<std::size_t>(x.size()), out.data());
    } else {
      Eigen::Index row_major = 0;
      for (const Eigen::Index col_major : layouts::column_major_places(layouts::dims_of(x))) {
        const bool from_rows = layout_of_x == Eigen::RowMajor;
        out.data()[from_rows ? col_major : row_major] = x.data()[from_rows ? row_major : col_major];
        ++row_major;
      }
    }
    return out;
  }
}
