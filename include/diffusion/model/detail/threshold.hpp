/// @file threshold.hpp
/// Dynamic thresholding of a batch.
#pragma once

#include <algorithm>  // std::max, std::min, std::nth_element
#include <array>
#include <cmath>  // std::floor, std::isfinite
#include <limits>

#include "../../detail/kernel/elementwise.hpp"
#include "../../detail/shape.hpp"

namespace diffusion {
namespace detail {

/// Returns the q-quantile of x[0..size), interpolated linearly between the order statistics on both
/// sides of q (size - 1). Reorders x.
template <class Scalar>
double quantile(Scalar* x, Index size, double q) {
  const double place = q * static_cast<double>(size - 1);
  const auto below = static_cast<Index>(std::floor(place));
  std::nth_element(x, x + below, x + size);
  const auto low = static_cast<double>(x[below]);
  if (below + 1 == size) return low;
  const auto high = static_cast<double>(*std::min_element(x + below + 1, x + size));
  return low + (place - static_cast<double>(below)) * (high - low);
}

/// Thresholds x in place, per sample:
///
///     s = q-quantile of |x|, clipped to [low, high]
///     x = clip(x, -s, s) / s
///
/// All values of a sample become NaN if one is not finite. `magnitudes` and `thresholds` are
/// workspaces.
template <class Device, class Tensor, class Thresholds>
void threshold(const Device& device, Tensor& x, double q, double low, double high, Tensor& magnitudes,
               Thresholds& thresholds) {
  using Scalar = typename Tensor::Scalar;
  if (x.size() == 0) return;
  const Index batch = static_cast<Index>(x.dimension(0)), sample_size = static_cast<Index>(x.size()) / batch;
  const bool row_major = static_cast<int>(Tensor::Layout) == Eigen::RowMajor;
  resize(magnitudes, shape(x));
  thresholds.resize(batch);
  // Selection takes about 10 ns per value.
  const Eigen::TensorOpCost cost(sizeof(Scalar) * static_cast<double>(sample_size), 0.0,
                                 30.0 * static_cast<double>(sample_size));
  in_parallel(device, batch, cost, [&](Index n, Index end) {
    for (; n < end; ++n) {
      Scalar* const of_sample = magnitudes.data() + n * sample_size;
      bool finite = true;
      for (Index i = 0; i < sample_size; ++i) {
        const Scalar value = x.data()[row_major ? n * sample_size + i : i * batch + n];
        finite = finite && (Eigen::numext::isfinite)(value);
        of_sample[i] = Eigen::numext::abs(value);
      }
      // A quantile needs finite values. If one is not, s is NaN, which makes the whole sample NaN.
      thresholds[n] = finite ? (std::min)((std::max)(quantile(of_sample, sample_size, q), low), high)
                             : std::numeric_limits<double>::quiet_NaN();
    }
  });
  clamp(
      device, x,
      [&](Index n) {
        return std::array{-thresholds[n], thresholds[n]};
      },
      x);
  affine(
      device, x, [&](Index n) { return std::array{1.0 / thresholds[n]}; }, x);
}

}  // namespace detail
}  // namespace diffusion
