/// @file bound_term.hpp
/// One term of the variational bound for one value of a sample, and its derivatives with respect to
/// the model's output; in double and in nats. Ho et al. 2020, Eq. (5):
///
///     t > 0:  KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t))
///     t = 0:  -log p(x_0 | x_1)
///
#pragma once

#include <unsupported/Eigen/CXX11/Tensor>

#include "../../detail/arguments.hpp"
#include "../../detail/kernel/chunk.hpp"
#include "../../detail/kernel/multiply_add.hpp"
#include "../../detail/shape.hpp"
#include "../../model/detail/call.hpp"
#include "../../model/parameterization.hpp"
#include "../../process/gaussian_diffusion.hpp"
#include "../../sampling/detail/reverse_equations.hpp"
#include "../../sampling/detail/step_denoiser.hpp"
#include "../../sampling/reverse_step.hpp"
#include "../likelihood.hpp"
#include "gaussian_likelihood.hpp"

namespace diffusion {
namespace detail {

/// Entries of a model's output that belong to one value of x.
struct OutputValue {
  double prediction;
  double variance;  // from the second half of the channels; 0 without learned variances
};

/// A model's output, or the gradient of a loss with respect to it, indexed by the position in
/// memory of a value of x. With learned variances, each block of predictions in memory is followed
/// by a block of variances.
template <class Element>
struct OutputValues {
  Element* data;
  Eigen::Index block;  // number of contiguous values in one half of the channels; 0 without learned variances

  OutputValue operator[](Eigen::Index i) const {
    if (block == 0) return {static_cast<double>(data[i]), 0.0};
    const Eigen::Index at = i + i / block * block;
    return {static_cast<double>(data[at]), static_cast<double>(data[at + block])};
  }
  void set(Eigen::Index i, const OutputValue& value) const {
    const Eigen::Index at = block == 0 ? i : i + i / block * block;
    data[at] = static_cast<Element>(value.prediction);
    if (block != 0) data[at + block] = static_cast<Element>(value.variance);
  }
};

/// Values of `output`, the model's output at x. Throws std::invalid_argument unless its shape is
/// that of x, with twice the channels for learned variances.
template <class Element, class Output, class X>
OutputValues<Element> output_values(const char* where, Output& output, const char* name, const X& x,
                                    ModelVarType var_type) {
  const LearnedVariance variance = learned_variance(var_type);
  check_output(where, name, output, x, output_shape(where, "x_t", x, variance.learned), variance);
  if constexpr (Traits<X>::rank >= 2) {
    if (variance.learned) return {output.data(), chunk_block<1>(x)};
  }
  return {output.data(), 0};
}

/// Checks x, the other tensors and t; returns the batch size N.
template <class Scalar, class X, class... More>
Eigen::Index checked_batch(const char* where, const GaussianDiffusion<Scalar>& process, TimestepsView t,
                           const Argument<X>& x, const Argument<More>&... more) {
  const Eigen::Index batch = batch_size(where, x);
  (check_same_shape(where, x, more), ...);
  check_timesteps(where, "t", t, batch, 0, process.num_timesteps());
  return batch;
}

/// A term of the bound at one timestep.
struct BoundTerm {
  StepParameterization model{};
  Likelihood likelihood = Likelihood::approximate;
  bool decoder = false;        // t = 0: the term is -log p(x_0 | x_1)
  bool predicts_mean = false;  // the prediction is the mean of p(x_{t-1} | x_t)
  bool clip = false;           // clip the prediction of x_0 to [-1, 1]
  double coef1 = 0.0;          // posterior mean = coef1 x_0 + coef2 x_t
  double coef2 = 0.0;
  double true_log_variance = 0.0;   // of the posterior
  double log_variance_slope = 0.0;  // model log-variance = log_variance_slope output.variance + log_variance
  double log_variance = 0.0;

  double pred_xstart(double prediction, double x_t) const {
    const double x_0 = model.predict_x_start(prediction, x_t);
    return !clip ? x_0 : x_0 < -1.0 ? -1.0 : x_0 > 1.0 ? 1.0 : x_0;
  }
  double model_mean(double prediction, double x_t) const {
    return predicts_mean ? prediction : multiply_add(coef1, pred_xstart(prediction, x_t), coef2 * x_t);
  }
  /// Posterior mean minus model mean. Leaves out coef2 x_t if both means contain it.
  double mean_difference(double prediction, double x_start, double x_t) const {
    return predicts_mean ? multiply_add(coef1, x_start, multiply_add(coef2, x_t, -prediction))
                         : coef1 * (x_start - pred_xstart(prediction, x_t));
  }
  double model_log_variance(double variance) const {
    return log_variance_slope == 0.0 ? log_variance : multiply_add(log_variance_slope, variance, log_variance);
  }

  double value(const OutputValue& output, double x_start, double x_t) const {
    const double log_variance_t = model_log_variance(output.variance);
    if (decoder) return -log_likelihood(likelihood, x_start, model_mean(output.prediction, x_t), 0.5 * log_variance_t);
    return normal_kl(mean_difference(output.prediction, x_start, x_t), true_log_variance, log_variance_t);
  }

  /// Derivatives of value() with respect to the output, for clip = false.
  OutputValue gradient(const OutputValue& output, double x_start, double x_t) const {
    const double log_variance_t = model_log_variance(output.variance);
    GaussianGradient by{};  // with respect to the model's mean and log-variance
    if (decoder) {
      by = log_likelihood_gradient(likelihood, x_start, model_mean(output.prediction, x_t), 0.5 * log_variance_t);
      by = {-by.mean, -0.5 * by.log};
    } else {
      by = normal_kl_gradient(mean_difference(output.prediction, x_start, x_t), true_log_variance, log_variance_t);
    }
    return {by.mean * (predicts_mean ? 1.0 : coef1 * model.x_start.output), by.log * log_variance_slope};
  }
};

/// Returns the term at timestep t for models of the types in `options`.
template <class Scalar>
BoundTerm bound_term(const GaussianDiffusion<Scalar>& process, const ReverseOptions& options, bool clip,
                     Likelihood likelihood, Eigen::Index t) {
  const ReverseEquations<Scalar> equations{process, options.mean_type, options.var_type};
  BoundTerm term;
  term.model = step_parameterization(process, options.mean_type, t);
  term.likelihood = likelihood;
  term.decoder = t == 0;
  term.predicts_mean = equations.previous();
  term.clip = clip;
  term.coef1 = process.posterior_mean_coef1()[t];
  term.coef2 = process.posterior_mean_coef2()[t];
  term.true_log_variance = process.posterior_log_variance_clipped()[t];
  if (equations.learned()) {
    const auto [slope, offset] = equations.learned_log_variance(t);
    term.log_variance_slope = slope;
    term.log_variance = offset;
  } else {
    term.log_variance = equations.fixed_log_variance(t);
  }
  return term;
}

}  // namespace detail
}  // namespace diffusion
