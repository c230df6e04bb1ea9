/// @file affine.hpp
/// The one kernel: an affine combination of tensors with one set of coefficients per sample,
///     out[n] = a_n x[n] + b_n y[n] + ...      (of no tensors at all: out[n] = a_n)
/// at memory speed in both layouts; and, by the same walk, any other function of an element and its sample's coefficients.
#pragma once

#include <algorithm>  // std::find, std::min
#include <array>
#include <cstddef>  // std::size_t
#include <numeric>  // std::gcd
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>

#include "coefficients.hpp"
#include "run.hpp"

namespace diffusion {
namespace detail {

template <class Scalar, std::size_t K>
inline std::array<const Scalar*, K> advanced(std::array<const Scalar*, K> x, Index by) {
  for (auto& p : x) p += by;
  return x;
}

/// Whether work can be given to the threads of a D.
template <class D, class = void>
inline constexpr bool has_threads_v = false;
template <class D>
inline constexpr bool has_threads_v<D, std::void_t<decltype(std::declval<const D&>().parallelFor(
                                           Eigen::Index(), std::declval<Eigen::TensorOpCost>(),
                                           std::declval<void (*)(Eigen::Index, Eigen::Index)>()))>> = true;

/// f(begin, end) over parts of [0, size) that together are all of it: one part, or what the threads of the device make of it.
template <class Device, class F>
inline void in_parallel(const Device& device, Index size, const Eigen::TensorOpCost& cost_each, const F& f) {
  if constexpr (has_threads_v<Device>) {
    device.parallelFor(size, cost_each, f);
  } else {
    static_assert(std::is_same_v<Device, Eigen::DefaultDevice>,
                  "diffusion: the device must be an Eigen::DefaultDevice or an Eigen::ThreadPoolDevice");
    f(Index(0), size);
  }
}
template <class Device, class F>
inline void in_parallel(const Device& device, Index size, double bytes_each, const F& f) {
  in_parallel(device, size, Eigen::TensorOpCost(bytes_each, bytes_each, 1.0), f);
}

/// The two ways to walk a batch: they differ in how coefficients reach the elements, not in what is computed.
template <class Element, class Scalar, std::size_t Inputs, std::size_t K>
class Kernel {
 public:
  /// out and x: as they lie in memory, [batch][sample_size] in RowMajor and [sample_size][batch] in ColMajor.
  Kernel(const Element& element, Scalar* out, const std::array<const Scalar*, Inputs>& x, Index batch,
         Index sample_size, const SampleCoefficients<Arithmetic<Scalar>, K>& coefficients)
      : element_(element), out_(out), x_(x), batch_(batch), sample_size_(sample_size), coefficients_(coefficients) {}

  template <class Device>
  void run(bool row_major, const Device& device) const {
    constexpr double bytes = sizeof(Scalar);
    if (batch_ == 1 || (row_major && sample_size_ > 1)) {
      in_parallel(device, batch_ * sample_size_, bytes, [this](Index i, Index end) { by_samples(i, end); });
    } else {  // also samples of one value, which lie side by side in both layouts
      in_parallel(device, sample_size_, bytes * static_cast<double>(batch_), [this](Index row, Index end) {
        Tile<Real, K> tile;
        by_rows(tile, row, end);
      });
    }
  }

 private:
  using Real = Arithmetic<Scalar>;

  /// A run of its own for each sample: memory order [0, batch * sample_size), sample after sample.
  void by_samples(Index begin, Index end) const {
    Index n = begin / sample_size_;
    const Index from = begin - n * sample_size_;
    if (from > 0) {  // the rest of a sample that another thread has begun
      const Index size = (std::min)(sample_size_ - from, end - begin);
      of_each(n, n + 1, from, size);
      begin += size, ++n;
    }
    const Index whole = (end - begin) / sample_size_, rest = (end - begin) - whole * sample_size_;
    of_each(n, n + whole, 0, sample_size_);
    if (rest > 0) of_each(n + whole, n + whole + 1, 0, rest);
  }

  /// `size` values from value `from` on of each of the samples [first, last).
  void of_each(Index first, Index last, Index from, Index size) const {
    with_widest<Element, Scalar>(size, [this, first, last, from, size](auto value) {
      constexpr Index at_once = 32;
      Real c[K][static_cast<std::size_t>(at_once)];
      const Index sample_size = sample_size_;
      const bool whole = many_whole<decltype(value)>(size);
      Scalar* out = out_ + first * sample_size + from;
      std::array<const Scalar*, Inputs> x = advanced(x_, first * sample_size + from);
      for (Index begin = first; begin < last; begin += at_once) {
        const Index samples = (std::min)(at_once, last - begin);
        coefficients_.fill(begin, samples, c[0], at_once);
#ifdef __clang__
#pragma clang loop unroll(disable)
#endif
        for (Index n = 0; n < samples; ++n, out += sample_size, x = advanced(x, sample_size)) {
          Constant<Real, K> constant;
          for (std::size_t k = 0; k < K; ++k) constant.value[k] = c[k][n];
          run_in<decltype(value), K>(element_, out, x, size, constant, whole);
        }
      }
    });
  }

  /// Samples side by side: rows [begin, end) hold one value of every sample. Rows wider than the tile are taken in parts. (The
  /// tile is the caller's because g++, when it knows that no store can change the tile, loads each coefficient once for each of
  /// the runs that could share it.)
  void by_rows(Tile<Real, K>& tile, Index begin, Index end) const {
    // Short runs find their coefficients in the first-level cache; what long ones have to fetch pays off in more of them.
    constexpr Index short_run = 1024 / sizeof(Real), long_run = 3 * short_run;
    if (by_columns(tile, begin, end)) return;
    for (Index first = 0; first < batch_; first += tile.capacity) {
      const Index width = (std::min)(tile.capacity, batch_ - first);
      coefficients_.fill(first, width, tile.value[0], tile.stride);
      // The coefficients of as many rows as make a run, and of a packet more, which may begin in the last row.
      Index period = width;
      const Index values = (end - begin) * width;
      while (period < short_run && 4 * period < values) period *= 2;
      for (Index filled = width; filled < period + tile.packet; filled *= 2) tile.repeat(filled, period + tile.packet);
      Index row = begin;
      if (values > 256 * tile.packet && (width == batch_ || width % tile.packet == 0)) {
        if (period > long_run) row = in_streams<4>(tile, period, first, width, row, end);
        row = in_streams<2>(tile, period, first, width, row, end);
      }
      in_streams<1>(tile, period, first, width, row, end);
    }
  }

  /// The same of few values, for which coefficients would take longer to lay out in a period than to use: column after column of
  /// Values, whose coefficients stay in registers. Returns whether they are few.
  bool by_columns(Tile<Real, K>& tile, Index begin, Index end) const {
    bool few = false;
    with_widest<Element, Scalar>(batch_, [&](auto value) {
      using Value = decltype(value);
      constexpr Index size = size_of<Value>, most = size > 1 ? 384 : 96;  // as measured
      const Index rows = end - begin, at = begin * batch_, whole = batch_ / size, rest = batch_ - whole * size;
      const bool in_place = std::find(x_.begin(), x_.end(), out_) != x_.end();
      few = rows > 2 && rows * (whole + 1) <= most && (rest == 0 || !in_place);
      if (!few) return;
      coefficients_.fill(0, batch_, tile.value[0], tile.stride);
      const auto columns = [&](auto at_once, Index from, Index count) {
        span<Value, at_once, K>(element_, out_ + at, advanced(x_, at), from, static_cast<std::size_t>(count),
                                TilePart<Tile<Real, K>>{tile, 0}, rows, batch_);
      };
      columns(std::integral_constant<int, 4>(), 0, whole);
      // The last one ends with the row and overlaps the one before: if out were x, it would read what that one wrote.
      if (rest > 0) columns(std::integral_constant<int, 1>(), batch_ - size, 1);
    });
    return few;
  }

  /// Takes as many of the rows from `row` to `end` as it can in `Rows` streams, long parts of memory that are walked side by side
  /// and share coefficients. Returns the first row that is left.
  template <int Rows>
  Index in_streams(const Tile<Real, K>& tile, Index period, Index first, Index width, Index row, Index end) const {
    const Index rows = stream_length(Rows, end - row), stop = row + rows;
    // Whole rows lie one after another, the parts of those that are wider than the tile do not.
    for (const Index together = width == batch_ ? rows : 1; row < stop; row += together) {
      Index at = row * batch_ + first, left = together * width, phase = 0;
      while (left > 0) {
        // Whole packets, the last of which may reach beyond the period: there the next run begins.
        const Index size = (std::min)(left, (period - phase + tile.packet - 1) / tile.packet * tile.packet);
        const TilePart<Tile<Real, K>> coefficients{tile, phase};
        if constexpr (Rows > 1) {
          run_side_by_side<Rows, K>(element_, out_ + at, advanced(x_, at), size, rows * batch_, coefficients);
        } else {
          detail::run<K>(element_, out_ + at, advanced(x_, at), size, coefficients);
        }
        at += size, left -= size, phase += size - period;
      }
    }
    return row + (Rows - 1) * rows;
  }

  /// How many of the rows make one of so many streams: whole packets; and if that can be had, so that no two are at the same place
  /// of a memory page at a time, where they would compete for the same lines of the first-level cache. Two can afford it.
  Index stream_length(Index streams, Index rows) const {
    constexpr Index packet = Tile<Real, K>::packet, page = 4096 / sizeof(Scalar);
    if (streams == 1) return rows;
    const Index far = page / (2 * streams), step = packet / std::gcd(packet, batch_),
                longest = rows / streams / step * step;
    for (Index length = longest; length > longest - longest / 8; length -= step) {
      bool apart = true;
      for (Index k = 1; k < streams; ++k) {
        const Index distance = k * length * batch_ % page;
        apart = apart && far <= distance && distance <= page - far;
      }
      if (apart) return length;
    }
    return streams == 2 ? longest : 0;
  }

  const Element& element_;
  Scalar* out_;
  const std::array<const Scalar*, Inputs>& x_;
  Index batch_;        // N, the number of samples
  Index sample_size_;  // the number of values in one
  const SampleCoefficients<Real, K>& coefficients_;
};

/// The run of a single sample. What it is given by value no store to `out` can change, and flattened, it keeps that in
/// registers: g++ would call run_in, which loads the coefficients again for every packet.
template <class Element, class Scalar, std::size_t Inputs, std::size_t K>
[[gnu::flatten, gnu::noinline]] void run_of_one(const Element element, Scalar* out,
                                                const std::array<const Scalar*, Inputs> x, Index size,
                                                const Constant<Arithmetic<Scalar>, K> constant) {
  with_widest<Element, Scalar>(size,
                               [&](auto value) { run_in<decltype(value), K>(element, out, x, size, constant, false); });
}

/// The walk of `batch` samples, with the coefficients of each.
template <class Device, class Out, class Element, class Coefficients, class... X>
[[gnu::noinline]] void run_of_batch(const Device& device, Out& out, Index batch, const Element& element,
                                    const Coefficients& coefficients, const X&... x) {
  using Scalar = typename Out::Scalar;
  constexpr std::size_t K = coefficients_of<Coefficients>;
  const SampleCoefficients<Arithmetic<Scalar>, K> of_sample(coefficients);
  const std::array<const Scalar*, sizeof...(X)> inputs{x.data()...};
  const Kernel<Element, Scalar, sizeof...(X), K> kernel(element, out.data(), inputs, batch,
                                                        static_cast<Index>(out.size()) / batch, of_sample);
  kernel.run(static_cast<int>(Out::Layout) == Eigen::RowMajor, device);
}

/// out[n] = element(coefficients(n), x_0[n], x_1[n], ...) for tensors in memory that share shape and layout; when `uniform`,
/// coefficients(0) hold for all samples. out may be one of x.
template <class Device, class Out, class Element, class Coefficients, class... X>
[[gnu::always_inline]] inline void elementwise(const Device& device, Out& out, bool uniform, const Element& element,
                                               const Coefficients& coefficients, const X&... x) {
  using Scalar = typename Out::Scalar;
  constexpr std::size_t K = coefficients_of<Coefficients>;
  const Index size = static_cast<Index>(out.size());
  if (size == 0) return;
  const Index batch = uniform ? 1 : static_cast<Index>(out.dimensions()[0]);
  if constexpr (std::is_same_v<Device, Eigen::DefaultDevice>) {
    if (batch == 1) {  // a small sample is done before a Kernel is made
      const auto c = coefficients(Index(0));
      Constant<Arithmetic<Scalar>, K> constant;
      for (std::size_t k = 0; k < K; ++k) constant.value[k] = static_cast<Arithmetic<Scalar>>(c[k]);
      return run_of_one(element, out.data(), std::array<const Scalar*, sizeof...(X)>{x.data()...}, size, constant);
    }
  }
  run_of_batch(device, out, batch, element, coefficients, x...);
}

/// out[n] = sum_k coefficients(n)[k] x_k[n], as above. Of no x: out[n] = coefficients(n)[0].
template <class Device, class Out, class Coefficients, class... X>
void affine(const Device& device, Out& out, bool uniform, const Coefficients& coefficients, const X&... x) {
  elementwise(device, out, uniform, AffineElement{}, coefficients, x...);
}

/// out[n] = (x[n] + a_n y[n]) / b_n, (a_n, b_n) = coefficients(n). Where x was made with b_n, rounded as it is here, that
/// undoes it; a product with 1 / b_n, which is rounded otherwise, would leave an error that is the same for all elements.
template <class Device, class Out, class Coefficients, class X, class Y>
void quotient(const Device& device, Out& out, bool uniform, const Coefficients& coefficients, const X& x, const Y& y) {
  elementwise(device, out, uniform, QuotientElement{}, coefficients, x, y);
}

/// out[n] = x[n] limited to [bounds(n)[0], bounds(n)[1]]. A NaN stays one.
template <class Device, class Out, class Bounds, class X>
void clamp(const Device& device, Out& out, bool uniform, const Bounds& bounds, const X& x) {
  elementwise(device, out, uniform, ClampElement{}, bounds, x);
}

/// out[n] = f(coefficients(n), x_0[n], x_1[n], ...), as above: f takes std::array<Real, K> and as many Reals as there are x,
/// Real = Arithmetic<Scalar>, and returns a Real.
template <class Device, class Out, class F, class Coefficients, class... X>
void apply(const Device& device, Out& out, bool uniform, const F& f, const Coefficients& coefficients, const X&... x) {
  elementwise(device, out, uniform, FunctionElement<F>{f}, coefficients, x...);
}

}  // namespace detail
}  // namespace diffusion
