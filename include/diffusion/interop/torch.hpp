/// @file torch.hpp
/// torch::Tensor in samplers, runs and denoisers, and views of torch tensors as Eigen tensors. It
/// includes ATen of libtorch, and is not part of diffusion.hpp.
#pragma once

#include <ATen/ATen.h>

#include <array>
#include <cstddef>  // std::size_t
#include <cstdint>
#include <stdexcept>  // std::invalid_argument
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>
#include <vector>

#include "../detail/error.hpp"
#include "../detail/shape.hpp"
#include "../noise/noise_source.hpp"
#include "../sampling/samplers/dpm_solver_adaptive.hpp"
#include "../sampling/steps.hpp"
#include "../tensor.hpp"

/// @defgroup interop Interop: other libraries
/// Adapters to other libraries. diffusion.hpp does not include them, because each includes the
/// library that it adapts to.

namespace diffusion {

namespace detail {

/// The torch type of the values of an Eigen tensor.
template <class Scalar>
constexpr at::ScalarType torch_type() {
  constexpr bool known = std::is_same_v<Scalar, float> || std::is_same_v<Scalar, double> ||
                         std::is_same_v<Scalar, Eigen::half> || std::is_same_v<Scalar, Eigen::bfloat16>;
  static_assert(known, "diffusion: torch has tensors of float, double, half and bfloat16");
  return std::is_same_v<Scalar, float>         ? at::kFloat
         : std::is_same_v<Scalar, double>      ? at::kDouble
         : std::is_same_v<Scalar, Eigen::half> ? at::kHalf
                                               : at::kBFloat16;
}

/// Whether the values of X are in the order of torch's contiguous tensors.
template <class X>
inline constexpr bool has_torch_order_v = Traits<X>::layout == Eigen::RowMajor || Traits<X>::rank < 2;

/// Throws std::invalid_argument unless the values of x are in this process's memory, in row-major
/// order, and of this type.
inline void check_mappable(const char* where, const at::Tensor& x, at::ScalarType type) {
  if (!x.device().is_cpu() || !x.is_contiguous() || x.scalar_type() != type) {
    fail<std::invalid_argument>(where, "the tensor is ", x.is_contiguous() ? "" : "not contiguous, ", "of type ",
                                at::toString(x.scalar_type()), " and on ", x.device().str(),
                                "; it must be contiguous, of type ", at::toString(type), " and on the CPU");
  }
}

/// Fills z, a new tensor on the CPU, by a noise source that fills Eigen tensors. Such a source
/// needs the batch and the number of values in a sample; both are the same for a tensor of rank 2.
template <class Scalar, class Noise>
void fill_torch(at::Tensor& z, Noise& noise) {
  using Map = Eigen::TensorMap<Eigen::Tensor<Scalar, 2, Eigen::RowMajor>>;
  if constexpr (can_fill_v<std::remove_const_t<Noise>, Map>) {
    const Eigen::Index batch = z.size(0), values = batch == 0 ? 0 : z.numel() / batch;
    Map map(static_cast<Scalar*>(z.data_ptr()), batch, values);
    noise(map);
  } else {
    fail<std::invalid_argument>("noise", "x has values of type ", at::toString(z.scalar_type()),
                                "; this noise source cannot fill an Eigen tensor of that type and rank 2");
  }
}

}  // namespace detail

/// Returns a view of a torch tensor as an Eigen tensor, without a copy. Tensor is the plain Eigen
/// type: RowMajor, with the scalar type and rank of x. The view must not outlive the memory of x.
///
///     auto x_0 = torch_map<Eigen::Tensor<float, 4, Eigen::RowMajor>>(images);
///
/// Throws std::invalid_argument unless x is contiguous, on the CPU, and of Tensor's scalar type and
/// rank.
template <class Tensor>
[[nodiscard]] Eigen::TensorMap<Tensor> torch_map(const at::Tensor& x) {
  static_assert(detail::has_torch_order_v<Tensor>,
                "diffusion: torch_map needs an Eigen::RowMajor tensor, the order of torch's tensors");
  using Scalar = typename Tensor::Scalar;
  constexpr int rank = detail::Traits<Tensor>::rank;
  detail::check_mappable("torch_map", x, detail::torch_type<Scalar>());
  if (x.dim() != rank) {
    detail::fail<std::invalid_argument>("torch_map", "the tensor has rank ", static_cast<Eigen::Index>(x.dim()),
                                        "; it must have rank ", rank);
  }
  std::array<Eigen::Index, static_cast<std::size_t>(rank)> sizes;
  for (int axis = 0; axis < rank; ++axis) sizes[static_cast<std::size_t>(axis)] = x.size(axis);
  return {static_cast<Scalar*>(x.data_ptr()), detail::dimensions_of<Tensor>(sizes)};
}

/// Returns a view of a RowMajor Eigen tensor or map as a torch tensor, without a copy. The view
/// must not outlive x. A view of a const tensor must not be written.
template <class X>
[[nodiscard]] at::Tensor torch_view(const X& x) {
  static_assert(detail::is_stored_v<X> && detail::has_torch_order_v<X>,
                "diffusion: torch_view needs an Eigen::RowMajor tensor or map, the order of torch's tensors");
  using Scalar = typename detail::Traits<X>::Scalar;
  const auto sizes = detail::shape(x);
  return at::from_blob(const_cast<Scalar*>(x.data()), std::vector<std::int64_t>(sizes.begin(), sizes.end()),
                       at::TensorOptions(detail::torch_type<Scalar>()));
}

/// The operations on torch tensors, on any device: samplers, SamplingRun, sample(), add_noise() and
/// Denoiser take a torch::Tensor wherever they take an Eigen tensor. A Denoiser calls its model as
/// model(x, t), where t is a tensor of shape [N] on the device of x.
///
/// The results are always new tensors. So a tensor that a run has returned keeps its values, copies
/// of a run share no memory that is written, and gradients flow through a run. Hold a
/// torch::NoGradGuard unless you need them. For the same reason a hook must assign to x, not write
/// to it in place.
///
/// A noise source is either a function of a torch::Tensor&, for example one that calls
/// z.normal_(0, 1, generator); or one of the library's sources. These fill the memory of tensors on
/// the CPU directly, as an Eigen tensor of rank 2, [N, values of a sample]; for a tensor on another
/// device, the noise is made on the CPU and copied.
///
/// Only DpmSolverAdaptive waits for the device of x, because its step depends on the error.
template <>
struct TensorOperations<at::Tensor> {
  using Times = at::Tensor;  ///< The model times of a batch, of shape [N].

  /// The sizes of x; of an undefined tensor, none.
  static std::vector<std::int64_t> shape(const at::Tensor& x) {
    return x.defined() ? x.sizes().vec() : std::vector<std::int64_t>();
  }
  /// out = a x + (b y + ...), in the order of the sum on Eigen's tensors. Half and bfloat16 are
  /// added in float.
  static void combine(at::Tensor& out, const LinearCombination<at::Tensor>& sum, const DeviceRef&) {
    if (sum.size() == 0) {
      out = at::zeros_like(out);
      return;
    }
    at::ScalarType type = sum.begin()->tensor->scalar_type();
    for (const auto& term : sum) type = at::promote_types(type, term.tensor->scalar_type());
    const at::ScalarType computed = type == at::kHalf || type == at::kBFloat16 ? at::kFloat : type;
    const auto* term = sum.end() - 1;
    at::Tensor result = term->tensor->to(computed) * term->coefficient;
    while (term != sum.begin()) {
      --term;
      result.add_(term->tensor->to(computed), term->coefficient);
    }
    out = result.to(type);
  }
  /// Fills z by a noise source of the library, or a function of a torch::Tensor&.
  template <class Noise>
  static void fill(at::Tensor& z, Noise& noise) {
    using Map = Eigen::TensorMap<Eigen::Tensor<float, 2, Eigen::RowMajor>>;
    if constexpr (std::is_invocable_v<Noise&, Map&>) {
      if (z.dim() == 0) detail::fail<std::invalid_argument>("noise", "x has rank 0; its first axis must be the batch");
      at::Tensor made = at::empty(z.sizes(), z.options().device(at::kCPU).requires_grad(false));
      switch (z.scalar_type()) {
        case at::kFloat:
          detail::fill_torch<float>(made, noise);
          break;
        case at::kDouble:
          detail::fill_torch<double>(made, noise);
          break;
        case at::kHalf:
          detail::fill_torch<Eigen::half>(made, noise);
          break;
        case at::kBFloat16:
          detail::fill_torch<Eigen::bfloat16>(made, noise);
          break;
        default:
          detail::fail<std::invalid_argument>("noise", "x has values of type ", at::toString(z.scalar_type()),
                                              "; they must be Float, Double, Half or BFloat16");
      }
      z = made.to(z.device());
    } else {
      z = at::empty_like(z);
      noise(z);
    }
  }
  /// Sets the model time of each sample: in double for a tensor of doubles, otherwise in float.
  static void set_times(at::Tensor& times, const at::Tensor& x, double t) {
    const auto type = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    times = at::full({x.size(0)}, t, x.options().dtype(type).requires_grad(false));
  }
  /// Limits x to [low, high].
  static void clamp(at::Tensor& x, double low, double high, const DeviceRef&) { x = x.clamp(low, high); }
  /// Dynamic thresholding; see DenoiserOptions::threshold_quantile. libtorch 1.13 computes the
  /// quantiles of at most 16 million values.
  static void threshold(at::Tensor& x, double quantile, double low, double high, const DeviceRef&) {
    if (x.numel() == 0) return;
    const auto type = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    std::vector<std::int64_t> per_sample(static_cast<std::size_t>(x.dim()), 1);
    per_sample[0] = x.size(0);
    const at::Tensor magnitudes = x.abs().flatten(1).to(type);
    // NaN if a value is not finite, as inf - inf is.
    const at::Tensor poison = (magnitudes - magnitudes).sum(1);
    const at::Tensor s = (at::quantile(magnitudes, quantile, 1).clamp(low, high) + poison).reshape(per_sample);
    x = (at::minimum(at::maximum(x.to(type), -s), s) / s).to(x.scalar_type());
  }
  /// Writes the first half of the channels, axis 1.
  static void first_channels(at::Tensor& out, const at::Tensor& output) {
    out = output.narrow(1, 0, output.size(1) / 2);
  }
  /// The error of a trial step of DpmSolverAdaptive. Waits for the device of the tensors.
  static double error_norm(const ErrorNorm<at::Tensor>& e, const DeviceRef&) {
    if (e.low.numel() == 0) return 0.0;
    const at::Tensor low = e.low.to(at::kDouble),
                     largest = at::maximum(low.abs(), e.previous.to(at::kDouble).abs() * e.scale);
    const at::Tensor error = (low - e.high.to(at::kDouble)) / (largest * e.rtol).clamp_min(e.atol);
    return error.square().mean().sqrt().item<double>();
  }
  /// x = mask (alpha known + sigma noise) + (1 - mask) x, for RePaint.
  static void paste(at::Tensor& x, const at::Tensor& known, const at::Tensor& mask, double alpha, double sigma,
                    const at::Tensor& noise, const DeviceRef&) {
    x = mask * (known * alpha + noise * sigma) + (x - mask * x);
  }
};

}  // namespace diffusion
