/// @file linear_combination.hpp
/// out = a x + b y + ... with one set of coefficients for the whole batch and a number of terms
/// that is known only at run time.
#pragma once

#include <array>
#include <cstddef>  // std::size_t
#include <initializer_list>
#include <stdexcept>  // std::length_error
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>  // std::index_sequence

#include "../error.hpp"
#include "../shape.hpp"
#include "elementwise.hpp"

namespace diffusion {
namespace detail {

/// A linear combination of at most 8 plain tensors of one shape. It refers to the tensors and does
/// not copy them.
template <class Tensor>
class LinearCombination {
 public:
  /// Adds the term a x. If a is 0 it adds nothing, even if x holds NaN. Throws std::length_error if
  /// there are 8 terms already.
  LinearCombination& add(double a, const Tensor& x) {
    if (a == 0.0) return *this;
    if (terms_ == capacity) {
      fail<std::length_error>("LinearCombination", "there are more than ", Index(capacity), " terms");
    }
    coefficients_[terms_] = a;
    inputs_[terms_++] = x.data();
    return *this;
  }

  /// Resizes `out` to the shape of `like` and writes the combination to it. `out` may be one of the
  /// terms.
  void into(Tensor& out, const Tensor& like) const {
    resize(out, shape(like));
    into(out, std::make_index_sequence<capacity + 1>());
  }

 private:
  using Scalar = typename Tensor::Scalar;
  static constexpr std::size_t capacity = 8;

  /// Calls into<terms_>.
  template <std::size_t... terms>
  void into(Tensor& out, std::index_sequence<terms...>) const {
    (void)((terms == terms_ && (into<terms>(out), true)) || ...);
  }
  template <std::size_t terms>
  void into(Tensor& out) const {
    PacketLoop<typename PacketOf<Affine<terms>, Scalar>::type, Affine<terms>, Scalar> loop{{}, out.data(), {}};
    std::array<double, Affine<terms>::coefficients> coefficients{};
    for (std::size_t k = 0; k < terms; ++k) {
      loop.inputs[k] = inputs_[k];
      coefficients[k] = coefficients_[k];
    }
    for_all_elements(Eigen::DefaultDevice(), loop, static_cast<Index>(out.size()), coefficients);
  }

  std::array<double, capacity> coefficients_{};
  std::array<const Scalar*, capacity> inputs_{};
  std::size_t terms_ = 0;
};

/// One term of combine: coefficient * tensor.
template <class Tensor>
struct Term {
  double coefficient;
  const Tensor& tensor;
};

/// out = a x + b y + ... `out` is resized to the shape of x, the first tensor, and may be any of
/// them.
template <class Tensor>
void combine(Tensor& out, std::initializer_list<Term<Tensor>> terms) {
  LinearCombination<Tensor> sum;
  for (const Term<Tensor>& term : terms) sum.add(term.coefficient, term.tensor);
  sum.into(out, terms.begin()->tensor);
}

}  // namespace detail
}  // namespace diffusion
