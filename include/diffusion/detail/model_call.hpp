/// @file model_call.hpp
/// How the functions a user hands over are called: a model f(x, t) and a map f(x), that return a tensor or write one.
#pragma once

#include <algorithm>  // std::copy_n
#include <array>
#include <cstddef>     // std::size_t
#include <functional>  // std::function, std::reference_wrapper
#include <stdexcept>   // std::invalid_argument
#include <string>
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>  // std::declval

#include "../tensor.hpp"
#include "halves.hpp"
#include "operands.hpp"

namespace diffusion {
namespace detail {

/// In place of a function that the user did not give.
struct NoFunction {};

/// In place of an observer.
struct NoObserver {
  template <class... Anything>
  void operator()(const Anything&...) const {}
};

enum class CallForm { none, writes, returns, returns_other };

/// Whether Result is a tensor that can become an Out: of its scalar type, rank and layout.
template <class Result, class Out>
constexpr bool becomes() {
  if constexpr (is_tensor_v<Result>) {
    return std::is_same_v<typename Traits<Result>::Scalar, typename Traits<Out>::Scalar> &&
           Traits<Result>::rank == Traits<Out>::rank && Traits<Result>::layout == Traits<Out>::layout;
  }
  return false;
}

/// The signature of F, as a std::function; void where there are many, or a template of them.
template <class F, class = void>
struct SignatureOf {
  using type = void;
};
template <class F>
struct SignatureOf<F, std::void_t<decltype(std::function(std::declval<F>()))>> {
  using type = decltype(std::function(std::declval<F>()));
};
template <class F>
struct SignatureOf<std::reference_wrapper<F>> : SignatureOf<F> {};

template <class Parameter, class Argument>
constexpr bool declared_for() {
  if constexpr (is_tensor_v<Parameter>) return becomes<Argument, Parameter>();
  return true;
}
template <class... Arguments>
struct Declared {
  static constexpr bool for_arguments(const void*) { return true; }
  template <class Result, class... Parameters>
  static constexpr bool for_arguments(const std::function<Result(Parameters...)>*) {
    if constexpr (sizeof...(Parameters) == sizeof...(Arguments)) return (declared_for<Parameters, Arguments>() && ...);
    return true;
  }
};

/// Whether f(arguments...) compiles. Eigen says of a tensor that it can be made of any other, and fails where it has to be;
/// so tensors that F declares must be of the arguments' scalar type, rank and layout.
template <class F, class... Arguments>
constexpr bool callable() {
  if constexpr (std::is_invocable_v<F, Arguments...>) {
    using Signature = typename SignatureOf<std::decay_t<F>>::type;
    return Declared<Arguments...>::for_arguments(static_cast<const Signature*>(nullptr));
  }
  return false;
}

/// f(x, t, out), or out = f(x, t)? Called as const, because many threads may call at once; of a G& as the G it is.
template <class F, class X, class T, class Out>
constexpr CallForm call_form() {
  if constexpr (callable<const F&, const X&, const T&, Out&>()) {
    return CallForm::writes;
  } else if constexpr (callable<const F&, const X&, const T&>()) {
    return becomes<std::invoke_result_t<const F&, const X&, const T&>, Out>() ? CallForm::returns
                                                                              : CallForm::returns_other;
  }
  return CallForm::none;
}

/// Gives a plain tensor the shape; takes memory only where the size changes.
template <class X, std::size_t Rank>
void resize(X& x, const std::array<Eigen::Index, Rank>& sizes) {
  if (has_shape(x, sizes)) return;
  typename X::Dimensions dimensions;
  for (std::size_t axis = 0; axis < Rank; ++axis) dimensions[axis] = static_cast<typename X::Index>(sizes[axis]);
  x.resize(dimensions);
}

/// Throws std::invalid_argument, with both shapes, unless what `name` gave for x has the shape `sizes`.
template <class Out, class X, std::size_t Rank>
void check_result(const char* where, const char* name, const Out& out, const X& x,
                  const std::array<Eigen::Index, Rank>& sizes) {
  if (!has_shape(out, sizes)) {
    fail<std::invalid_argument>(where, name, " has shape ", shape_text(out), ", but for x of shape ", shape_text(x),
                                " it must have ", shape_text(sizes));
  }
}

/// out, a plain tensor, is made f(x, t), which must have the shape `sizes`.
template <CallForm form, class F, class X, class T, class Out, std::size_t Rank>
void call(const char* where, const char* name, F& f, const X& x, const T& t, Out& out,
          const std::array<Eigen::Index, Rank>& sizes) {
  if constexpr (form == CallForm::writes) {
    resize(out, sizes);
    f(x, t, out);
  } else {
    out = f(x, t);
  }
  check_result(where, name, out, x, sizes);
}

/// x becomes f(x): f returns it, an expression or a tensor, or changes x in place and returns nothing.
template <class F, class X>
void call_in_place(const char* where, const char* name, const F& f, X& x) {
  static_assert(callable<const F&, X&>(),
                "diffusion: denoised_fn must be callable, as const, as f(x_start), x_start a tensor like the one "
                "sampled, returning a tensor or an expression "
                "of x_start's "
                "kind, or changing x_start in place and returning nothing");
  if constexpr (callable<const F&, X&>()) {
    using Result = std::invoke_result_t<const F&, X&>;
    if constexpr (std::is_void_v<Result>) {
      f(x);
    } else {
      static_assert(becomes<Result, X>(),
                    "diffusion: denoised_fn must return a tensor of x_start's scalar type, rank and layout");
      if constexpr (becomes<Result, X>()) {
        // Evaluated before x is written: an expression may read elements other than the one it makes.
        const PlainTensor<X> result = f(x);
        check_result(where, name, result, x, shape(x));
        std::copy_n(result.data(), static_cast<std::size_t>(result.size()), x.data());
      }
    }
  }
}

/// Copies the first and the second half of the channels (axis 1) of x.
template <class X, class First, class Second>
void split_channels(const X& x, First& first, Second& second) {
  if constexpr (Traits<X>::rank >= 2) {
    take_half<1>(x, 0, first);
    take_half<1>(x, 1, second);
  }
}

template <class From, class To>
void copy(const From& from, To& to) {
  if (from.data() != to.data()) std::copy_n(from.data(), static_cast<std::size_t>(from.size()), to.data());
}

}  // namespace detail
}  // namespace diffusion
