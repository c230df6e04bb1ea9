/// @file engine_noise.hpp
/// Noise from a uniform random bit generator of the standard library's kind.
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

/// Noise from a uniform random bit generator: std::mt19937, std::mt19937_64, or any class of that kind, whatever the range of
/// its numbers. Values are drawn in row-major order of the whole tensor, by the transform of PhiloxNoise instead of
/// std::normal_distribution, whose numbers differ from one standard library to the next. Holds the engine by value:
///     EngineNoise noise{std::mt19937(seed)};
///
/// Two values take two numbers a, b (detail/box_muller.hpp) of 32 bits for float, half and bfloat16, of 64 bits for double and
/// long double. A number of the engine gives its m bits, m = floor(log2(max - min + 1)), after subtraction of min; one of 2^m
/// or more is passed over. The highest bits of as many numbers as it takes are used, those of the first as the highest bits;
/// what is left of the last is dropped: from std::mt19937 a float takes one number, a double two.
template <class Engine>
class EngineNoise {
 public:
  /// From `engine` in its present state.
  explicit EngineNoise(Engine engine) : engine_(std::move(engine)) {
    static_assert(detail::is_bit_generator_v<Engine>,
                  "diffusion: the engine of EngineNoise must be a uniform random bit generator, such as std::mt19937");
  }

  /// The engine in the state that the calls have left it in.
  const Engine& engine() const { return engine_; }

  /// Fills x, of any shape, with N(0, 1).
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
