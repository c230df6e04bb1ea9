/// @file reverse_parts.hpp
/// What a ReverseProcess holds, how it calls it, and what it checks before.
#pragma once

#include <array>
#include <cstddef>    // std::size_t
#include <stdexcept>  // std::invalid_argument
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>  // std::as_const

#include "../gaussian_diffusion.hpp"
#include "../reverse_types.hpp"
#include "../tensor.hpp"
#include "model_call.hpp"
#include "operands.hpp"
#include "reverse_moments.hpp"

namespace diffusion {
namespace detail {

template <class X>
PMeanVariance<PlainTensor<X>> moments_like(const X& x) {
  return {like(x), like(x), like(x), like(x)};
}
template <class X>
ReverseStep<PlainTensor<X>> step_like(const X& x) {
  return {like(x), like(x)};
}

/// Tensors are in memory from here on: expressions have been evaluated. `where` is the public function, for messages.
template <class Scalar, class Model, class DenoisedFn, class CondFn>
struct ReverseParts {
  GaussianDiffusion<Scalar> process;
  Model model;
  ReverseOptions options;
  DenoisedFn denoised_fn;
  CondFn cond_fn;

  static constexpr bool guided = !std::is_same_v<CondFn, NoFunction>;
  template <class X>
  using Workspace = ReverseWorkspace<PlainTensor<X>>;

  ReverseMoments<Scalar> equations() const { return {process, options.mean_type, options.var_type}; }

  /// Throws unless all of y, which are parts of `name`, have x's shape and t is in range.
  template <class X, class... Y>
  void check(const char* where, const char* name, const X& x, TimestepsView t, const Y&... y) const {
    if constexpr (tensors_agree<Scalar, X, Y...>()) {
      check_timesteps(where, "t", t, batch_size(where, argument("x", x)), 0, process.num_timesteps());
      (check_result(where, name, y, x, shape(x)), ...);
    }
  }
  /// Throws std::invalid_argument where one of the results, all written while x is yet to be read, is x.
  template <class X, class... Y>
  void check_apart(const char* where, const X& x, const Y&... y) const {
    if (x.size() > 0 && (... || (static_cast<const void*>(y.data()) == x.data()))) {
      fail<std::invalid_argument>(where, "only out.sample may be x; another result of out is");
    }
  }
  template <class X, class Noise>
  void check_noise(const char* where, const X& x, const Noise& noise) const {
    if constexpr (is_tensor_v<Noise>) {
      if constexpr (tensors_agree<Scalar, X, Noise>()) check_result(where, "noise", stored(noise), x, shape(x));
    }
  }

  /// The shape of the model's output: x's, with twice the channels for learned variances.
  template <class X>
  auto output_shape(const char* where, const X& x) const {
    auto sizes = shape(x);
    if (equations().learned()) {
      if constexpr (Traits<X>::rank >= 2) {
        sizes[1] *= 2;
      } else {
        fail<std::invalid_argument>(where, "x has rank ", Traits<X>::rank,
                                    "; learned variances are the second half of the channels, which are axis 1");
      }
    }
    return sizes;
  }

  /// workspace.output = model(x, t)
  template <class X>
  void run_model(const char* where, const X& x, TimestepsView t, Workspace<X>& workspace) const {
    constexpr CallForm form = call_form<Model, X, decltype(workspace.model_t), PlainTensor<X>>();
    static_assert(form != CallForm::none,
                  "diffusion: the model must be callable, as const, as model(x_t, t), returning a tensor, or as "
                  "model(x_t, t, out), "
                  "writing one, where x_t is a tensor like the one sampled and t an Eigen::Tensor<Scalar, 1>; wrap one "
                  "that is not const in std::ref");
    static_assert(form != CallForm::returns_other,
                  "diffusion: the model must return a tensor, or an expression, of x_t's scalar type, rank and layout");
    if constexpr (form == CallForm::writes || form == CallForm::returns) {
      const auto sizes = output_shape(where, x);
      tell_time(where, x, t, workspace.model_t);
      call<form>(where, "the model's output", model, x, workspace.model_t, workspace.output, sizes);
    }
  }

  /// workspace.gradient = cond_fn(x, t)
  template <class X>
  void run_cond_fn(const char* where, const X& x, TimestepsView t, Workspace<X>& workspace) const {
    static_assert(guided, "diffusion: this process has no cond_fn; make one that has it by with_cond_fn");
    if constexpr (guided) {
      constexpr CallForm form = call_form<CondFn, X, decltype(workspace.model_t), PlainTensor<X>>();
      static_assert(form == CallForm::writes || form == CallForm::returns,
                    "diffusion: cond_fn must be callable, as const, as cond_fn(x_t, t), returning a tensor of x_t's "
                    "scalar type, rank "
                    "and layout, or as cond_fn(x_t, t, out), writing one, where x_t is a tensor like the one sampled "
                    "and t an Eigen::Tensor<Scalar, 1>");
      if constexpr (form == CallForm::writes || form == CallForm::returns) {
        tell_time(where, x, t, workspace.model_t);
        call<form>(where, "cond_fn's output", cond_fn, x, workspace.model_t, workspace.gradient, shape(x));
      }
    }
  }

  /// pred_xstart by the model; and what the workspace keeps for ReverseMoments::sample.
  template <class Device, class P, class X>
  void predict_xstart(const char* where, const Device& device, P& pred_xstart, const X& x, TimestepsView t,
                      Workspace<X>& workspace) const {
    check_tells_xstart(where, process, options.mean_type, t, t.size());
    run_model(where, x, t, workspace);
    if (equations().previous()) resize(workspace.mean, shape(x));
    if (equations().learned()) resize(workspace.values, shape(x));
    equations().predict(device, pred_xstart, workspace.mean, workspace.values, workspace.output, x, t, denoised_fn,
                        options.clip_denoised);
  }

  /// The noise of a step: the tensor given, or one that is drawn.
  template <class Device, class Noise, class X>
  decltype(auto) drawn(const Device& device, Noise& noise, const X& x, Workspace<X>& workspace) const {
    if constexpr (is_tensor_v<Noise>) {
      return stored(noise);
    } else {
      resize(workspace.noise, shape(x));
      detail::draw(noise, workspace.noise, device);
      return (workspace.noise);
    }
  }

  /// pred_xstart after condition_score, if there is a cond_fn.
  template <class Device, class P, class X>
  void guide_xstart(const char* where, const Device& device, P& pred_xstart, const X& x, TimestepsView t,
                    Workspace<X>& workspace) const {
    if constexpr (guided) {
      run_cond_fn(where, x, t, workspace);
      equations().guide_xstart(where, device, pred_xstart, pred_xstart, t, workspace.gradient);
    }
  }

  /// out.sample moves from x_T to x_0, by step(t) for t = T - 1, ..., 0; the observer is told of each.
  template <class Noise, class Out, class X, class Observer, class Step>
  void loop(const char* where, Out& out, const X& x_T, Observer& observer, const Step& step) const {
    static_assert(
        !is_tensor_v<Noise>,
        "diffusion: a loop takes noise at every step: give it a noise source (RecordedNoise replays tensors)");
    const auto& in = stored(x_T);
    check(where, "out", in, 0, out.sample, out.pred_xstart);
    copy(in, out.sample);
    const Index T = process.num_timesteps();
    for (Index k = 0; k < T; ++k) {
      step(T - 1 - k);
      observer(k, T - 1 - k, std::as_const(out));
    }
  }

 private:
  /// The timesteps in the original process, rescaled if asked.
  template <class X>
  void tell_time(const char* where, const X& x, TimestepsView t, Eigen::Tensor<Scalar, 1>& model_t) const {
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
};

}  // namespace detail
}  // namespace diffusion
