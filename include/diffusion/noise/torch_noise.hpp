/// @file torch_noise.hpp
/// Noise sources that equal torch.randn, number for number, so that a sampler can start from the
/// same noise as a Python program: TorchCpuNoise for the CPU, TorchCudaNoise for a CUDA device.
#pragma once

#include <algorithm>  // std::min
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <random>     // std::mt19937
#include <stdexcept>  // std::invalid_argument
#include <string>     // std::to_string
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>

#include "../detail/error.hpp"
#include "../detail/kernel/row_major.hpp"
#include "../tensor.hpp"
#include "detail/box_muller.hpp"
#include "detail/philox.hpp"
#include "noise_source.hpp"

namespace diffusion {
namespace detail {

/// True if torch's noise can fill an X. Otherwise one readable static_assert fails.
template <class X>
constexpr bool can_be_filled_by_torch() {
  if constexpr (can_be_filled<X>()) {
    constexpr bool known = !std::is_same_v<typename Traits<X>::Scalar, long double>;
    static_assert(known,
                  "diffusion: the scalar type of torch's noise must be float, double, Eigen::half or Eigen::bfloat16; "
                  "torch has no long double");
    return known;
  }
  return false;
}

/// x, rounded to the precision of Scalar.
template <class Scalar, class T>
T rounded(T x) {
  if constexpr (std::is_same_v<Scalar, T>) {
    return x;
  } else {
    return static_cast<T>(static_cast<Scalar>(x));
  }
}

/// 2 pi u, multiplied in the precision that torch uses: float for float, otherwise double.
template <class Scalar, class T>
T two_pi_times(T u) {
  using Factor = std::conditional_t<std::is_same_v<Scalar, float>, float, double>;
  return static_cast<T>(static_cast<Factor>(6.283185307179586476925) * u);
}

/// sin(pi v + quarter pi / 2) for v in [0, 2]. The multiple of 1/2 nearest to v is subtracted
/// before the multiplication by pi. The subtraction is exact.
inline double sine_of_half_turns(double v, int quarter) {
  const double quarters = std::floor(2 * v + 0.5);
  const double angle = 3.141592653589793238463 * (v - quarters / 2);
  quarter = (quarter + static_cast<int>(quarters)) % 4;
  const double s = quarter % 2 == 0 ? std::sin(angle) : std::cos(angle);
  return quarter < 2 ? s : -s;
}

}  // namespace detail

/// The two ways in which versions of torch draw half and bfloat16 on the CPU.
enum class TorchHalf {
  in_type,  ///< in the type itself, rounded at every operation: torch up to 2.11
  in_float  ///< in float, rounded once at the end: torch since April 2026 (pull request 179834)
};

/// Noise equal to torch.randn with a CPU generator.
///
///     g = torch.Generator().manual_seed(seed)             TorchCpuNoise noise(seed);
///     a = torch.randn(shape, generator=g)                 noise(a);
///     b = torch.randn(other_shape, generator=g)           noise(b);
///
/// The scalar type may change from call to call. A tensor of any layout is filled in row-major
/// order, like the contiguous tensor of the same shape in torch.
///
/// @code{.cpp}
/// #include <cmath>
/// #include <diffusion/noise.hpp>
///
/// int main() {
///   Eigen::Tensor<float, 4> x(1, 3, 64, 64);
///   diffusion::TorchCpuNoise noise(42);
///   noise(x);  // torch.manual_seed(42); x = torch.randn(1, 3, 64, 64)
///   return std::abs(x(0, 0, 0, 0) - 1.9269153f) < 2e-6f ? 0 : 1;
/// }
/// @endcode
///
/// How close a value z is to torch:
///   - float: within 2e-6. (torch itself differs by 1.2e-6 between instruction sets.) A tensor of
///     fewer than 16 values has the same bits if log, sin and cos are those that torch was built
///     with.
///   - double: within 3e-16 max(|z|, 1).
///   - half and bfloat16: the same bits as torch 1.13 on x86. Versions that round intermediate
///     values differently are up to 3 units in the last place of the type away.
///   - half and bfloat16 with TorchHalf::in_float: a float within 2e-6 of the one that torch rounds
///     (since April 2026), rounded.
///
/// Up to torch 2.11, half and bfloat16 tensors of 16 values or more are computed in the type
/// itself, from uniforms of 11 and 8 bits, so that |z| stays below 3.91 and 3.34. Since pull
/// request 179834 (April 2026; torch 2.12 and later) torch computes them in float and rounds at the
/// end, which gives different numbers. TorchHalf selects one of the two.
///
/// The generator is MT19937, seeded with the low 32 bits of the seed. A tensor of n < 16 values is
/// drawn value by value in double. Two uniforms u and v of 53 bits make two values:
///
///     r cos(2 pi u),   r sin(2 pi u),   r = sqrt(-2 log(1 - v))
///
/// The second is kept for the next value of a tensor of n < 16, in this call or a later one.
///
/// A tensor of n >= 16 values is drawn in blocks of 16, from eight uniforms u followed by eight v,
/// each with as many bits as the significand of the scalar type:
///
///     z_j = r cos(2 pi v),   z_{j + 8} = r sin(2 pi v),   r = sqrt(-2 log(1 - u)),   j = 0 .. 7
///
/// If n is not a multiple of 16, n mod 16 uniforms are discarded and a fresh block overwrites the
/// last 16 values. With TorchHalf::in_float, half and bfloat16 discard no uniforms.
class TorchCpuNoise {
 public:
  /// Seeds the generator as manual_seed(seed) does; `half` selects the versions of torch to
  /// reproduce for half and bfloat16.
  explicit TorchCpuNoise(std::uint64_t seed, TorchHalf half = TorchHalf::in_type)
      : engine_(static_cast<std::uint32_t>(seed)), half_(half) {}

  /// Fills x like torch.randn. An empty tensor does not advance the generator.
  template <class X>
  void operator()(X&& x) {
    if constexpr (detail::can_be_filled_by_torch<X>()) {
      using Scalar = typename detail::Traits<X>::Scalar;
      auto walk = detail::row_major_walk<0>(x);
      const auto size = static_cast<Eigen::Index>(x.size());
      if (size < block_size) {
        for (Eigen::Index i = 0; i < size; ++i) x.data()[walk.next()] = static_cast<Scalar>(single());
        return;
      }
      const bool in_float = is_half<Scalar> && half_ == TorchHalf::in_float;
      const auto fill_block = [&] {
        const auto z = in_float ? block<detail::NormalType<Scalar>>() : block<Scalar>();
        for (const auto value : z) x.data()[walk.next()] = static_cast<Scalar>(value);
      };
      for (Eigen::Index i = 0; i + block_size <= size; i += block_size) fill_block();
      if (const Eigen::Index rest = size % block_size; rest != 0) {
        for (Eigen::Index i = 0; i < rest && !in_float; ++i) uniform<Scalar>();
        walk.seek(size - block_size);
        fill_block();
      }
    }
  }

  /// Fills x like torch.rand, with the same bits: uniform on [0, 1).
  ///
  /// Every value is a multiple of 2^-24 (float), 2^-53 (double), 2^-11 (half) or 2^-8 (bfloat16).
  /// With TorchHalf::in_float, half and bfloat16 are the float values, rounded; a value that would
  /// round to 1 becomes 0.
  template <class X>
  void rand(X&& x) {
    if constexpr (detail::can_be_filled_by_torch<X>()) {
      using Scalar = typename detail::Traits<X>::Scalar;
      auto walk = detail::row_major_walk<0>(x);
      for (Eigen::Index i = 0; i < static_cast<Eigen::Index>(x.size()); ++i) {
        if (is_half<Scalar> && half_ == TorchHalf::in_float) {
          const auto u = static_cast<Scalar>(uniform<detail::NormalType<Scalar>>());
          x.data()[walk.next()] = u < Scalar(1) ? u : Scalar(0);
        } else {
          x.data()[walk.next()] = static_cast<Scalar>(uniform<Scalar>());
        }
      }
    }
  }

  /// The generator's next 32 bits, from which torch draws integers.
  ///
  /// Element by element, torch.randint(low, high, shape) is
  ///
  ///     low + random() % (high - low)      if high - low < 2^28
  ///     low + random64() % (high - low)    if high - low >= 2^32
  ///
  /// Between these limits it uses random() before torch 2.7 and random64() since.
  std::uint32_t random() { return static_cast<std::uint32_t>(engine_()); }
  /// The generator's next 64 bits, the high word first; random() says how torch uses them.
  std::uint64_t random64() {
    const std::uint64_t high = random();
    return high << 32 | random();
  }

 private:
  static constexpr Eigen::Index block_size = 16;
  template <class Scalar>
  static constexpr bool is_half = sizeof(Scalar) == 2;

  /// Uniform on [0, 1), with as many bits as the significand of Scalar.
  template <class Scalar>
  detail::NormalType<Scalar> uniform() {
    using T = detail::NormalType<Scalar>;
    constexpr int bits = std::numeric_limits<Scalar>::digits;
    constexpr std::uint64_t range = std::uint64_t{1} << bits;
    const std::uint64_t number = (bits > 32 ? random64() : std::uint64_t{random()}) & (range - 1);
    return static_cast<T>(static_cast<std::int64_t>(number)) / static_cast<T>(range);
  }

  /// The next value of a tensor of fewer than 16 values.
  double single() {
    if (kept_) {
      const double z = *kept_;
      kept_.reset();
      return z;
    }
    const double u = uniform<double>();
    const double v = uniform<double>();
    const double radius = std::sqrt(-2 * std::log1p(-v)), theta = detail::two_pi_times<double>(u);
    kept_ = radius * std::sin(theta);
    return radius * std::cos(theta);
  }

  /// A block of 16 values. Half and bfloat16 are computed in float; rounded() marks where torch
  /// rounds to the type itself. For bfloat16, torch also rounds the results of log, sin and cos.
  template <class Scalar>
  std::array<detail::NormalType<Scalar>, std::size_t(block_size)> block() {
    using T = detail::NormalType<Scalar>;
    using FunctionType = std::conditional_t<std::is_same_v<Scalar, Eigen::bfloat16>, Scalar, T>;
    std::array<T, std::size_t(block_size)> z;
    for (T& u : z) u = uniform<Scalar>();
    for (std::size_t j = 0; j < z.size() / 2; ++j) {
      const T log_u = detail::rounded<FunctionType>(std::log(1 - z[j]));
      const T radius = detail::rounded<Scalar>(std::sqrt(-2 * log_u));
      const T theta = detail::rounded<Scalar>(detail::two_pi_times<Scalar>(z[j + z.size() / 2]));
      z[j] = radius * detail::rounded<FunctionType>(std::cos(theta));
      z[j + z.size() / 2] = radius * detail::rounded<FunctionType>(std::sin(theta));
    }
    return z;
  }

  std::mt19937 engine_;
  TorchHalf half_;
  std::optional<double> kept_;  // r sin(2 pi u), until the next single() returns it
};

/// Noise equal to torch.randn with a CUDA generator.
///
///     g = torch.Generator(device).manual_seed(seed)       TorchCudaNoise noise(
///                                                             seed, sm_count, max_threads_per_sm);
///     a = torch.randn(shape, generator=g, device=device)  noise(a);
///     b = torch.randn(other_shape, ...)                   noise(b);
///
/// With p = torch.cuda.get_device_properties(device), sm_count is p.multi_processor_count and
/// max_threads_per_sm is p.max_threads_per_multi_processor: 2048 for V100, A100 and H100, 1536 for
/// the RTX 30 and 40 series, 1024 for T4. A tensor of any layout is filled in row-major order, like
/// the contiguous tensor of the same shape in torch.
///
/// torch starts at most as many threads as the device holds at once,
/// 256 sm_count floor(max_threads_per_sm / 256). Only tensors with more values than that depend on
/// the device: a thread then makes several values. Tensors of more than 2 GiB, which torch fills in
/// pieces, are not supported.
///
/// A float z is within 2e-6 max(|z|, 1) of torch. Its bits may differ, because the device has its
/// own log, sin and cos. A double is accurate to 1e-15 max(|z|, 1). Half and bfloat16 are the float
/// values, rounded, as in torch.
///
/// The random words come from Philox4x32-10 with the key `seed`, low word first. The n values are
/// shared by G threads in blocks of 256:
///
///     G = 256 min(sm_count floor(max_threads_per_sm / 256), ceil(n / 256))
///
/// Thread i mod G makes value i. One counter gives a thread m = 4 values (2 for double). With
/// k = floor(i / G), value i is value (k mod m) of the counter
///
///     { offset / 4 + floor(k / m),  i mod G }             each 64 bits, low word first
///
/// A call advances the generator's offset by 4 ceil(n / (m G)). Two uniforms u and v make two
/// values:
///
///     r sin(2 pi v),   r cos(2 pi v),   r = sqrt(-2 log u)
///
/// For float, the words (w0, w1) give one pair (u, v) and (w2, w3) another. For double, (w0, w1)
/// give u and (w2, w3) give v. A uniform is formed as
///
///     u = (w0 + 1/2) / 2^32                    float
///     u = ((w0 xor 2^21 w1) + 1/2) / 2^53      double
class TorchCudaNoise {
 public:
  /// `offset` is the generator's position, torch's g.get_offset(). Throws std::invalid_argument
  /// unless sm_count >= 1, max_threads_per_sm >= 256 and offset is a multiple of 4.
  TorchCudaNoise(std::uint64_t seed, int sm_count, int max_threads_per_sm = 2048, std::uint64_t offset = 0)
      : key_{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)},
        max_threads_(Eigen::Index(sm_count) * (max_threads_per_sm / block_size) * block_size),
        counter_(offset / 4) {
    if (sm_count < 1) detail::fail<std::invalid_argument>("TorchCudaNoise", "sm_count = ", sm_count, " is less than 1");
    if (max_threads_per_sm < block_size) {
      detail::fail<std::invalid_argument>("TorchCudaNoise", "max_threads_per_sm = ", max_threads_per_sm,
                                          " is less than ", block_size, ", the number of threads in torch's blocks");
    }
    if (offset % 4 != 0) {
      detail::fail<std::invalid_argument>("TorchCudaNoise", "offset = ", std::to_string(offset),
                                          " is not a multiple of 4");
    }
  }

  /// The generator's position, torch's g.get_offset().
  std::uint64_t offset() const { return 4 * counter_; }

  /// Fills x like torch.randn. An empty tensor does not advance the generator. Throws
  /// std::invalid_argument if x has more than 2 GiB.
  template <class X>
  void operator()(X&& x) {
    if constexpr (detail::can_be_filled_by_torch<X>()) {
      using Scalar = typename detail::Traits<X>::Scalar;
      using T = detail::NormalType<Scalar>;
      constexpr Eigen::Index values = std::is_same_v<T, float> ? 4 : 2;
      const auto size = static_cast<Eigen::Index>(x.size());
      if (size == 0) return;
      if (static_cast<std::uint64_t>(size) > (std::uint64_t{1} << 31) / sizeof(Scalar)) {
        detail::fail<std::invalid_argument>("TorchCudaNoise", "x has ", size,
                                            " values; torch fills tensors of more than 2 GiB ",
                                            "in pieces, which is not supported");
      }
      const Eigen::Index threads = (std::min)(max_threads_, (size + block_size - 1) / block_size * block_size);
      auto walk = detail::row_major_walk<0>(x);
      for (Eigen::Index first = 0, k = 0; first < size; first += threads, ++k) {
        const std::uint64_t counter = counter_ + static_cast<std::uint64_t>(k / values);
        for (Eigen::Index i = 0; i < (std::min)(threads, size - first); ++i) {
          const auto words = this->words(counter, static_cast<std::uint64_t>(i));
          x.data()[walk.next()] = static_cast<Scalar>(normal(words, static_cast<int>(k % values), T()));
        }
      }
      counter_ += static_cast<std::uint64_t>((size - 1) / (values * threads) + 1);
    }
  }

 private:
  static constexpr int block_size = 256;  // threads per block

  std::array<std::uint32_t, 4> words(std::uint64_t counter, std::uint64_t thread) const {
    return detail::philox4x32_10({static_cast<std::uint32_t>(counter), static_cast<std::uint32_t>(counter >> 32),
                                  static_cast<std::uint32_t>(thread), static_cast<std::uint32_t>(thread >> 32)},
                                 key_);
  }

  /// Value number `value` of the words. u and 2 pi v are rounded to float, as on the device,
  /// because their rounding changes z.
  static float normal(const std::array<std::uint32_t, 4>& words, int value, float) {
    const auto pair = static_cast<std::size_t>(value / 2 * 2);
    const double u = scaled(words[pair], 1.0f), theta = scaled(words[pair + 1], 6.2831855f);
    const double radius = std::sqrt(-2 * std::log(u));
    return static_cast<float>(radius * (value % 2 == 0 ? std::sin(theta) : std::cos(theta)));
  }

  static double normal(const std::array<std::uint32_t, 4>& words, int value, double) {
    const double u = uniform(words[0], words[1]), v = uniform(words[2], words[3]);
    return std::sqrt(-2 * std::log(u)) * detail::sine_of_half_turns(2 * v, value);
  }

  /// scale (word + 1/2) / 2^32, with the word and the result rounded to float. On the device this
  /// is one fused multiply-add.
  static float scaled(std::uint32_t word, float scale) {
    const double step = 0x1p-32 * scale;
    return static_cast<float>(step * static_cast<double>(static_cast<float>(word)) + step / 2);
  }
  /// ((low xor 2^21 high) + 1/2) / 2^53.
  static double uniform(std::uint32_t low, std::uint32_t high) {
    const std::uint64_t number = low ^ std::uint64_t{high} << 21;
    return static_cast<double>(static_cast<std::int64_t>(number)) * 0x1p-53 + 0x1p-54;
  }

  detail::PhiloxKey key_;
  Eigen::Index max_threads_;  // that the device holds at once
  std::uint64_t counter_;     // offset / 4
};

}  // namespace diffusion
