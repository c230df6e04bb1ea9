/// @file history.hpp
/// The last predictions of a multistep sampler.
#pragma once

#include <array>
#include <cstddef>  // std::size_t
#include <utility>  // std::swap

#include "../detail/shape.hpp"

namespace diffusion {

/// The last predictions of a multistep sampler, newest first: up to `capacity` tensors, each with
/// its place on the axis over which the sampler interpolates (lambda, say). Tensors are swapped in
/// and out, never copied.
template <class Tensor, std::size_t capacity>
class History {
 public:
  void clear() { size_ = 0; }
  std::size_t size() const { return size_; }

  /// Pushes value to the front; value receives the evicted tensor's storage, so nothing is copied or
  /// allocated.
  void push(Tensor& value, double place) {
    // All memory is taken with the first, so that a run does not take more as it goes on.
    if (size_ == 0) {
      for (Tensor& slot : values_) detail::resize(slot, detail::shape(value));
    }
    newest_ = (newest_ + capacity - 1) % capacity;
    std::swap(values_[newest_], value);
    places_[newest_] = place;
    if (size_ < capacity) ++size_;
  }

  const Tensor& operator[](std::size_t k) const { return values_[(newest_ + k) % capacity]; }
  double place(std::size_t k) const { return places_[(newest_ + k) % capacity]; }

 private:
  std::array<Tensor, capacity> values_;
  std::array<double, capacity> places_{};
  std::size_t newest_ = 0, size_ = 0;
};

}  // namespace diffusion
