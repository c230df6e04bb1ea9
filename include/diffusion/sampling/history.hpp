/// @file history.hpp
/// Memory for the last predictions of a multistep sampler.
#pragma once

#include <array>
#include <cstddef>  // std::size_t
#include <utility>  // std::swap

#include "../detail/shape.hpp"

namespace diffusion {

/// The last predictions of a multistep sampler, newest first. It holds up to `capacity` tensors,
/// each with its place on the axis along which the sampler interpolates, for example lambda.
/// Tensors are swapped in and out, never copied.
template <class Tensor, std::size_t capacity>
class History {
 public:
  /// Forgets all predictions. Keeps the memory.
  void clear() { size_ = 0; }
  /// Number of stored predictions, at most `capacity`.
  std::size_t size() const { return size_; }

  /// Pushes `value` to the front and evicts the oldest prediction if the history is full. `value`
  /// receives the storage of an old tensor in exchange. The first push into an empty history
  /// allocates; no other push does.
  void push(Tensor& value, double place) {
    // Allocate all tensors at the first push, so that later steps of a run do not allocate.
    if (size_ == 0) {
      for (Tensor& slot : values_) detail::resize_like(slot, value);
    }
    newest_ = (newest_ + capacity - 1) % capacity;
    std::swap(values_[newest_], value);
    places_[newest_] = place;
    if (size_ < capacity) ++size_;
  }

  /// Prediction k, where 0 is the newest. k must be less than size().
  const Tensor& operator[](std::size_t k) const { return values_[(newest_ + k) % capacity]; }
  /// Place of prediction k. k must be less than size().
  double place(std::size_t k) const { return places_[(newest_ + k) % capacity]; }

 private:
  std::array<Tensor, capacity> values_;
  std::array<double, capacity> places_{};
  std::size_t newest_ = 0, size_ = 0;
};

}  // namespace diffusion
