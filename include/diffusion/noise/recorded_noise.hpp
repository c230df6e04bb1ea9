/// @file recorded_noise.hpp
/// A noise source that replays recorded tensors.
#pragma once

#include <cstddef>    // std::size_t
#include <stdexcept>  // std::invalid_argument, std::out_of_range
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>  // std::move
#include <vector>

#include "../detail/error.hpp"
#include "../detail/kernel/row_major.hpp"
#include "../detail/shape.hpp"
#include "noise_source.hpp"

namespace diffusion {

/// Replays recorded tensors, one per call: noise that another program drew, or fixed noise for a
/// test.
///
/// `Tensor` is a plain Eigen::Tensor. A tensor that is filled has its scalar type and rank, but may
/// have another layout and index type.
template <class Tensor>
class RecordedNoise {
  static_assert(
      std::is_same_v<Tensor, typename detail::Traits<Tensor>::Plain>,
      "diffusion: RecordedNoise must be constructed from a std::vector of Eigen::Tensor, or from one Eigen::Tensor "
      "whose first axis is the call");
  using Traits = detail::Traits<Tensor>;
  using Stacked =
      Eigen::Tensor<typename Traits::Scalar, Traits::rank + 1, Traits::layout, typename Traits::Plain::Index>;

 public:
  /// Whether an X has the scalar type and rank of the recorded tensors.
  template <class X>
  static constexpr bool fills =
      std::is_same_v<typename detail::Traits<X>::Scalar, typename Traits::Scalar>&& detail::Traits<X>::rank ==
      Traits::rank;

  /// Replays `tensors` in their order; their shapes may differ.
  explicit RecordedNoise(std::vector<Tensor> tensors) : tensors_(std::move(tensors)) {}

  /// Replays the slices of one tensor whose first axis is the call.
  explicit RecordedNoise(const Stacked& calls) {
    for (Eigen::Index k = 0; k < static_cast<Eigen::Index>(calls.dimension(0)); ++k) {
      tensors_.push_back(calls.chip(static_cast<typename Stacked::Index>(k), 0));
    }
  }

  /// Number of calls so far.
  Eigen::Index call() const { return call_; }
  /// Number of recorded tensors.
  Eigen::Index size() const { return static_cast<Eigen::Index>(tensors_.size()); }

  /// Copies the next recorded tensor into x.
  ///
  /// Throws std::out_of_range if all tensors have been replayed. Throws std::invalid_argument
  /// unless x has the shape of the next tensor. A call that throws is not counted.
  template <class X>
  void operator()(X&& x) {
    if constexpr (detail::can_be_filled<X>()) {
      static_assert(fills<X>,
                    "diffusion: a tensor that RecordedNoise fills must have the scalar type and rank of the recorded "
                    "tensors");
      if (call_ == size()) {
        detail::fail<std::out_of_range>("RecordedNoise", "no tensor is left for call ", call_, " (counted from 0); ",
                                        size(), " tensors were recorded");
      }
      const Tensor& recorded = tensors_[static_cast<std::size_t>(call_)];
      if (detail::shape(x) != detail::shape(recorded)) {
        detail::fail<std::invalid_argument>("RecordedNoise", "at call ", call_, " x has shape ", detail::shape_text(x),
                                            ", but the recorded tensor has ", detail::shape_text(recorded));
      }
      auto to = detail::row_major_walk<0>(x);
      auto from = detail::row_major_walk<0>(recorded);
      for (Eigen::Index i = 0; i < static_cast<Eigen::Index>(x.size()); ++i) {
        x.data()[to.next()] = recorded.data()[from.next()];
      }
      ++call_;
    }
  }

 private:
  std::vector<Tensor> tensors_;
  Eigen::Index call_ = 0;
};

/// From one tensor whose first axis is the call: the recorded tensors have one axis less.
template <class Scalar, int Rank, int Options, class Index>
RecordedNoise(const Eigen::Tensor<Scalar, Rank, Options, Index>&)
    -> RecordedNoise<Eigen::Tensor<Scalar, Rank - 1, Options, Index>>;

}  // namespace diffusion
