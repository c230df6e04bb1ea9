/// @file guided_models.hpp
/// Where guidance has its two outputs from, the conditional and the unconditional one.
#pragma once

#include <any>
#include <array>
#include <cstddef>    // std::size_t
#include <stdexcept>  // std::invalid_argument
#include <unsupported/Eigen/CXX11/Tensor>

#include "../tensor.hpp"
#include "halves.hpp"
#include "model_call.hpp"
#include "multiply_add.hpp"
#include "operands.hpp"

namespace diffusion {
namespace detail {

/// The T that is kept in `any`; a new one where there is none yet, or something else.
template <class T>
T& kept(std::any& any) {
  if (T* const there = std::any_cast<T>(&any)) return *there;
  return any.emplace<T>();
}

/// out, a plain tensor, is made f(x, t), which must have the shape `sizes`. Unlike in a ReverseProcess, f may change when called.
template <class F, class X, class T, class Out, std::size_t Rank>
void call_model(const char* where, const char* name, F& f, const X& x, const T& t, Out& out,
                const std::array<Eigen::Index, Rank>& sizes) {
  constexpr CallForm form = call_form<F&, X, T, Out>();
  static_assert(
      form == CallForm::writes || form == CallForm::returns,
      "diffusion: a model (or cond_fn) must be callable as model(x, t), returning a tensor of x's scalar type, "
      "rank and layout, or as model(x, t, out), writing one, where x is a tensor like the one sampled and t an "
      "Eigen::Tensor<Scalar, 1>");
  if constexpr (form == CallForm::writes || form == CallForm::returns) {
    call<form>(where, name, f, x, t, out, sizes);
  }
}

/// Throws std::invalid_argument unless t, which models are told, is one number for each sample of x.
template <class X, class T>
void check_told(const char* where, const X& x, const T& t) {
  static_assert(Traits<T>::rank == 1, "diffusion: t must be a tensor of rank 1, one number per sample");
  const Eigen::Index batch = batch_size(where, argument("x", x));
  if (t.size() != batch) {
    fail<std::invalid_argument>(where, "t has ", static_cast<Eigen::Index>(t.size()), " entries for a batch of ", batch,
                                " samples");
  }
}

/// Whether an output for x is one of learned variances, which has twice the channels. Throws std::invalid_argument unless it is
/// that or of x's shape.
template <class Out, class X>
bool learns_variances(const char* where, const Out& out, const X& x) {
  if (shape(out) == shape(x)) return false;
  auto sizes = shape(x);
  if constexpr (Traits<X>::rank >= 2) sizes[1] *= 2;
  if (shape(out) != sizes) check_result(where, "out", out, x, shape(x));
  return true;
}

/// f(what an output for x predicts): all of it or, of learned variances, the first half of its channels.
template <class Out, class X, class F>
void with_prediction(const char* where, Out& out, const X& x, Out& half, const F& f) {
  if (!learns_variances(where, out, x)) return f(out);
  if constexpr (Traits<X>::rank >= 2) {
    resize(half, shape(x));
    take_half<1>(out, 0, half);
    f(half);
    put_half<1>(half, out, 0);
  }
}

/// One model for each.
template <class Cond, class Uncond>
struct TwoModels {
  Cond cond;
  Uncond uncond;

  template <class X, class T, class Out>
  struct Workspace {};

  /// `both`: or only the conditional output, where the other has no influence.
  template <class X, class T, class Out>
  void evaluate(const char* where, const X& x, const T& t, bool both, Out& cond_output, Out& uncond_output,
                Workspace<PlainTensor<X>, PlainTensor<T>, Out>&) {
    const auto sizes = shape(cond_output);
    if (both) call_model(where, "the unconditional model's output", uncond, x, t, uncond_output, sizes);
    call_model(where, "the conditional model's output", cond, x, t, cond_output, sizes);
  }
};

/// One model of a batch that is the other batch twice.
template <class Model>
struct DoubledBatch {
  Model model;

  template <class X, class T, class Out>
  struct Workspace {
    X x;
    T t;
    Out output;
  };

  template <class X, class T, class Out>
  void evaluate(const char* where, const X& x, const T& t, bool both, Out& cond_output, Out& uncond_output,
                Workspace<PlainTensor<X>, PlainTensor<T>, Out>& twice) {
    double_batch(x, twice.x);
    double_batch(t, twice.t);
    call_model(where, "the doubled batch's output", model, twice.x, twice.t, twice.output, doubled(cond_output));
    take_half<0>(twice.output, 0, cond_output);
    if (!both) return;
    resize(uncond_output, shape(cond_output));
    take_half<0>(twice.output, 1, uncond_output);
  }

 private:
  template <class X>
  static auto doubled(const X& x) {
    auto sizes = shape(x);
    sizes[0] *= 2;
    return sizes;
  }
  template <class X, class Twice>
  static void double_batch(const X& x, Twice& twice) {
    resize(twice, doubled(x));
    put_half<0>(x, twice, 0);
    put_half<0>(x, twice, 1);
  }
};

/// c_1 (uncond + c_0 (cond - uncond)): c_0 = 1 and c_0 = 0 give one of the two exactly, whatever the other is.
struct Guided {
  template <class C, class Real>
  Real operator()(const C& c, Real cond, Real uncond) const {
    const Real s = c[0];
    return c[1] * (s == Real(1) ? cond : s == Real(0) ? uncond : multiply_add(s, cond - uncond, uncond));
  }
};

/// The sum of the squared deviations of values from their mean, value by value; Welford 1962. It is 0 where all are the same.
struct SquaredDeviations {
  double mean = 0.0;
  double sum = 0.0;

  /// `recip_count`: 1 / how many values there are now.
  void add(double x, double recip_count) {
    const double before = x - mean;
    mean = multiply_add(before, recip_count, mean);
    sum = multiply_add(before, x - mean, sum);
  }
};

}  // namespace detail
}  // namespace diffusion
