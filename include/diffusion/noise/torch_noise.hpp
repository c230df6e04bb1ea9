/// @file torch_noise.hpp
/// The noise of torch.randn, number for number, to start a sampler where a Python program starts it:
///     TorchCpuNoise     torch.randn on the CPU
///     TorchCudaNoise    torch.randn on a CUDA device
/// A tensor is filled in row-major order whatever its layout, as the contiguous tensor of the same shape in torch.
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

/// Whether torch's noise can fill an X; if not, one sentence says why.
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

/// x after rounding to Scalar.
template <class Scalar, class T>
T rounded(T x) {
  if constexpr (std::is_same_v<Scalar, T>) {
    return x;
  } else {
    return static_cast<T>(static_cast<Scalar>(x));
  }
}

/// Two pi u in the precision in which torch multiplies: float for float, else double.
template <class Scalar, class T>
T two_pi_times(T u) {
  using Factor = std::conditional_t<std::is_same_v<Scalar, float>, float, double>;
  return static_cast<T>(static_cast<Factor>(6.283185307179586476925) * u);
}

/// sin(pi v + quarter pi/2) for v in [0, 2]. The nearest quarter turn is taken off v, which is exact, before pi comes in.
inline double sine_of_half_turns(double v, int quarter) {
  const double quarters = std::floor(2 * v + 0.5);
  const double angle = 3.141592653589793238463 * (v - quarters / 2);
  quarter = (quarter + static_cast<int>(quarters)) % 4;
  const double s = quarter % 2 == 0 ? std::sin(angle) : std::cos(angle);
  return quarter < 2 ? s : -s;
}

}  // namespace detail

/// How torch draws half and bfloat16 on the CPU.
enum class TorchHalf {
  in_type,  ///< in the type itself, rounded at every operation: torch up to 2.11
  in_float  ///< as floats, rounded last: torch since April 2026 (pull request 179834)
};

/// torch.randn of a CPU generator:
///     g = torch.Generator().manual_seed(seed)             TorchCpuNoise noise(seed);
///     a = torch.randn(shape, generator=g)                 noise(a);
///     b = torch.randn(other_shape, generator=g)           noise(b);
/// and so on, the scalar types mixed at will. What is promised, of values z:
///     float       within 2e-6 of torch, whose own instruction sets differ by 1.2e-6; in tensors of fewer than 16 values
///                 the same bits (where the library's logarithm, sine and cosine are those torch was built with)
///     double      within 3e-16 max(|z|, 1)
///     half, bfloat16    the same bits as torch 1.13 on x86; up to 3 units in the last place of the type
///                 from versions that round its intermediate values otherwise; or, with TorchHalf::in_float,
///                 within one rounding of torch since April 2026
/// Up to torch 2.11, tensors of 16 half or bfloat16 values and more are computed in the type itself, from uniforms of 11 and 8
/// bits: |z| stays below 3.91 and 3.34. Since pull request 179834 (April 2026; torch 2.12 and later) torch computes them as
/// floats, rounded last, and draws other numbers. TorchHalf says which of the two is to be met.
///
/// The generator is MT19937, seeded with the low 32 bits of the seed. A tensor of n < 16 values takes them one by one, in
/// double: u, v of 53 bits, r = sqrt(-2 log(1 - v)), z = r cos(2 pi u), and then r sin(2 pi u), which is kept until the next
/// value of such a tensor asks for it, in this call or a later one. A tensor of n >= 16 values is made of blocks of 16: eight
/// u, then eight v, of as many bits as the scalar type has, r = sqrt(-2 log(1 - u)), z = r cos(2 pi v) in the first eight
/// places and r sin(2 pi v) in the last eight. If blocks do not fill it, n mod 16 uniforms are drawn for nothing, and a block
/// of fresh ones is put over the last 16 places. TorchHalf::in_float draws no uniforms for nothing.
class TorchCpuNoise {
 public:
  explicit TorchCpuNoise(std::uint64_t seed, TorchHalf half = TorchHalf::in_type)
      : engine_(static_cast<std::uint32_t>(seed)), half_(half) {}

  /// torch.randn. A call with an empty tensor changes nothing.
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

  /// torch.rand: uniform on [0, 1), the same bits. Every value is a multiple of 2^-24 (float), 2^-53 (double), 2^-11 (half) or
  /// 2^-8 (bfloat16). With TorchHalf::in_float half and bfloat16 are the floats, rounded, and 0 where that gives 1.
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

  /// The generator's next 32 or 64 bits, from which torch draws integers. torch.randint(low, high, shape) is
  /// low + random() % (high - low), element after element, when high - low < 2^28, and low + random64() % (high - low) when
  /// high - low >= 2^32; between the two it is the first before torch 2.7 and the second since.
  std::uint32_t random() { return static_cast<std::uint32_t>(engine_()); }
  std::uint64_t random64() {
    const std::uint64_t high = random();
    return high << 32 | random();
  }

 private:
  static constexpr Eigen::Index block_size = 16;
  template <class Scalar>
  static constexpr bool is_half = sizeof(Scalar) == 2;

  /// On [0, 1), of as many bits as Scalar has.
  template <class Scalar>
  detail::NormalType<Scalar> uniform() {
    using T = detail::NormalType<Scalar>;
    constexpr int bits = std::numeric_limits<Scalar>::digits;
    constexpr std::uint64_t range = std::uint64_t{1} << bits;
    const std::uint64_t number = (bits > 32 ? random64() : std::uint64_t{random()}) & (range - 1);
    return static_cast<T>(static_cast<std::int64_t>(number)) / static_cast<T>(range);
  }

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

  /// Half and bfloat16 are computed in float; rounded() marks where torch comes back to the type itself. Of bfloat16 it also
  /// rounds what logarithm, sine and cosine return.
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
  std::optional<double> kept_;  // r sin(2 pi u), until a tensor of fewer than 16 values takes it
};

/// torch.randn of a CUDA generator, on a device with so many multiprocessors of so many threads:
///     p = torch.cuda.get_device_properties(device)
///     p.multi_processor_count, p.max_threads_per_multi_processor        the arguments; 2048 is that of V100, A100 and H100,
///                                                                       1536 of the RTX 30 and 40 series, 1024 of T4
///     g = torch.Generator(device).manual_seed(seed)       TorchCudaNoise noise(seed, sm_count, max_threads_per_sm);
///     a = torch.randn(shape, generator=g, device=device)  noise(a);
///     b = torch.randn(other_shape, ...)                   noise(b);
/// The device decides, because torch starts only as many threads as it holds at once, and each then makes more than one
/// value: tensors of up to sm_count max_threads_per_sm values do not depend on it, larger ones do. (More than 2 GiB, which torch
/// fills in pieces, is refused.)
///
/// Promised are values within 2e-6 max(|z|, 1) of torch for float, not bits: the logarithm, sine and cosine of the device are
/// its own. Doubles are computed to 1e-15 max(|z|, 1). half and bfloat16 are the floats, rounded, as in torch.
///
/// The random words come from Philox4x32-10 under the key `seed`, low word first. With blocks of 256 threads,
///     G = 256 min(sm_count floor(max_threads_per_sm / 256), ceil(n / 256))
/// threads share n values. Value i is of thread i mod G, which makes m = 4 values (2 of double) of one counter: with
/// k = floor(i / G) it is value k mod m of counter
///     { offset / 4 + floor(k / m),  i mod G }             each 64 bits, low word first
/// and after the call the generator's offset has grown by 4 ceil(n / (m G)). The values of words w0 .. w3 are
///     r sin(2 pi v), r cos(2 pi v),  r = sqrt(-2 log u)
/// where (u, v) is of (w0, w1) and then of (w2, w3) for float, u = (w0 + 1/2) / 2^32; for double u is of (w0, w1) and v of
/// (w2, w3), u = ((w0 xor 2^21 w1) + 1/2) / 2^53.
class TorchCudaNoise {
 public:
  /// `offset`: where the generator is, as torch's g.get_offset() tells; a multiple of 4. Throws std::invalid_argument unless
  /// sm_count >= 1 and max_threads_per_sm >= 256.
  TorchCudaNoise(std::uint64_t seed, int sm_count, int max_threads_per_sm = 2048, std::uint64_t offset = 0)
      : key_{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)},
        max_threads_(Eigen::Index(sm_count) * (max_threads_per_sm / block_size) * block_size),
        counter_(offset / 4) {
    if (sm_count < 1) detail::fail<std::invalid_argument>("TorchCudaNoise", "sm_count = ", sm_count, " is less than 1");
    if (max_threads_per_sm < block_size) {
      detail::fail<std::invalid_argument>("TorchCudaNoise", "max_threads_per_sm = ", max_threads_per_sm,
                                          " is less than ", block_size, ", the size of torch's blocks");
    }
    if (offset % 4 != 0) {
      detail::fail<std::invalid_argument>("TorchCudaNoise", "offset = ", std::to_string(offset),
                                          " is not a multiple of 4");
    }
  }

  /// torch's g.get_offset().
  std::uint64_t offset() const { return 4 * counter_; }

  /// torch.randn. A call with an empty tensor changes nothing. Throws std::invalid_argument for a tensor of more than 2 GiB.
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
  static constexpr int block_size = 256;  // threads

  std::array<std::uint32_t, 4> words(std::uint64_t counter, std::uint64_t thread) const {
    return detail::philox4x32_10({static_cast<std::uint32_t>(counter), static_cast<std::uint32_t>(counter >> 32),
                                  static_cast<std::uint32_t>(thread), static_cast<std::uint32_t>(thread >> 32)},
                                 key_);
  }

  /// Value number `value` of the words. u and 2 pi v are floats, as on the device: what they lose in rounding is seen in z.
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

  /// scale (word + 1/2) / 2^32, the word and the result rounded to float: one fused multiply-add on the device.
  static float scaled(std::uint32_t word, float scale) {
    const double step = 0x1p-32 * scale;
    return static_cast<float>(step * static_cast<double>(static_cast<float>(word)) + step / 2);
  }
  static double uniform(std::uint32_t low, std::uint32_t high) {
    const std::uint64_t number = low ^ std::uint64_t{high} << 21;
    return static_cast<double>(static_cast<std::int64_t>(number)) * 0x1p-53 + 0x1p-54;
  }

  detail::PhiloxKey key_;
  Eigen::Index max_threads_;  // at once on the device
  std::uint64_t counter_;     // offset / 4
};

}  // namespace diffusion
