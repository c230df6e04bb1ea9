/// @file reverse_process.hpp
/// The reverse process: from a model's output to p(x_{t-1} | x_t), and sampling by it, one step or
/// all. Ho, Jain, Abbeel 2020 (DDPM); Song, Meng, Ermon 2021 (DDIM); Nichol, Dhariwal 2021;
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

/// In place of an observer.
struct NoObserver {
  template <class... Anything>
  void operator()(const Anything&...) const {}
};

/// Gives all tensors of a result the shape of x.
template <class Tensor, class X>
void resize_like(PMeanVariance<Tensor>& out, const X& x) {
  for (Tensor* part : {&out.mean, &out.variance, &out.log_variance, &out.pred_xstart}) resize(*part, shape(x));
}
template <class Tensor, class X>
void resize_like(ReverseStep<Tensor>& out, const X& x) {
  for (Tensor* part : {&out.sample, &out.pred_xstart}) resize(*part, shape(x));
}

}  // namespace detail

/// The reverse of `process` by `model`. Both are held by value.
///
/// The model is called as model(x_t, t): t is an Eigen::Tensor<Scalar, 1> of shape [N], the
/// timesteps in the original process (process.timestep_map(), then rescaled to 0..1000 if asked),
/// rounded to Scalar: bfloat16 does not have all whole numbers beyond 256, nor Eigen::half all
/// beyond 2048. It returns a tensor of x_t's shape, of twice the channels (axis 1) for learned
/// variances; or it writes it: model(x_t, t, out), out being a plain tensor of that shape. (A
/// returned expression is evaluated after the call: it may refer to x_t, never to a local variable
/// of the model, which is gone by then. The same holds for denoised_fn and cond_fn.) It is called as
/// const: wrap one that changes when called in std::ref.
///
/// Tensors, timesteps, `_into` forms and devices are as in GaussianDiffusion. An `_into` form takes
/// a ReverseWorkspace and, once that has its memory, allocates nothing unless a user's function
/// does; out.sample may be x, other outputs may not be inputs. `noise` is a tensor of x's shape or
/// a noise source (noise.hpp). A source is called exactly once per step, after the model, even if
/// the step ignores its noise (t = 0, eta = 0): so the stream stays aligned with
/// guided-diffusion's. For the same reason p_sample calls it before cond_fn, ddim_sample after.
/// A sample's result does not depend on the rest of its batch, bit for bit, if the model's does
/// not.
///
/// Throws what GaussianDiffusion does; std::invalid_argument where a user's function gives a tensor
/// of the wrong shape (it says both shapes) and for learned variances of a tensor of rank 1;
/// std::domain_error where the model's output does not determine x_0: epsilon at abar_t = 0.
template <class Scalar, class Model, class DenoisedFn = detail::NoFunction, class CondFn = detail::NoFunction>
class ReverseProcess {
  template <class X>
  using Workspace = ReverseWorkspace<PlainTensor<X>>;

 public:
  using Index = Eigen::Index;

  /// Throws std::invalid_argument for a mean_type that only a Denoiser reads: score, flow_velocity,
  /// edm.
  ReverseProcess(GaussianDiffusion<Scalar> process, Model model, ReverseOptions options = {})
      : denoiser_{std::move(process), std::move(model), options, {}, {}} {
    detail::check_step_mean_type("ReverseProcess", options.mean_type);
  }

  /// The forward process that is reversed, and how.
  const GaussianDiffusion<Scalar>& process() const { return denoiser_.process; }
  const ReverseOptions& options() const { return denoiser_.options; }

  /// The same, but a prediction of x_0 becomes f(x_start) before it is clipped. f changes x_start in
  /// place and returns nothing, or it returns a tensor (an expression must not refer to local
  /// variables of f).
  template <class F>
  [[nodiscard]] ReverseProcess<Scalar, Model, F, CondFn> with_denoised_fn(F f) const {
    return {{process(), denoiser_.model, options(), std::move(f), denoiser_.cond_fn}};
  }

  /// The same, but guided by g(x, t) = d log p(y | x) / dx. g is called like the model, at the same
  /// t, and gives a tensor of x's shape.
  template <class G>
  [[nodiscard]] ReverseProcess<Scalar, Model, DenoisedFn, G> with_cond_fn(G g) const {
    return {{process(), denoiser_.model, options(), denoiser_.denoised_fn, std::move(g)}};
  }

  // ---- p(x_{t-1} | x_t) ----

  /// The output of the model at x, as it is.
  template <class X>
  [[nodiscard]] PlainTensor<X> model_output(const X& x, TimestepsView t) const {
    Workspace<X> workspace;
    denoiser_.run_model("ReverseProcess::model_output", detail::evaluated(x), t, workspace);
    return std::move(workspace.output);
  }
  template <class Out, class X>
  void model_output_into(Out&& out, const X& x, TimestepsView t, ReverseWorkspace<PlainTensor<X>>& workspace) const {
    constexpr const char* where = "ReverseProcess::model_output";
    const auto& in = detail::evaluated(x);
    detail::check_result(where, "out", out, in, denoiser_.output_shape(where, in));
    denoiser_.run_model(where, in, t, workspace);
    detail::copy(workspace.output, out);
  }

  /// p(x_{t-1} | x_t) from a model's output at x_t; Ho et al. 2020, Eqs. (7), (11), (15); Nichol,
  /// Dhariwal 2021, Eq. (15):
  ///
  ///     pred_xstart = x_0 by mean_type, then denoised_fn, then limited to [-1, 1] if clip_denoised
  ///     mean        = posterior_mean_coef1 pred_xstart + posterior_mean_coef2 x_t
  ///     variance, log_variance by var_type
  ///
  /// For previous_x the mean is the output.
  template <class Y, class X>
  [[nodiscard]] PMeanVariance<PlainTensor<X>> moments_from_output(const Y& output, const X& x, TimestepsView t,
                                                                  bool clip_denoised) const {
    return returned<PMeanVariance>(
        x, [&](auto& out, const auto& in, auto&) { moments_from_output_into(out, output, in, t, clip_denoised); });
  }
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

  /// p(x_{t-1} | x_t) by the model: moments_from_output of its output, clipped if the options say
  /// so.
  template <class X>
  [[nodiscard]] PMeanVariance<PlainTensor<X>> p_mean_variance(const X& x, TimestepsView t) const {
    return returned<PMeanVariance>(
        x, [&](auto& out, const auto& in, auto& workspace) { p_mean_variance_into(out, in, t, workspace); });
  }
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

  /// mean + variance cond_fn(x, t), where `moments` are p_mean_variance(x, t); Dhariwal, Nichol
  /// 2021, Algorithm 1.
  template <class Moments, class X>
  [[nodiscard]] PlainTensor<X> condition_mean(const Moments& moments, const X& x, TimestepsView t) const {
    Workspace<X> workspace;
    return detail::returned(x, [&](auto& out, const auto& in) { condition_mean_into(out, moments, in, t, workspace); });
  }
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

  /// p(x_{t-1} | x_t) when epsilon becomes epsilon - sqrt(1 - abar_t) cond_fn(x, t); Dhariwal,
  /// Nichol 2021, Algorithm 2. That is
  ///
  ///     pred_xstart becomes pred_xstart + (1 - abar_t) / sqrt(abar_t) cond_fn(x, t)
  ///
  /// (it is not clipped again) and the mean follows. Throws std::domain_error where abar_t = 0.
  template <class Moments, class X>
  [[nodiscard]] PMeanVariance<PlainTensor<X>> condition_score(const Moments& moments, const X& x,
                                                              TimestepsView t) const {
    return returned<PMeanVariance>(
        x, [&](auto& out, const auto& in, auto& workspace) { condition_score_into(out, moments, in, t, workspace); });
  }
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

  /// x_{t-1} = mean + exp(log_variance / 2) noise, without noise at t = 0; Ho et al. 2020,
  /// Algorithm 2. With a cond_fn the mean is condition_mean's, and pred_xstart stays unguided.
  template <class X, class Noise>
  [[nodiscard]] ReverseStep<PlainTensor<X>> p_sample(const X& x, TimestepsView t, Noise&& noise) const {
    return returned<ReverseStep>(
        x, [&](auto& out, const auto& in, auto& workspace) { p_sample_into(out, in, t, noise, workspace); });
  }
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

  /// With epsilon = (x_t - sqrt(abar_t) x_0) / sqrt(1 - abar_t) of the predicted x_0; Song, Meng,
  /// Ermon 2021, Eqs. (12) and (16):
  ///
  ///     x_{t-1} = sqrt(abar_{t-1}) x_0 + sqrt(1 - abar_{t-1} - sigma^2) epsilon + sigma noise
  ///     sigma   = eta sqrt((1 - abar_{t-1}) / (1 - abar_t) beta_t)
  ///
  /// With a cond_fn the predicted x_0 is condition_score's. eta = 0 needs no noise, eta = 1 is
  /// p_sample with fixed_small. Throws std::invalid_argument where eta is negative or makes 1 -
  /// abar_{t-1} - sigma^2 negative, which no eta up to 1 does.
  template <class X, class Noise = NoNoise>
  [[nodiscard]] ReverseStep<PlainTensor<X>> ddim_sample(const X& x, TimestepsView t, Noise&& noise = Noise(),
                                                        double eta = 0) const {
    return returned<ReverseStep>(
        x, [&](auto& out, const auto& in, auto& workspace) { ddim_sample_into(out, in, t, noise, eta, workspace); });
  }
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

  /// The step from x_t up to x_{t+1} that inverts ddim_sample with eta = 0 as far as x_0 is
  /// predicted the same at both ends; Song, Meng, Ermon 2021, Section 4.3:
  ///
  ///     x_{t+1} = sqrt(abar_{t+1}) x_0 + sqrt(1 - abar_{t+1}) epsilon,   abar_T = 0
  ///
  /// With a cond_fn the predicted x_0 is condition_score's (guided-diffusion's is unguided).
  template <class X>
  [[nodiscard]] ReverseStep<PlainTensor<X>> ddim_reverse_sample(const X& x, TimestepsView t) const {
    return returned<ReverseStep>(
        x, [&](auto& out, const auto& in, auto& workspace) { ddim_reverse_sample_into(out, in, t, workspace); });
  }
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

  /// The sample of x_0 that p_sample makes of x_T by t = T - 1, ..., 1, 0. `noise` is a noise
  /// source. After each step observer(step, t, {sample, pred_xstart}) is called, with step = 0, 1,
  /// ... and t the timestep just done; it may keep a copy. With a workspace and a model that
  /// writes, nothing is allocated after the first step.
  template <class X, class Noise, class Observer = detail::NoObserver>
  [[nodiscard]] PlainTensor<X> p_sample_loop(const X& x_T, Noise&& noise, Observer&& observer = Observer()) const {
    return returned<ReverseStep>(x_T, [&](auto& out, const auto& in,
                                          auto& workspace) { p_sample_loop_into(out, in, noise, observer, workspace); })
        .sample;
  }
  template <class Out, class X, class Noise, class Observer, class Device = Eigen::DefaultDevice>
  void p_sample_loop_into(Out&& out, const X& x_T, Noise&& noise, Observer&& observer,
                          ReverseWorkspace<PlainTensor<X>>& workspace, const Device& device = Device()) const {
    loop<Noise>("ReverseProcess::p_sample_loop", out, x_T, observer,
                [&](Index t) { p_sample_into(out, out.sample, t, noise, workspace, device); });
  }

  /// As p_sample_loop, by ddim_sample. With eta = 0 it needs no noise: ddim_sample_loop(x_T).
  template <class X, class Noise = NoNoise, class Observer = detail::NoObserver>
  [[nodiscard]] PlainTensor<X> ddim_sample_loop(const X& x_T, Noise&& noise = Noise(), double eta = 0,
                                                Observer&& observer = Observer()) const {
    return returned<ReverseStep>(x_T,
                                 [&](auto& out, const auto& in, auto& workspace) {
                                   ddim_sample_loop_into(out, in, noise, eta, observer, workspace);
                                 })
        .sample;
  }
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

  /// The value form of f(out, x, workspace), x being evaluated.
  template <template <class> class Result, class X, class F>
  static Result<PlainTensor<X>> returned(const X& x_or_expression, const F& f) {
    const auto& x = detail::evaluated(x_or_expression);
    Workspace<X> workspace;
    Result<PlainTensor<X>> out;
    detail::resize_like(out, x);
    f(out, x, workspace);
    return out;
  }

  /// out.sample moves from x_T to x_0 by step(t) for t = T - 1, ..., 0, with a call of the observer
  /// after each.
  template <class Noise, class Out, class X, class Observer, class Step>
  void loop(const char* where, Out& out, const X& x_T, Observer& observer, const Step& step) const {
    static_assert(
        !detail::is_tensor_v<Noise>,
        "diffusion: a loop takes noise at every step: give it a noise source (RecordedNoise replays tensors)");
    const auto& in = detail::evaluated(x_T);
    denoiser_.check(where, "out", in, 0, out.sample, out.pred_xstart);
    detail::copy(in, out.sample);
    const Index T = process().num_timesteps();
    for (Index k = 0; k < T; ++k) {
      step(T - 1 - k);
      observer(k, T - 1 - k, std::as_const(out));
    }
  }

  /// The noise of a step: the tensor given, or one that is drawn.
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

  /// pred_xstart after condition_score, if there is a cond_fn.
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
