/// @file allocations.hpp
/// Counts the heap allocations of a program, for exactly one of its files to include. With glibc,
/// whose malloc a program may replace, malloc is counted, and with it operator new and the storage
/// of Eigen's tensors; elsewhere the count stays 0.
#pragma once

#include <atomic>
#include <cstddef>  // std::size_t
#include <cstdlib>

namespace example {
inline std::atomic<long> allocation_count{0};

/// Heap allocations so far, in any thread.
inline long allocations() { return allocation_count.load(); }
}  // namespace example

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
extern "C" void* __libc_malloc(std::size_t);
extern "C" void* malloc(std::size_t size) noexcept {
  ++example::allocation_count;
  return __libc_malloc(size);
}
#endif
