/// @file philox_fill.hpp
/// One call of a PhiloxNoise, which fills a tensor block by block in memory order.
#pragma once

#include <algorithm>  // std::min
#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>

#include "../../detail/kernel/in_parallel.hpp"
#include "../../detail/kernel/row_major.hpp"
#include "../../tensor.hpp"
#include "box_muller.hpp"
#include "philox.hpp"
#include "simd.hpp"

namespace diffusion {
namespace detail {

/// Fills a tensor for one call of a PhiloxNoise. A sample takes a sequence of counters, each of
/// which makes `values` values. A block is lane_count counters, in an order in which neighbours
/// write to adjacent memory. The blocks are independent: any thread may make any block at any time.
template <class T, class Words = detail::Words>
class PhiloxFill {
 public:
  using Index = Eigen::Index;
  static constexpr Index values = static_cast<Index>(normals_per_counter<T>);
  static constexpr Index block_size = static_cast<Index>(lane_count) * values;

  PhiloxFill(std::uint64_t seed, std::uint64_t first_sample, std::uint64_t call, Index batch, Index sample_size)
      : keys_(key(seed, call)),
        first_sample_(first_sample),
        call_(low_word(call)),
        batch_(batch),
        sample_size_(sample_size),
        counters_(counters(sample_size)) {
    for (std::size_t i = 0; i < lane_count; ++i) rising_.at[i] = static_cast<std::uint32_t>(i);
  }

  /// Number of counters for one sample.
  static Index counters(Index sample_size) { return sample_size / values + (sample_size % values != 0); }

  /// Number of blocks for the whole batch. batch_ * counters_ cannot overflow, because it is at
  /// most the size of the tensor.
  Index blocks() const { return (batch_ * counters_ + width - 1) / width; }

  /// Fills blocks [begin, end) of a RowMajor tensor. The order of the counters: all of sample 0,
  /// then all of sample 1, ...
  template <class Scalar>
  void row_major(Scalar* out, Index begin, Index end) const {
    Index n = begin * width / counters_, b = begin * width % counters_;
    CounterBlock counter;
    WordBlock words;
    alignas(64) T z[static_cast<std::size_t>(block_size)];
    // Sample of the last block on the fast path, whose words 1 to 3 are in `counter`. A block off
    // the fast path overwrites them and moves n to a later sample.
    Index of_sample = -1;
    for (Index block = begin; block < end; ++block) {
      // Fast path: most blocks lie within one sample, which fixes words 1 to 3.
      if ((b + width) * values <= sample_size_) {
        if (n != of_sample) set_stream<CounterOrder::counter>(counter, 0, width, n);
        of_sample = n;
        set_block_index<CounterOrder::counter>(counter, 0, width, b);
        philox4x32_10(counter, keys_, words);
        const Index offset = n * sample_size_ + b * values;
        if constexpr (std::is_same_v<Scalar, T>) {
          normals<T>(words, out + offset);
        } else {
          normals<T>(words, z);
          store(z, block_size, out + offset);
        }
        advance(b, width, counters_, n);
        continue;
      }
      const Index first_n = n, first_b = b;
      for (Index lane = 0, count; lane < width; lane += count) {
        count = (std::min)(width - lane, counters_ - b);
        set_block_index<CounterOrder::counter>(counter, lane, count, b);
        set_stream<CounterOrder::counter>(counter, lane, count, n);
        advance(b, count, counters_, n);
      }
      philox4x32_10(counter, keys_, words);
      normals<T>(words, z);
      n = first_n, b = first_b;
      for (Index lane = 0, count; lane < width; lane += count) {
        count = (std::min)(width - lane, counters_ - b);
        if (n < batch_) {
          const Index first = b * values, size = (std::min)(count * values, sample_size_ - first);
          store(z + lane * values, size, out + n * sample_size_ + first);
        }
        advance(b, count, counters_, n);
      }
    }
  }

  /// Fills blocks [begin, end) of a ColMajor tensor. The order of the counters: the first of every
  /// sample, then the second of every sample, ... `walk` finds the offsets of the values of a
  /// counter, which are far apart in memory.
  template <class Walk, class Scalar>
  void col_major(Walk walk, Scalar* out, Index begin, Index end) const {
    Index b = begin * width / batch_, n = begin * width % batch_;
    std::array<Index, normals_per_counter<T>> offset;
    const auto find_values = [&] {
      for (Index& o : offset) o = walk.next();
    };
    walk.seek(b * values);
    find_values();
    CounterBlock counter;
    WordBlock words;
    NormalBlock<T> z;
    for (Index block = begin; block < end; ++block) {
      const Index first_b = b, first_n = n;
      // Prefetch the destination while the values are computed.
      constexpr Index cache_line = 64 / sizeof(Scalar);
      for (const Index o : offset) {
        for (Index i = n; i < batch_ && i < n + width; i += cache_line) Eigen::internal::prefetch(out + o + i);
      }
      for (Index lane = 0, count; lane < width; lane += count) {
        count = (std::min)(width - lane, batch_ - n);
        set_block_index<CounterOrder::sample>(counter, lane, count, b);
        set_stream<CounterOrder::sample>(counter, lane, count, n);
        advance(n, count, batch_, b);
      }
      philox4x32_10(counter, keys_, words);
      normals<T>(words, z);
      b = first_b, n = first_n;
      for (Index lane = 0, count; lane < width; lane += count) {
        count = (std::min)(width - lane, batch_ - n);
        for (std::size_t k = 0; k < z.size() && b * values + static_cast<Index>(k) < sample_size_; ++k) {
          store(z[k].at + lane, count, out + offset[k] + n);
        }
        if (advance(n, count, batch_, b)) find_values();
      }
    }
  }

 private:
  static constexpr Index width = static_cast<Index>(lane_count);

  static PhiloxKey key(std::uint64_t seed, std::uint64_t call) {
    seed ^= (call >> 32) * 0x9E3779B97F4A7C15u;
    return {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)};
  }

  /// Adds `count` to inner. If inner reaches `size`, sets it to 0, adds 1 to outer and returns
  /// true.
  static bool advance(Index& inner, Index count, Index size, Index& outer) {
    inner += count;
    if (inner < size) return false;
    inner = 0;
    ++outer;
    return true;
  }

  /// Which number increases by one from lane to lane: the sample, or the index of the counter in
  /// its sample.
  enum class CounterOrder { sample, counter };
  /// Sets word 0, the index of the counter in its sample, in lanes [lane, lane + count). It is b in
  /// the first of them.
  template <CounterOrder rising>
  void set_block_index(CounterBlock& counter, Index lane, Index count, Index b) const {
    // 0, 1, 2, ... are loaded from rising_: if clang++ counted them, its narrow stores would delay
    // the vector loads that follow.
    for (Index i = 0; i < count; ++i) {
      counter[0].at[lane + i] =
          low_word(static_cast<std::uint64_t>(b)) + (rising == CounterOrder::counter ? rising_.at[i] : 0);
    }
  }
  /// Sets words 1 to 3, the call and the stream, in lanes [lane, lane + count). The first of them
  /// gets the stream of sample n.
  template <CounterOrder rising>
  void set_stream(CounterBlock& counter, Index lane, Index count, Index n) const {
    const std::uint64_t stream = first_sample_ + static_cast<std::uint64_t>(n);
    for (Index i = 0; i < count; ++i) {
      const std::uint64_t stream_i = rising == CounterOrder::sample ? stream + static_cast<std::uint64_t>(i) : stream;
      counter[1].at[lane + i] = call_;
      counter[2].at[lane + i] = low_word(stream_i);
      counter[3].at[lane + i] = low_word(stream_i >> 32);
    }
  }

  /// Writes `count` values, converted to Scalar.
  template <class Scalar>
  static void store(const T* z, Index count, Scalar* to) {
    for (Index i = 0; i < count; ++i) to[i] = static_cast<Scalar>(z[i]);
  }

  static std::uint32_t low_word(std::uint64_t x) { return static_cast<std::uint32_t>(x); }

  PhiloxKeys<Words> keys_;
  std::uint64_t first_sample_;
  std::uint32_t call_;
  Index batch_, sample_size_, counters_;
  Lanes<std::uint32_t> rising_;  // 0, 1, 2, ...
};

/// Fills x with all blocks of a call, on the threads of the device. A function template, so that
/// the type of its lambda depends on Call, and so on the register type.
template <class Call, class X, class Device>
void fill(const Call& call, X& x, const Device& device) {
  // About 5 cycles per value: the cost estimate by which parallelFor sizes its blocks.
  constexpr double values = Call::block_size;
  const Eigen::TensorOpCost cost(0, values * sizeof(*x.data()), values * 5);
  in_parallel(device, call.blocks(), cost, [&](Eigen::Index begin, Eigen::Index end) {
    if constexpr (Traits<X>::layout == Eigen::RowMajor) {
      call.row_major(x.data(), begin, end);
    } else {
      call.col_major(row_major_walk<1>(x), x.data(), begin, end);
    }
  });
}

}  // namespace detail
}  // namespace diffusion
