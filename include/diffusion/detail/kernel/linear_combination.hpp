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

#include "../../tensor.hpp"
#include "../error.hpp"
#include "../shape.hpp"
#include "elementwise.hpp"
#include "in_parallel.hpp"

namespace diffusion {
namespace detail {

/// One term of a linear combination: coefficient * tensor.
template <class Tensor>
struct Term {
  Term() = default;
  Term(double a, const Tensor& x) : coefficient(a), tensor(&x) {}

  double coefficient = 0.0;
  const Tensor* tensor = nullptr;
};

/// A linear combination of at most 8 tensors of one shape, a range of its terms. It refers to the
/// tensors and does not copy them.
template <class Tensor>
class LinearCombination {
 public:
  static constexpr std::size_t capacity = 8;

  /// Adds the term a x. If a is 0 it adds nothing, even if x holds NaN. Throws std::length_error if
  /// there are 8 terms already.
  LinearCombination& add(double a, const Tensor& x) {
    if (a == 0.0) return *this;
    if (size_ == capacity) {
      fail<std::length_error>("LinearCombination", "there are more than ", Index(capacity), " terms");
    }
    terms_[size_++] = {a, x};
    return *this;
  }

  /// Number of terms.
  std::size_t size() const { return size_; }
  /// The first term.
  const Term<Tensor>* begin() const { return terms_.data(); }
  /// The end of the terms.
  const Term<Tensor>* end() const { return terms_.data() + size_; }

  /// Resizes `out` to the shape of `like` and writes the combination to it. `out` may be one of the
  /// terms.
  void into(Tensor& out, const Tensor& like, const DeviceRef& device = {}) const {
    resize_like(out, like);
    TensorOperations<Tensor>::combine(out, *this, device);
  }

 private:
  std::array<Term<Tensor>, capacity> terms_{};
  std::size_t size_ = 0;
};

/// out = a x + b y + ... `out` is resized to the shape of x, the first tensor, and may be any of
/// them.
template <class Tensor>
void combine(Tensor& out, std::initializer_list<Term<Tensor>> terms, const DeviceRef& device = {}) {
  LinearCombination<Tensor> sum;
  for (const Term<Tensor>& term : terms) sum.add(term.coefficient, *term.tensor);
  sum.into(out, *terms.begin()->tensor, device);
}

}  // namespace detail

/// The operations on a plain Eigen tensor.
template <class Scalar, int Rank, int Options, class Index>
struct TensorOperations<Eigen::Tensor<Scalar, Rank, Options, Index>> {
  using Tensor = Eigen::Tensor<Scalar, Rank, Options, Index>;

  /// Writes a linear combination; `out` has the shape of its terms.
  static void combine(Tensor& out, const detail::LinearCombination<Tensor>& sum, const detail::DeviceRef& device) {
    combine(out, sum, device, std::make_index_sequence<detail::LinearCombination<Tensor>::capacity + 1>());
  }

 private:
  /// Calls combine<sum.size()>.
  template <std::size_t... terms>
  static void combine(Tensor& out, const detail::LinearCombination<Tensor>& sum, const detail::DeviceRef& device,
                      std::index_sequence<terms...>) {
    (void)((terms == sum.size() && (combine<terms>(out, sum, device), true)) || ...);
  }
  template <std::size_t terms>
  static void combine(Tensor& out, const detail::LinearCombination<Tensor>& sum, const detail::DeviceRef& device) {
    using Function = detail::Affine<terms>;
    detail::PacketLoop<typename detail::PacketOf<Function, Scalar>::type, Function, Scalar> loop{{}, out.data(), {}};
    std::array<double, Function::coefficients> coefficients{};
    for (std::size_t k = 0; k < terms; ++k) {
      loop.inputs[k] = sum.begin()[k].tensor->data();
      coefficients[k] = sum.begin()[k].coefficient;
    }
    detail::for_all_elements(device, loop, static_cast<Eigen::Index>(out.size()), coefficients);
  }
};

}  // namespace diffusion
