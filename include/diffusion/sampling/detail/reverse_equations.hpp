/// @file reverse_equations.hpp
/// The equations of p(x_{t-1} | x_t) and of DDIM. Precondition: the caller has evaluated and
/// checked all tensor arguments.
#pragma once

#include <array>
#include <cmath>      // std::exp, std::isfinite, std::log, std::sqrt
#include <stdexcept>  // std::invalid_argument
#include <type_traits>

#include "../../detail/check.hpp"
#include "../../detail/kernel/elementwise.hpp"
#include "../../detail/kernel/multiply_add.hpp"
#include "../../model/parameterization.hpp"
#include "../../process/gaussian_diffusion.hpp"
#include "../../tensor.hpp"

namespace diffusion {
namespace detail {

// Element functions that are not affine. They are functors, not lambdas: each lambda in a template
// is a new type, for which the kernel would be compiled again.

/// Scalar exp. Eigen's vectorised exp rounds differently from its remainder loop, so results would
/// depend on the position of an element in memory.
template <class Real>
Real exponential(Real x) {
  return std::exp(x);
}

/// c_0 v + c_1
struct LearnedLogVariance {
  template <class C, class Real>
  Real operator()(const C& c, Real v) const {
    return multiply_add(c[0], v, c[1]);
  }
};
/// exp(c_0 v + c_1)
struct LearnedVarianceOf {
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
/// x_{t-1} for learned variances, with or without a gradient:
///
///     log_variance = c_2 v + c_3
///     c_0 from + c_1 x_t + c_4 exp(log_variance / 2) noise + exp(log_variance) gradient
struct LearnedStep {
  template <class C, class Real, class... Gradient>
  Real operator()(const C& c, Real from, Real x_t, Real v, Real noise, Gradient... gradient) const {
    const Real deviation = exponential(multiply_add(c[2], v, c[3]) / 2);
    Real out = multiply_add(c[0], from, multiply_add(c[1], x_t, c[4] * deviation * noise));
    ((out = multiply_add(deviation * deviation, gradient, out)), ...);
    return out;
  }
};

/// The coefficients of a DDIM step. Each is named after its factor:
///
///     x_{t-1} or x_{t+1} = x_start * x_0 + x_t * x_t + noise * N(0, 1)
struct DdimCoefficients {
  double x_start, x_t, noise;
};

/// The equations of p(x_{t-1} | x_t) for the timesteps of `process` and a model with this mean_type
/// and var_type.
template <class Scalar>
struct ReverseEquations {
  const GaussianDiffusion<Scalar>& process;
  ModelMeanType mean_type;
  ModelVarType var_type;

  bool previous() const { return mean_type == ModelMeanType::previous_x; }
  bool learned() const { return learns_variance(var_type); }

  // ---- coefficients of one timestep ----

  /// variance for fixed_small and fixed_large
  double fixed_variance(Index t) const {
    if (var_type == ModelVarType::fixed_small) return process.posterior_variance()[t];
    return t == 0 && process.num_timesteps() > 1 ? process.posterior_variance()[1] : process.betas()[t];
  }
  /// log_variance for fixed_small and fixed_large
  double fixed_log_variance(Index t) const {
    return var_type == ModelVarType::fixed_small ? process.posterior_log_variance_clipped()[t]
                                                 : std::log(fixed_variance(t));
  }

  /// {a, b} in log_variance = a v + b. For learned_range, f = (v + 1) / 2 interpolates between the
  /// bounds `low` and `high`:
  ///
  ///     f high + (1 - f) low = (high - low) / 2 v + (high + low) / 2
  ///
  std::array<double, 2> learned_log_variance(Index t) const {
    if (var_type == ModelVarType::learned) return {1.0, 0.0};
    const double low = process.posterior_log_variance_clipped()[t], high = std::log(process.betas()[t]);
    return {0.5 * (high - low), 0.5 * (high + low)};
  }

  /// {a, b} in mean = a * from + b * x_t. `from` is the predicted x_0, or for previous_x the
  /// output.
  std::array<double, 2> mean_coefficients(Index t) const {
    if (previous()) return {1.0, 0.0};
    return {process.posterior_mean_coef1()[t], process.posterior_mean_coef2()[t]};
  }

  // ---- DDIM, in forms without the cancellation of the published ones in short steps ----

  /// 1 - abar_{t-1}
  double one_minus_prev(Index t) const { return t == 0 ? 0.0 : process.one_minus_alphas_cumprod()[t - 1]; }

  /// A factor of the radicand in ddim_coefficients. It is negative if eta is too large for t:
  ///
  ///     (1 - abar_{t-1} - sigma_t^2) (1 - abar_t) / (1 - abar_{t-1})
  ///         = (1 - eta^2) beta_t + alpha_t (1 - abar_{t-1})
  ///
  double ddim_rest(Index t, double eta) const {
    const double beta = process.betas()[t], prev = process.alphas_cumprod_prev()[t];
    const double alpha = beta < 0.5 || prev == 0.0 ? 1.0 - beta : process.alphas_cumprod()[t] / prev;
    return multiply_add((1.0 - eta) * (1.0 + eta), beta, alpha * one_minus_prev(t));
  }

  /// The coefficients of the step down; Song, Meng, Ermon 2021, Eqs. (12) and (16):
  ///
  ///     epsilon = (x_t - sqrt(abar_t) x_0) / sqrt(1 - abar_t)
  ///     x_{t-1} = sqrt(abar_{t-1}) x_0 + sqrt(1 - abar_{t-1} - sigma^2) epsilon + sigma noise
  ///     sigma   = eta sqrt(posterior_variance)
  ///
  /// The coefficient of x_t is k = sqrt(1 - abar_{t-1} - sigma^2) / sqrt(1 - abar_t). That of x_0
  /// is
  ///
  ///     sqrt(abar_{t-1}) - k sqrt(abar_t)
  ///         = (abar_{t-1} beta_t + sigma^2 abar_t)
  ///           / ((1 - abar_t) (sqrt(abar_{t-1}) + k sqrt(abar_t)))
  ///
  DdimCoefficients ddim_coefficients(Index t, double eta) const {
    if (t == 0) return {1.0, 0.0, 0.0};
    const double one_minus = process.one_minus_alphas_cumprod()[t], prev = process.alphas_cumprod_prev()[t];
    const double sigma = eta * std::sqrt(process.posterior_variance()[t]);
    const double k = std::sqrt(one_minus_prev(t) * ddim_rest(t, eta)) / one_minus;
    const double numerator = multiply_add(prev, process.betas()[t], sigma * sigma * process.alphas_cumprod()[t]);
    const double denominator = one_minus * multiply_add(k, process.sqrt_alphas_cumprod()[t], std::sqrt(prev));
    return {prev == 0.0 ? 0.0 : numerator / denominator, k, sigma};
  }

  /// The coefficients of the step up, where abar_T = 0:
  ///
  ///     x_{t+1} = sqrt(abar_{t+1}) x_0 + sqrt(1 - abar_{t+1}) epsilon
  ///
  /// The coefficient of x_t is k = sqrt(1 - abar_{t+1}) / sqrt(1 - abar_t). That of x_0 is
  ///
  ///     sqrt(abar_{t+1}) - k sqrt(abar_t)
  ///         = (abar_{t+1} - abar_t) / ((1 - abar_t) (sqrt(abar_{t+1}) + k sqrt(abar_t)))
  ///
  DdimCoefficients ddim_reverse_coefficients(Index t) const {
    const bool last = t + 1 == process.num_timesteps();
    const double one_minus = process.one_minus_alphas_cumprod()[t], alpha_bar = process.alphas_cumprod()[t];
    const double one_minus_next = last ? 1.0 : process.one_minus_alphas_cumprod()[t + 1];
    const double k = std::sqrt(one_minus_next / one_minus);
    const double fall = last ? alpha_bar : alpha_bar * process.betas()[t + 1];  // abar_t - abar_{t+1}
    const double denominator =
        one_minus * multiply_add(k, process.sqrt_alphas_cumprod()[t], std::sqrt(process.alphas_cumprod_next()[t]));
    return {alpha_bar == 0.0 ? 0.0 : -fall / denominator, k, 0.0};
  }

  /// Throws std::invalid_argument unless eta is finite and not negative, eta = 0 if not `noisy`,
  /// and 1 - abar_{t-1} - sigma_t^2 >= 0 at every timestep of t above 0.
  void check_eta(const char* where, TimestepsView t, double eta, bool noisy) const {
    check_not_negative(where, "eta", eta);
    if (eta > 0.0 && !noisy)
      fail<std::invalid_argument>(where, "eta = ", eta, " needs noise: pass a tensor or a noise source");
    for (Index n = 0; n < (t.uniform() ? 1 : t.size()); ++n) {
      if (t[n] > 0 && !(ddim_rest(t[n], eta) >= 0.0)) {
        fail<std::invalid_argument>(where, "eta = ", eta, " is too large at t = ", t[n],
                                    ": 1 - alphas_cumprod_prev - sigma^2 would be negative; any eta <= 1 is valid");
      }
    }
  }

  // ---- operations on batches ----

  /// mean = posterior_mean_coef1 pred_xstart + posterior_mean_coef2 x_t
  template <class Device, class M, class P, class X>
  void posterior_mean(const Device& device, M& mean, const P& pred_xstart, const X& x, TimestepsView t) const {
    const auto coefficients = [&](Index step) {
      return std::array{process.posterior_mean_coef1()[step], process.posterior_mean_coef2()[step]};
    };
    affine(device, mean, by_step(t, coefficients), pred_xstart, x);
  }

  /// Writes out.variance and out.log_variance. For learned variances, out.log_variance holds the
  /// second half of the model's channels on entry.
  template <class Device, class Moments>
  void variances(const Device& device, Moments& out, TimestepsView t) const {
    if (learned()) {
      const auto coefficients = by_step(t, [&](Index step) { return learned_log_variance(step); });
      apply(device, out.variance, LearnedVarianceOf(), coefficients, out.log_variance);
      apply(device, out.log_variance, LearnedLogVariance(), coefficients, out.log_variance);
    } else {
      affine(device, out.variance, by_step(t, [&](Index step) { return std::array{fixed_variance(step)}; }));
      affine(device, out.log_variance, by_step(t, [&](Index step) { return std::array{fixed_log_variance(step)}; }));
    }
  }

  /// The x_0 that belongs to epsilon - sqrt(1 - abar_t) gradient:
  ///
  ///     out = pred_xstart + (1 - abar_t) / sqrt(abar_t) gradient
  ///
  /// Throws std::domain_error where abar_t = 0.
  template <class Device, class Out, class P, class G>
  void guide_xstart(const char* where, const Device& device, Out& out, const P& pred_xstart, TimestepsView t,
                    const G& gradient) const {
    check_xstart_defined(where, process, ModelMeanType::epsilon, t, t.size());
    const auto coefficients = [&](Index step) {
      return std::array{1.0, process.one_minus_alphas_cumprod()[step] * process.sqrt_recip_alphas_cumprod()[step]};
    };
    affine(device, out, by_step(t, coefficients), pred_xstart, gradient);
  }

  /// One step of p_sample in one pass over the tensors, with or without a gradient:
  ///
  ///     x_{t-1} = mean + exp(log_variance / 2) noise + variance gradient     (no noise at t = 0)
  ///
  /// `from` is as in mean_coefficients. `values` is the second half of the model's channels.
  template <class Device, class Out, class F, class X, class V, class Noise, class... Gradient>
  void sample(const Device& device, Out& out, const F& from, const X& x, TimestepsView t, const V& values,
              const Noise& noise, const Gradient&... gradient) const {
    if (learned()) {
      const auto coefficients = [&](Index step) {
        const auto [a, b] = mean_coefficients(step);
        const auto [c, d] = learned_log_variance(step);
        return std::array{a, b, c, d, step == 0 ? 0.0 : 1.0};
      };
      apply(device, out, LearnedStep(), by_step(t, coefficients), from, x, values, noise, gradient...);
    } else {
      const auto coefficients = [&](Index step) {
        const auto [a, b] = mean_coefficients(step);
        const double variance = fixed_variance(step);
        const double deviation = step == 0 ? 0.0 : std::sqrt(variance);
        if constexpr (sizeof...(Gradient) == 0) {
          return std::array{a, b, deviation};
        } else {
          return std::array{a, b, deviation, variance};
        }
      };
      affine(device, out, by_step(t, coefficients), from, x, noise, gradient...);
    }
  }

  /// One DDIM step, up or down, with the DdimCoefficients that coefficients(t) returns; with or
  /// without noise.
  template <class Device, class Out, class P, class X, class Coefficients, class... Noise>
  void ddim(const Device& device, Out& out, const P& pred_xstart, const X& x, TimestepsView t,
            const Coefficients& coefficients, const Noise&... noise) const {
    const auto of_step = [&](Index step) {
      const DdimCoefficients c = coefficients(step);
      if constexpr (sizeof...(Noise) == 0) {
        return std::array{c.x_start, c.x_t};
      } else {
        return std::array{c.x_start, c.x_t, c.noise};
      }
    };
    affine(device, out, by_step(t, of_step), pred_xstart, x, noise...);
  }
};

}  // namespace detail
}  // namespace diffusion
