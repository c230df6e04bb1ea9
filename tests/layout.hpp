/// @file layout.hpp
/// The same tensor in the other layout.
#pragma once

#include <algorithm>  // std::copy_n
#include <cstddef>
#include <unsupported/Eigen/CXX11/Tensor>

/// A copy of x in the layout asked for, every element at its own index [i, j, ..].
template <int Layout, class Scalar, int Rank, int Options, class Index>
Eigen::Tensor<Scalar, Rank, Layout, Index> with_layout(const Eigen::Tensor<Scalar, Rank, Options, Index>& x) {
  if constexpr (static_cast<int>(Eigen::Tensor<Scalar, Rank, Options, Index>::Layout) == Layout) {
    return x;
  } else if constexpr (Rank < 2) {
    Eigen::Tensor<Scalar, Rank, Layout, Index> out;
    out.resize(x.dimensions());
    std::copy_n(x.data(), static_cast<std::size_t>(x.size()), out.data());
    return out;
  } else {
    // swap_layout reverses the axes; shuffling them back leaves every element at its own index.
    Eigen::array<int, static_cast<std::size_t>(Rank)> reversed;
    for (std::size_t d = 0; d < reversed.size(); ++d) reversed[d] = Rank - 1 - static_cast<int>(d);
    return x.swap_layout().shuffle(reversed);
  }
}
