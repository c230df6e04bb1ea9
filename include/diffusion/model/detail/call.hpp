/// @file call.hpp
/// Calls of the user's functions, a model f(x, t) or a map f(x), which return or write a tensor.
/// Also the shape of a model's output.
#pragma once

#include <array>
#include <cstddef>     // std::size_t
#include <functional>  // std::reference_wrapper
#include <stdexcept>   // std::invalid_argument
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>  // std::declval

#include "../../detail/arguments.hpp"
#include "../../detail/kernel/chunk.hpp"
#include "../../detail/shape.hpp"
#include "../../tensor.hpp"

namespace diffusion {
namespace detail {

/// Placeholder for an optional function that the user did not give.
struct NoFunction {};

/// Whether Result is a tensor with the scalar type, rank and layout of Out. If Out is not one of
/// Eigen's tensors, whether Result converts to it.
template <class Result, class Out>
constexpr bool becomes() {
  if constexpr (is_adapted_v<Out>) {
    return std::is_convertible_v<Result, Out>;
  } else if constexpr (is_tensor_v<Result>) {
    return std::is_same_v<typename Traits<Result>::Scalar, typename Traits<Out>::Scalar> &&
           Traits<Result>::rank == Traits<Out>::rank && Traits<Result>::layout == Traits<Out>::layout;
  }
  return false;
}

// ---- whether a function accepts given arguments ----

/// Whether a declared parameter type accepts an argument; tensors must agree as in becomes().
template <class Parameter, class Argument>
constexpr bool parameter_takes() {
  if constexpr (is_tensor_v<Parameter>) return becomes<Argument, Parameter>();
  return true;
}

/// Whether the parameters in F's declaration accept the arguments. True if F is overloaded or a
/// template, because its parameters are then unknown.
template <class F, class = void>
struct Declared {
  template <class... Arguments>
  static constexpr bool take() {
    return true;
  }
};
template <class Result, class... P, bool is_noexcept>
struct Declared<Result (*)(P...) noexcept(is_noexcept), void> {
  template <class... Arguments>
  static constexpr bool take() {
    if constexpr (sizeof...(P) == sizeof...(Arguments)) return (parameter_takes<P, Arguments>() && ...);
    return true;
  }
};
template <class Result, class C, class... P, bool is_noexcept>
struct Declared<Result (C::*)(P...) noexcept(is_noexcept), void> : Declared<Result (*)(P...)> {};
template <class Result, class C, class... P, bool is_noexcept>
struct Declared<Result (C::*)(P...) const noexcept(is_noexcept), void> : Declared<Result (*)(P...)> {};
template <class F>
struct Declared<F, std::void_t<decltype(&F::operator())>> : Declared<decltype(&F::operator())> {};
template <class F>
struct Declared<std::reference_wrapper<F>, void> : Declared<F> {};

/// Whether f(arguments...) compiles. std::is_invocable is not enough: Eigen declares that a tensor
/// can be constructed from any other tensor, and compilation fails only inside the constructor. So
/// the tensors in F's declaration must also have the arguments' scalar type, rank and layout.
template <class F, class... Arguments>
constexpr bool callable() {
  if constexpr (std::is_invocable_v<F, Arguments...>) {
    return Declared<std::decay_t<F>>::template take<Arguments...>();
  }
  return false;
}

// ---- calls ----

enum class CallForm { none, writes, returns, returns_other };

/// How a model can be called: f(x, t, out) writes out; out = f(x, t) returns a tensor of out's kind
/// (`returns`) or something else (`returns_other`). Writing takes precedence.
template <class F, class X, class T, class Out>
constexpr CallForm call_form() {
  if constexpr (callable<F&, const X&, const T&, Out&>()) {
    return CallForm::writes;
  } else if constexpr (callable<F&, const X&, const T&>()) {
    return becomes<std::invoke_result_t<F&, const X&, const T&>, Out>() ? CallForm::returns : CallForm::returns_other;
  }
  return CallForm::none;
}

/// Calls a model: out, a plain tensor, becomes f(x, t). Every call of a model goes through here.
/// The result should have the shape `sizes`; the caller must check this. A Denoiser and a
/// ReverseProcess pass a const F, because many threads may call it at once.
template <class F, class X, class T, class Out, class Sizes>
void call_model(F& f, const X& x, const T& t, Out& out, const Sizes& sizes) {
  constexpr CallForm form = call_form<F, X, T, Out>();
  constexpr bool has_model = !std::is_same_v<std::decay_t<F>, std::nullptr_t>;
  static_assert(has_model,
                "diffusion: this Denoiser or ReverseProcess has no model (nullptr) to call; use a SamplingRun, which "
                "asks for each prediction");
  static_assert(form != CallForm::none || !has_model,
                "diffusion: the model (or cond_fn) must be callable as model(x, t), returning a tensor, or as model(x, "
                "t, out), writing one, where x is a tensor like the one sampled (the same scalar type, rank and "
                "layout) and t an Eigen::Tensor<Scalar, 1>; a Denoiser and a ReverseProcess call it as const: pass "
                "std::ref(model) for a model with a non-const call");
  static_assert(form != CallForm::returns_other,
                "diffusion: the model (or cond_fn) must return a tensor, or an expression, of x's scalar type, rank "
                "and layout");
  if constexpr (form == CallForm::writes) {
    if constexpr (is_adapted_v<Out>) {
      resize_like(out, x);
    } else {
      resize(out, sizes);
    }
    f(x, t, out);
  } else if constexpr (form == CallForm::returns) {
    out = f(x, t);
  }
}

/// As above, but throws std::invalid_argument unless the result has the shape `sizes`.
template <class F, class X, class T, class Out, class Sizes>
void call_model(const char* where, const char* name, F& f, const X& x, const T& t, Out& out, const Sizes& sizes) {
  call_model(f, x, t, out, sizes);
  check_result(where, name, out, x, sizes);
}

/// Replaces x by f(x). f returns a tensor or an expression, or it changes x in place and returns
/// nothing. Throws std::invalid_argument unless the result has x's shape.
template <class F, class X>
void call_in_place(const char* where, const char* name, const F& f, X& x) {
  static_assert(callable<const F&, X&>(),
                "diffusion: denoised_fn must have a const call f(x_start), where x_start is a tensor like the one "
                "sampled; it must return a tensor or an expression of x_start's scalar type, rank and layout, or "
                "change x_start in place and return nothing");
  if constexpr (callable<const F&, X&>()) {
    using Result = std::invoke_result_t<const F&, X&>;
    if constexpr (std::is_void_v<Result>) {
      f(x);
    } else {
      static_assert(becomes<Result, X>(),
                    "diffusion: denoised_fn must return a tensor of x_start's scalar type, rank and layout");
      if constexpr (becomes<Result, X>()) {
        // Evaluate before writing x: each element of an expression may depend on any element of x.
        const PlainTensor<X> result = f(x);
        check_result(where, name, result, x, shape(x));
        copy(result, x);
      }
    }
  }
}

// ---- the output of a model ----

/// Whether a model's output has twice the channels (axis 1), the second half for variances.
struct LearnedVariance {
  bool learned;
  const char *on, *off;  // the assignments that set or clear the user's option, for messages
};

/// Returns the shape of a model's output for x. Throws std::invalid_argument if variances are
/// learned and x has rank 1.
template <class X>
auto output_shape(const char* where, const char* x_name, const X& x, bool learned) {
  auto sizes = shape(x);
  if (learned && sizes.size() < 2) {
    fail<std::invalid_argument>(where, x_name, " has rank ", static_cast<Eigen::Index>(sizes.size()),
                                "; learned variances are the second half of the channels, which are axis 1");
  }
  if constexpr (is_adapted_v<X> || Traits<X>::rank >= 2) {
    if (learned) sizes[1] *= 2;
  }
  return sizes;
}

/// Throws std::invalid_argument unless `output`, the model's output for x, has the shape `sizes`.
/// If it has the channels of a model with the other setting of `variance`, the message says which
/// option to set.
template <class Output, class X, class Sizes>
void check_output(const char* where, const char* name, const Output& output, const X& x, const Sizes& sizes,
                  const LearnedVariance& variance) {
  if (has_shape(output, sizes)) return;
  if constexpr (is_adapted_v<X> || Traits<X>::rank >= 2) {
    auto other = shape(x);
    if (!variance.learned && other.size() >= 2) other[1] *= 2;
    if (has_shape(output, other)) {
      fail<std::invalid_argument>(where, name, " has shape ", shape_text(output), ", but for x of shape ",
                                  shape_text(x), " it must have ", shape_text(sizes),
                                  variance.learned ? "; for a model without learned variances set "
                                                   : "; for a model with learned variances set ",
                                  variance.learned ? variance.off : variance.on);
    }
  }
  check_result(where, name, output, x, sizes);
}

/// Copies one half of the channels of a model's output to `half`: the prediction for which = 0, the
/// values that determine learned variances for which = 1.
template <class Output, class Half>
void take_channels(const Output& output, int which, Half& half) {
  if constexpr (Traits<Output>::rank >= 2) chunk<1>(output, which, half);
}

}  // namespace detail
}  // namespace diffusion
