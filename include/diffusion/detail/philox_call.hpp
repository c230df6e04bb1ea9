/// @file philox_call.hpp
/// One call of a PhiloxNoise: from the shape of a tensor to runs of normals in the order of its memory.
#pragma once

#include <algorithm>  // std::min
#include <array>
#include <cstddef>
#include <cstdint>
#include <unsupported/Eigen/CXX11/Tensor>

#include "box_muller.hpp"
#include "philox.hpp"
#include "row_major.hpp"

namespace diffusion {
namespace detail {

/// A sample is a row of counters, each of which holds `values` of its values. Blocks of counters are numbered so that each
/// makes values which lie side by side in memory; any of them may be made at any time, by any thread.
///
/// sink(offset, n, z, count): see PhiloxNoise::for_each_run.
template <class T>
class PhiloxCall {
 public:
  using Index = Eigen::Index;
  static constexpr Index values = static_cast<Index>(normals_per_counter<T>);
  static constexpr Index block_size = static_cast<Index>(lanes) * values;

  PhiloxCall(std::uint64_t seed, std::uint64_t first_sample, std::uint64_t call, Index batch, Index sample_size)
      : keys_(key(seed, call)),
        first_sample_(first_sample),
        call_(call & 0xFFFFFFFFu),
        batch_(batch),
        sample_size_(sample_size),
        counters_(counters(sample_size)) {}

  /// Of one sample.
  static Index counters(Index sample_size) { return sample_size / values + (sample_size % values != 0); }

  /// Of the whole batch. (Not of counters first: batch * counters_ is not much more than the size of the tensor.)
  Index blocks() const { return (batch_ * counters_ + width - 1) / width; }

  /// Blocks [begin, end), counters in the order: all of sample 0, all of sample 1, ...
  template <class Sink>
  void row_major(Index begin, Index end, const Sink& sink) const {
    Index n = begin * width / counters_, b = begin * width % counters_;
    CounterBlock counter;
    NormalBlock<T> planes;
    alignas(64) T z[block_size];
    for (Index block = begin; block < end; ++block) {
      const Index first_n = n, first_b = b;
      for (Index lane = 0, count; lane < width; lane += count) {
        count = (std::min)(width - lane, counters_ - b);
        set_lanes<Rising::counter>(counter, lane, count, n, b);
        advance(b, count, counters_, n);
      }
      make(counter, planes);
      for (std::size_t i = 0; i < lanes; ++i) {
        for (std::size_t k = 0; k < planes.size(); ++k) z[planes.size() * i + k] = planes[k].at[i];
      }
      n = first_n, b = first_b;
      for (Index lane = 0, count; lane < width; lane += count) {
        count = (std::min)(width - lane, counters_ - b);
        if (n < batch_) {
          const Index first = b * values, size = (std::min)(count * values, sample_size_ - first);
          sink(n * sample_size_ + first, n, z + lane * values, size);
        }
        advance(b, count, counters_, n);
      }
    }
  }

  /// Blocks [begin, end), counters in the order: the first of every sample, the second of every sample, ... `walk` goes over
  /// the axes of a sample; `memories` are what the values are for: values of one counter are far apart in them.
  template <class Walk, class Scalar, std::size_t M, class Sink>
  void col_major(Walk walk, const std::array<const Scalar*, M>& memories, Index begin, Index end,
                 const Sink& sink) const {
    Index b = begin * width / batch_, n = begin * width % batch_;
    std::array<Index, normals_per_counter<T>> offset;
    const auto find_values = [&] {
      for (Index& o : offset) o = walk.next();
    };
    walk.seek(b * values);
    find_values();
    CounterBlock counter;
    NormalBlock<T> z;
    for (Index block = begin; block < end; ++block) {
      const Index first_b = b, first_n = n;
      // Comes into the cache while the values are made.
      constexpr Index cache_line = 64 / sizeof(Scalar);
      for (const Scalar* memory : memories) {
        for (const Index o : offset) {
          for (Index i = n; i < batch_ && i < n + width; i += cache_line) Eigen::internal::prefetch(memory + o + i);
        }
      }
      for (Index lane = 0, count; lane < width; lane += count) {
        count = (std::min)(width - lane, batch_ - n);
        set_lanes<Rising::sample>(counter, lane, count, n, b);
        advance(n, count, batch_, b);
      }
      make(counter, z);
      b = first_b, n = first_n;
      for (Index lane = 0, count; lane < width; lane += count) {
        count = (std::min)(width - lane, batch_ - n);
        for (std::size_t k = 0; k < z.size() && b * values + static_cast<Index>(k) < sample_size_; ++k) {
          sink(offset[k] + n, n, z[k].at + lane, count);
        }
        if (advance(n, count, batch_, b)) find_values();
      }
    }
  }

 private:
  static constexpr Index width = static_cast<Index>(lanes);

  static PhiloxKey key(std::uint64_t seed, std::uint64_t call) {
    seed ^= (call >> 32) * 0x9E3779B97F4A7C15u;
    return {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)};
  }

  /// (outer, inner) += count, in mixed radix; whether inner was full.
  static bool advance(Index& inner, Index count, Index size, Index& outer) {
    inner += count;
    if (inner < size) return false;
    inner = 0;
    ++outer;
    return true;
  }

  /// Lanes [lane, lane + count): sample n and counter b, of which one rises from lane to lane.
  enum class Rising { sample, counter };
  template <Rising rising>
  void set_lanes(CounterBlock& counter, Index lane, Index count, Index n, Index b) const {
    const std::uint64_t stream = first_sample_ + static_cast<std::uint64_t>(n), call = call_;
    for (Index i = 0; i < count; ++i) {
      const std::uint64_t step = static_cast<std::uint64_t>(i);
      const std::uint64_t stream_i = rising == Rising::sample ? stream + step : stream;
      counter[0].at[lane + i] = static_cast<std::uint64_t>(b) + (rising == Rising::counter ? step : 0);
      counter[1].at[lane + i] = call;
      counter[2].at[lane + i] = stream_i;
      counter[3].at[lane + i] = stream_i >> 32;
    }
  }

  void make(CounterBlock& counter, NormalBlock<T>& z) const {
    WordBlock words;
    philox4x32_10(counter, keys_, words);
    normals(words, z);
  }

  PhiloxKeys keys_;
  std::uint64_t first_sample_, call_;
  Index batch_, sample_size_, counters_;
};

}  // namespace detail
}  // namespace diffusion
