/// @file allocations.hpp
/// Counts what a piece of code takes from the heap.
#pragma once

/// Heap allocations of the program so far, in any thread: operator new, and malloc with its kin, which Eigen calls for
/// the storage of tensors. Counted with glibc or a sanitizer; elsewhere it stays 0.
long allocations();
bool allocations_are_counted();

/// Heap allocations made while f() runs.
template <class F>
long count_allocations(F&& f) {
  const long before = allocations();
  f();
  return allocations() - before;
}
