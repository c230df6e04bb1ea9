/// @file philox_noise.hpp
/// Noise that is reproducible for each sample on its own, whatever the batch, the threads and the
/// machine.
#pragma once

#include <cstdint>
#include <stdexcept>  // std::invalid_argument
#include <unsupported/Eigen/CXX11/Tensor>

#include "../detail/arguments.hpp"
#include "detail/box_muller.hpp"
#include "detail/philox_fill.hpp"
#include "noise_source.hpp"

namespace diffusion {

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
        using Call = detail::PhiloxFill<detail::NormalType<typename detail::Traits<X>::Scalar>>;
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

}  // namespace diffusion
