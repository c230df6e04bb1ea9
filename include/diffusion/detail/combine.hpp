/// @file combine.hpp
/// out = a x + b y + ... for a whole batch, the number of terms being known only when it runs.
#pragma once

#include <array>
#include <cstddef>  // std::size_t
#include <initializer_list>
#include <stdexcept>  // std::length_error
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>  // std::index_sequence

#include "affine.hpp"
#include "operands.hpp"

namespace diffusion {
namespace detail {

/// A sum of at most 8 plain tensors of one shape, each times a number.
template <class Tensor>
class Sum {
 public:
  /// Adds a x. Where a is 0 that is nothing, whatever x holds.
  Sum& add(double a, const Tensor& x) {
    if (a == 0.0) return *this;
    if (size_ == capacity) fail<std::length_error>("Sum", "there are more than ", Index(capacity), " terms");
    terms_[size_++] = {a, &x};
    return *this;
  }

  /// out takes the shape of `like` and the value of the sum. It may be one of the terms.
  void into(Tensor& out, const Tensor& like) const {
    resize(out, shape(like));
    into(out, std::make_index_sequence<capacity + 1>());
  }

 private:
  static constexpr std::size_t capacity = 8;

  template <std::size_t... K>
  void into(Tensor& out, std::index_sequence<K...>) const {
    (void)((K == size_ && (of<K>(out, std::make_index_sequence<K>()), true)) || ...);
  }
  template <std::size_t K, std::size_t... k>
  void of(Tensor& out, std::index_sequence<k...>) const {
    if constexpr (K == 0) {
      affine(Eigen::DefaultDevice(), out, true, [](Index) { return std::array{0.0}; });
    } else {
      affine(
          Eigen::DefaultDevice(), out, true, [this](Index) { return std::array{terms_[k].a...}; }, *terms_[k].x...);
    }
  }

  // (Side by side, coefficients just stored one by one would be loaded two at a time, which has to wait for the stores.)
  struct {
    double a;
    const Tensor* x;
  } terms_[capacity];
  std::size_t size_ = 0;
};

/// a x
template <class Tensor>
struct Term {
  double coefficient;
  const Tensor& tensor;
};

/// out = a x + b y + ...; it takes the shape of x, and may be any of them.
template <class Tensor>
void combine(Tensor& out, std::initializer_list<Term<Tensor>> terms) {
  Sum<Tensor> sum;
  for (const Term<Tensor>& term : terms) sum.add(term.coefficient, term.tensor);
  sum.into(out, terms.begin()->tensor);
}

}  // namespace detail
}  // namespace diffusion
