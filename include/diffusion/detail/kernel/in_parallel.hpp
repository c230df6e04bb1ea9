/// @file in_parallel.hpp
/// Work on a range of indices, on the threads of a device.
#pragma once

#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>  // std::declval

namespace diffusion {
namespace detail {

using Eigen::Index;

/// Whether a D has threads that take work.
template <class D, class = void>
inline constexpr bool has_threads_v = false;
template <class D>
inline constexpr bool
    has_threads_v<D, std::void_t<decltype(std::declval<const D&>().parallelFor(
                         Index(), std::declval<Eigen::TensorOpCost>(), std::declval<void (*)(Index, Index)>()))>> =
        true;

/// f(begin, end) over disjoint ranges whose union is [0, size): one range, or as many as the threads of the device take.
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
template <class Device, class F>
void in_parallel(const Device& device, Index size, double bytes_each, const F& f) {
  in_parallel(device, size, Eigen::TensorOpCost(bytes_each, bytes_each, 1.0), f);
}

}  // namespace detail
}  // namespace diffusion
