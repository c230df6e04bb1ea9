/// @file map_values.hpp
/// A function of one value after another: out[i] = f(x[i], y[i], ...) in double, where each of x, y, ... is a tensor or one
/// number for all elements.
#pragma once

#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>

#include "../tensor.hpp"
#include "affine.hpp"
#include "operands.hpp"

namespace diffusion {
namespace detail {

template <class X>
inline constexpr bool is_number_v = std::is_arithmetic_v<std::decay_t<X>> || is_scalar_v<std::decay_t<X>>;

/// Whether all are tensors or numbers; if not, one sentence says so.
template <class... X>
constexpr bool are_values() {
  constexpr bool values = ((is_tensor_v<X> || is_number_v<X>)&&...);
  static_assert(values,
                "diffusion: this argument must be a number or an Eigen tensor: an Eigen::Tensor, TensorMap, "
                "TensorFixedSize or an expression of them");
  return values;
}

/// i -> value i in double.
template <class Stored>
auto values_of(const Argument<Stored>& x) {
  if constexpr (is_tensor_v<Stored>) {
    return [data = x.tensor.data()](Index i) { return static_cast<double>(data[i]); };
  } else {
    return [number = static_cast<double>(x.tensor)](Index) { return number; };
  }
}

/// The first argument that is a tensor.
template <class X, class... More>
const auto& first_tensor(const Argument<X>& x, const Argument<More>&... more) {
  if constexpr (is_tensor_v<X>) {
    return x;
  } else {
    return first_tensor(more...);
  }
}

template <class X, class Y>
void check_same_shape_if_tensor(const char* where, const Argument<X>& x, const Argument<Y>& y) {
  if constexpr (is_tensor_v<Y>) check_same_shape(where, x, y);
}

/// out[i] = f(x[i] ...), after all checks. One x at least is a tensor; out may be one of them.
template <class Device, class Out, class F, class... X>
void map_values_into(const char* where, const Device& device, Out& out, const F& f, const Argument<X>&... x) {
  using Scalar = typename Traits<Out>::Scalar;
  static_assert((is_tensor_v<X> || ...), "diffusion: of the arguments besides `out` one at least must be a tensor");
  if constexpr ((is_tensor_v<X> || ...)) {
    if constexpr (tensors_agree<Scalar, Out, std::conditional_t<is_tensor_v<X>, X, Out>...>()) {
      const auto& first = first_tensor(x...);
      (check_same_shape_if_tensor(where, first, x), ...);
      check_same_shape(where, first, argument("out", out));
      if (out.size() == 0) return;
      const auto run = [to = out.data(), &f](Index begin, Index end, const auto&... value) {
        for (Index i = begin; i < end; ++i) to[i] = static_cast<Scalar>(f(value(i)...));
      };
      in_parallel(device, static_cast<Index>(out.size()), sizeof(Scalar),
                  [&](Index begin, Index end) { run(begin, end, values_of(x)...); });
    }
  }
}

/// The same in a new tensor; a double when no x is a tensor.
template <class F, class... X>
auto map_values(const char* where, const F& f, const Argument<X>&... x) {
  if constexpr ((is_tensor_v<X> || ...)) {
    auto out = like(first_tensor(x...).tensor);
    map_values_into(where, Eigen::DefaultDevice(), out, f, x...);
    return out;
  } else {
    return f(values_of(x)(0)...);
  }
}

}  // namespace detail
}  // namespace diffusion
