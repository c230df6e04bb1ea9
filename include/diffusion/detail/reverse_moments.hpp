/// @file reverse_moments.hpp
/// The equations of p(x_{t-1} | x_t) on tensors in memory that have been checked.
#pragma once

#include <array>
#include <cmath>      // std::exp, std::log, std::sqrt
#include <stdexcept>  // std::domain_error, std::invalid_argument
#include <type_traits>

#include "../gaussian_diffusion.hpp"
#include "../reverse_types.hpp"
#include "../tensor.hpp"
#include "affine.hpp"
#include "ddim.hpp"
#include "error.hpp"
#include "model_call.hpp"
#include "multiply_add.hpp"

namespace diffusion {
namespace detail {

inline bool learns_variance(ModelVarType type) {
  return type == ModelVarType::learned || type == ModelVarType::learned_range;
}

/// Throws std::domain_error where the model's output does not tell x_0.
template <class Scalar>
void check_tells_xstart(const char* where, const GaussianDiffusion<Scalar>& process, ModelMeanType mean_type,
                        TimestepsView t, Eigen::Index batch) {
  for (Eigen::Index n = 0; n < (t.uniform() ? 1 : batch); ++n) {
    if (mean_type == ModelMeanType::epsilon && process.alphas_cumprod()[t[n]] == 0.0) {
      fail<std::domain_error>(where, "alphas_cumprod[", t[n], "] = 0: epsilon tells nothing of x_0 (sample ", n, ")");
    }
    if (mean_type == ModelMeanType::previous_x && process.posterior_mean_coef1()[t[n]] == 0.0) {
      fail<std::domain_error>(where, "posterior_mean_coef1[", t[n], "] = 0: x_{t-1} tells nothing of x_0 (sample ", n,
                              ")");
    }
  }
}

/// Throws std::invalid_argument for what only a Denoiser knows.
inline void check_mean_type(const char* where, ModelMeanType mean_type) {
  const bool known = mean_type == ModelMeanType::previous_x || mean_type == ModelMeanType::start_x ||
                     mean_type == ModelMeanType::epsilon || mean_type == ModelMeanType::velocity;
  if (!known) {
    fail<std::invalid_argument>(where,
                                "mean_type must be previous_x, start_x, epsilon or velocity; a Denoiser takes others");
  }
}

/// Scalar exp: Eigen's vectorised one rounds otherwise than its own remainder loop, and results would depend on the position of
/// an element in memory.
template <class Real>
Real exponential(Real x) {
  return std::exp(x);
}

// What is no affine combination, as functions of the coefficients c of a sample and of the values of an element. They have names
// because a lambda in a template is another type, and so another walk to compile, in every instance of that template.

/// c_0 v + c_1
struct LearnedLogVariance {
  template <class C, class Real>
  Real operator()(const C& c, Real v) const {
    return multiply_add(c[0], v, c[1]);
  }
};
/// exp(c_0 v + c_1)
struct LearnedVariance {
  template <class C, class Real>
  Real operator()(const C& c, Real v) const {
    return exponential(multiply_add(c[0], v, c[1]));
  }
};
/// mean + variance gradient
struct GuidedMean {
  template <class C, class Real>
  Real operator()(const C&, Real mean, Real variance, Real gradient) const {
    return multiply_add(variance, gradient, mean);
  }
};
/// c_0 from + c_1 x_t + c_4 exp(log_variance / 2) noise (+ exp(log_variance) gradient), log_variance = c_2 v + c_3
struct LearnedStep {
  template <class C, class Real, class... Gradient>
  Real operator()(const C& c, Real from, Real x_t, Real v, Real noise, Gradient... gradient) const {
    const Real deviation = exponential(multiply_add(c[2], v, c[3]) / 2);
    Real out = multiply_add(c[0], from, multiply_add(c[1], x_t, c[4] * deviation * noise));
    ((out = multiply_add(deviation * deviation, gradient, out)), ...);
    return out;
  }
};

/// p(x_{t-1} | x_t) of `process` for models of these kinds.
template <class Scalar>
struct ReverseMoments {
  const GaussianDiffusion<Scalar>& process;
  ModelMeanType mean_type;
  ModelVarType var_type;

  bool previous() const { return mean_type == ModelMeanType::previous_x; }
  bool learned() const { return learns_variance(var_type); }

  // ---- the numbers of one timestep ----

  double fixed_variance(Index t) const {
    if (var_type == ModelVarType::fixed_small) return process.posterior_variance()[t];
    return t == 0 && process.num_timesteps() > 1 ? process.posterior_variance()[1] : process.betas()[t];
  }
  double fixed_log_variance(Index t) const {
    return var_type == ModelVarType::fixed_small ? process.posterior_log_variance_clipped()[t]
                                                 : std::log(fixed_variance(t));
  }

  /// {a, b} in log_variance = a v + b. With f = (v + 1) / 2 and the bounds `low` and `high`,
  ///     f high + (1 - f) low = (high - low) / 2 v + (high + low) / 2
  std::array<double, 2> learned_log_variance(Index t) const {
    if (var_type == ModelVarType::learned) return {1.0, 0.0};
    const double low = process.posterior_log_variance_clipped()[t], high = std::log(process.betas()[t]);
    return {0.5 * (high - low), 0.5 * (high + low)};
  }

  /// {a, b} in mean = a * from + b * x_t, where `from` is x_0, or, of a model of previous_x, its output.
  std::array<double, 2> mean_coefficients(Index t) const {
    if (previous()) return {1.0, 0.0};
    return {process.posterior_mean_coef1()[t], process.posterior_mean_coef2()[t]};
  }

  // ---- the equations ----

  /// pred_xstart from the model's output at x. Besides, of previous_x, `mean` becomes the output, and of learned variances
  /// `values` the half of it that they are made from.
  template <class Device, class P, class M, class V, class Output, class X, class DenoisedFn>
  void predict(const Device& device, P& pred_xstart, M& mean, V& values, const Output& output, const X& x,
               TimestepsView t, const DenoisedFn& denoised_fn, bool clip_denoised) const {
    if (learned()) {
      if (previous()) {
        split_channels(output, mean, values);
        xstart(device, pred_xstart, mean, x, t);
      } else {
        split_channels(output, pred_xstart, values);
        xstart(device, pred_xstart, pred_xstart, x, t);
      }
    } else {
      if (previous()) copy(output, mean);
      xstart(device, pred_xstart, output, x, t);
    }
    if constexpr (!std::is_same_v<DenoisedFn, NoFunction>) {
      call_in_place("ReverseProcess", "denoised_fn(x_start)", denoised_fn, pred_xstart);
    }
    if (clip_denoised) clip(device, pred_xstart);
  }

  /// mean = posterior_mean_coef1 x_0 + posterior_mean_coef2 x_t
  template <class Device, class M, class P, class X>
  void posterior_mean(const Device& device, M& mean, const P& pred_xstart, const X& x, TimestepsView t) const {
    affine(
        device, mean, t.uniform(),
        [&](Index n) {
          return std::array{process.posterior_mean_coef1()[t[n]], process.posterior_mean_coef2()[t[n]]};
        },
        pred_xstart, x);
  }

  /// Both variances; of learned ones, out.log_variance holds the values they are made from.
  template <class Device, class Moments>
  void variances(const Device& device, Moments& out, TimestepsView t) const {
    if (learned()) {
      const auto coefficients = [&](Index n) { return learned_log_variance(t[n]); };
      apply(device, out.variance, t.uniform(), LearnedVariance(), coefficients, out.log_variance);
      apply(device, out.log_variance, t.uniform(), LearnedLogVariance(), coefficients, out.log_variance);
    } else {
      affine(device, out.variance, t.uniform(), [&](Index n) { return std::array{fixed_variance(t[n])}; });
      affine(device, out.log_variance, t.uniform(), [&](Index n) { return std::array{fixed_log_variance(t[n])}; });
    }
  }

  /// mean + variance gradient
  template <class Device, class Out, class M, class V, class G>
  void guide_mean(const Device& device, Out& out, const M& mean, const V& variance, const G& gradient) const {
    apply(
        device, out, true, GuidedMean(), [](Index) { return std::array{0.0}; }, mean, variance, gradient);
  }

  /// x_0 + (1 - abar_t) / sqrt(abar_t) gradient: what becomes of x_0 when epsilon becomes epsilon - sqrt(1 - abar_t) gradient.
  template <class Device, class Out, class P, class G>
  void guide_xstart(const char* where, const Device& device, Out& out, const P& pred_xstart, TimestepsView t,
                    const G& gradient) const {
    check_tells_xstart(where, process, ModelMeanType::epsilon, t, t.size());
    const auto coefficients = [&](Index n) {
      return std::array{1.0, process.one_minus_alphas_cumprod()[t[n]] * process.sqrt_recip_alphas_cumprod()[t[n]]};
    };
    affine(device, out, t.uniform(), coefficients, pred_xstart, gradient);
  }

  /// x_{t-1} = mean + [t > 0] exp(log_variance / 2) noise + variance gradient in one pass, with or without a gradient; `from` as
  /// in mean_coefficients, `values` as in predict.
  template <class Device, class Out, class F, class X, class V, class Noise, class... Gradient>
  void sample(const Device& device, Out& out, const F& from, const X& x, TimestepsView t, const V& values,
              const Noise& noise, const Gradient&... gradient) const {
    if (learned()) {
      const auto coefficients = [&](Index n) {
        const auto [a, b] = mean_coefficients(t[n]);
        const auto [c, d] = learned_log_variance(t[n]);
        return std::array{a, b, c, d, t[n] == 0 ? 0.0 : 1.0};
      };
      apply(device, out, t.uniform(), LearnedStep(), coefficients, from, x, values, noise, gradient...);
    } else {
      const auto coefficients = [&](Index n) {
        const auto [a, b] = mean_coefficients(t[n]);
        const double variance = fixed_variance(t[n]);
        const double deviation = t[n] == 0 ? 0.0 : std::sqrt(variance);
        if constexpr (sizeof...(Gradient) == 0) {
          return std::array{a, b, deviation};
        } else {
          return std::array{a, b, deviation, variance};
        }
      };
      affine(device, out, t.uniform(), coefficients, from, x, noise, gradient...);
    }
  }

  /// The DDIM step down to t - 1, with or without noise, and up to t + 1.
  template <class Device, class Out, class P, class X, class... Noise>
  void ddim(const Device& device, Out& out, const P& pred_xstart, const X& x, TimestepsView t, double eta,
            const Noise&... noise) const {
    const auto coefficients = [&](Index n) {
      const DdimCoefficients c = ddim_coefficients(process, t[n], eta);
      if constexpr (sizeof...(Noise) == 0) {
        return std::array{c.x_start, c.x_t};
      } else {
        return std::array{c.x_start, c.x_t, c.noise};
      }
    };
    affine(device, out, t.uniform(), coefficients, pred_xstart, x, noise...);
  }
  template <class Device, class Out, class P, class X>
  void ddim_reverse(const Device& device, Out& out, const P& pred_xstart, const X& x, TimestepsView t) const {
    const auto coefficients = [&](Index n) {
      const DdimCoefficients c = ddim_reverse_coefficients(process, t[n]);
      return std::array{c.x_start, c.x_t};
    };
    affine(device, out, t.uniform(), coefficients, pred_xstart, x);
  }

 private:
  template <class Device, class P>
  static void clip(const Device& device, P& pred_xstart) {
    clamp(
        device, pred_xstart, true,
        [](Index) {
          return std::array{-1.0, 1.0};
        },
        pred_xstart);
  }

  /// x_0 from the half of the output that the mean_type is about.
  template <class Device, class P, class Y, class X>
  void xstart(const Device& device, P& pred_xstart, const Y& output, const X& x, TimestepsView t) const {
    switch (mean_type) {
      case ModelMeanType::previous_x:
        return process.predict_xstart_from_xprev_into(pred_xstart, x, t, output, device);
      case ModelMeanType::start_x:
        return copy(output, pred_xstart);
      case ModelMeanType::epsilon:
        return process.predict_xstart_from_eps_into(pred_xstart, x, t, output, device);
      case ModelMeanType::velocity:
        return process.predict_xstart_from_v_into(pred_xstart, x, t, output, device);
      default:
        return check_mean_type("ReverseProcess", mean_type);
    }
  }
};

}  // namespace detail
}  // namespace diffusion
