/// @file noise_runs.hpp
/// The kernel on noise as it is made: a block of it is used while it is in the first-level cache, and no tensor holds it.
#pragma once

#include <algorithm>  // std::transform
#include <array>
#include <cstddef>  // std::size_t
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>  // std::declval

#include "../tensor.hpp"
#include "affine.hpp"

namespace diffusion {
namespace detail {

/// Whether a noise source gives its values in runs (see PhiloxNoise::for_each_run) for a tensor like X.
template <class Noise, class X, class Device, class = void>
inline constexpr bool makes_runs_v = false;
template <class Noise, class X, class Device>
inline constexpr bool
    makes_runs_v<Noise, X, Device,
                 std::void_t<decltype(std::declval<Noise&>().for_each_run(
                     std::declval<const X&>(), std::declval<const Device&>(),
                     std::declval<void (*)(Index, Index, const void*, Index)>(), std::declval<const X&>()))>> = true;

/// out[n] = a_n x[n] + b_n z[n], where z is what noise(z) would fill and (a_n, b_n) = coefficients(n); when `uniform`,
/// coefficients(0) hold for all samples. The bits are those of affine on z. out may be x.
template <class Device, class Out, class Coefficients, class X, class Noise>
void affine_with_noise(const Device& device, Out& out, bool uniform, const Coefficients& coefficients, const X& x,
                       Noise& noise) {
  using Scalar = typename Out::Scalar;
  using Real = Arithmetic<Scalar>;
  constexpr std::size_t K = 2;
  constexpr std::size_t longest_run = 256;
  using Rounded = std::array<Scalar, longest_run>;
  using Few = Tile<Real, K, longest_run>;
  using Many = Tile<Real, K, 4096>;
  const SampleCoefficients<Real, K> of_sample(coefficients);
  // The source is shown x, which it may bring into the cache, and not out: who reads must wait.
  const auto use = [&](Index offset, const auto* z, Index count, const auto& c) {
    const auto of_size = [&](const Scalar* drawn, Index size) {
      run<K, AffineElement, Scalar, 2>({}, out.data() + offset, {x.data() + offset, drawn}, size, c);
    };
    if constexpr (std::is_same_v<decltype(z), const Scalar*>) {
      constexpr Index usual = 64;  // a size that compilers know costs them no loop
      count == usual ? of_size(z, usual) : of_size(z, count);
    } else {
      Rounded rounded;
      std::transform(z, z + count, rounded.begin(), [](auto value) { return static_cast<Scalar>(value); });
      of_size(rounded.data(), count);
    }
  };
  if (uniform || static_cast<int>(Out::Layout) == Eigen::RowMajor) {
    noise.for_each_run(
        x, device,
        [&](Index offset, Index n, const auto* z, Index count) {
          Constant<Real, K> c;
          of_sample.fill(uniform ? 0 : n, 1, c.value.data(), 1);
          use(offset, z, count, c);
        },
        out);
  } else {
    // Made once for all runs, or else for each.
    Many tile;
    const Index batch = static_cast<Index>(out.dimensions()[0]);
    const bool fits = batch <= tile.capacity;
    if (fits) of_sample.fill(0, batch, tile.value[0], tile.stride);
    noise.for_each_run(
        x, device,
        [&](Index offset, Index n, const auto* z, Index count) {
          if (fits) return use(offset, z, count, TilePart<Many>{tile, n});
          Few part;
          of_sample.fill(n, count, part.value[0], part.stride);
          use(offset, z, count, TilePart<Few>{part, 0});
        },
        out);
  }
}

}  // namespace detail
}  // namespace diffusion
