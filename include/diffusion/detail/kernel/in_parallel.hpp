/// @file in_parallel.hpp
/// Splits a range of indices over the threads of a device.
#pragma once

#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>  // std::declval
#ifdef EIGEN_USE_THREADS
#include <algorithm>  // std::min
#include <atomic>
#include <memory>  // std::make_shared
#include <thread>  // std::this_thread::yield
#endif

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

#ifdef EIGEN_USE_THREADS  // otherwise Eigen declares no ThreadPoolDevice
/// Work on the range [0, size), which threads share in blocks.
template <class F>
struct SharedWork {
  SharedWork(const F& work, Index whole, Index part) : f(work), size(whole), block(part) {}

  /// Works on blocks until none is left.
  void take_blocks() {
    for (Index begin; (begin = next.fetch_add(block)) < size;) f(begin, (std::min)(begin + block, size));
  }

  const F& f;
  const Index size, block;
  std::atomic<Index> next{0};   // begin of the next block
  std::atomic<int> helpers{0};  // number of other threads that take blocks
};

/// Runs f on the calling thread and on threads of a pool. The calling thread takes blocks too, so
/// it never waits for a thread that has not begun, and may itself belong to the pool. (Eigen's
/// parallelFor wakes more threads, and is slower than one thread on work of less than 1 ms.)
template <class F>
void in_parallel(const Eigen::ThreadPoolDevice& device, Index size, const Eigen::TensorOpCost& cost_each, const F& f) {
  const int threads = Eigen::TensorCostModel<Eigen::ThreadPoolDevice>::numThreads(static_cast<double>(size), cost_each,
                                                                                  device.numThreads());
  if (threads < 2 || size < 2) return f(Index(0), size);
  const Index blocks = 4 * Index(threads);
  const auto work = std::make_shared<SharedWork<F>>(f, size, (size + blocks - 1) / blocks);
  for (int i = 1; i < threads; ++i) {
    device.enqueueNoNotification([work] {
      ++work->helpers;
      work->take_blocks();
      --work->helpers;
    });
  }
  // At the end, even if f throws, waits for the helpers, because they refer to f. One that begins
  // later finds no block.
  struct Wait {
    SharedWork<F>& work;
    ~Wait() {
      work.next = work.size;
      while (work.helpers > 0) std::this_thread::yield();
    }
  } wait{*work};
  work->take_blocks();
}

#endif

/// Calls f(begin, end) on disjoint ranges that cover [0, size): one range on Eigen::DefaultDevice,
/// several on a thread pool. `cost_each` is the cost per index, which decides how many threads are
/// worth it.
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

/// The device of a DeviceRef that was given none.
inline constexpr Eigen::DefaultDevice calling_thread{};

/// A reference to an Eigen device of any type, by default the calling thread. It is a device too.
/// Code that takes it is compiled once for all devices.
class DeviceRef {
 public:
  /// The calling thread.
  DeviceRef() : DeviceRef(calling_thread) {}
  /// The device must outlive the reference.
  template <class Device, std::enable_if_t<!std::is_same_v<Device, DeviceRef>, int> = 0>
  DeviceRef(const Device& device)
      : device_(&device), split_([](const void* on, Index size, const Eigen::TensorOpCost& cost_each, Call f) {
          in_parallel(*static_cast<const Device*>(on), size, cost_each, f);
        }) {}

  /// Calls f(begin, end) as in_parallel() does.
  template <class F>
  void parallelFor(Index size, const Eigen::TensorOpCost& cost_each, const F& f) const {
    split_(device_, size, cost_each,
           {&f, [](const void* g, Index begin, Index end) { (*static_cast<const F*>(g))(begin, end); }});
  }

 private:
  /// A function f(begin, end), type-erased.
  struct Call {
    const void* f;
    void (*call)(const void* f, Index begin, Index end);
    void operator()(Index begin, Index end) const { call(f, begin, end); }
  };

  const void* device_;
  void (*split_)(const void* device, Index size, const Eigen::TensorOpCost& cost_each, Call f);
};

}  // namespace detail
}  // namespace diffusion
