/// @file fuzz.hpp
/// The parts that the fuzzers share: values from the bytes of libFuzzer, and the two ways to fail.
/// A fuzzer fails if an exception is not one of those that the documentation names, or if require()
/// finds an invariant broken.
#pragma once

#include <fuzzer/FuzzedDataProvider.h>
#include <sanitizer/allocator_interface.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <unsupported/Eigen/CXX11/Tensor>

namespace fuzz {

using Eigen::Index;
using Input = FuzzedDataProvider;

/// Ends the fuzzer unless `holds`.
inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

/// Runs f, and returns whether it returned. The exceptions that the library documents are caught;
/// any other ends the fuzzer.
template <class F>
bool documented(const F& f) {
  try {
    f();
    return true;
  } catch (const std::invalid_argument&) {
  } catch (const std::out_of_range&) {
  } catch (const std::domain_error&) {
  }
  return false;
}

inline Index index(Input& in, Index low, Index high) { return in.ConsumeIntegralInRange<Index>(low, high); }

/// Calls one of the functions with the input.
template <class... F>
void one_of(Input& in, const F&... functions) {
  Index left = index(in, 0, Index(sizeof...(F)) - 1);
  ((left-- == 0 ? functions(in) : void()), ...);
}

/// A number of ordinary size.
inline double moderate(Input& in) { return in.ConsumeFloatingPointInRange<double>(-4.0, 4.0); }

/// Any double; the special ones are frequent.
inline double hostile(Input& in) {
  using Limits = std::numeric_limits<double>;
  const double special[] = {
      0.0,           -0.0,  1.0,   -1.0,   0.5,       2.0,  Limits::infinity(),  -Limits::infinity(),
      Limits::max(), 1e-30, 1e300, 1e-300, 0x1p-1074, -1e9, Limits::quiet_NaN(), 1000.0};
  switch (in.ConsumeIntegralInRange<int>(0, 2)) {
    case 0:
      return special[in.ConsumeIntegralInRange<std::size_t>(0, 15)];
    case 1:
      return in.ConsumeFloatingPointInRange<double>(0.0, 1.0);
    default:
      return in.ConsumeFloatingPoint<double>();
  }
}

/// A tensor of this shape with ordinary values, or with any if `any`.
template <class Tensor>
Tensor tensor(Input& in, const typename Tensor::Dimensions& sizes, bool any = false) {
  Tensor out(sizes);
  for (Index i = 0; i < out.size(); ++i) {
    out.data()[i] = static_cast<typename Tensor::Scalar>(any ? hostile(in) : moderate(in));
  }
  return out;
}

/// Whether two tensors have one shape and the same bits. A long double has 10 bytes, and padding.
template <class Tensor>
bool same_bits(const Tensor& a, const Tensor& b) {
  constexpr std::size_t bytes = (std::min)(sizeof(typename Tensor::Scalar), std::size_t{10});
  if (a.dimensions() != b.dimensions()) return false;
  for (Index i = 0; i < a.size(); ++i) {
    if (std::memcmp(a.data() + i, b.data() + i, bytes) != 0) return false;
  }
  return true;
}

/// Number of allocations of this program so far.
inline std::size_t allocations() {
  static std::size_t count = 0;
  static const int installed = __sanitizer_install_malloc_and_free_hooks(
      [](const volatile void*, std::size_t) { ++count; }, [](const volatile void*) {});
  static_cast<void>(installed);
  return count;
}

/// Sample n of a batch, as a batch of one.
template <class Tensor>
Tensor sample_of(const Tensor& x, Index n) {
  auto first = x.dimensions(), extent = x.dimensions();
  for (auto& f : first) f = 0;
  first[0] = n;
  extent[0] = 1;
  return x.slice(first, extent);
}

/// A shape with up to `batch` samples, and up to 3 values along each other axis.
template <class Tensor>
typename Tensor::Dimensions shape(Input& in, Index batch) {
  typename Tensor::Dimensions sizes;
  for (auto& side : sizes) side = index(in, 0, 3);
  sizes[0] = index(in, 0, batch);
  return sizes;
}

}  // namespace fuzz
