/// @file in_parallel.hpp
/// Splits a range of indices over the threads of a device.
#pragma once

#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>  // std::declval

namespace diffusion {
namespace detail {

using Eigen::Index;

/// Whether the device type D has parallelFor.
template <class D, class = void>
inline constexpr bool has_threads_v = false;
template <class D>
inline constexpr bool
    has_threads_v<D, std::void_t<decltype(std::declval<const D&>().parallelFor(
                         Index(), std::declval<Eigen::TensorOpCost>(), std::declval<void (*)(Index, Index)>()))>> =
        true;

/// Calls f(begin, end) on disjoint ranges that cover [0, size): one range on Eigen::DefaultDevice,
/// several on a thread pool. `cost_each` is the cost per index, by which the pool sizes the ranges.
template <class Device, class F>
void in_parallel(const Device& device, Index size, const Eigen::TensorOpCost& cost_each, const F& f) {
  if constexpr (has_threads_v<Device>) {
    device.parallelFor(size, cost_each, f);
  } else {
    static_assert(std::is_same_v<Device, Eigen::DefaultDevice>,
                  "diffusion: the device must be an Eigen::DefaultDevice or an Eigen::ThreadPoolDevice");
    f(Index(0), size);
  }
}
/// The same, where each index reads and writes `bytes_each` bytes.
template <class Device, class F>
void in_parallel(const Device& device, Index size, double bytes_each, const F& f) {
  in_parallel(device, size, Eigen::TensorOpCost(bytes_each, bytes_each, 1.0), f);
}

}  // namespace detail
}  // namespace diffusion
