/// @file engine_noise.hpp
/// A noise source that draws from a uniform random bit generator, such as std::mt19937.
#pragma once

#include <Eigen/Core>
#include <algorithm>  // std::min
#include <cstddef>    // std::size_t
#include <cstdint>
#include <utility>  // std::move

#include "../detail/kernel/row_major.hpp"
#include "../detail/math/random_bits.hpp"
#include "../tensor.hpp"
#include "detail/box_muller.hpp"
#include "detail/philox.hpp"
#include "detail/simd.hpp"
#include "noise_source.hpp"

namespace diffusion {

/// Noise from a uniform random bit generator: std::mt19937, std::mt19937_64 or any other class with
/// that interface and any range of numbers. Holds the engine by value:
///
///     EngineNoise noise{std::mt19937(seed)};
///
/// Values are drawn in row-major order of the whole tensor. They come from the Box-Muller transform
/// of PhiloxNoise, because std::normal_distribution differs between standard libraries.
///
/// The transform (detail/box_muller.hpp) makes two values from two random integers. These have 32
/// bits for float, half and bfloat16, and 64 bits for double and long double. A number of the
/// engine, minus min, gives m = floor(log2(max - min + 1)) bits; a number of 2^m or more is
/// discarded. Successive numbers fill an integer from its highest bit down. If the last number has
/// more bits than are needed, its lowest bits are dropped. Thus a float takes one number of
/// std::mt19937, and a double takes two. A tensor with an odd number of values drops the last
/// normal.
template <class Engine>
class EngineNoise {
 public:
  /// Starts from the present state of `engine`.
  explicit EngineNoise(Engine engine) : engine_(std::move(engine)) {
    static_assert(detail::is_bit_generator_v<Engine>,
                  "diffusion: the engine of EngineNoise must be a uniform random bit generator, such as std::mt19937");
  }

  /// The engine, in its state after the calls so far.
  const Engine& engine() const { return engine_; }

  /// Fills x, of any shape, with N(0, 1) values.
  template <class X>
  void operator()(X&& x) {
    if constexpr (detail::can_be_filled<X>() && detail::is_bit_generator_v<Engine>) {
      using Scalar = typename detail::Traits<X>::Scalar;
      using T = detail::NormalType<Scalar>;
      constexpr auto values = static_cast<Eigen::Index>(detail::normals_per_counter<T>);
      auto walk = detail::row_major_walk<0>(x);
      const auto size = static_cast<Eigen::Index>(x.size());
      detail::WordBlock words{};
      detail::NormalBlock<T> z;
      for (Eigen::Index first = 0; first < size; first += values * Eigen::Index(detail::lane_count)) {
        const Eigen::Index count = (std::min)(size - first, values * Eigen::Index(detail::lane_count));
        draw<T>(words, count);
        detail::normals<T>(words, z);
        for (Eigen::Index i = 0; i < count; ++i) {
          x.data()[walk.next()] = static_cast<Scalar>(z[std::size_t(i % values)].at[i / values]);
        }
      }
    }
  }

 private:
  /// Draws the random words for `count` values.
  template <class T>
  void draw(detail::WordBlock& words, Eigen::Index count) {
    constexpr std::size_t words_per_uniform = 4 / detail::normals_per_counter<T>;
    const std::size_t uniforms = static_cast<std::size_t>(count + count % 2);
    for (std::size_t i = 0; i < uniforms * words_per_uniform; i += words_per_uniform) {
      if constexpr (words_per_uniform == 1) {
        words[i % 4].at[i / 4] = static_cast<std::uint32_t>(detail::random_bits(engine_, 32));
      } else {
        const std::uint64_t u = detail::random_bits(engine_, 64);
        words[i % 4].at[i / 4] = static_cast<std::uint32_t>(u >> 32);
        words[i % 4 + 1].at[i / 4] = static_cast<std::uint32_t>(u);
      }
    }
  }

  Engine engine_;
};

}  // namespace diffusion
