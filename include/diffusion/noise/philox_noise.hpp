/// @file philox_noise.hpp
/// A noise source that is reproducible per sample, for any split of the samples over batches,
/// threads and machines.
#pragma once

#include <cstdint>
#include <stdexcept>  // std::invalid_argument
#include <unsupported/Eigen/CXX11/Tensor>

#include "../detail/arguments.hpp"
#include "detail/box_muller.hpp"
#include "detail/philox_fill.hpp"
#include "noise_source.hpp"

namespace diffusion {

/// Counter-based noise, reproducible per sample. The values of a sample depend only on the seed,
/// the number of the sample's stream and the number of earlier calls. Sample n of a batch draws
/// from stream first_sample + n. Therefore
///   - a batch can be split over threads or machines: give each part its own first_sample;
///   - the layout (RowMajor or ColMajor) and the number of threads do not change a value;
///   - float, half and bfloat16 share one set of numbers, up to rounding, and double and long
///     double share another.
///
/// @code{.cpp}
/// #include <diffusion/noise.hpp>
///
/// int main() {
///   const unsigned seed = 42;
///   Eigen::Tensor<float, 4> batch(8, 3, 32, 32), sample_5(1, 3, 32, 32);
///   diffusion::PhiloxNoise noise(seed);
///   noise(batch);
///
///   diffusion::PhiloxNoise from_sample_5(seed, 5);  // for example on another machine
///   from_sample_5(sample_5);
///   return sample_5(0, 2, 7, 9) == batch(5, 2, 7, 9) ? 0 : 1;
/// }
/// @endcode
///
/// The random words come from Philox4x32-10 (detail/philox.hpp) with the key `seed`, low word
/// first. At call k, the values 4 b .. 4 b + 3 of a sample (2 b and 2 b + 1 for double and long
/// double) come from the counter
///
///     { b, k mod 2^32, stream mod 2^32, floor(stream / 2^32) }
///
/// Calls and values are counted from 0, the values in row-major order over axes 1, 2, ... The
/// Box-Muller transform (detail/box_muller.hpp) makes two floats from two words and two doubles
/// from four, using all bits. From call 2^32 on, a different key keeps the streams from repeating:
///
///     seed ^ floor(k / 2^32) 0x9E3779B97F4A7C15
///
/// Compilers agree bit for bit on one instruction set, and across instruction sets with a fused
/// multiply-add (x86-64-v3, AVX-512). Between targets with and without one, values differ by at
/// most 2 units in the last place of max(|z|, 1); one value in 7000 differs by more than 1 unit.
/// Each value is within 4 such units of the exact transform.
class PhiloxNoise {
 public:
  /// `first_sample` is the stream of sample 0 of a batch, and `call` the number of earlier calls.
  /// PhiloxNoise(a.seed(), a.first_sample(), a.call()) continues the noise of `a`.
  explicit PhiloxNoise(std::uint64_t seed, std::uint64_t first_sample = 0, std::uint64_t call = 0)
      : seed_(seed), first_sample_(first_sample), call_(call) {}

  /// The seed.
  std::uint64_t seed() const { return seed_; }
  /// Stream of sample 0 of a batch.
  std::uint64_t first_sample() const { return first_sample_; }
  /// Number of calls so far, including the `call` of the constructor.
  std::uint64_t call() const { return call_; }

  /// Fills x with N(0, 1) values, on the threads of `device` if it has any. Allocates no memory
  /// itself.
  ///
  /// A call with an empty tensor counts. Throws std::invalid_argument if x has rank 0 or samples of
  /// more than 2^34 values (2^33 for double and long double).
  template <class X, class Device = Eigen::DefaultDevice>
  void operator()(X&& x, const Device& device = Device()) {
    if constexpr (detail::can_be_filled<X>()) {
      const Eigen::Index batch = detail::batch_size("PhiloxNoise", detail::argument("x", x));
      if constexpr (detail::Traits<X>::rank > 0) {
        using Call = detail::PhiloxFill<detail::NormalType<typename detail::Traits<X>::Scalar>>;
        const auto size = static_cast<Eigen::Index>(x.size());
        const Eigen::Index sample_size = size == 0 ? 0 : size / batch;
        if (static_cast<long long>(Call::counters(sample_size)) > 1LL << 32) {
          detail::fail<std::invalid_argument>("PhiloxNoise", "x has samples of ", sample_size, " values; the limit is ",
                                              static_cast<long long>(Call::values) << 32);
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

}  // namespace diffusion
