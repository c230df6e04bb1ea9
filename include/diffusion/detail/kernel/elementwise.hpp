/// @file elementwise.hpp
/// The elementwise kernel: an affine combination of tensors with one set of coefficients per
/// sample,
///
///     out[n] = a_n x[n] + b_n y[n] + ...      (without tensors: out[n] = a_n)
///
/// at memory speed in both layouts. The same loops apply any other function of an element and its
/// sample's coefficients.
///
/// `coefficients` has one of three forms:
///   - `std::array<double, K>`: the same coefficients for all samples;
///   - a function n -> `std::array<double, K>` of the sample's index;
///   - by_step(steps, f): f(step) -> `std::array<double, K>`, with one step per sample or one for
///     all.
///
/// The values of all tensors of a call are in memory, in one shape and layout. `out` may be one of
/// the inputs.
#pragma once

#include <algorithm>  // std::copy_n, std::min
#include <array>
#include <cstddef>  // std::size_t
#include <tuple>    // std::tuple_size_v
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>  // std::declval

#include "../../tensor.hpp"
#include "in_parallel.hpp"
#include "packets.hpp"

namespace diffusion {
namespace detail {

/// Coefficients per sample, from a function n -> `std::array<double, K>`. Type-erased, so that the
/// loop over a batch is compiled once for all such functions.
template <class Real>
class SampleCoefficients {
 public:
  template <class F>
  explicit SampleCoefficients(const F& f)
      : f_(&f), fill_([](const void* g, Index first, Index count, Real* out, Index stride) {
          const F of_sample = *static_cast<const F*>(g);  // a copy: stores to `out` cannot change it
          for (Index n = 0; n < count; ++n) {
            const auto c = of_sample(first + n);
            Real* to = out + n;
            for (std::size_t k = 0; k < c.size(); ++k, to += stride) *to = static_cast<Real>(c[k]);
          }
        }) {}

  /// Writes coefficient k of sample first + n to out[k * stride + n], for all n < count.
  void fill(Index first, Index count, Real* out, Index stride) const { fill_(f_, first, count, out, stride); }

 private:
  const void* f_;
  void (*fill_)(const void*, Index, Index, Real*, Index);
};

/// Runs `loop` over all elements with the same coefficients.
template <class Device, class Loop>
void for_all_elements(const Device& device, const Loop& loop, Index size,
                      const std::array<double, Loop::coefficients>& coefficients) {
  using Real = typename Loop::Real;
  std::array<Real, Loop::coefficients> c;
  for (std::size_t k = 0; k < c.size(); ++k) c[k] = static_cast<Real>(coefficients[k]);
  in_parallel(device, size, sizeof(Real), [&](Index begin, Index end) { loop(begin, end - begin, c); });
}

/// Runs `loop` over a RowMajor batch, sample after sample, each with its own coefficients.
template <class Device, class Loop>
void for_each_sample(const Device& device, const Loop& loop, Index batch, Index sample_size,
                     const SampleCoefficients<typename Loop::Real>& coefficients) {
  using Real = typename Loop::Real;
  in_parallel(device, batch * sample_size, sizeof(Real), [&](Index begin, Index end) {
    constexpr Index at_once = 32;  // samples per call of coefficients.fill
    Real values[Loop::coefficients][static_cast<std::size_t>(at_once)];
    std::array<Real, Loop::coefficients> c;
    Index n = begin / sample_size;
    for (Index known = 0; begin < end; ++n, --known) {
      if (known == 0) {
        known = (std::min)(at_once, batch - n);
        coefficients.fill(n, known, values[0] + at_once - known, at_once);
      }
      for (std::size_t k = 0; k < c.size(); ++k) c[k] = values[k][at_once - known];
      const Index size = (std::min)(end, (n + 1) * sample_size) - begin;
      loop(begin, size, c);
      begin += size;
    }
  });
}

/// Runs `loop` over a ColMajor batch. In memory it is a sequence of rows, each of which holds one
/// value of every sample.
template <class Device, class Loop>
void for_each_row(const Device& device, const Loop& loop, Index batch, Index sample_size,
                  const SampleCoefficients<typename Loop::Real>& coefficients) {
  using Real = typename Loop::Real;
  constexpr Index packet = size_of<typename Loop::PacketType>;
  constexpr Index capacity = 8192 / sizeof(Real);  // coefficients per block, which stay in L1
  constexpr Index stride = capacity + packet;
  // With narrow packets, loads are the bottleneck: two rows, one from each half of the range, are
  // computed together and share each loaded coefficient.
  constexpr int streams = sizeof(typename Loop::PacketType) > 16 ? 1 : 2;
  const double bytes = sizeof(Real) * static_cast<double>(batch);
  in_parallel(device, sample_size, bytes, [&](Index first_row, Index last_row) {
    alignas(64) Real c[Loop::coefficients][static_cast<std::size_t>(stride)];
    const Index rows = (last_row - first_row) / streams;
    for (Index n = 0; n < batch; n += capacity) {
      const Index width = (std::min)(capacity, batch - n);
      coefficients.fill(n, width, c[0], stride);
      // If one block holds the coefficients of all samples, the coefficients are repeated up to
      // `period`, so that one run covers many contiguous rows. A run is rounded up to whole
      // packets; `phase` is how far it reaches into the next period.
      const bool whole = width == batch;
      Index period = width;
      while (whole && 2 * period <= capacity && (period < packet || 4 * period < rows * width)) period *= 2;
      for (Index filled = width, wanted = whole ? period + packet : width; filled < wanted; filled *= 2) {
        for (auto& of_k : c) std::copy_n(of_k, (std::min)(filled, wanted - filled), of_k + filled);
      }
      const auto walk = [&](auto lines, Index row, Index end) {
        const Index together = whole ? end - row : 1;
        for (; row < end; row += together) {
          for (Index i = row * batch + n, left = together * width, phase = 0; left > 0;) {
            const Index size = (std::min)(left, (period - phase + packet - 1) / packet * packet);
            loop.template in_lines<lines>(i, size, rows * batch, c[0] + phase, stride);
            i += size, left -= size, phase += size - period;
          }
        }
      };
      walk(std::integral_constant<int, streams>(), first_row, first_row + rows);
      walk(std::integral_constant<int, 1>(), first_row + streams * rows, last_row);
    }
  });
}

/// Coefficients f(steps[n]) for sample n. If steps.uniform(), f(steps[0]) applies to all samples.
template <class Steps, class F>
struct StepCoefficients {
  Steps steps;
  F f;
};
template <class Steps, class F>
StepCoefficients<Steps, F> by_step(const Steps& steps, const F& f) {
  return {steps, f};
}

/// out[n] = function(coefficients, x_0[n], x_1[n], ...), where `function` is one of packets.hpp.
template <class Device, class Out, class Function, std::size_t K, class... X>
void elementwise(const Device& device, Out& out, const Function& function, const std::array<double, K>& coefficients,
                 const X&... x) {
  using Scalar = typename Out::Scalar;
  const PacketLoop<typename PacketOf<Function, Scalar>::type, Function, Scalar> loop{
      function, out.data(), {x.data()...}};
  for_all_elements(device, loop, static_cast<Index>(out.size()), coefficients);
}
template <class Device, class Out, class Function, class Coefficients, class... X>
void elementwise(const Device& device, Out& out, const Function& function, const Coefficients& coefficients,
                 const X&... x) {
  using Scalar = typename Out::Scalar;
  if (out.size() == 0) return;
  const Index batch = static_cast<Index>(out.dimension(0)), sample_size = static_cast<Index>(out.size()) / batch;
  if (batch == 1) return elementwise(device, out, function, coefficients(Index(0)), x...);
  const PacketLoop<typename PacketOf<Function, Scalar>::type, Function, Scalar> loop{
      function, out.data(), {x.data()...}};
  const SampleCoefficients<Arithmetic<Scalar>> of_sample(coefficients);
  if constexpr (static_cast<int>(Out::Layout) == Eigen::RowMajor) {
    for_each_sample(device, loop, batch, sample_size, of_sample);
  } else {
    for_each_row(device, loop, batch, sample_size, of_sample);
  }
}
template <class Device, class Out, class Function, class Steps, class F, class... X>
void elementwise(const Device& device, Out& out, const Function& function, const StepCoefficients<Steps, F>& c,
                 const X&... x) {
  if (c.steps.uniform()) return elementwise(device, out, function, c.f(c.steps[0]), x...);
  elementwise(
      device, out, function, [f = c.f, steps = c.steps](Index n) { return f(steps[n]); }, x...);
}

/// out[n] = sum_k coefficients[k] x_k[n]; without x: out[n] = coefficients[0].
template <class Device, class Out, class Coefficients, class... X>
void affine(const Device& device, Out& out, const Coefficients& coefficients, const X&... x) {
  elementwise(device, out, Affine<sizeof...(X)>(), coefficients, x...);
}

/// out[n] = (x[n] + a_n y[n]) / b_n with coefficients (a_n, b_n). If x was formed as b_n x_0,
/// dividing by the same b_n recovers x_0; multiplying by 1 / b_n would leave a systematic error.
template <class Device, class Out, class Coefficients, class X, class Y>
void quotient(const Device& device, Out& out, const Coefficients& coefficients, const X& x, const Y& y) {
  elementwise(device, out, Quotient(), coefficients, x, y);
}

/// out[n] = x[n] clamped to [bounds[0], bounds[1]]. NaN stays NaN.
template <class Device, class Out, class Bounds, class X>
void clamp(const Device& device, Out& out, const Bounds& bounds, const X& x) {
  elementwise(device, out, Clamp(), bounds, x);
}

/// Number of coefficients K, for each of the three forms of coefficients.
template <class C>
struct CoefficientCount : std::tuple_size<std::decay_t<std::invoke_result_t<const C&, Index>>> {};
template <std::size_t K>
struct CoefficientCount<std::array<double, K>> : std::integral_constant<std::size_t, K> {};
template <class Steps, class F>
struct CoefficientCount<StepCoefficients<Steps, F>>
    : CoefficientCount<std::decay_t<std::invoke_result_t<const F&, decltype(std::declval<const Steps&>()[0])>>> {};

/// out[n] = f(coefficients, x_0[n], x_1[n], ...). With Real = `Arithmetic<Scalar>`, f takes a
/// `std::array<Real, K>` and one Real per x, and returns a Real. Where f adds a product it must use
/// multiply_add.
template <class Device, class Out, class F, class Coefficients, class... X>
void apply(const Device& device, Out& out, const F& f, const Coefficients& coefficients, const X&... x) {
  elementwise(device, out, Mapped<F, CoefficientCount<Coefficients>::value, sizeof...(X)>{f}, coefficients, x...);
}

}  // namespace detail
}  // namespace diffusion
