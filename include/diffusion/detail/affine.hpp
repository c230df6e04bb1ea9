/// @file affine.hpp
/// The one kernel: an affine combination of tensors with one set of coefficients per sample,
///     out[n] = a_n x[n] + b_n y[n] + ...      (of no tensors at all: out[n] = a_n)
/// at memory speed in both layouts; and, by the same walk, any other function of an element and its sample's coefficients.
#pragma once

#include <algorithm>  // std::min, std::max, std::copy_n
#include <array>
#include <cstddef>  // std::size_t
#include <numeric>  // std::gcd
#include <tuple>    // std::tuple_size_v, std::apply
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>

#include "multiply_add.hpp"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
// A SIMD type is a template argument here; its alignment, which g++ says is ignored, is not asked for.
#pragma GCC diagnostic ignored "-Wignored-attributes"
#endif

namespace diffusion {
namespace detail {

using Eigen::Index;

/// What element arithmetic is done in: at least float.
template <class Scalar>
using Arithmetic =
    std::conditional_t<std::is_same_v<Scalar, Eigen::half> || std::is_same_v<Scalar, Eigen::bfloat16>, float, Scalar>;

/// One value or a SIMD packet of them: the same arithmetic, so that a result does not depend on where in a run it stands.
template <class Value, class Scalar>
inline Value load(const Scalar* from) {
  if constexpr (std::is_same_v<Value, Arithmetic<Scalar>>) {
    return static_cast<Value>(*from);
  } else {
    return Eigen::internal::ploadu<Value>(from);
  }
}
template <class Scalar, class Value>
inline void store(Scalar* to, const Value& value) {
  if constexpr (std::is_same_v<Value, Arithmetic<Scalar>>) {
    *to = static_cast<Scalar>(value);
  } else {
    Eigen::internal::pstoreu(to, value);
  }
}
template <class Real, class Value>
inline Value fused(const Value& a, const Value& x, const Value& b) {
  if constexpr (std::is_same_v<Value, Real>) {
    return multiply_add(a, x, b);
  } else {
    return Eigen::internal::pmadd(a, x, b);
  }
}

/// Coefficients that hold for a whole run of elements.
template <class Real, std::size_t K>
struct Constant {
  std::array<Real, K> value;
  template <class Value>
  Value at(std::size_t k, Index) const {
    if constexpr (std::is_same_v<Value, Real>) {
      return value[k];
    } else {
      return Eigen::internal::pset1<Value>(value[k]);
    }
  }
};

/// Coefficients that change from element to element, one for each element of a run.
template <class Real, std::size_t K>
struct Tile {
  // 16 KiB for each k, and a packet. Most batches use but the beginning, which stays in the first-level cache beside what
  // streams past it.
  static constexpr Index capacity = 16384 / sizeof(Real), packet = Eigen::internal::packet_traits<Real>::size;
  alignas(64) Real value[K][static_cast<std::size_t>(capacity + packet)];
};
/// The same, from element `first` of the tile.
template <class Real, std::size_t K>
struct TilePart {
  const Tile<Real, K>& tile;
  Index first;
  template <class Value>
  Value at(std::size_t k, Index i) const {
    return load<Value>(tile.value[k] + first + i);
  }
};

/// a_k x_k[i] + (a_{k+1} x_{k+1}[i] + ...)
template <class Real, std::size_t k = 0, class Value, std::size_t K, class Scalar, std::size_t Inputs>
inline Value affine_at(const std::array<Value, K>& a, const std::array<const Scalar*, Inputs>& x, Index i) {
  if constexpr (Inputs == 0) {
    return a[0];
  } else if constexpr (k + 1 == Inputs) {
    return Eigen::internal::pmul(a[k], load<Value>(x[k] + i));
  } else {
    return fused<Real>(a[k], load<Value>(x[k] + i), affine_at<Real, k + 1>(a, x, i));
  }
}

/// What the walk computes of an element: of its coefficients a and the inputs x at i. This one is the affine combination.
struct AffineElement {
  static constexpr bool in_packets = true;
  template <class Real, class Value, std::size_t K, class Scalar, std::size_t Inputs>
  Value at(const std::array<Value, K>& a, const std::array<const Scalar*, Inputs>& x, Index i) const {
    static_assert(K == (std::max)(Inputs, std::size_t(1)), "one coefficient per tensor");
    return affine_at<Real>(a, x, i);
  }
};

/// x limited to [a_0, a_1]. A NaN stays one.
struct ClampElement {
  static constexpr bool in_packets = true;
  template <class Real, class Value, class Scalar>
  Value at(const std::array<Value, 2>& a, const std::array<const Scalar*, 1>& x, Index i) const {
    const Value value = load<Value>(x[0] + i);
    if constexpr (std::is_same_v<Value, Real>) {
      return value < a[0] ? a[0] : value > a[1] ? a[1] : value;
    } else {
      using namespace Eigen::internal;
      return pmin<Eigen::PropagateNaN>(pmax<Eigen::PropagateNaN>(value, a[0]), a[1]);
    }
  }
};

/// f(a, x_0, x_1, ...) in Arithmetic<Scalar>, element by element. Where f adds a product it must use multiply_add.
template <class F>
struct FunctionElement {
  static constexpr bool in_packets = false;
  template <class Real, std::size_t K, class Scalar, std::size_t Inputs>
  Real at(const std::array<Real, K>& a, const std::array<const Scalar*, Inputs>& x, Index i) const {
    return std::apply([&](auto... from) { return f(a, load<Real>(from + i)...); }, x);
  }
  F f;
};

/// out[i] = element(c[i], x[i]) in steps of one Value, from i as far as whole ones go; in `Rows` runs, `stride` apart, that share
/// each coefficient that is loaded.
template <class Value, int Rows, std::size_t K, class Element, class Scalar, std::size_t Inputs, class Coefficients>
inline Index span(const Element& element, Scalar* out, const std::array<const Scalar*, Inputs>& x, Index i, Index size,
                  Index stride, const Coefficients& c) {
  constexpr Index width = Eigen::internal::unpacket_traits<Value>::size;
  for (; i + width <= size; i += width) {
    std::array<Value, K> a;
    for (std::size_t k = 0; k < K; ++k) a[k] = c.template at<Value>(k, i);
    for (int row = 0; row < Rows; ++row) {
      const Index at = i + row * stride;
      store(out + at, element.template at<Arithmetic<Scalar>>(a, x, at));
    }
  }
  return i;
}

/// out[i] = element(c[i], x[i]) for i in [0, size), by the widest packets of the target, then narrower ones, then one by one.
template <int Rows, std::size_t K, class Element, class Scalar, std::size_t Inputs, class Coefficients>
inline void run(const Element& element, Scalar* out, const std::array<const Scalar*, Inputs>& x, Index size,
                Index stride, const Coefficients& c) {
  using Real = Arithmetic<Scalar>;
  Index i = 0;
  if constexpr (Element::in_packets && std::is_same_v<Scalar, Real>) {
    using Packet = typename Eigen::internal::packet_traits<Scalar>::type;
    using Half = typename Eigen::internal::unpacket_traits<Packet>::half;
    using Quarter = typename Eigen::internal::unpacket_traits<Half>::half;
    if constexpr (!std::is_same_v<Packet, Real>) i = span<Packet, Rows, K>(element, out, x, i, size, stride, c);
    if constexpr (!std::is_same_v<Half, Packet>) i = span<Half, Rows, K>(element, out, x, i, size, stride, c);
    if constexpr (!std::is_same_v<Quarter, Half>) i = span<Quarter, Rows, K>(element, out, x, i, size, stride, c);
  }
  span<Real, Rows, K>(element, out, x, i, size, stride, c);
}

template <class Scalar, std::size_t K>
inline std::array<const Scalar*, K> advanced(std::array<const Scalar*, K> x, Index by) {
  for (auto& p : x) p += by;
  return x;
}

/// f(begin, end) over parts of [0, size) that together are all of it: one part, or what the threads of the device make of it.
template <class Device, class F>
inline void in_parallel(const Device& device, Index size, double bytes_each, const F& f) {
  if constexpr (std::is_same_v<Device, Eigen::DefaultDevice>) {
    f(Index(0), size);
  } else {
    device.parallelFor(size, Eigen::TensorOpCost(bytes_each, bytes_each, 1.0), f);
  }
}

/// The coefficients of the samples, (n) -> std::array<double, K>, from a function whose type is forgotten: so that the walk below
/// is compiled once for all of them.
template <std::size_t K>
class SampleCoefficients {
 public:
  template <class F>
  explicit SampleCoefficients(const F& f)
      : f_(&f), fill_([](const void* g, Index first, Index count, std::array<double, K>* out) {
          for (Index n = 0; n < count; ++n) out[n] = (*static_cast<const F*>(g))(first + n);
        }) {}

  /// out[0], out[1], ... become those of samples first, first + 1, ...
  void fill(Index first, Index count, std::array<double, K>* out) const { fill_(f_, first, count, out); }

 private:
  const void* f_;
  void (*fill_)(const void*, Index, Index, std::array<double, K>*);
};

/// The two ways to walk a batch: they differ in how coefficients reach the elements, not in what is computed.
template <class Element, class Scalar, std::size_t Inputs, std::size_t K>
class Kernel {
 public:
  /// out and x: as they lie in memory, [batch][sample_size] in RowMajor and [sample_size][batch] in ColMajor.
  Kernel(const Element& element, Scalar* out, const std::array<const Scalar*, Inputs>& x, Index batch,
         Index sample_size, const SampleCoefficients<K>& coefficients)
      : element_(element), out_(out), x_(x), batch_(batch), sample_size_(sample_size), coefficients_(coefficients) {}

  template <class Device>
  void run(bool row_major, const Device& device) const {
    constexpr double bytes = sizeof(Scalar);
    if (batch_ == 1 || (row_major && sample_size_ > 1)) {
      in_parallel(device, batch_ * sample_size_, bytes, [this](Index i, Index end) { by_samples(i, end); });
    } else {  // also samples of one value, which lie side by side in both layouts
      in_parallel(device, sample_size_, bytes * static_cast<double>(batch_), [this](Index i, Index end) {
        Tile<Real, K> tile;
        by_rows(tile, i, end);
      });
    }
  }

 private:
  using Real = Arithmetic<Scalar>;

  /// A run of its own for each sample: memory order [0, batch * sample_size), sample after sample.
  void by_samples(Index begin, Index end) const {
    for (Index n = begin / sample_size_; begin < end; ++n) {
      const Index stop = (std::min)((n + 1) * sample_size_, end);
      std::array<double, K> c;
      coefficients_.fill(n, 1, &c);
      Constant<Real, K> constant;
      for (std::size_t k = 0; k < K; ++k) constant.value[k] = static_cast<Real>(c[k]);
      detail::run<1, K>(element_, out_ + begin, advanced(x_, begin), stop - begin, 0, constant);
      begin = stop;
    }
  }

  /// Samples side by side: rows [begin, end) hold one value of every sample. Rows wider than the tile are taken in parts. (The
  /// tile is the caller's because g++, when it knows that no store can change the tile, loads each coefficient once for each of
  /// the runs that could share it.)
  void by_rows(Tile<Real, K>& tile, Index begin, Index end) const {
    // Short runs find their coefficients in the first-level cache; what long ones have to fetch pays off in more of them.
    constexpr Index long_run = 3072 / sizeof(Real);
    for (Index first = 0; first < batch_; first += tile.capacity) {
      const Index width = (std::min)(tile.capacity, batch_ - first), period = fill(tile, first, width, end - begin);
      Index row = begin;
      if (period > long_run) row = in_streams<4>(tile, period, first, width, row, end);
      row = in_streams<2>(tile, period, first, width, row, end);
      in_streams<1>(tile, period, first, width, row, end);
    }
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
        detail::run<Rows, K>(element_, out_ + at, advanced(x_, at), size, rows * batch_,
                             TilePart<Real, K>{tile, phase});
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
    const Index step = packet / std::gcd(packet, batch_), longest = rows / streams / step * step;
    for (Index length = longest; length > longest - longest / 8; length -= step) {
      bool apart = true;
      for (Index k = 1; k < streams; ++k) {
        const Index distance = k * length * batch_ % page;
        apart = apart && page / 8 <= distance && distance <= page - page / 8;
      }
      if (apart) return length;
    }
    return streams == 2 ? longest : 0;
  }

  /// Fills the tile with the coefficients of samples first, ..., first + width - 1, repeated as for some of so many rows, and
  /// one packet more. Returns the length of what is repeated.
  Index fill(Tile<Real, K>& tile, Index first, Index width, Index rows) const {
    constexpr Index at_once = 32, narrow = 1024 / sizeof(Real);
    std::array<double, K> c[static_cast<std::size_t>(at_once)];
    for (Index done = 0; done < width; done += at_once) {
      const Index some = (std::min)(at_once, width - done);
      coefficients_.fill(first + done, some, c);
      for (std::size_t k = 0; k < K; ++k) {
        for (Index n = 0; n < some; ++n) tile.value[k][done + n] = static_cast<Real>(c[n][k]);
      }
    }
    // Narrow rows are joined.
    Index period = width;
    while (period < narrow && period < rows * width) period *= 2;
    for (Index filled = width; filled < period + tile.packet; filled *= 2) {
      const Index copied = (std::min)(filled, period + tile.packet - filled);
      for (std::size_t k = 0; k < K; ++k) std::copy_n(tile.value[k], copied, tile.value[k] + filled);
    }
    return period;
  }

  const Element& element_;
  Scalar* out_;
  std::array<const Scalar*, Inputs> x_;
  Index batch_;        // N, the number of samples
  Index sample_size_;  // the number of values in one
  const SampleCoefficients<K>& coefficients_;
};

/// out[n] = element(coefficients(n), x_0[n], x_1[n], ...) for tensors in memory that share shape and layout; when `uniform`,
/// coefficients(0) hold for all samples. out may be one of x.
template <class Device, class Out, class Element, class Coefficients, class... X>
void elementwise(const Device& device, Out& out, bool uniform, const Element& element, const Coefficients& coefficients,
                 const X&... x) {
  using Scalar = typename Out::Scalar;
  constexpr std::size_t K = std::tuple_size_v<std::decay_t<std::invoke_result_t<Coefficients, Index>>>;
  const Index size = static_cast<Index>(out.size());
  if (size == 0) return;
  const Index batch = uniform ? 1 : static_cast<Index>(out.dimensions()[0]);
  const SampleCoefficients<K> of_sample(coefficients);
  const Kernel<Element, Scalar, sizeof...(X), K> kernel(element, out.data(), {x.data()...}, batch, size / batch,
                                                        of_sample);
  kernel.run(static_cast<int>(Out::Layout) == Eigen::RowMajor, device);
}

/// out[n] = sum_k coefficients(n)[k] x_k[n], as above. Of no x: out[n] = coefficients(n)[0].
template <class Device, class Out, class Coefficients, class... X>
void affine(const Device& device, Out& out, bool uniform, const Coefficients& coefficients, const X&... x) {
  elementwise(device, out, uniform, AffineElement{}, coefficients, x...);
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

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
