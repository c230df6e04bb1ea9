/// @file prediction_operations.hpp
/// The operations of a Denoiser on Eigen's tensors, and on other tensors by their TensorOperations.
#pragma once

#include <array>
#include <cstddef>    // std::size_t
#include <stdexcept>  // std::invalid_argument
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>

#include "../../detail/arguments.hpp"
#include "../../detail/error.hpp"
#include "../../detail/kernel/elementwise.hpp"
#include "../../detail/kernel/in_parallel.hpp"
#include "../../detail/kernel/linear_combination.hpp"
#include "../../detail/shape.hpp"
#include "../prediction.hpp"
#include "call.hpp"
#include "threshold.hpp"

namespace diffusion {
namespace detail {

/// out = c_0 x + c_1 y + ..., with the same coefficients for every sample. out may be any of the
/// tensors.
template <class Out, std::size_t K, class... X>
void weighted_sum(const DeviceRef& device, Out& out, const std::array<double, K>& c, const X&... x) {
  if constexpr (is_adapted_v<Out>) {
    LinearCombination<Out> sum;
    std::size_t k = 0;
    (sum.add(c[k++], x), ...);
    TensorOperations<Out>::combine(out, sum, device);
  } else {
    affine(device, out, c, x...);
  }
}

/// out = (x + c_0 y) / c_1
template <class Out, class X>
void divided_sum(const DeviceRef& device, Out& out, const std::array<double, 2>& c, const X& x, const Out& y) {
  if constexpr (is_adapted_v<Out>) {
    weighted_sum(device, out, std::array{1.0 / c[1], c[0] / c[1]}, x, y);
  } else {
    quotient(device, out, c, x, y);
  }
}

/// Whether the model's input for an X can be written to an Out. If not, a static_assert says why.
template <class Out, class X>
constexpr bool can_be_input() {
  if constexpr (is_adapted_v<X>) {
    return true;
  } else {
    return can_be_results<Out>() && tensors_agree<typename Traits<X>::Scalar, X, Out>();
  }
}

/// Whether the optional members of TensorOperations<Tensor> exist.
template <class Tensor, class = void>
inline constexpr bool has_clamp_v = false;
template <class Tensor>
inline constexpr bool has_clamp_v<Tensor, std::void_t<decltype(&TensorOperations<Tensor>::clamp)>> = true;

template <class Tensor, class = void>
inline constexpr bool has_threshold_v = false;
template <class Tensor>
inline constexpr bool has_threshold_v<Tensor, std::void_t<decltype(&TensorOperations<Tensor>::threshold)>> = true;

template <class Tensor, class = void>
inline constexpr bool has_first_channels_v = false;
template <class Tensor>
inline constexpr bool has_first_channels_v<Tensor, std::void_t<decltype(&TensorOperations<Tensor>::first_channels)>> =
    true;

/// Says which option of a Denoiser needs which member of TensorOperations.
[[noreturn]] inline void fail_of_operations(const char* option, const char* member) {
  fail<std::invalid_argument>("Denoiser", option, " needs TensorOperations<Tensor>::", member,
                              " for tensors that are not Eigen's");
}

/// x = x limited to [low, high]
template <class Tensor>
void clip(const DeviceRef& device, Tensor& x, double low, double high) {
  if constexpr (!is_adapted_v<Tensor>) {
    clamp(device, x, std::array{low, high}, x);
  } else if constexpr (has_clamp_v<Tensor>) {
    TensorOperations<Tensor>::clamp(x, low, high, device);
  } else {
    fail_of_operations("clip_min or clip_max", "clamp");
  }
}

/// Thresholds out.x_start.
template <class Tensor>
void threshold_x_start(const DeviceRef& device, Prediction<Tensor>& out, double q, double low, double high) {
  if constexpr (!is_adapted_v<Tensor>) {
    threshold(device, out.x_start, q, low, high, out.memory.output, out.memory.thresholds);
  } else if constexpr (has_threshold_v<Tensor>) {
    TensorOperations<Tensor>::threshold(out.x_start, q, low, high, device);
  } else {
    fail_of_operations("threshold_quantile", "threshold");
  }
}

/// Copies the first half of the channels of a model's output to `half`.
template <class Output, class Tensor>
void take_prediction(const Output& output, Tensor& half) {
  if constexpr (!is_adapted_v<Tensor>) {
    take_channels(output, 0, half);
  } else if constexpr (has_first_channels_v<Tensor>) {
    TensorOperations<Tensor>::first_channels(half, output);
  } else {
    fail_of_operations("learned_variance", "first_channels");
  }
}

/// Sets the model time of each sample of x.
template <class Times, class X>
void set_model_times(const char* where, Times& times, const X& x, double t) {
  if constexpr (std::is_same_v<Times, double>) {
    times = t;
  } else if constexpr (is_adapted_v<X>) {
    TensorOperations<X>::set_times(times, x, t);
  } else {
    resize(times, std::array<Eigen::Index, 1>{batch_size(where, argument("x", x))});
    times.setConstant(static_cast<typename Traits<X>::Scalar>(t));
  }
}

/// Whether two tensors begin at one place in memory.
template <class X, class Y>
bool share_memory(const X& x, const Y& y) {
  if constexpr (is_adapted_v<Y>) {
    return static_cast<const void*>(&x) == static_cast<const void*>(&y);
  } else {
    return x.data() == y.data();
  }
}

}  // namespace detail
}  // namespace diffusion
