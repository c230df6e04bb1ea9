/// @file two_outputs.hpp
/// How guidance gets its conditional and unconditional outputs: from two models, or from one call
/// on a doubled batch.
#pragma once

#include <Eigen/Core>
#include <any>

#include "../../detail/arguments.hpp"
#include "../../detail/kernel/chunk.hpp"
#include "../../detail/kernel/multiply_add.hpp"
#include "../../model/detail/call.hpp"

namespace diffusion {
namespace detail {

/// Returns the T stored in `any`, creating it if `any` is empty or holds another type.
template <class T>
T& workspace(std::any& any) {
  if (T* const there = std::any_cast<T>(&any)) return *there;
  return any.emplace<T>();
}

/// Throws std::invalid_argument unless t has one model time for each sample of x.
template <class X, class T>
void check_model_time(const char* where, const X& x, const T& t) {
  static_assert(Traits<T>::rank == 1, "diffusion: t must be a tensor of rank 1 with one model time per sample");
  const Eigen::Index batch = batch_size(where, argument("x", x));
  if (t.size() != batch) fail_of_entries(where, "t", static_cast<Eigen::Index>(t.size()), batch);
}

/// Whether `out` has twice the channels of x, for learned variances. Throws std::invalid_argument
/// unless `out` has this shape or that of x.
template <class Out, class X>
bool has_variances(const char* where, const Out& out, const X& x) {
  if (has_shape(out, shape(x))) return false;
  if constexpr (Traits<X>::rank >= 2) {
    if (has_shape(out, output_shape(where, "x", x, true))) return true;
  }
  check_result(where, "out", out, x, shape(x));
  return false;
}

/// Returns the prediction in a model's output for x: the output itself, or, with learned variances,
/// `half`, to which the first half of the channels is copied. set_prediction copies it back.
template <class Out, class X>
Out& prediction_in(const char* where, Out& out, const X& x, Out& half) {
  if (!has_variances(where, out, x)) return out;
  resize(half, shape(x));
  take_channels(out, 0, half);
  return half;
}

/// Copies the result of prediction_in back to the first half of the channels of `out`. Does nothing
/// if it is `out` itself.
template <class Out>
void set_prediction(Out& out, const Out& prediction) {
  if constexpr (Traits<Out>::rank >= 2) {
    if (&out != &prediction) set_chunk<1>(prediction, out, 0);
  }
}

/// Gets each output from a model of its own.
template <class Cond, class Uncond>
struct TwoModels {
  Cond cond;
  Uncond uncond;

  template <class X, class T, class Out>
  struct Workspace {};

  /// Calls the models. Without `both`, computes the conditional output only.
  template <class X, class T, class Out>
  void evaluate(const char* where, const X& x, const T& t, bool both, Out& cond_output, Out& uncond_output,
                Workspace<PlainTensor<X>, PlainTensor<T>, Out>&) {
    const auto sizes = shape(cond_output);
    if (both) call_model(where, "the unconditional model's output", uncond, x, t, uncond_output, sizes);
    call_model(where, "the conditional model's output", cond, x, t, cond_output, sizes);
  }
};

/// Gets both outputs from one call of a model on a doubled batch. The conditional half comes first.
template <class Model>
struct DoubledBatch {
  Model model;

  template <class X, class T, class Out>
  struct Workspace {
    X x;
    T t;
    Out output;
  };

  /// Calls the model on the whole doubled batch. Without `both`, copies the conditional half only.
  template <class X, class T, class Out>
  void evaluate(const char* where, const X& x, const T& t, bool both, Out& cond_output, Out& uncond_output,
                Workspace<PlainTensor<X>, PlainTensor<T>, Out>& twice) {
    double_batch(x, twice.x);
    double_batch(t, twice.t);
    call_model(where, "the doubled batch's output", model, twice.x, twice.t, twice.output, doubled(cond_output));
    chunk<0>(twice.output, 0, cond_output);
    if (!both) return;
    resize(uncond_output, shape(cond_output));
    chunk<0>(twice.output, 1, uncond_output);
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
    set_chunk<0>(x, twice, 0);
    set_chunk<0>(x, twice, 1);
  }
};

/// c_1 (uncond + c_0 (cond - uncond)). For c_0 = 1 only cond is used, for c_0 = 0 only uncond. The
/// other one may then be NaN or infinite, and the one used keeps its bits if c_1 = 1.
struct CfgCombine {
  template <class C, class Real>
  Real operator()(const C& c, Real cond, Real uncond) const {
    const Real s = c[0];
    return c[1] * (s == Real(1) ? cond : s == Real(0) ? uncond : multiply_add(s, cond - uncond, uncond));
  }
};

/// Running mean and sum of squared deviations from it; Welford 1962. The sum is exactly 0 if all
/// values are equal.
struct Welford {
  double mean = 0.0;
  double sum = 0.0;  // of the squared deviations

  /// Adds a value. `recip_count` is 1 / count, where count includes x.
  void add(double x, double recip_count) {
    const double before = x - mean;
    mean = multiply_add(before, recip_count, mean);
    sum = multiply_add(before, x - mean, sum);
  }
};

}  // namespace detail
}  // namespace diffusion
