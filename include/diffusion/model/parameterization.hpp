/// @file parameterization.hpp
/// The quantity that a model predicts, and the table from which x_0, epsilon and the training
/// target follow.
#pragma once

#include <Eigen/Core>
#include <cmath>      // std::hypot
#include <stdexcept>  // std::domain_error, std::invalid_argument

#include "../detail/error.hpp"
#include "../detail/kernel/multiply_add.hpp"
#include "../tensor.hpp"

namespace diffusion {

/// The quantity that a model predicts. score, flow_velocity and edm need a Denoiser.
enum class ModelMeanType {
  previous_x,     ///< x_{t-1}, the mean of p(x_{t-1} | x_t); not for a Denoiser
  start_x,        ///< x_0
  epsilon,        ///< the noise in x_t
  velocity,       ///< v = sqrt(abar_t) epsilon - sqrt(1 - abar_t) x_0; Salimans, Ho 2022
  score,          ///< the gradient of log q(x_t), which is -epsilon / sqrt(1 - abar_t)
  flow_velocity,  ///< epsilon - x_0, the derivative of x = (1 - sigma) x_0 + sigma epsilon
  edm             ///< F in x_0 = c_skip x + c_out F(c_in x); Karras et al. 2022, Eq. (7)
};

/// The variance of p(x_{t-1} | x_t). The learned types read v, the second half of the model's
/// channels (axis 1). For learned_range, Nichol, Dhariwal 2021, Eq. (15):
///
///     log_variance = f log(beta_t) + (1 - f) posterior_log_variance_clipped,   f = (v + 1) / 2
///
enum class ModelVarType {
  learned,       ///< exp(v)
  fixed_small,   ///< posterior_variance: 0 at t = 0, where log_variance takes its value at t = 1
  fixed_large,   ///< beta_t; at t = 0 the posterior_variance of t = 1 (betas[0] when T = 1)
  learned_range  ///< between the clipped posterior variance (v = -1) and beta_t (v = 1)
};

namespace detail {

/// Whether the model's output has a second half of channels for the variance.
inline bool learns_variance(ModelVarType type) {
  return type == ModelVarType::learned || type == ModelVarType::learned_range;
}

/// The coefficients of x and of the model's output in their weighted sum.
struct Pair {
  double x, output;
};

/// How a model's output relates to x_0 and epsilon at x = alpha x_0 + sigma epsilon. The output is
/// linear in both, so x and the output together determine x_0 and epsilon:
///
///     output  = p x_0 + q epsilon                              (the training target)
///     x_0     = (q x - sigma output) / divisor
///     epsilon = (alpha output - p x) / divisor,                divisor = alpha q - sigma p
///
/// The last two formulas need a divisor other than 0. The model was trained on x / scale.
struct Parameterization {
  double alpha, sigma;
  double scale, p, q, divisor;

  bool is_x_start() const { return p == 1.0 && q == 0.0; }
  bool is_epsilon() const { return p == 0.0 && q == 1.0; }

  /// Returns the coefficients of x_0 = x_start().x * x + x_start().output * output. If p = 0, the
  /// coefficient of x is written without q, which cancels and is infinite for a score at sigma = 0.
  Pair x_start() const {
    return p == 0.0 ? Pair{1.0 / alpha, -sigma / (alpha * q)} : Pair{q / divisor, -sigma / divisor};
  }
  /// Returns the coefficients of epsilon = epsilon().x * x + epsilon().output * output.
  Pair epsilon() const { return p == 0.0 ? Pair{0.0, 1.0 / q} : Pair{-p / divisor, alpha / divisor}; }
};

/// The table of parameterisations: one row per type. x / r lies on the variance-preserving path:
/// r = hypot(alpha, sigma), or 1 at the timesteps of a process. Throws std::invalid_argument for
/// previous_x.
inline Parameterization parameterization(ModelMeanType type, double alpha, double sigma, double r, double sigma_data) {
  const auto row = [&](double scale, double p, double q, double divisor) {
    return Parameterization{alpha, sigma, scale, p, q, divisor};
  };
  switch (type) {
    case ModelMeanType::epsilon:
      return row(r, 0.0, 1.0, alpha);
    case ModelMeanType::start_x:
      return row(r, 1.0, 0.0, -sigma);
    case ModelMeanType::velocity:
      return row(r, -sigma / r, alpha / r, r);
    case ModelMeanType::score:
      return row(r, 0.0, -r / sigma, -alpha * r / sigma);
    case ModelMeanType::flow_velocity:
      return row(alpha + sigma, -1.0, 1.0, alpha + sigma);
    case ModelMeanType::edm: {
      const double n = std::hypot(sigma, alpha * sigma_data);
      return row(n, sigma / (sigma_data * n), -alpha * sigma_data / n, -n / sigma_data);
    }
    case ModelMeanType::previous_x:
      break;  // defined by a step of a process: see step_parameterization
  }
  fail<std::invalid_argument>("parameterization", "previous_x is not defined by a noise level; use a ReverseProcess");
}

/// How a model's output relates to x_0 at timestep t of a process:
///
///     output = p x_0 + q z,   x_0 = x_start.x x_t + x_start.output output
///
/// z is epsilon, except for previous_x: there z is x_t, and p and q are the coefficients of the
/// posterior mean.
struct StepParameterization {
  double p, q;
  Pair x_start;

  /// Returns the training target of one value.
  double target(double x_0, double z) const {
    return p == 0.0 ? q * z : q == 0.0 ? p * x_0 : multiply_add(p, x_0, q * z);
  }
  /// Returns x_0 of one value.
  double predict_x_start(double output, double x_t) const {
    return x_start.x == 0.0 ? x_start.output * output : multiply_add(x_start.output, output, x_start.x * x_t);
  }
};

/// Returns the parameterisation of `type` at timestep t of `process`.
template <class Process>
StepParameterization step_parameterization(const Process& process, ModelMeanType type, Eigen::Index t) {
  if (type == ModelMeanType::previous_x) {
    const double a = process.posterior_mean_coef1()[t], b = process.posterior_mean_coef2()[t];
    return {a, b, {-b / a, 1.0 / a}};
  }
  const Parameterization row =
      parameterization(type, process.sqrt_alphas_cumprod()[t], process.sqrt_one_minus_alphas_cumprod()[t], 1.0, 1.0);
  return {row.p, row.q, row.x_start()};
}

/// Throws std::invalid_argument for the types that only a Denoiser accepts.
inline void check_step_mean_type(const char* where, ModelMeanType type) {
  if (type == ModelMeanType::score || type == ModelMeanType::flow_velocity || type == ModelMeanType::edm) {
    fail<std::invalid_argument>(where,
                                "mean_type must be previous_x, start_x, epsilon or velocity; use a Denoiser for "
                                "score, flow_velocity and edm");
  }
}

/// Throws std::domain_error if the model's output does not determine x_0 at one of the timesteps.
template <class Process>
void check_xstart_defined(const char* where, const Process& process, ModelMeanType type, TimestepsView t,
                          Eigen::Index batch) {
  for (Eigen::Index n = 0; n < (t.uniform() ? 1 : batch); ++n) {
    if (type == ModelMeanType::previous_x) {
      if (process.posterior_mean_coef1()[t[n]] != 0.0) continue;
      fail<std::domain_error>(where, "posterior_mean_coef1[", t[n], "] = 0: x_{t-1} does not determine x_0 (sample ", n,
                              ")");
    }
    const bool holds_no_x_start = step_parameterization(process, type, t[n]).p == 0.0;
    if (holds_no_x_start && process.alphas_cumprod()[t[n]] == 0.0) {
      fail<std::domain_error>(where, "alphas_cumprod[", t[n], "] = 0: epsilon does not determine x_0 (sample ", n, ")");
    }
  }
}

}  // namespace detail
}  // namespace diffusion
