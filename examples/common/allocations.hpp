/// @file allocations.hpp
/// Counts the heap allocations of a program. Exactly one file of the program may include it. With
/// glibc, where a program may replace malloc, it counts calls of malloc, which include operator new
/// and the storage of Eigen's tensors. Elsewhere the count stays 0.
#pragma once

#include <atomic>
#include <cstddef>  // std::size_t
#include <cstdlib>

namespace example {
inline std::atomic<long> allocation_count{0};

/// Number of heap allocations so far, in all threads.
inline long allocations() { return allocation_count.load(); }
}  // namespace example

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
extern "C" void* __libc_malloc(std::size_t);
extern "C" void* malloc(std::size_t size) noexcept {
  ++example::allocation_count;
  return __libc_malloc(size);
}
#endif
