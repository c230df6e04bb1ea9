// Tests of diffusion/detail/kernel/in_parallel.hpp.
#include "diffusion/detail/kernel/in_parallel.hpp"

#include <algorithm>  // std::all_of, std::equal, std::max
#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

#include "diffusion/detail/shape.hpp"
#include "matchers.hpp"

namespace in_parallel_tests {

using diffusion::detail::DeviceRef;
using diffusion::detail::in_parallel;
using Eigen::Index;

namespace {

/// A cost per index at which every thread is worth it.
const Eigen::TensorOpCost high_cost(0, 0, 1e7);

/// How often each index of [0, size) is visited.
template <class Device>
std::vector<int> visits(const Device& device, Index size) {
  std::vector<std::atomic<int>> counts(static_cast<std::size_t>(size));
  in_parallel(device, size, high_cost, [&](Index begin, Index end) {
    for (; begin < end; ++begin) ++counts[static_cast<std::size_t>(begin)];
  });
  return {counts.begin(), counts.end()};
}

}  // namespace

TEST_CASE("every index of a range is visited once, on any device", "[in_parallel]") {
  for (const int threads : {1, 2, 3, 5}) {
    Eigen::ThreadPool pool(threads);
    const Eigen::ThreadPoolDevice device(&pool, threads);
    for (const Index size : {0, 1, 2, 3, 7, 8, 9, 100, 1001}) {
      INFO(threads << " threads, " << size << " indices");
      const std::vector<int> once(static_cast<std::size_t>(size), 1);
      REQUIRE(visits(device, size) == once);
      REQUIRE(visits(DeviceRef(device), size) == once);
      REQUIRE(visits(DeviceRef(), size) == once);
    }
  }
}

TEST_CASE("a copy on several threads writes the values of its tensor and nothing after them", "[in_parallel]") {
  Eigen::ThreadPool pool(2);
  const Eigen::ThreadPoolDevice device(&pool, 2);
  constexpr Index size = 1000000;
  const auto from = random_tensor<Eigen::Tensor<float, 2>>({2, size / 2}, 1);
  Eigen::Tensor<float, 1> memory(3 * size);
  memory.setZero();
  Eigen::TensorMap<Eigen::Tensor<float, 2>> to(memory.data(), 2, size / 2);
  diffusion::detail::copy(from, to, device);
  REQUIRE(std::equal(from.data(), from.data() + size, memory.data()));
  REQUIRE(std::all_of(memory.data() + size, memory.data() + 3 * size, [](float value) { return value == 0; }));
}

TEST_CASE("several threads share a range", "[in_parallel]") {
  Eigen::ThreadPool pool(2);
  const Eigen::ThreadPoolDevice device(&pool, 2);
  // A block waits, at most 10 seconds, until another thread has begun one too.
  std::atomic<int> active{0}, most{0};
  in_parallel(DeviceRef(device), 100, high_cost, [&](Index, Index) {
    most = (std::max)(most.load(), ++active);
    const auto begin = std::chrono::steady_clock::now();
    while (most < 2 && std::chrono::steady_clock::now() - begin < std::chrono::seconds(10)) std::this_thread::yield();
    --active;
  });
  REQUIRE(most >= 2);
}

TEST_CASE("a thread of the pool may split a range over its own pool", "[in_parallel]") {
  Eigen::ThreadPool pool(2);
  const Eigen::ThreadPoolDevice device(&pool, 2);
  std::atomic<Index> visited{0};
  in_parallel(device, 8, high_cost, [&](Index begin, Index end) {
    for (; begin < end; ++begin) {
      in_parallel(device, 50, high_cost, [&](Index first, Index last) { visited += last - first; });
    }
  });
  REQUIRE(visited == 8 * 50);
}

TEST_CASE("an exception on the calling thread reaches the caller after the other threads have stopped",
          "[in_parallel]") {
  Eigen::ThreadPool pool(3);
  const Eigen::ThreadPoolDevice device(&pool, 3);
  const auto caller = std::this_thread::get_id();
  std::atomic<int> others{0};  // number of other threads at work
  const auto work = [&](Index, Index) {
    if (std::this_thread::get_id() != caller) {
      ++others;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      --others;
      return;
    }
    // Throws while another thread is at work; waits for one at most 10 seconds.
    const auto begin = std::chrono::steady_clock::now();
    while (others == 0 && std::chrono::steady_clock::now() - begin < std::chrono::seconds(10)) {
      std::this_thread::yield();
    }
    throw std::runtime_error("stop");
  };
  REQUIRE_THROWS_AS(in_parallel(device, 1000, high_cost, work), std::runtime_error);
  REQUIRE(others == 0);
}

}  // namespace in_parallel_tests
