/// @file step_denoiser.hpp
/// The denoiser of a ReverseProcess, which predicts x_0 at one timestep per sample.
#pragma once

#include <array>
#include <cstddef>    // std::size_t
#include <stdexcept>  // std::invalid_argument
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>

#include "../../detail/arguments.hpp"
#include "../../detail/kernel/elementwise.hpp"
#include "../../detail/shape.hpp"
#include "../../model/detail/call.hpp"
#include "../../model/parameterization.hpp"
#include "../../process/gaussian_diffusion.hpp"
#include "../../tensor.hpp"
#include "../reverse_step.hpp"

namespace diffusion {
namespace detail {

/// The options that a message names if the output has the wrong number of channels.
inline LearnedVariance learned_variance(ModelVarType type) {
  return {learns_variance(type), "ReverseOptions::var_type to learned or learned_range",
          "ReverseOptions::var_type to fixed_small or fixed_large"};
}

/// The model of a ReverseProcess with its options, denoised_fn and cond_fn. Precondition of all
/// members: tensor arguments are evaluated (not expressions). `where` is the public function named
/// in messages.
template <class Scalar, class Model, class DenoisedFn, class CondFn>
struct StepDenoiser {
  GaussianDiffusion<Scalar> process;
  Model model;
  ReverseOptions options;
  DenoisedFn denoised_fn;
  CondFn cond_fn;

  static constexpr bool guided = !std::is_same_v<CondFn, NoFunction>;
  template <class X>
  using Workspace = ReverseWorkspace<PlainTensor<X>>;

  bool predicts_previous_x() const { return options.mean_type == ModelMeanType::previous_x; }
  bool learned() const { return learns_variance(options.var_type); }
  template <class X>
  auto output_shape(const char* where, const X& x) const {
    return detail::output_shape(where, "x", x, learned());
  }

  // ---- checks ----

  /// Throws std::invalid_argument unless every y has x's shape and t has one entry per sample, and
  /// std::out_of_range unless t is in [0, T). `name` is the argument to which the y belong.
  template <class X, class... Y>
  void check(const char* where, const char* name, const X& x, TimestepsView t, const Y&... y) const {
    if constexpr (tensors_agree<Scalar, X, Y...>()) {
      check_timesteps(where, "t", t, batch_size(where, argument("x", x)), 0, process.num_timesteps());
      (check_result(where, name, y, x, shape(x)), ...);
    }
  }
  /// Throws std::invalid_argument if a result y has the memory of x: x is read after y is written.
  template <class X, class... Y>
  void check_no_alias(const char* where, const X& x, const Y&... y) const {
    if (x.size() > 0 && (... || (static_cast<const void*>(y.data()) == x.data()))) {
      fail<std::invalid_argument>(where, "only out.sample may be x, but another tensor of out has x's memory");
    }
  }
  /// The checks of one sampling step, before the model is called.
  template <class Out, class X, class Noise>
  void check_step(const char* where, const Out& out, const X& x, TimestepsView t, const Noise& noise) const {
    check(where, "out", x, t, out.sample, out.pred_xstart);
    check_no_alias(where, x, out.pred_xstart);
    if constexpr (is_tensor_v<Noise>) {
      if constexpr (tensors_agree<Scalar, X, Noise>()) check_result(where, "noise", evaluated(noise), x, shape(x));
    }
  }
  template <class Output, class X>
  void check_output(const char* where, const char* name, const Output& output, const X& x) const {
    detail::check_output(where, name, output, x, output_shape(where, x), learned_variance(options.var_type));
  }
  void check_xstart_defined(const char* where, TimestepsView t) const {
    detail::check_xstart_defined(where, process, options.mean_type, t, t.size());
  }

  // ---- calls ----

  /// workspace.output = model(x, t)
  template <class X>
  void run_model(const char* where, const X& x, TimestepsView t, Workspace<X>& workspace) const {
    const auto sizes = output_shape(where, x);
    set_model_time(where, x, t, workspace.model_t);
    call_model(model, x, workspace.model_t, workspace.output, sizes);
    check_output(where, "the model's output", workspace.output, x);
  }

  /// workspace.gradient = cond_fn(x, t)
  template <class X>
  void run_cond_fn(const char* where, const X& x, TimestepsView t, Workspace<X>& workspace) const {
    static_assert(guided, "diffusion: this ReverseProcess has no cond_fn; with_cond_fn(g) returns a copy that has one");
    if constexpr (guided) {
      set_model_time(where, x, t, workspace.model_t);
      call_model(where, "cond_fn's output", cond_fn, x, workspace.model_t, workspace.gradient, shape(x));
    }
  }

  // ---- x_0 ----

  /// Calls the model and writes pred_xstart, workspace.mean and workspace.values as x_start does.
  template <class Device, class P, class X>
  void predict_xstart(const char* where, const Device& device, P& pred_xstart, const X& x, TimestepsView t,
                      Workspace<X>& workspace) const {
    check_xstart_defined(where, t);
    run_model(where, x, t, workspace);
    if (predicts_previous_x()) resize(workspace.mean, shape(x));
    if (learned()) resize(workspace.values, shape(x));
    x_start(device, pred_xstart, workspace.mean, workspace.values, workspace.output, x, t, options.clip_denoised);
  }

  /// Computes pred_xstart from the model's output at x. For previous_x, `mean` becomes the output.
  /// For learned variances, `values` becomes the second half of its channels.
  template <class Device, class P, class M, class V, class Output, class X>
  void x_start(const Device& device, P& pred_xstart, M& mean, V& values, const Output& output, const X& x,
               TimestepsView t, bool clip) const {
    if (learned()) take_channels(output, 1, values);
    if (predicts_previous_x()) {
      learned() ? take_channels(output, 0, mean) : copy(output, mean);
      unclipped_x_start(device, pred_xstart, mean, x, t);
    } else if (learned()) {
      take_channels(output, 0, pred_xstart);
      unclipped_x_start(device, pred_xstart, pred_xstart, x, t);
    } else {
      unclipped_x_start(device, pred_xstart, output, x, t);
    }
    if constexpr (!std::is_same_v<DenoisedFn, NoFunction>) {
      call_in_place("ReverseProcess", "denoised_fn(x_start)", denoised_fn, pred_xstart);
    }
    if (clip) {
      clamp(device, pred_xstart, std::array{-1.0, 1.0}, pred_xstart);
    }
  }

 private:
  /// Writes the timesteps in the original process, rescaled if the options say so, to model_t.
  template <class X>
  void set_model_time(const char* where, const X& x, TimestepsView t, Eigen::Tensor<Scalar, 1>& model_t) const {
    const Index batch = batch_size(where, argument("x", x));
    check_timesteps(where, "t", t, batch, 0, process.num_timesteps());
    const double scale =
        options.rescale_timesteps ? 1000.0 / static_cast<double>(process.original_num_timesteps()) : 1.0;
    resize(model_t, std::array<Index, 1>{batch});
    for (Index n = 0; n < batch; ++n) {
      const auto original = process.timestep_map()[static_cast<std::size_t>(t[n])];
      model_t(n) = static_cast<Scalar>(static_cast<double>(original) * scale);
    }
  }

  /// Computes the x_0 that follows from mean_type, before denoised_fn and clipping. pred_xstart may
  /// be `output`.
  template <class Device, class P, class Y, class X>
  void unclipped_x_start(const Device& device, P& pred_xstart, const Y& output, const X& x, TimestepsView t) const {
    if (options.mean_type == ModelMeanType::start_x) return copy(output, pred_xstart);
    const auto coefficients = [&](Index step) {
      const auto [by_x, by_output] = step_parameterization(process, options.mean_type, step).x_start;
      return std::array{by_x, by_output};
    };
    affine(device, pred_xstart, by_step(t, coefficients), x, output);
  }
};

}  // namespace detail
}  // namespace diffusion
