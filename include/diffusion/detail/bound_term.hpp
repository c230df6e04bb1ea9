/// @file bound_term.hpp
/// One sample's term of the variational bound, value by value and in double, from the output of the model:
///     t > 0: KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)),   t = 0: -log p(x_0 | x_1)
/// in nats; Ho et al. 2020, Eq. (5). And its derivatives with respect to that output.
#pragma once

#include <array>
#include <stdexcept>  // std::domain_error, std::invalid_argument
#include <unsupported/Eigen/CXX11/Tensor>

#include "../gaussian_diffusion.hpp"
#include "../reverse_types.hpp"
#include "gaussian_likelihood.hpp"
#include "model_call.hpp"
#include "multiply_add.hpp"
#include "operands.hpp"
#include "reverse_moments.hpp"
#include "sample_walk.hpp"

namespace diffusion {
namespace detail {

/// What belongs to one value of x in the model's output: one number, and where variances are learned a second one.
struct OutputValue {
  double mean_half;
  double variance_half;
};

/// The model's output, or its gradient, by the places of x's values in memory: where variances are learned it is blocks of one
/// half's channels alternating with blocks of the other's.
template <class Element>
struct OutputHalves {
  Element* data;
  Eigen::Index block;  // 0: there is one half only

  OutputValue operator[](Eigen::Index i) const {
    if (block == 0) return {static_cast<double>(data[i]), 0.0};
    const Eigen::Index at = i + i / block * block;
    return {static_cast<double>(data[at]), static_cast<double>(data[at + block])};
  }
  void set(Eigen::Index i, const OutputValue& value) const {
    const Eigen::Index at = block == 0 ? i : i + i / block * block;
    data[at] = static_cast<Element>(value.mean_half);
    if (block != 0) data[at + block] = static_cast<Element>(value.variance_half);
  }
};

/// The halves of `output`, a model's at x. Throws std::invalid_argument unless its shape is x's, with twice the channels where
/// variances are learned.
template <class Element, class Output, class X>
OutputHalves<Element> output_halves(const char* where, Output& output, const char* name, const X& x, bool learned) {
  auto sizes = shape(x);
  Eigen::Index block = 0;
  if (learned) {
    if constexpr (Traits<X>::rank >= 2) {
      const auto size = static_cast<Eigen::Index>(x.size());
      block = size == 0 ? 1 : Traits<X>::layout == Eigen::RowMajor ? size / sizes[0] : sizes[0] * sizes[1];
      sizes[1] *= 2;
    } else {
      fail<std::invalid_argument>(where, "x_t has rank ", Traits<X>::rank,
                                  "; learned variances are the second half of the channels, which are axis 1");
    }
  }
  check_result(where, name, output, x, sizes);
  return {output.data(), block};
}

/// N, after all checks of x and tensors that go with it.
template <class Scalar, class X, class... More>
Eigen::Index checked_batch(const char* where, const GaussianDiffusion<Scalar>& process, TimestepsView t,
                           const Argument<X>& x, const Argument<More>&... more) {
  const Eigen::Index batch = batch_size(where, x);
  (check_same_shape(where, x, more), ...);
  check_timesteps(where, "t", t, batch, 0, process.num_timesteps());
  return batch;
}

/// A term of the bound at one t.
struct BoundTerm {
  bool decoder = false;        // t = 0
  bool predicts_mean = false;  // the output is the mean itself
  bool clip = false;           // the prediction of x_0 to [-1, 1]
  bool exact = false;          // the likelihood of a bin
  double from_output = 0.0;    // x_0 = from_output output
  double from_x_t = 0.0;       //     + from_x_t x_t
  double coef1 = 0.0;          // the posterior's mean = coef1 x_0
  double coef2 = 0.0;          //     + coef2 x_t
  double true_log_variance = 0.0;
  double log_variance_slope = 0.0;  // the model's log-variance = log_variance_slope variance_half
  double log_variance = 0.0;        //     + log_variance

  double unclipped_xstart(double output, double x_t) const {
    return from_x_t == 0.0 ? from_output * output : multiply_add(from_output, output, from_x_t * x_t);
  }
  double pred_xstart(double output, double x_t) const {
    const double x_0 = unclipped_xstart(output, x_t);
    return !clip ? x_0 : x_0 < -1.0 ? -1.0 : x_0 > 1.0 ? 1.0 : x_0;
  }
  double model_mean(double output, double x_t) const {
    return predicts_mean ? output : multiply_add(coef1, pred_xstart(output, x_t), coef2 * x_t);
  }
  /// The posterior's mean minus the model's, from which what they share has been dropped.
  double mean_difference(double output, double x_start, double x_t) const {
    return predicts_mean ? multiply_add(coef1, x_start, multiply_add(coef2, x_t, -output))
                         : coef1 * (x_start - pred_xstart(output, x_t));
  }
  double model_log_variance(double output) const {
    return log_variance_slope == 0.0 ? log_variance : multiply_add(log_variance_slope, output, log_variance);
  }

  double value(const OutputValue& output, double x_start, double x_t) const {
    const double log_variance_t = model_log_variance(output.variance_half);
    if (decoder) return -log_likelihood(exact, x_start, model_mean(output.mean_half, x_t), 0.5 * log_variance_t);
    return normal_kl(mean_difference(output.mean_half, x_start, x_t), true_log_variance, log_variance_t);
  }

  /// By the output, as far as x_0 is not clipped.
  OutputValue gradient(const OutputValue& output, double x_start, double x_t) const {
    const double log_variance_t = model_log_variance(output.variance_half);
    GaussianGradient by{};  // the model's mean and log-variance
    if (decoder) {
      by = log_likelihood_gradient(exact, x_start, model_mean(output.mean_half, x_t), 0.5 * log_variance_t);
      by = {-by.mean, -0.5 * by.log};
    } else {
      by = normal_kl_gradient(mean_difference(output.mean_half, x_start, x_t), true_log_variance, log_variance_t);
    }
    return {by.mean * (predicts_mean ? 1.0 : coef1 * from_output), by.log * log_variance_slope};
  }
};

template <class Scalar>
BoundTerm bound_term(const GaussianDiffusion<Scalar>& process, const ReverseOptions& options, bool clip, bool exact,
                     Eigen::Index t) {
  const ReverseMoments<Scalar> equations{process, options.mean_type, options.var_type};
  BoundTerm term;
  term.decoder = t == 0;
  term.predicts_mean = equations.previous();
  term.clip = clip;
  term.exact = exact;
  term.coef1 = process.posterior_mean_coef1()[t];
  term.coef2 = process.posterior_mean_coef2()[t];
  term.true_log_variance = process.posterior_log_variance_clipped()[t];
  if (learns_variance(options.var_type)) {
    const auto [slope, offset] = equations.learned_log_variance(t);
    term.log_variance_slope = slope;
    term.log_variance = offset;
  } else {
    term.log_variance = equations.fixed_log_variance(t);
  }
  switch (options.mean_type) {
    case ModelMeanType::previous_x:
      term.from_output = 1.0 / term.coef1;
      term.from_x_t = -term.coef2 / term.coef1;
      break;
    case ModelMeanType::start_x:
      term.from_output = 1.0;
      break;
    case ModelMeanType::epsilon:
      term.from_output = -process.sqrt_recipm1_alphas_cumprod()[t];
      term.from_x_t = process.sqrt_recip_alphas_cumprod()[t];
      break;
    case ModelMeanType::velocity:
      term.from_output = -process.sqrt_one_minus_alphas_cumprod()[t];
      term.from_x_t = process.sqrt_alphas_cumprod()[t];
      break;
    default:
      break;
  }
  return term;
}

/// What the walk over a bound knows of one sample.
struct BoundCoefficients {
  BoundTerm term;
  double epsilon = 0.0;  // epsilon = (x_t - sqrt(abar_t) x_0) / sqrt(1 - abar_t): by how much it falls when x_0 grows
};

/// result(n, means) for each sample, where the means are
///     {the term of the bound in nats, (pred_xstart - x_0)^2, (epsilon of pred_xstart - epsilon of x_0)^2}
/// and pred_xstart itself. All has been checked but the output.
template <class Scalar, class Output, class X, class Y, class P, class Result>
void bound_means(const char* where, const GaussianDiffusion<Scalar>& process, const ReverseOptions& options, bool clip,
                 bool exact, const Output& output, const Argument<X>& x_start, const Y& x_t, TimestepsView t,
                 P& pred_xstart, const Result& result) {
  const auto halves = output_halves<const Scalar>(where, output, "output", x_t, learns_variance(options.var_type));
  sample_means(
      where, Eigen::DefaultDevice(), x_start,
      [&](Index n) {
        return BoundCoefficients{bound_term(process, options, clip, exact, t[n]),
                                 process.sqrt_alphas_cumprod()[t[n]] / process.sqrt_one_minus_alphas_cumprod()[t[n]]};
      },
      [&](const BoundCoefficients& c, Index i) {
        const OutputValue out = halves[i];
        const auto x_0 = static_cast<double>(x_start.tensor.data()[i]), x = static_cast<double>(x_t.data()[i]);
        const double prediction = c.term.pred_xstart(out.mean_half, x);
        pred_xstart.data()[i] = static_cast<Scalar>(prediction);
        const double error = prediction - x_0, epsilon_error = c.epsilon * error;
        return std::array{c.term.value(out, x_0, x), error * error, epsilon_error * epsilon_error};
      },
      result);
}

}  // namespace detail
}  // namespace diffusion
