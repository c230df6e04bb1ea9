/// @file allocations.hpp
/// Counts the heap allocations of a piece of code.
#pragma once

/// Number of heap allocations of the program so far, in all threads: operator new, malloc and
/// related functions (Eigen calls these for the storage of tensors). It is 0 without glibc or a
/// sanitizer.
long allocations();
/// Whether allocations() counts on this platform.
bool allocations_are_counted();

/// Number of heap allocations while f() runs.
template <class F>
long count_allocations(F&& f) {
  const long before = allocations();
  f();
  return allocations() - before;
}
