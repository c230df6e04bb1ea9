/// @file samples.hpp
/// Single samples of a batch, means and shapes, for tests that compare a batch with its samples.
#pragma once

#include <cstddef>
#include <unsupported/Eigen/CXX11/Tensor>

/// Returns sample n of x as a batch of one.
template <class Scalar, int Rank, int Layout, class Index>
Eigen::Tensor<Scalar, Rank, Layout, Index> sample_of(const Eigen::Tensor<Scalar, Rank, Layout, Index>& x,
                                                     Eigen::Index n) {
  Eigen::array<Index, static_cast<std::size_t>(Rank)> first{}, extent;
  for (std::size_t d = 0; d < extent.size(); ++d) extent[d] = x.dimension(d);
  first[0] = n;
  extent[0] = 1;
  return x.slice(first, extent);
}

/// Mean of all values.
template <class Tensor>
double mean_of(const Tensor& x) {
  double sum = 0;
  for (Eigen::Index i = 0; i < x.size(); ++i) sum += static_cast<double>(x.data()[i]);
  return sum / static_cast<double>(x.size());
}

/// The first Rank sizes of [batch, 4, 3, 2, 2].
template <int Rank>
Eigen::array<Eigen::Index, static_cast<std::size_t>(Rank)> shape_of_rank(Eigen::Index batch) {
  constexpr Eigen::Index sizes[] = {0, 4, 3, 2, 2};
  Eigen::array<Eigen::Index, static_cast<std::size_t>(Rank)> out;
  for (std::size_t d = 0; d < out.size(); ++d) out[d] = d == 0 ? batch : sizes[d];
  return out;
}
