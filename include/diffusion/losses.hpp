/// @file losses.hpp
/// What a model is trained on, per sample, and its gradient with respect to the model's output.
/// Ho, Jain, Abbeel 2020 (DDPM); Nichol, Dhariwal 2021 (Improved DDPM).
///
/// The element-wise functions are in likelihood.hpp, the bound as a measure of likelihood is in variational_bound.hpp; both are
/// included here. What is said there of precision, batches and errors holds for losses too.
#pragma once

#include <Eigen/Core>
#include <array>
#include <unsupported/Eigen/CXX11/Tensor>

#include "detail/affine.hpp"
#include "detail/model_call.hpp"
#include "detail/operands.hpp"
#include "detail/sample_walk.hpp"
#include "detail/training_loss.hpp"
#include "gaussian_diffusion.hpp"
#include "likelihood.hpp"
#include "reverse_process.hpp"
#include "tensor.hpp"
#include "variational_bound.hpp"

namespace diffusion {

/// What a model of this kind should put out at x_t = q_sample(x_start, t, noise): the posterior's mean of x_{t-1}, x_start, the
/// noise, or v.
template <class Scalar, class X, class Y, class Z>
[[nodiscard]] PlainTensor<X> training_target(const GaussianDiffusion<Scalar>& process, ModelMeanType mean_type,
                                             const X& x_start, const Y& x_t, const Z& noise, TimestepsView t) {
  return detail::returned(
      x_start, [&](auto& out, const auto& x_0) { training_target_into(out, process, mean_type, x_0, x_t, noise, t); });
}
template <class Out, class Scalar, class X, class Y, class Z, class Device = Eigen::DefaultDevice>
void training_target_into(Out&& out, const GaussianDiffusion<Scalar>& process, ModelMeanType mean_type,
                          const X& x_start, const Y& x_t, const Z& noise, TimestepsView t,
                          const Device& device = Device()) {
  const auto x_0 = detail::argument("x_start", x_start);
  const auto x = detail::argument("x_t", x_t);
  const auto z = detail::argument("noise", noise);
  if constexpr (detail::tensors_agree<Scalar, Out, X, Y, Z>()) {
    detail::check_mean_type("training_target", mean_type);
    detail::checked_batch("training_target", process, t, x_0, x, z, detail::argument("out", out));
    const auto coefficients = [&](Eigen::Index n) {
      const detail::Target target = detail::target(process, mean_type, t[n]);
      return std::array{target.x_start, mean_type == ModelMeanType::previous_x ? target.x_t : target.noise};
    };
    switch (mean_type) {
      case ModelMeanType::previous_x:
        return detail::affine(device, out, t.uniform(), coefficients, x_0.tensor, x.tensor);
      case ModelMeanType::start_x:
        return detail::copy(x_0.tensor, out);
      case ModelMeanType::epsilon:
        return detail::copy(z.tensor, out);
      case ModelMeanType::velocity:
        return detail::affine(device, out, t.uniform(), coefficients, x_0.tensor, z.tensor);
      default:
        break;
    }
  }
}

/// What a model is trained on; Ho et al. 2020, Eqs. (5), (14); Nichol, Dhariwal 2021, Eq. (16). With learned variances the bound
/// is added to a mean squared error so that it trains them alone: its gradient does not reach the mean.
enum class LossType {
  mse,           // mean (target - output)^2, and the term of the bound for learned variances
  rescaled_mse,  // the same, with the bound times T / 1000
  kl,            // the term of the bound, of a prediction of x_0 that is not clipped
  rescaled_kl    // the same times T: its mean over t estimates the bound
};

/// [N] each: loss = mse + vb. A part that a loss does not have is of size 0: mse of the two kl, vb of the two mse for fixed
/// variances.
template <class Scalar>
struct TrainingLosses {
  Eigen::Tensor<Scalar, 1> loss;
  Eigen::Tensor<Scalar, 1> mse;
  Eigen::Tensor<Scalar, 1> vb;  // bits per dimension, times T or T / 1000 where rescaled
};

namespace detail {

inline LossKind loss_kind(LossType type, Likelihood likelihood) {
  return {type == LossType::mse || type == LossType::rescaled_mse,
          type == LossType::rescaled_mse || type == LossType::rescaled_kl, likelihood == Likelihood::exact};
}

}  // namespace detail

/// The losses of a model's `output` at x_t = q_sample(x_start, t, noise), for `noise` the tensor that x_t was made with. The model
/// is not called: this is for training elsewhere, with training_losses_gradient.
template <class Scalar, class M, class D, class C, class O, class X, class Y, class Z>
[[nodiscard]] TrainingLosses<Scalar> training_losses_from_output(const ReverseProcess<Scalar, M, D, C>& reverse,
                                                                 const O& output, const X& x_start, const Y& x_t,
                                                                 TimestepsView t, const Z& noise, LossType loss_type,
                                                                 Likelihood likelihood = Likelihood::approximate) {
  TrainingLosses<Scalar> out;
  detail::with_loss_inputs<Scalar>(
      "training_losses", reverse.process(), reverse.options(), detail::loss_kind(loss_type, likelihood), output,
      x_start, x_t, t, noise, [&](const char* where, const auto& x_0, const auto& inputs) {
        const auto values = [&](bool there) { return Eigen::Tensor<Scalar, 1>(there ? x_0.tensor.dimension(0) : 0); };
        out = {values(true), values(inputs.kind.mse), values(inputs.has_vb())};
        detail::sample_means(
            where, Eigen::DefaultDevice(), x_0, [&](Eigen::Index n) { return inputs.term(n); },
            [&](const detail::LossTerm& term, Eigen::Index i) {
              return inputs.at(i, [&](const auto&... value) { return term.value(value...); });
            },
            [&](Eigen::Index n, const auto& means) {
              const double mse = means[0], vb = inputs.vb_scale() * means[1];
              out.loss(n) = static_cast<Scalar>(mse + vb);
              if (inputs.kind.mse) out.mse(n) = static_cast<Scalar>(mse);
              if (inputs.has_vb()) out.vb(n) = static_cast<Scalar>(vb);
            });
      });
  return out;
}

/// The same for the model of `reverse`. `noise`: a tensor or a noise source, as in q_sample.
template <class Scalar, class M, class D, class C, class X, class Noise>
[[nodiscard]] TrainingLosses<Scalar> training_losses(const ReverseProcess<Scalar, M, D, C>& reverse, const X& x_start,
                                                     TimestepsView t, Noise&& noise, LossType loss_type,
                                                     Likelihood likelihood = Likelihood::approximate) {
  if constexpr (detail::tensors_agree<Scalar, X>()) {
    const auto& x_0 = detail::stored(x_start);
    if constexpr (detail::is_tensor_v<Noise>) {
      const auto& z = detail::stored(noise);
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

/// d loss[n] / d output[n] of training_losses_from_output, of output's shape: of the loss of each sample by its own output, the
/// mean over the values of a sample included. (For the mean over a batch divide by N; for importance sampling multiply by the
/// weights.) Of the two mse the bound's part is 0 in the first half of the channels.
template <class Scalar, class M, class D, class C, class O, class X, class Y, class Z>
[[nodiscard]] PlainTensor<O> training_losses_gradient(const ReverseProcess<Scalar, M, D, C>& reverse, const O& output,
                                                      const X& x_start, const Y& x_t, TimestepsView t, const Z& noise,
                                                      LossType loss_type,
                                                      Likelihood likelihood = Likelihood::approximate) {
  return detail::returned(output, [&](auto& gradient, const auto& y) {
    training_losses_gradient_into(gradient, reverse, y, x_start, x_t, t, noise, loss_type, likelihood);
  });
}
template <class Out, class Scalar, class M, class D, class C, class O, class X, class Y, class Z,
          class Device = Eigen::DefaultDevice>
void training_losses_gradient_into(Out&& gradient, const ReverseProcess<Scalar, M, D, C>& reverse, const O& output,
                                   const X& x_start, const Y& x_t, TimestepsView t, const Z& noise, LossType loss_type,
                                   Likelihood likelihood = Likelihood::approximate, const Device& device = Device()) {
  detail::with_loss_inputs<Scalar>(
      "training_losses_gradient", reverse.process(), reverse.options(), detail::loss_kind(loss_type, likelihood),
      output, x_start, x_t, t, noise, [&](const char* where, const auto& x_0, const auto& inputs) {
        if constexpr (detail::tensors_agree<Scalar, Out>()) {
          const auto halves = detail::output_halves<Scalar>(where, gradient, "gradient", x_0.tensor,
                                                            detail::learns_variance(reverse.options().var_type));
          const double values = static_cast<double>(x_0.tensor.size()) / static_cast<double>(x_0.tensor.dimension(0));
          detail::walk_samples(
              device, x_0.tensor, [&](Eigen::Index n) { return inputs.term(n); },
              [&](const detail::LossTerm& term, Eigen::Index, Eigen::Index i) {
                const auto sum = inputs.at(i, [&](const auto&... value) { return term.gradient(value...); });
                halves.set(i, {sum.mean_half / values, sum.variance_half / values});
              },
              [](Eigen::Index, const auto&) {});
        }
      });
}

}  // namespace diffusion
