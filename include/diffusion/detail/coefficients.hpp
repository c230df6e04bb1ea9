/// @file coefficients.hpp
/// Where the coefficients of the kernel come from and where they lie: one set for each sample, the same for all, or one for each
/// element of a run.
#pragma once

#include <array>
#include <cstddef>  // std::size_t
#include <tuple>    // std::tuple_size_v
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>

#include "run.hpp"

namespace diffusion {
namespace detail {

/// The coefficients of the samples, (n) -> std::array<double, K>, from a function whose type is forgotten: so that the walk of a
/// batch is compiled once for all of them.
template <class Real, std::size_t K>
class SampleCoefficients {
 public:
  template <class F>
  explicit SampleCoefficients(const F& f)
      : f_(&f), fill_([](const void* g, Index first, Index count, Real* out, Index stride) {
          const F of_sample = *static_cast<const F*>(g);  // a copy, which no store to out can change
          Index n = 0;
          for (; n + 4 <= count; n += 4) put<4>(of_sample, first, n, out, stride);
          for (; n < count; ++n) put<1>(of_sample, first, n, out, stride);
        }) {}

  /// out[k * stride + n], n < count, becomes coefficient k of sample first + n.
  void fill(Index first, Index count, Real* out, Index stride) const { fill_(f_, first, count, out, stride); }

 private:
  /// The coefficients of `count` samples; of more than one they are rounded together.
  template <std::size_t count, class F>
  static void put(const F& of_sample, Index first, Index n, Real* out, Index stride) {
#ifdef __GNUC__
    // g++ that sees through the loops of fill gathers table entries, which takes longer than to load them.
    asm("" : "+r"(n));
#endif
    double c[K][count];
    for (std::size_t i = 0; i < count; ++i) {
      const std::array<double, K> of_one = of_sample(first + n + static_cast<Index>(i));
      for (std::size_t k = 0; k < K; ++k) c[k][i] = of_one[k];
    }
    for (std::size_t k = 0; k < K; ++k) {
      for (std::size_t i = 0; i < count; ++i) {
        out[static_cast<Index>(k) * stride + n + static_cast<Index>(i)] = static_cast<Real>(c[k][i]);
      }
    }
  }

  const void* f_;
  void (*fill_)(const void*, Index, Index, Real*, Index);
};

/// How many coefficients such a function gives.
template <class Coefficients>
inline constexpr std::size_t coefficients_of =
    std::tuple_size_v<std::decay_t<std::invoke_result_t<const Coefficients&, Index>>>;

/// The same coefficients for every sample. (A type, and not a lambda of each operation, so that what takes it is compiled once.)
template <std::size_t K>
struct OneForAll {
  std::array<double, K> c;
  const std::array<double, K>& operator()(Index) const { return c; }
};

/// Coefficients that change from element to element, one for each element of a run. By default 16 KiB for each k, of which most
/// batches use but the beginning; that stays in the first-level cache beside what streams past it.
template <class Real, std::size_t K, Index size = 16384 / static_cast<Index>(sizeof(Real))>
struct Tile {
  static constexpr Index capacity = size, packet = Eigen::internal::packet_traits<Real>::size;
  // A packet may begin with the last element, and one that `repeat` writes may begin with that one's last.
  static constexpr Index stride = capacity + 2 * packet;
  alignas(64) Real value[K][static_cast<std::size_t>(stride)];

  /// Elements [filled, 2 filled), as far as they are below `end`, become those of [0, filled).
  void repeat(Index filled, Index end) {
    using Packet = typename Eigen::internal::packet_traits<Real>::type;
    for (Index i = 0; i < filled && filled + i < end; i += packet) {
      for (auto& of_k : value) Eigen::internal::pstoreu(of_k + filled + i, Eigen::internal::ploadu<Packet>(of_k + i));
    }
  }
};
/// The same, from element `first` of the tile.
template <class T>
struct TilePart {
  const T& tile;
  Index first;
  template <class Value>
  Value at(std::size_t k, Index i) const {
    return load<Value>(tile.value[k] + first + i);
  }
};

}  // namespace detail
}  // namespace diffusion
