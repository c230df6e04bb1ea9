/// @file losses.hpp
/// Training targets, the training loss of each sample, and the gradient of the losses with respect
/// to the model's output. Ho, Jain, Abbeel 2020 (DDPM); Nichol, Dhariwal 2021 (Improved DDPM).
///
/// This header includes likelihood.hpp, which has the element-wise functions, and
/// variational_bound.hpp, which has the variational bound. The precision, batches and errors of the
/// losses are as described in variational_bound.hpp.
#pragma once

#include <array>
#include <unsupported/Eigen/CXX11/Tensor>

#include "../detail/arguments.hpp"
#include "../detail/kernel/elementwise.hpp"
#include "../detail/kernel/multiply_add.hpp"
#include "../detail/kernel/per_sample.hpp"
#include "../detail/shape.hpp"
#include "../model/parameterization.hpp"
#include "../noise/noise_source.hpp"
#include "../process/gaussian_diffusion.hpp"
#include "../sampling/reverse_process.hpp"
#include "../sampling/reverse_step.hpp"
#include "../tensor.hpp"
#include "detail/bound_term.hpp"
#include "likelihood.hpp"
#include "variational_bound.hpp"

namespace diffusion {

/// Training target of a model at x_t = q_sample(x_start, t, noise), by its mean_type:
///
///     previous_x   mean of q(x_{t-1} | x_t, x_start)
///     start_x      x_start
///     epsilon      noise
///     velocity     sqrt(abar_t) noise - sqrt(1 - abar_t) x_start
///
/// Ho et al. 2020, Eqs. (7) and (14); for velocity Salimans, Ho 2022, Section 4. All tensors share
/// one shape, and `out` may be one of the inputs. Throws std::invalid_argument if shapes differ or
/// if mean_type is score, flow_velocity or edm, and std::out_of_range if a timestep is outside
/// [0, T).
template <class Scalar, class X, class Y, class Z>
[[nodiscard]] PlainTensor<X> training_target(const GaussianDiffusion<Scalar>& process, ModelMeanType mean_type,
                                             const X& x_start, const Y& x_t, const Z& noise, TimestepsView t) {
  return detail::returned(
      x_start, [&](auto& out, const auto& x_0) { training_target_into(out, process, mean_type, x_0, x_t, noise, t); });
}
/// @copydoc training_target()
template <class Out, class Scalar, class X, class Y, class Z, class Device = Eigen::DefaultDevice>
void training_target_into(Out&& out, const GaussianDiffusion<Scalar>& process, ModelMeanType mean_type,
                          const X& x_start, const Y& x_t, const Z& noise, TimestepsView t,
                          const Device& device = Device()) {
  const auto x_0 = detail::argument("x_start", x_start);
  const auto x = detail::argument("x_t", x_t);
  const auto z = detail::argument("noise", noise);
  if constexpr (detail::tensors_agree<Scalar, Out, X, Y, Z>()) {
    detail::check_step_mean_type("training_target", mean_type);
    detail::checked_batch("training_target", process, t, x_0, x, z, detail::argument("out", out));
    if (mean_type == ModelMeanType::start_x) return detail::copy(x_0.tensor, out);
    if (mean_type == ModelMeanType::epsilon) return detail::copy(z.tensor, out);
    const auto coefficients = detail::by_step(t, [&](Eigen::Index step) {
      const auto output = detail::step_parameterization(process, mean_type, step);
      return std::array{output.p, output.q};
    });
    if (mean_type == ModelMeanType::previous_x) {
      detail::affine(device, out, coefficients, x_0.tensor, x.tensor);
    } else {
      detail::affine(device, out, coefficients, x_0.tensor, z.tensor);
    }
  }
}

/// The loss that a model is trained on. Ho et al. 2020, Eqs. (5) and (14); Nichol, Dhariwal 2021,
/// Eq. (16). For models with learned variances, mse and rescaled_mse add the bound to train the
/// variances only: the gradient of the bound does not reach the mean.
enum class LossType {
  mse,           ///< mean (output - target)^2; with learned variances, plus the term of the bound
  rescaled_mse,  ///< as mse, with the term of the bound multiplied by T / 1000
  kl,            ///< the term of the bound, without clipping the prediction of x_0
  rescaled_kl    ///< as kl, multiplied by T: its mean over uniform t estimates the sum of the terms
};

/// Losses of a batch, each of shape [N]. Unused parts have size 0.
template <class Scalar>
struct TrainingLosses {
  Eigen::Tensor<Scalar, 1> loss;  ///< mse + vb
  Eigen::Tensor<Scalar, 1> mse;   ///< mean squared error; unused for kl and rescaled_kl
  /// Term of the bound in bits per dimension, multiplied by T or T / 1000 for rescaled losses;
  /// unused for mse and rescaled_mse with fixed variances.
  Eigen::Tensor<Scalar, 1> vb;
};

namespace detail {

/// One value of each tensor that a loss depends on.
struct LossValues {
  OutputValue output;
  double x_start, x_t, noise;
};

/// loss = mse + vb for one value at one timestep, in double. Either part may be absent.
struct LossTerm {
  bool has_mse, has_vb;
  double vb_scale;      // bits per nat, times the rescaling of the bound
  bool targets_x_prev;  // the model predicts x_{t-1}; its target depends on x_t, not on the noise
  StepParameterization model;
  BoundTerm bound;

  /// output - target. multiply_add keeps the compiler from fusing the difference with a product.
  double error(const LossValues& at) const {
    return multiply_add(-1.0, model.target(at.x_start, targets_x_prev ? at.x_t : at.noise), at.output.prediction);
  }

  /// Contribution of one value to {mse, vb / vb_scale}.
  std::array<double, 2> value(const LossValues& at) const {
    const double e = has_mse ? error(at) : 0.0;
    return {e * e, has_vb ? bound.value(at.output, at.x_start, at.x_t) : 0.0};
  }

  /// Derivatives with respect to the output. If the loss has a mean squared error, the gradient of
  /// the bound does not reach the prediction (stop-gradient on the mean).
  OutputValue gradient(const LossValues& at) const {
    OutputValue out{};
    if (has_vb) {
      const OutputValue by = bound.gradient(at.output, at.x_start, at.x_t);
      out = {vb_scale * by.prediction, vb_scale * by.variance};
    }
    if (has_mse) out.prediction = 2.0 * error(at);
    return out;
  }
};

/// A training loss for models of the types in `options`.
template <class Scalar>
struct TrainingLoss {
  const GaussianDiffusion<Scalar>& process;
  const ReverseOptions& options;
  LossType type;
  Likelihood likelihood;

  bool has_mse() const { return type == LossType::mse || type == LossType::rescaled_mse; }
  bool has_vb() const { return !has_mse() || learns_variance(options.var_type); }

  double vb_scale() const {
    const auto steps = static_cast<double>(process.num_timesteps());
    return bits(type == LossType::rescaled_mse ? steps / 1000.0 : type == LossType::rescaled_kl ? steps : 1.0);
  }

  LossTerm at(Eigen::Index t) const {
    LossTerm term{has_mse(), has_vb(), vb_scale(), options.mean_type == ModelMeanType::previous_x, {}, {}};
    term.model = step_parameterization(process, options.mean_type, t);
    if (term.has_vb) term.bound = bound_term(process, options, false, likelihood, t);
    return term;
  }
};

/// The tensors that a loss depends on, indexed by the position of a value in memory.
template <class Scalar>
struct LossTensors {
  OutputValues<const Scalar> output;
  const Scalar *x_start, *x_t, *noise;

  LossValues operator[](Eigen::Index i) const {
    return {output[i], static_cast<double>(x_start[i]), static_cast<double>(x_t[i]), static_cast<double>(noise[i])};
  }
};

/// Checks the tensors and timesteps of `loss`, and returns the tensors.
template <class Scalar, class O, class X, class Y, class Z>
LossTensors<Scalar> loss_tensors(const char* where, const TrainingLoss<Scalar>& loss, TimestepsView t,
                                 const Argument<O>& output, const Argument<X>& x_start, const Argument<Y>& x_t,
                                 const Argument<Z>& noise) {
  const Eigen::Index batch = checked_batch(where, loss.process, t, x_start, x_t, noise);
  const auto values = output_values<const Scalar>(where, output.tensor, output.name, x_t.tensor, loss.options.var_type);
  // For previous_x the bound does not need x_0.
  if (loss.has_vb() && loss.options.mean_type != ModelMeanType::previous_x) {
    check_xstart_defined(where, loss.process, loss.options.mean_type, t, batch);
  }
  return {values, x_start.tensor.data(), x_t.tensor.data(), noise.tensor.data()};
}

}  // namespace detail

/// Training losses for a given model output; does not call the model. Use it together with
/// training_losses_gradient to train a model in another framework. `output` is the model's output
/// at x_t = q_sample(x_start, t, noise), and `noise` is the tensor from which x_t was formed.
///
/// Throws std::invalid_argument if the shapes do not fit or if the samples have no values,
/// std::out_of_range if a timestep is outside [0, T), and std::domain_error if the loss includes
/// the bound and the output does not determine x_0 (epsilon at abar_t = 0).
template <class Scalar, class M, class D, class C, class O, class X, class Y, class Z>
[[nodiscard]] TrainingLosses<Scalar> training_losses_from_output(const ReverseProcess<Scalar, M, D, C>& reverse,
                                                                 const O& output, const X& x_start, const Y& x_t,
                                                                 TimestepsView t, const Z& noise, LossType loss_type,
                                                                 Likelihood likelihood = Likelihood::approximate) {
  constexpr const char* where = "training_losses";
  TrainingLosses<Scalar> out;
  if constexpr (detail::tensors_agree<Scalar, O, X, Y, Z>()) {
    const auto y = detail::argument("output", output);
    const auto x_0 = detail::argument("x_start", x_start);
    const auto x = detail::argument("x_t", x_t);
    const auto z = detail::argument("noise", noise);
    const detail::TrainingLoss<Scalar> loss{reverse.process(), reverse.options(), loss_type, likelihood};
    const auto tensors = detail::loss_tensors(where, loss, t, y, x_0, x, z);
    const auto values = [&](bool used) { return Eigen::Tensor<Scalar, 1>(used ? x_0.tensor.dimension(0) : 0); };
    out = {values(true), values(loss.has_mse()), values(loss.has_vb())};
    detail::per_sample_means(
        where, Eigen::DefaultDevice(), x_0, [&](Eigen::Index n) { return loss.at(t[n]); },
        [&](const detail::LossTerm& term, Eigen::Index i) { return term.value(tensors[i]); },
        [&](Eigen::Index n, const auto& means) {
          const double mse = means[0], vb = loss.vb_scale() * means[1];
          out.loss(n) = static_cast<Scalar>(mse + vb);
          if (loss.has_mse()) out.mse(n) = static_cast<Scalar>(mse);
          if (loss.has_vb()) out.vb(n) = static_cast<Scalar>(vb);
        });
  }
  return out;
}

/// Training losses of the model of `reverse` at x_t = q_sample(x_start, t, noise). `noise` is a
/// tensor or a noise source, as in q_sample; a source is called once, before the model. Throws as
/// training_losses_from_output does.
template <class Scalar, class M, class D, class C, class X, class Noise>
[[nodiscard]] TrainingLosses<Scalar> training_losses(const ReverseProcess<Scalar, M, D, C>& reverse, const X& x_start,
                                                     TimestepsView t, Noise&& noise, LossType loss_type,
                                                     Likelihood likelihood = Likelihood::approximate) {
  if constexpr (detail::tensors_agree<Scalar, X>()) {
    const auto& x_0 = detail::evaluated(x_start);
    if constexpr (detail::is_tensor_v<Noise>) {
      const auto& z = detail::evaluated(noise);
      detail::checked_batch("training_losses", reverse.process(), t, detail::argument("x_start", x_0),
                            detail::argument("noise", z));
      const auto x_t = reverse.process().q_sample(x_0, t, z);
      return training_losses_from_output(reverse, reverse.model_output(x_t, t), x_0, x_t, t, z, loss_type, likelihood);
    } else {
      detail::checked_batch("training_losses", reverse.process(), t, detail::argument("x_start", x_0));
      auto z = detail::like(x_0);
      detail::draw(noise, z, Eigen::DefaultDevice());
      return training_losses(reverse, x_0, t, z, loss_type, likelihood);
    }
  }
  return {};
}

/// Gradient of each sample's loss with respect to the model's output for that sample, with the
/// shape of `output`:
///
///     gradient[n] = d loss[n] / d output[n]
///
/// for the losses of training_losses_from_output. It includes the factor 1 / size of the mean over
/// the values of a sample. For the mean over a batch, divide by N; for importance sampling,
/// multiply by the weights. For mse and rescaled_mse the gradient of the bound does not reach the
/// first half of the channels (stop-gradient on the mean).
///
/// training_losses_gradient_into may write over `output`. Throws std::invalid_argument if the
/// shapes do not fit, and the other errors of training_losses_from_output.
template <class Scalar, class M, class D, class C, class O, class X, class Y, class Z>
[[nodiscard]] PlainTensor<O> training_losses_gradient(const ReverseProcess<Scalar, M, D, C>& reverse, const O& output,
                                                      const X& x_start, const Y& x_t, TimestepsView t, const Z& noise,
                                                      LossType loss_type,
                                                      Likelihood likelihood = Likelihood::approximate) {
  return detail::returned(output, [&](auto& gradient, const auto& y) {
    training_losses_gradient_into(gradient, reverse, y, x_start, x_t, t, noise, loss_type, likelihood);
  });
}
/// @copydoc training_losses_gradient()
template <class Out, class Scalar, class M, class D, class C, class O, class X, class Y, class Z,
          class Device = Eigen::DefaultDevice>
void training_losses_gradient_into(Out&& gradient, const ReverseProcess<Scalar, M, D, C>& reverse, const O& output,
                                   const X& x_start, const Y& x_t, TimestepsView t, const Z& noise, LossType loss_type,
                                   Likelihood likelihood = Likelihood::approximate, const Device& device = Device()) {
  constexpr const char* where = "training_losses_gradient";
  if constexpr (detail::tensors_agree<Scalar, Out, O, X, Y, Z>()) {
    const auto y = detail::argument("output", output);
    const auto x_0 = detail::argument("x_start", x_start);
    const auto x = detail::argument("x_t", x_t);
    const auto z = detail::argument("noise", noise);
    const detail::TrainingLoss<Scalar> loss{reverse.process(), reverse.options(), loss_type, likelihood};
    const auto tensors = detail::loss_tensors(where, loss, t, y, x_0, x, z);
    const auto out = detail::output_values<Scalar>(where, gradient, "gradient", x_0.tensor, reverse.options().var_type);
    const double values = static_cast<double>(x_0.tensor.size()) / static_cast<double>(x_0.tensor.dimension(0));
    detail::for_each_value_by_sample(
        device, x_0.tensor, [&](Eigen::Index n) { return loss.at(t[n]); },
        [&](const detail::LossTerm& term, Eigen::Index, Eigen::Index i) {
          const detail::OutputValue sum = term.gradient(tensors[i]);
          out.set(i, {sum.prediction / values, sum.variance / values});
        },
        [](Eigen::Index, const detail::LossTerm&) {});
  }
}

}  // namespace diffusion
