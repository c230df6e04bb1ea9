/// @file guidance.hpp
/// Guidance: a model made of others, whose samples follow a condition more closely than the conditional model's own.
///
/// What is made here is used wherever the library takes a model: it is called as guided(x, t, out), which writes, or as
/// guided(x, t), which returns a tensor of x's shape; t is an Eigen::Tensor<Scalar, 1> of shape [N]. The models it is made of
/// are called in the same way (one that returns an expression must not refer to its local variables in it: they are gone
/// when it is evaluated), are held by value (std::ref holds a reference), and all predict the same: epsilon, x_0 or v. Of
/// learned variances, whose output has twice x's channels (axis 1), the first half is guided, however many channels there are,
/// and the second half is the conditional model's.
///
/// It is not const when called, for it keeps its memory from call to call: in the writing form nothing is allocated after the
/// first call with a shape, unless a model does. So one object serves one thread at a time (copies are independent), and a
/// ReverseProcess, which calls its model as const, takes it as std::ref(guided).
///
/// Any rank, both layouts. Statistics of a sample are computed in double; a sample's result does not depend on the rest of its
/// batch, bit for bit, if the models' do not. Throws std::invalid_argument where shapes differ or a parameter is out of range.
#pragma once

#include <any>
#include <array>
#include <cmath>       // std::sqrt, std::isfinite
#include <cstddef>     // std::size_t
#include <functional>  // std::function
#include <stdexcept>   // std::invalid_argument
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>  // std::move
#include <vector>

#include "detail/arguments.hpp"
#include "detail/check.hpp"
#include "detail/guided_models.hpp"
#include "detail/kernel/elementwise.hpp"
#include "detail/kernel/multiply_add.hpp"
#include "detail/kernel/per_sample.hpp"
#include "detail/shape.hpp"
#include "tensor.hpp"

namespace diffusion {

/// How strongly a sample at t is guided, t being what the model is told: s = 1 is the conditional output, s = 0 the
/// unconditional one. Made implicitly from a number, or from a function of t, double -> double. (Papers that write
/// (1 + w) cond - w uncond mean s = 1 + w.)
class GuidanceScale {
 public:
  /// Throws std::invalid_argument unless s is finite.
  GuidanceScale(double s) : at_([s](double) { return s; }) { detail::check_finite("GuidanceScale", "scale", s); }
  template <class F, std::enable_if_t<std::is_invocable_r_v<double, const F&, double> &&
                                          !std::is_same_v<std::decay_t<F>, GuidanceScale>,
                                      int> = 0>
  GuidanceScale(F s) : at_(std::move(s)) {}

  [[nodiscard]] double operator()(double t) const {
    const double s = at_(t);
    if (!std::isfinite(s)) {
      detail::fail<std::invalid_argument>("GuidanceScale", "scale(", t, ") = ", s, " is not finite");
    }
    return s;
  }

 private:
  std::function<double(double)> at_;
};

/// Guidance where low <= t <= high, for each sample by its own t, and the conditional output elsewhere; Kynkaanniemi et al.
/// 2024. Where no sample of a batch is guided, the unconditional model is not called. Throws std::invalid_argument unless
/// low <= high.
[[nodiscard]] inline GuidanceScale limited_interval(GuidanceScale s, double low, double high) {
  if (!(low <= high)) {
    detail::fail<std::invalid_argument>("limited_interval", "low = ", low, " must be at most high = ", high);
  }
  return [s = std::move(s), low, high](double t) { return low <= t && t <= high ? s(t) : 1.0; };
}

/// Classifier-free guidance; Ho, Salimans 2022, Eq. (6):
///     guided = uncond + s (cond - uncond)
/// With `uncond` a worse model of the same condition it is autoguidance (Karras et al. 2024); with a condition to avoid, a
/// negative prompt. And rescaled; Lin et al. 2024, Section 3.4:
///     guided = guided (phi std(cond) / std(guided) + 1 - phi)
/// where phi is in [0, 1] and std is of the values of a sample. (A guided sample whose values are all the same stays as it is.)
struct ClassifierFreeGuidance {
  GuidanceScale scale;
  double rescale = 0.0;  // phi; Lin et al. use 0.7

  template <class Tensor>
  struct State {
    std::vector<double> factors;  // phi std(cond) / std(guided) + 1 - phi of each sample
  };

  /// cond becomes the guided output. scales: of each sample, [N].
  template <class Tensor>
  void guide(Tensor& cond, const Tensor& uncond, const Eigen::Tensor<double, 1>& scales, State<Tensor>& state) const {
    detail::check_in("ClassifierFreeGuidance", "rescale", rescale, 0.0, 1.0);
    const Eigen::DefaultDevice device;
    state.factors.assign(static_cast<std::size_t>(scales.size()), 1.0);
    if (rescale != 0.0) {
      struct Sample {
        double scale;
        detail::SquaredDeviations cond{}, guided{};
      };
      detail::for_each_value_by_sample(
          device, cond, [&](Eigen::Index n) { return Sample{scales(n)}; },
          [&](Sample& sample, Eigen::Index p, Eigen::Index i) {
            const auto c = static_cast<double>(cond.data()[i]), u = static_cast<double>(uncond.data()[i]);
            const double recip_count = 1.0 / static_cast<double>(p + 1);
            sample.cond.add(c, recip_count);
            sample.guided.add(detail::Guided()(std::array{sample.scale, 1.0}, c, u), recip_count);
          },
          [&](Eigen::Index n, const Sample& sample) {
            if (sample.guided.sum == 0.0) return;
            const double ratio = std::sqrt(sample.cond.sum / sample.guided.sum);  // of std, whatever it is divided by
            state.factors[static_cast<std::size_t>(n)] = detail::multiply_add(rescale, ratio - 1.0, 1.0);
          });
    }
    const auto coefficients = [&](Eigen::Index n) {
      return std::array{scales(n), state.factors[static_cast<std::size_t>(n)]};
    };
    detail::apply(device, cond, detail::Guided(), coefficients, cond, uncond);
  }
};

/// The model that guided_model makes. Models: where the two outputs come from. Guidance: what becomes of them, a struct with
/// the members of ClassifierFreeGuidance: scale, guide(), and a State for what that keeps from call to call.
template <class Models, class Guidance>
class GuidedModel {
 public:
  /// guided_model and guided_model_of_doubled_batch make these.
  GuidedModel(Models models, Guidance guidance) : models_(std::move(models)), guidance_(std::move(guidance)) {}

  template <class X, class T>
  [[nodiscard]] PlainTensor<X> operator()(const X& x, const T& t) {
    return detail::returned(x, [&](auto& out, const auto& in) { (*this)(in, t, out); });
  }
  /// out: of x's shape or, of learned variances, with twice the channels. It may not be x.
  template <class X, class T, class Out>
  void operator()(const X& x, const T& t, Out& out) {
    constexpr const char* where = "GuidedModel";
    constexpr bool plain = std::is_same_v<Out, PlainTensor<Out>> && detail::becomes<X, Out>();
    static_assert(plain, "diffusion: a guided model writes an Eigen::Tensor of x's scalar type, rank and layout");
    if constexpr (plain) {
      const auto& in = detail::evaluated(x);
      const auto& model_t = detail::evaluated(t);
      detail::check_model_time(where, in, model_t);
      detail::has_variances(where, out, in);  // or throws
      auto& memory = detail::workspace<Workspace<PlainTensor<X>, PlainTensor<T>, Out>>(workspace_);
      detail::resize(memory.scales, detail::shape(model_t));
      bool guided = false;
      for (Eigen::Index n = 0; n < memory.scales.size(); ++n) {
        memory.scales(n) = guidance_.scale(static_cast<double>(model_t.data()[n]));
        guided = guided || memory.scales(n) != 1.0;
      }
      models_.evaluate(where, in, model_t, guided, out, memory.uncond, memory.models);
      if (!guided) return;
      Out& cond = detail::prediction_in(where, out, in, memory.half);
      Out& uncond = detail::prediction_in(where, memory.uncond, in, memory.uncond_half);
      guidance_.guide(cond, uncond, memory.scales, memory.state);
      detail::set_prediction(out, cond);
    }
  }

  /// Forgets the run, which matters to momentum; and gives back the memory.
  void reset() { workspace_.reset(); }

 private:
  template <class X, class T, class Out>
  struct Workspace {
    Eigen::Tensor<double, 1> scales;
    Out uncond, half, uncond_half;
    typename Models::template Workspace<X, T, Out> models;
    typename Guidance::template State<Out> state;
  };

  Models models_;
  Guidance guidance_;
  std::any workspace_;
};

/// The model guided by a conditional and an unconditional one: guided_model(cond, uncond, ClassifierFreeGuidance{7.5}).
template <class Cond, class Uncond, class Guidance>
[[nodiscard]] GuidedModel<detail::TwoModels<Cond, Uncond>, Guidance> guided_model(Cond cond, Uncond uncond,
                                                                                  Guidance guidance) {
  return {{std::move(cond), std::move(uncond)}, std::move(guidance)};
}

/// The same of one model that is called once, with [x, x] and [t, t] along the batch: the first half of its output is the
/// conditional one, the second half the unconditional one.
template <class Model, class Guidance>
[[nodiscard]] GuidedModel<detail::DoubledBatch<Model>, Guidance> guided_model_of_doubled_batch(Model model,
                                                                                               Guidance guidance) {
  return {{std::move(model)}, std::move(guidance)};
}

/// The denoiser that cfg_plus_plus makes.
template <class Cond, class Uncond>
class CfgPlusPlus {
 public:
  /// cfg_plus_plus makes these.
  CfgPlusPlus(Cond denoise_cond, Uncond denoise_uncond, double scale)
      : cond_(std::move(denoise_cond)), uncond_(std::move(denoise_uncond)), scale_(scale) {
    detail::check_finite("cfg_plus_plus", "scale", scale);
  }

  /// prediction: of x_0 and epsilon, in tensors x_start and epsilon of x's shape.
  template <class X, class Level, class Prediction>
  void operator()(const X& x, const Level& level, Prediction& prediction) {
    constexpr const char* where = "cfg_plus_plus";
    auto& cond = detail::workspace<Prediction>(workspace_);
    const auto sizes = detail::shape(x);
    detail::resize(cond.x_start, sizes);
    detail::resize(cond.epsilon, sizes);
    uncond_(x, level, prediction);
    cond_(x, level, cond);
    detail::check_result(where, "the unconditional x_start", prediction.x_start, x, sizes);
    detail::check_result(where, "the unconditional epsilon", prediction.epsilon, x, sizes);
    detail::check_result(where, "the conditional x_start", cond.x_start, x, sizes);
    detail::apply(Eigen::DefaultDevice(), prediction.x_start, detail::Guided(), std::array{scale_, 1.0}, cond.x_start,
                  prediction.x_start);
  }

 private:
  Cond cond_;
  Uncond uncond_;
  double scale_;
  std::any workspace_;
};

/// CFG++; Chung et al. 2024, Algorithm 2: x_0 is guided, and a sampler adds the unconditional noise to it again,
///     x_start = x_start_uncond + scale (x_start_cond - x_start_uncond),   scale in [0, 1] in the paper
///     epsilon = epsilon_uncond
/// It is made of two denoisers, callables denoise(x, level, prediction) that write prediction.x_start and prediction.epsilon,
/// and is one. Throws std::invalid_argument unless scale is finite.
template <class Cond, class Uncond>
[[nodiscard]] CfgPlusPlus<Cond, Uncond> cfg_plus_plus(Cond denoise_cond, Uncond denoise_uncond, double scale) {
  return {std::move(denoise_cond), std::move(denoise_uncond), scale};
}

}  // namespace diffusion
