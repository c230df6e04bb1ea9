/// @file sample_range.hpp
/// The division of the samples of a job over threads, processes or machines.
#pragma once

#include <Eigen/Core>
#include <algorithm>  // std::min
#include <stdexcept>  // std::invalid_argument, std::out_of_range

#include "../detail/check.hpp"
#include "../detail/error.hpp"

namespace diffusion {

/// The samples n with begin <= n < end.
struct SampleRange {
  Eigen::Index begin = 0,  ///< first sample
      end = 0;             ///< one past the last sample

  /// Number of samples.
  Eigen::Index size() const { return end - begin; }
};

/// Returns the part of `count` samples that rank `rank` of `size` ranks makes. Ranges are
/// contiguous, in the order of the ranks, and their sizes differ by at most 1:
///
///     begin = rank floor(count / size) + min(rank, count mod size),   end = begin of rank + 1
///
/// Pass begin to PhiloxNoise as first_sample, so that sample n draws from stream n on any rank.
///
/// Throws std::invalid_argument if count is negative or size is not positive, and std::out_of_range
/// unless 0 <= rank < size.
[[nodiscard]] inline SampleRange sample_range(Eigen::Index count, Eigen::Index rank, Eigen::Index size) {
  constexpr const char* where = "sample_range";
  detail::check_at_least<Eigen::Index>(where, "count", count, 0);
  detail::check_at_least<Eigen::Index>(where, "size", size, 1);
  if (rank < 0 || rank >= size) {
    detail::fail<std::out_of_range>(where, "rank = ", rank, " is outside [0, ", size, ")");
  }
  const Eigen::Index share = count / size, rest = count % size;
  const auto begin = [&](Eigen::Index r) { return r * share + (std::min)(r, rest); };
  return {begin(rank), begin(rank + 1)};
}

}  // namespace diffusion
