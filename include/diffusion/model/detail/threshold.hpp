/// @file threshold.hpp
/// Dynamic thresholding of a batch.
#pragma once

#include <algorithm>  // std::max, std::min, std::nth_element
#include <array>
#include <cmath>  // std::abs, std::floor, std::isfinite
#include <limits>

#include "../../detail/kernel/elementwise.hpp"

namespace diffusion {
namespace detail {

/// Returns the q-quantile of x[0..size), interpolated linearly between the order statistics on both
/// sides of q (size - 1). Reorders x.
inline double quantile(double* x, Index size, double q) {
  const double place = q * static_cast<double>(size - 1);
  const auto below = static_cast<Index>(std::floor(place));
  std::nth_element(x, x + below, x + size);
  const double low = x[below];
  if (below + 1 == size) return low;
  const double high = *std::min_element(x + below + 1, x + size);
  return low + (place - static_cast<double>(below)) * (high - low);
}

/// Thresholds x in place, per sample:
///
///     s = q-quantile of |x|, clipped to [low, high]
///     x = clip(x, -s, s) / s
///
/// All values of a sample become NaN if one is not finite. `magnitudes` and `thresholds` are
/// workspaces.
template <class Tensor, class Memory>
void threshold(Tensor& x, double q, double low, double high, Memory& magnitudes, Memory& thresholds) {
  if (x.size() == 0) return;
  const Index batch = static_cast<Index>(x.dimension(0)), sample_size = static_cast<Index>(x.size()) / batch;
  const bool row_major = static_cast<int>(Tensor::Layout) == Eigen::RowMajor;
  magnitudes.resize(sample_size);
  thresholds.resize(batch);
  for (Index n = 0; n < batch; ++n) {
    bool finite = true;
    for (Index i = 0; i < sample_size; ++i) {
      const double value = std::abs(static_cast<double>(x.data()[row_major ? n * sample_size + i : i * batch + n]));
      finite = finite && std::isfinite(value);
      magnitudes[i] = value;
    }
    // A quantile needs finite values. If one is not, s is NaN, which makes the whole sample NaN.
    thresholds[n] = finite ? (std::min)((std::max)(quantile(magnitudes.data(), sample_size, q), low), high)
                           : std::numeric_limits<double>::quiet_NaN();
  }
  const Eigen::DefaultDevice device;
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
