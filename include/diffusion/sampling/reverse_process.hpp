/// @file reverse_process.hpp
/// The reverse process: p(x_{t-1} | x_t) from the output of a model, and sampling with DDPM and
/// DDIM. Ho, Jain, Abbeel 2020 (DDPM); Song, Meng, Ermon 2021 (DDIM); Nichol, Dhariwal 2021;
/// Dhariwal, Nichol 2021 (guidance).
#pragma once

#include <array>
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>  // std::as_const, std::move

#include "../detail/arguments.hpp"
#include "../detail/kernel/elementwise.hpp"
#include "../detail/shape.hpp"
#include "../model/detail/call.hpp"
#include "../model/parameterization.hpp"
#include "../noise/noise_source.hpp"
#include "../process/gaussian_diffusion.hpp"
#include "../tensor.hpp"
#include "detail/reverse_equations.hpp"
#include "detail/step_denoiser.hpp"
#include "reverse_step.hpp"
#include "steps.hpp"

namespace diffusion {

namespace detail {

/// Stands for an observer that the user did not pass.
struct NoObserver {
  template <class... Anything>
  void operator()(const Anything&...) const {}
};

/// Resizes all tensors of a result to the shape of x.
template <class Tensor, class X>
void resize_like(PMeanVariance<Tensor>& out, const X& x) {
  for (Tensor* part : {&out.mean, &out.variance, &out.log_variance, &out.pred_xstart}) resize(*part, shape(x));
}
template <class Tensor, class X>
void resize_like(ReverseStep<Tensor>& out, const X& x) {
  for (Tensor* part : {&out.sample, &out.pred_xstart}) resize(*part, shape(x));
}

}  // namespace detail

/// The reverse process of a model: p(x_{t-1} | x_t), and sampling from it, over the timesteps of a
/// GaussianDiffusion. The process and the model are held by value.
///
/// @code{.cpp}
/// #include <cmath>
/// #include <diffusion/diffusion.hpp>
///
/// int main() {
///   using Batch = Eigen::Tensor<float, 2>;
///   const diffusion::GaussianDiffusion<float> process(diffusion::linear_beta_schedule(1000));
///   const auto respaced = diffusion::respace(process, diffusion::space_timesteps(1000, "50"));
///   // Stands for a network that predicts x_0. All of its training data is 0.5.
///   const auto model = [](const Batch& x_t, const auto&) { return x_t.constant(0.5f); };
///   const diffusion::ReverseProcess reverse(respaced, model, {diffusion::ModelMeanType::start_x});
///
///   diffusion::PhiloxNoise noise(42);
///   Batch x_T(4, 8);  // four samples of eight values
///   noise(x_T);
///   const Batch x_0 = reverse.p_sample_loop(x_T, noise);
///   return std::abs(x_0(3, 7) - 0.5f) < 1e-5f ? 0 : 1;
/// }
/// @endcode
///
/// The model is called as model(x_t, t) and returns a tensor of x_t's shape. Or it is called as
/// model(x_t, t, out) and writes `out`, a plain tensor of that shape. For learned variances the
/// output has twice the channels (axis 1). t is an `Eigen::Tensor<Scalar, 1>` of shape [N], the
/// model time of each sample: the timestep in the original process (process.timestep_map()),
/// multiplied by 1000 / original_num_timesteps if options.rescale_timesteps is set. It is rounded
/// to Scalar: bfloat16 does not have every integer beyond 256, Eigen::half not every integer beyond
/// 2048.
///
/// The model, denoised_fn and cond_fn are called as const; wrap one that is not const in std::ref.
/// An expression that they return is evaluated after the call, so it may refer to their arguments,
/// but not to their local variables.
///
/// Noise is drawn by p_sample, ddim_sample and their loops only. `noise` is a tensor of x's shape,
/// or a noise source (noise.hpp), which fills one; the loops take a noise source. A step calls its
/// noise source exactly once, even if it ignores the values (t = 0, eta = 0). The order of its
/// calls is
///
///     p_sample       model, denoised_fn, noise, cond_fn
///     ddim_sample    model, denoised_fn, cond_fn, noise
///
/// The loops take such a step for t = T - 1, ..., 1, 0. They do not draw x_T; the caller draws it
/// first. So random numbers are used in the same order as in guided-diffusion. ddim_sample and its
/// loop draw nothing if no noise is passed.
///
/// Tensors, timesteps, devices and `_into` forms are as in GaussianDiffusion. An `_into` form that
/// calls the model or cond_fn takes a ReverseWorkspace too. Once the workspace is allocated, these
/// forms allocate nothing, unless a function of the user does or an input is an expression.
/// out.sample may be x; no other output may be an input, except where a member says so. A sample's
/// result does not depend on the rest of its batch, bit for bit, if the model's output does not.
///
/// Throws what GaussianDiffusion throws. Throws std::invalid_argument if a function of the user
/// gives a tensor of the wrong shape (the message has both shapes), and for learned variances if x
/// has rank 1. Throws std::domain_error where the output of the model does not determine x_0: for
/// epsilon, where abar_t = 0; for previous_x, where posterior_mean_coef1 = 0.
template <class Scalar, class Model, class DenoisedFn = detail::NoFunction, class CondFn = detail::NoFunction>
class ReverseProcess {
  template <class X>
  using Workspace = ReverseWorkspace<PlainTensor<X>>;

 public:
  using Index = Eigen::Index;  ///< type of timesteps and sizes

  /// Reverses `process` with `model`. `options` says what the model predicts. Throws
  /// std::invalid_argument if options.mean_type is score, flow_velocity or edm, which only a
  /// Denoiser supports.
  ReverseProcess(GaussianDiffusion<Scalar> process, Model model, ReverseOptions options = {})
      : denoiser_{std::move(process), std::move(model), options, {}, {}} {
    detail::check_step_mean_type("ReverseProcess", options.mean_type);
  }

  /// The forward process that is reversed.
  const GaussianDiffusion<Scalar>& process() const { return denoiser_.process; }
  /// The options that the constructor was given.
  const ReverseOptions& options() const { return denoiser_.options; }

  /// Returns a copy with denoised_fn = f, which replaces each prediction of x_0 by f(x_start)
  /// before it is clipped. f returns a tensor of x_start's shape, or changes x_start in place and
  /// returns nothing.
  template <class F>
  [[nodiscard]] ReverseProcess<Scalar, Model, F, CondFn> with_denoised_fn(F f) const {
    return {{process(), denoiser_.model, options(), std::move(f), denoiser_.cond_fn}};
  }

  /// Returns a copy with cond_fn = g, which guides the sampling by a classifier's gradient:
  ///
  ///     g(x, t) = d log p(y | x) / dx
  ///
  /// g is called like the model, at the same model time, and gives a tensor of x's shape.
  template <class G>
  [[nodiscard]] ReverseProcess<Scalar, Model, DenoisedFn, G> with_cond_fn(G g) const {
    return {{process(), denoiser_.model, options(), denoiser_.denoised_fn, std::move(g)}};
  }

  // ---- p(x_{t-1} | x_t) ----

  /// Returns the output of the model at x, unchanged. For learned variances it has twice the
  /// channels of x.
  template <class X>
  [[nodiscard]] PlainTensor<X> model_output(const X& x, TimestepsView t) const {
    Workspace<X> workspace;
    denoiser_.run_model("ReverseProcess::model_output", detail::evaluated(x), t, workspace);
    return std::move(workspace.output);
  }
  /// @copydoc model_output()
  template <class Out, class X>
  void model_output_into(Out&& out, const X& x, TimestepsView t, ReverseWorkspace<PlainTensor<X>>& workspace) const {
    constexpr const char* where = "ReverseProcess::model_output";
    const auto& in = detail::evaluated(x);
    detail::check_result(where, "out", out, in, denoiser_.output_shape(where, in));
    denoiser_.run_model(where, in, t, workspace);
    detail::copy(workspace.output, out);
  }

  /// Returns the moments of p(x_{t-1} | x_t) for a model's output at x_t. See Ho et al 2020,
  /// Eqs. (7), (11), (15); Nichol, Dhariwal 2021, Eq. (15):
  ///
  ///     mean = posterior_mean_coef1 pred_xstart + posterior_mean_coef2 x_t
  ///
  /// pred_xstart is the prediction of x_0 that follows from mean_type. denoised_fn is applied to
  /// it, then it is limited to [-1, 1] if clip_denoised is true. For previous_x, the mean is the
  /// output itself. var_type determines the variance. moments_from_output_into takes no workspace.
  template <class Y, class X>
  [[nodiscard]] PMeanVariance<PlainTensor<X>> moments_from_output(const Y& output, const X& x, TimestepsView t,
                                                                  bool clip_denoised) const {
    return returned<PMeanVariance>(
        x, [&](auto& out, const auto& in, auto&) { moments_from_output_into(out, output, in, t, clip_denoised); });
  }
  /// @copydoc moments_from_output()
  template <class Out, class Y, class X, class Device = Eigen::DefaultDevice>
  void moments_from_output_into(Out&& out, const Y& output, const X& x, TimestepsView t, bool clip_denoised,
                                const Device& device = Device()) const {
    constexpr const char* where = "ReverseProcess::moments_from_output";
    const auto& in = detail::evaluated(x);
    const auto& raw = detail::evaluated(output);
    denoiser_.check(where, "out", in, t, out.mean, out.variance, out.log_variance, out.pred_xstart);
    denoiser_.check_no_alias(where, in, out.mean, out.variance, out.log_variance, out.pred_xstart);
    static_assert(detail::becomes<Y, PlainTensor<X>>(),
                  "diffusion: the model's output must have x's scalar type, rank and layout");
    denoiser_.check_output(where, "output", raw, in);
    denoiser_.check_xstart_defined(where, t);
    const auto p = equations();
    denoiser_.x_start(device, out.pred_xstart, out.mean, out.log_variance, raw, in, t, clip_denoised);
    if (!p.previous()) p.posterior_mean(device, out.mean, out.pred_xstart, in, t);
    p.variances(device, out, t);
  }

  /// Returns the moments of p(x_{t-1} | x_t): calls the model, then moments_from_output with
  /// options().clip_denoised.
  template <class X>
  [[nodiscard]] PMeanVariance<PlainTensor<X>> p_mean_variance(const X& x, TimestepsView t) const {
    return returned<PMeanVariance>(
        x, [&](auto& out, const auto& in, auto& workspace) { p_mean_variance_into(out, in, t, workspace); });
  }
  /// @copydoc p_mean_variance()
  template <class Out, class X, class Device = Eigen::DefaultDevice>
  void p_mean_variance_into(Out&& out, const X& x, TimestepsView t, ReverseWorkspace<PlainTensor<X>>& workspace,
                            const Device& device = Device()) const {
    constexpr const char* where = "ReverseProcess::p_mean_variance";
    const auto& in = detail::evaluated(x);
    denoiser_.check(where, "out", in, t, out.mean, out.variance, out.log_variance, out.pred_xstart);
    denoiser_.check_xstart_defined(where, t);
    denoiser_.run_model(where, in, t, workspace);
    moments_from_output_into(out, workspace.output, in, t, options().clip_denoised, device);
  }

  // ---- guidance by cond_fn ----

  /// Returns the mean of p(x_{t-1} | x_t) guided by cond_fn; Dhariwal, Nichol 2021, Algorithm 1:
  ///
  ///     mean + variance cond_fn(x, t)
  ///
  /// `moments` is the result of p_mean_variance(x, t). `out` may be x or a tensor of `moments`.
  template <class Moments, class X>
  [[nodiscard]] PlainTensor<X> condition_mean(const Moments& moments, const X& x, TimestepsView t) const {
    Workspace<X> workspace;
    return detail::returned(x, [&](auto& out, const auto& in) { condition_mean_into(out, moments, in, t, workspace); });
  }
  /// @copydoc condition_mean()
  template <class Out, class Moments, class X, class Device = Eigen::DefaultDevice>
  void condition_mean_into(Out&& out, const Moments& moments, const X& x, TimestepsView t,
                           ReverseWorkspace<PlainTensor<X>>& workspace, const Device& device = Device()) const {
    constexpr const char* where = "ReverseProcess::condition_mean";
    const auto& in = detail::evaluated(x);
    denoiser_.check(where, "out", in, t, out);
    denoiser_.check(where, "moments", in, t, moments.mean, moments.variance);
    denoiser_.run_cond_fn(where, in, t, workspace);
    detail::apply(device, out, detail::GuidedMean(), std::array{0.0}, moments.mean, moments.variance,
                  workspace.gradient);
  }

  /// Returns the moments of p(x_{t-1} | x_t) with the score guided by cond_fn; Dhariwal, Nichol
  /// 2021, Algorithm 2:
  ///
  ///     epsilon'     = epsilon - sqrt(1 - abar_t) cond_fn(x, t)
  ///     pred_xstart' = pred_xstart + (1 - abar_t) / sqrt(abar_t) cond_fn(x, t)
  ///
  /// The mean is computed from pred_xstart', which is not clipped again. The variance does not
  /// change. `moments` is the result of p_mean_variance(x, t); `out` may be `moments`. Throws
  /// std::domain_error where abar_t = 0.
  template <class Moments, class X>
  [[nodiscard]] PMeanVariance<PlainTensor<X>> condition_score(const Moments& moments, const X& x,
                                                              TimestepsView t) const {
    return returned<PMeanVariance>(
        x, [&](auto& out, const auto& in, auto& workspace) { condition_score_into(out, moments, in, t, workspace); });
  }
  /// @copydoc condition_score()
  template <class Out, class Moments, class X, class Device = Eigen::DefaultDevice>
  void condition_score_into(Out&& out, const Moments& moments, const X& x, TimestepsView t,
                            ReverseWorkspace<PlainTensor<X>>& workspace, const Device& device = Device()) const {
    constexpr const char* where = "ReverseProcess::condition_score";
    const auto& in = detail::evaluated(x);
    denoiser_.check(where, "out", in, t, out.mean, out.variance, out.log_variance, out.pred_xstart);
    denoiser_.check_no_alias(where, in, out.mean, out.variance, out.log_variance, out.pred_xstart);
    denoiser_.check(where, "moments", in, t, moments.variance, moments.log_variance, moments.pred_xstart);
    denoiser_.run_cond_fn(where, in, t, workspace);
    equations().guide_xstart(where, device, out.pred_xstart, moments.pred_xstart, t, workspace.gradient);
    equations().posterior_mean(device, out.mean, out.pred_xstart, in, t);
    detail::copy(moments.variance, out.variance);
    detail::copy(moments.log_variance, out.log_variance);
  }

  // ---- one step of sampling ----

  /// Returns a sample of p(x_{t-1} | x_t), one DDPM step; Ho et al 2020, Algorithm 2:
  ///
  ///     x_{t-1} = mean + exp(log_variance / 2) noise     (no noise at t = 0)
  ///
  /// With a cond_fn, the mean is that of condition_mean; pred_xstart stays unguided.
  template <class X, class Noise>
  [[nodiscard]] ReverseStep<PlainTensor<X>> p_sample(const X& x, TimestepsView t, Noise&& noise) const {
    return returned<ReverseStep>(
        x, [&](auto& out, const auto& in, auto& workspace) { p_sample_into(out, in, t, noise, workspace); });
  }
  /// @copydoc p_sample()
  template <class Out, class X, class Noise, class Device = Eigen::DefaultDevice>
  void p_sample_into(Out&& out, const X& x, TimestepsView t, Noise&& noise, ReverseWorkspace<PlainTensor<X>>& workspace,
                     const Device& device = Device()) const {
    constexpr const char* where = "ReverseProcess::p_sample";
    const auto& in = detail::evaluated(x);
    denoiser_.check_step(where, out, in, t, noise);
    denoiser_.predict_xstart(where, device, out.pred_xstart, in, t, workspace);
    const auto& z = drawn(device, noise, in, workspace);
    const auto sample_from = [&](const auto& from) {
      if constexpr (StepDenoiser::guided) {
        denoiser_.run_cond_fn(where, in, t, workspace);
        equations().sample(device, out.sample, from, in, t, workspace.values, z, workspace.gradient);
      } else {
        equations().sample(device, out.sample, from, in, t, workspace.values, z);
      }
    };
    equations().previous() ? sample_from(workspace.mean) : sample_from(out.pred_xstart);
  }

  /// Returns the result of one DDIM step from x_t to x_{t-1}. See Song, Meng, Ermon 2021, Eqs. (12)
  /// and (16), with the predicted x_0:
  ///
  ///     epsilon = (x_t - sqrt(abar_t) x_0) / sqrt(1 - abar_t)
  ///     sigma   = eta sqrt((1 - abar_{t-1}) / (1 - abar_t) beta_t)
  ///     x_{t-1} = sqrt(abar_{t-1}) x_0 + sqrt(1 - abar_{t-1} - sigma^2) epsilon + sigma noise
  ///
  /// With a cond_fn, x_0 is guided as in condition_score. eta = 0 needs no noise; eta = 1 is
  /// p_sample with fixed_small. Throws std::invalid_argument if eta is negative or not finite, if
  /// eta > 0 and no noise is passed, and if 1 - abar_{t-1} - sigma^2 is negative, which cannot
  /// happen for eta <= 1.
  template <class X, class Noise = NoNoise>
  [[nodiscard]] ReverseStep<PlainTensor<X>> ddim_sample(const X& x, TimestepsView t, Noise&& noise = Noise(),
                                                        double eta = 0) const {
    return returned<ReverseStep>(
        x, [&](auto& out, const auto& in, auto& workspace) { ddim_sample_into(out, in, t, noise, eta, workspace); });
  }
  /// @copydoc ddim_sample()
  template <class Out, class X, class Noise, class Device = Eigen::DefaultDevice>
  void ddim_sample_into(Out&& out, const X& x, TimestepsView t, Noise&& noise, double eta,
                        ReverseWorkspace<PlainTensor<X>>& workspace, const Device& device = Device()) const {
    constexpr const char* where = "ReverseProcess::ddim_sample";
    const auto& in = detail::evaluated(x);
    denoiser_.check_step(where, out, in, t, noise);
    equations().check_eta(where, t, eta, !std::is_same_v<std::decay_t<Noise>, NoNoise>);
    denoiser_.predict_xstart(where, device, out.pred_xstart, in, t, workspace);
    guide_xstart(where, device, out.pred_xstart, in, t, workspace);
    const auto coefficients = [&](Index s) { return equations().ddim_coefficients(s, eta); };
    if constexpr (std::is_same_v<std::decay_t<Noise>, NoNoise>) {
      equations().ddim(device, out.sample, out.pred_xstart, in, t, coefficients);
    } else {
      equations().ddim(device, out.sample, out.pred_xstart, in, t, coefficients, drawn(device, noise, in, workspace));
    }
  }

  /// Returns the result of one DDIM step up, from x_t to x_{t+1}; Song, Meng, Ermon 2021, Section
  /// 4.3:
  ///
  ///     x_{t+1} = sqrt(abar_{t+1}) x_0 + sqrt(1 - abar_{t+1}) epsilon,   abar_T = 0
  ///
  /// It inverts ddim_sample with eta = 0 if the model predicts the same x_0 at both ends. With a
  /// cond_fn, x_0 is guided as in condition_score; guided-diffusion does not guide it here. No
  /// noise is drawn.
  template <class X>
  [[nodiscard]] ReverseStep<PlainTensor<X>> ddim_reverse_sample(const X& x, TimestepsView t) const {
    return returned<ReverseStep>(
        x, [&](auto& out, const auto& in, auto& workspace) { ddim_reverse_sample_into(out, in, t, workspace); });
  }
  /// @copydoc ddim_reverse_sample()
  template <class Out, class X, class Device = Eigen::DefaultDevice>
  void ddim_reverse_sample_into(Out&& out, const X& x, TimestepsView t, ReverseWorkspace<PlainTensor<X>>& workspace,
                                const Device& device = Device()) const {
    constexpr const char* where = "ReverseProcess::ddim_reverse_sample";
    const auto& in = detail::evaluated(x);
    denoiser_.check_step(where, out, in, t, NoNoise());
    denoiser_.predict_xstart(where, device, out.pred_xstart, in, t, workspace);
    guide_xstart(where, device, out.pred_xstart, in, t, workspace);
    equations().ddim(device, out.sample, out.pred_xstart, in, t,
                     [&](Index s) { return equations().ddim_reverse_coefficients(s); });
  }

  // ---- all steps ----

  /// Returns the sample of x_0 that p_sample reaches from x_T with t = T - 1, ..., 1, 0. `noise` is
  /// a noise source. After each step, observer(step, t, result) is called with step = 0, 1, ...,
  /// the timestep t of the step and its ReverseStep, which the next step overwrites. With a model
  /// that writes its output, only the first step allocates. In p_sample_loop_into, out.sample may
  /// be x_T.
  template <class X, class Noise, class Observer = detail::NoObserver>
  [[nodiscard]] PlainTensor<X> p_sample_loop(const X& x_T, Noise&& noise, Observer&& observer = Observer()) const {
    return returned<ReverseStep>(x_T, [&](auto& out, const auto& in,
                                          auto& workspace) { p_sample_loop_into(out, in, noise, observer, workspace); })
        .sample;
  }
  /// @copydoc p_sample_loop()
  template <class Out, class X, class Noise, class Observer, class Device = Eigen::DefaultDevice>
  void p_sample_loop_into(Out&& out, const X& x_T, Noise&& noise, Observer&& observer,
                          ReverseWorkspace<PlainTensor<X>>& workspace, const Device& device = Device()) const {
    loop<Noise>("ReverseProcess::p_sample_loop", out, x_T, observer,
                [&](Index t) { p_sample_into(out, out.sample, t, noise, workspace, device); });
  }

  /// Returns the sample of x_0 that ddim_sample reaches from x_T, like p_sample_loop. eta = 0 needs
  /// no noise: ddim_sample_loop(x_T). Throws before the first step if eta is too large for any
  /// timestep.
  template <class X, class Noise = NoNoise, class Observer = detail::NoObserver>
  [[nodiscard]] PlainTensor<X> ddim_sample_loop(const X& x_T, Noise&& noise = Noise(), double eta = 0,
                                                Observer&& observer = Observer()) const {
    return returned<ReverseStep>(x_T,
                                 [&](auto& out, const auto& in, auto& workspace) {
                                   ddim_sample_loop_into(out, in, noise, eta, observer, workspace);
                                 })
        .sample;
  }
  /// @copydoc ddim_sample_loop()
  template <class Out, class X, class Noise, class Observer, class Device = Eigen::DefaultDevice>
  void ddim_sample_loop_into(Out&& out, const X& x_T, Noise&& noise, double eta, Observer&& observer,
                             ReverseWorkspace<PlainTensor<X>>& workspace, const Device& device = Device()) const {
    constexpr const char* where = "ReverseProcess::ddim_sample_loop";
    for (Index t = 0; t < process().num_timesteps(); ++t) {
      equations().check_eta(where, t, eta, !std::is_same_v<std::decay_t<Noise>, NoNoise>);
    }
    loop<Noise>(where, out, x_T, observer,
                [&](Index t) { ddim_sample_into(out, out.sample, t, noise, eta, workspace, device); });
  }

 private:
  template <class, class, class, class>
  friend class ReverseProcess;
  using StepDenoiser = detail::StepDenoiser<Scalar, Model, DenoisedFn, CondFn>;

  ReverseProcess(StepDenoiser denoiser) : denoiser_(std::move(denoiser)) {}

  detail::ReverseEquations<Scalar> equations() const { return {process(), options().mean_type, options().var_type}; }

  /// Returns the `out` that f(out, x, workspace) writes. x is evaluated if it is an expression.
  template <template <class> class Result, class X, class F>
  static Result<PlainTensor<X>> returned(const X& x_or_expression, const F& f) {
    const auto& x = detail::evaluated(x_or_expression);
    Workspace<X> workspace;
    Result<PlainTensor<X>> out;
    detail::resize_like(out, x);
    f(out, x, workspace);
    return out;
  }

  /// Moves out.sample from x_T to x_0 with step(t) for t = T - 1, ..., 0, and calls the observer
  /// after each step.
  template <class Noise, class Out, class X, class Observer, class Step>
  void loop(const char* where, Out& out, const X& x_T, Observer& observer, const Step& step) const {
    static_assert(
        !detail::is_tensor_v<Noise>,
        "diffusion: a sampling loop draws noise at every step: pass a noise source (RecordedNoise replays tensors)");
    const auto& in = detail::evaluated(x_T);
    denoiser_.check(where, "out", in, 0, out.sample, out.pred_xstart);
    detail::copy(in, out.sample);
    const Index T = process().num_timesteps();
    for (Index k = 0; k < T; ++k) {
      step(T - 1 - k);
      observer(k, T - 1 - k, std::as_const(out));
    }
  }

  /// Returns the noise of a step: the given tensor, or workspace.noise after a draw from the
  /// source.
  template <class Device, class Noise, class X>
  static decltype(auto) drawn(const Device& device, Noise& noise, const X& x, Workspace<X>& workspace) {
    if constexpr (detail::is_tensor_v<Noise>) {
      return detail::evaluated(noise);
    } else {
      detail::resize(workspace.noise, detail::shape(x));
      detail::draw(noise, workspace.noise, device);
      return (workspace.noise);
    }
  }

  /// Guides pred_xstart as condition_score does, if there is a cond_fn.
  template <class Device, class P, class X>
  void guide_xstart(const char* where, const Device& device, P& pred_xstart, const X& x, TimestepsView t,
                    Workspace<X>& workspace) const {
    if constexpr (StepDenoiser::guided) {
      denoiser_.run_cond_fn(where, x, t, workspace);
      equations().guide_xstart(where, device, pred_xstart, pred_xstart, t, workspace.gradient);
    }
  }

  StepDenoiser denoiser_;
};

}  // namespace diffusion
