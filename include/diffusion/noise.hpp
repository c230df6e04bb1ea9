/// @file noise.hpp
/// Noise sources. A noise source is any callable noise(x) that fills the tensor x with independent N(0, 1) values, by
/// logical index: which value an element gets does not depend on the layout of x. Here are three:
///     PhiloxNoise    reproducible for each sample on its own, whatever the batch, the threads and the machine
///     EngineNoise    from a uniform random bit generator of the standard library's kind
///     RecordedNoise  replays tensors
#pragma once

#include <algorithm>  // std::min
#include <array>
#include <cstddef>
#include <cstdint>
#include <stdexcept>  // std::invalid_argument, std::out_of_range
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>  // std::declval, std::move
#include <vector>

#include "detail/arguments.hpp"
#include "detail/box_muller.hpp"
#include "detail/error.hpp"
#include "detail/kernel/row_major.hpp"
#include "detail/philox_call.hpp"
#include "detail/random_bits.hpp"
#include "detail/shape.hpp"
#include "tensor.hpp"

namespace diffusion {
namespace detail {

/// Whether a noise source can fill an X; if not, one sentence says why.
template <class X>
constexpr bool can_be_filled() {
  static_assert(is_writable_v<X>,
                "diffusion: a noise source fills a tensor that can be written to: an Eigen::Tensor, TensorMap or "
                "TensorFixedSize that is not const");
  if constexpr (is_writable_v<X>) {
    static_assert(is_scalar_v<typename Traits<X>::Scalar>,
                  "diffusion: the scalar type of noise must be float, double, long double, Eigen::half or "
                  "Eigen::bfloat16");
    return is_scalar_v<typename Traits<X>::Scalar>;
  }
  return false;
}

}  // namespace detail

/// In place of a noise source where no noise is needed: DDIM with eta = 0.
struct NoNoise {};

/// Noise as a function: the values of a sample depend on a seed, on the number of the sample's stream, on how many calls
/// came before, and on nothing else. Sample n of a batch draws from stream first_sample + n, so
///   - a batch may be cut into smaller ones, on other threads or machines: give each its own first_sample;
///   - RowMajor and ColMajor tensors get the same value at the same index, and threads change nothing;
///   - float, half and bfloat16 get the same numbers, rounded; double and long double get the same numbers, rounded.
///
/// The random words come from Philox4x32-10 (detail/philox.hpp) under the key `seed`, low word first. Counter
///     { b, k mod 2^32, stream mod 2^32, stream / 2^32 }
/// holds the values 4 b .. 4 b + 3 of a sample (2 b and 2 b + 1 for double and long double) at call k, both counted from 0,
/// values in row-major order over axes 1, 2, ... Box and Muller's transform (detail/box_muller.hpp) makes two floats of two
/// words and two doubles of four, from all their bits. From call 2^32 on the key is seed ^ (k / 2^32) 0x9E3779B97F4A7C15,
/// so that no stream repeats.
///
/// Bits agree between compilers for one instruction set, and between those with a fused multiply-add (x86-64-v3, AVX-512).
/// Where one has it and the other not, values differ by at most 2 units in the last place of max(|z|, 1), one in 7000
/// by more than 1. Each is within 4 of the exact value of the transform.
class PhiloxNoise {
 public:
  /// `call`: the number of calls that came before. PhiloxNoise(a.seed(), a.first_sample(), a.call()) goes on as `a` does.
  explicit PhiloxNoise(std::uint64_t seed, std::uint64_t first_sample = 0, std::uint64_t call = 0)
      : seed_(seed), first_sample_(first_sample), call_(call) {}

  /// What it was made with.
  std::uint64_t seed() const { return seed_; }
  std::uint64_t first_sample() const { return first_sample_; }
  std::uint64_t call() const { return call_; }

  /// Fills x, on the threads of `device` if it has any; allocates nothing of its own. A call with an empty tensor counts as
  /// one. Throws std::invalid_argument for rank 0, and for samples of more than 2^34 values (2^33 of double, long double).
  template <class X, class Device = Eigen::DefaultDevice>
  void operator()(X&& x, const Device& device = Device()) {
    if constexpr (detail::can_be_filled<X>()) {
      const Eigen::Index batch = detail::batch_size("PhiloxNoise", detail::argument("x", x));
      if constexpr (detail::Traits<X>::rank > 0) {
        using Call = detail::PhiloxCall<detail::NormalType<typename detail::Traits<X>::Scalar>>;
        const auto size = static_cast<Eigen::Index>(x.size());
        const Eigen::Index sample_size = size == 0 ? 0 : size / batch;
        if (static_cast<long long>(Call::counters(sample_size)) > 1LL << 32) {
          detail::fail<std::invalid_argument>("PhiloxNoise", "x has samples of ", sample_size,
                                              " values; a stream holds ", static_cast<long long>(Call::values) << 32);
        }
        const Call call(seed_, first_sample_, call_++, batch, sample_size);
        if (size == 0) return;
        detail::fill(call, x, device);
      }
    }
  }

 private:
  std::uint64_t seed_, first_sample_, call_;
};

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
      for (Eigen::Index first = 0; first < size; first += values * Eigen::Index(detail::lanes)) {
        const Eigen::Index count = (std::min)(size - first, values * Eigen::Index(detail::lanes));
        draw<T>(words, count);
        detail::normals<T>(words, z);
        for (Eigen::Index i = 0; i < count; ++i) {
          x.data()[walk.next()] = static_cast<Scalar>(z[std::size_t(i % values)].at[i / values]);
        }
      }
    }
  }

 private:
  /// The words for so many values.
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

/// Replays recorded tensors, one a call: noise from elsewhere, or the noise of a test. The tensors are plain (Eigen::Tensor);
/// what is filled has their scalar type and rank, and may have another layout and index type.
template <class Tensor>
class RecordedNoise {
  static_assert(
      std::is_same_v<Tensor, typename detail::Traits<Tensor>::Plain>,
      "diffusion: RecordedNoise replays a std::vector of Eigen::Tensors, or one Eigen::Tensor whose first axis "
      "is the call");
  using Traits = detail::Traits<Tensor>;
  using Stacked =
      Eigen::Tensor<typename Traits::Scalar, Traits::rank + 1, Traits::layout, typename Traits::Plain::Index>;

 public:
  explicit RecordedNoise(std::vector<Tensor> tensors) : tensors_(std::move(tensors)) {}

  /// The tensors as one, whose first axis is the call.
  explicit RecordedNoise(const Stacked& calls) {
    for (Eigen::Index k = 0; k < static_cast<Eigen::Index>(calls.dimension(0)); ++k) {
      tensors_.push_back(calls.chip(static_cast<typename Stacked::Index>(k), 0));
    }
  }

  /// The number of calls so far.
  Eigen::Index call() const { return call_; }
  /// The number of recorded tensors.
  Eigen::Index size() const { return static_cast<Eigen::Index>(tensors_.size()); }

  /// Throws std::out_of_range when all tensors have been replayed, std::invalid_argument when x does not have the shape of the
  /// next one; neither counts as a call.
  template <class X>
  void operator()(X&& x) {
    if constexpr (detail::can_be_filled<X>()) {
      using XTraits = detail::Traits<X>;
      static_assert(std::is_same_v<typename XTraits::Scalar, typename Traits::Scalar> && XTraits::rank == Traits::rank,
                    "diffusion: RecordedNoise fills tensors of the scalar type and the rank of those it recorded");
      if (call_ == size()) {
        detail::fail<std::out_of_range>("RecordedNoise", "call ", call_, " of a recording of ", size(),
                                        " tensors (calls are counted from 0)");
      }
      const Tensor& recorded = tensors_[static_cast<std::size_t>(call_)];
      if (detail::shape(x) != detail::shape(recorded)) {
        detail::fail<std::invalid_argument>("RecordedNoise", "at call ", call_, " x has shape ", detail::shape_text(x),
                                            ", but the recorded tensor has ", detail::shape_text(recorded));
      }
      auto to = detail::row_major_walk<0>(x);
      auto from = detail::row_major_walk<0>(recorded);
      for (Eigen::Index i = 0; i < static_cast<Eigen::Index>(x.size()); ++i) {
        x.data()[to.next()] = recorded.data()[from.next()];
      }
      ++call_;
    }
  }

 private:
  std::vector<Tensor> tensors_;
  Eigen::Index call_ = 0;
};

template <class Scalar, int Rank, int Options, class Index>
RecordedNoise(const Eigen::Tensor<Scalar, Rank, Options, Index>&)
    -> RecordedNoise<Eigen::Tensor<Scalar, Rank - 1, Options, Index>>;

}  // namespace diffusion
