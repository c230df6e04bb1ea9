/// @file variational_bound.hpp
/// The variational bound on -log p(x_0), the number of bits that a model needs to encode an image.
/// Ho, Jain, Abbeel 2020 (DDPM), Eq. (5). The bound is the sum of
///
///     terms, t > 0    KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t))
///     term,  t = 0    -log p(x_0 | x_1)
///     prior           KL(q(x_T | x_0) || N(0, I))
///
/// The term at t = 0 uses the probabilities of the bins of 8-bit pixel values in [-1, 1]
/// (likelihood.hpp). It has no meaning for other data, such as the latents of an autoencoder.
///
/// All arithmetic is in double, and results are rounded once to Scalar. "bpd" stands for bits per
/// dimension: nats / ln 2, averaged over all axes but the first. A sample of a tensor of rank 1 is
/// a single value. A sample's results do not depend on the rest of its batch or on the layout, bit
/// for bit, if the model's output does not. denoised_fn and cond_fn are ignored, as in
/// guided-diffusion.
///
/// Tensors, timesteps and errors are as in GaussianDiffusion. In addition, functions throw
/// std::invalid_argument if the samples have no values, and std::domain_error if the model's output
/// does not determine x_0 (epsilon at abar_t = 0).
#pragma once

#include <Eigen/Core>
#include <array>
#include <unsupported/Eigen/CXX11/Tensor>

#include "../detail/arguments.hpp"
#include "../detail/kernel/per_sample.hpp"
#include "../detail/shape.hpp"
#include "../model/parameterization.hpp"
#include "../noise/noise_source.hpp"
#include "../process/gaussian_diffusion.hpp"
#include "../sampling/reverse_process.hpp"
#include "../tensor.hpp"
#include "detail/bound_term.hpp"
#include "detail/gaussian_likelihood.hpp"
#include "likelihood.hpp"

namespace diffusion {

/// How vb_terms_bpd and calc_bpd_loop compute the bound.
struct BoundOptions {
  bool clip_denoised = true;                        ///< clip the prediction of x_0 to [-1, 1]
  Likelihood likelihood = Likelihood::approximate;  ///< probability of a bin in the term at t = 0
};

namespace detail {

/// Coefficients of one sample at its timestep.
struct SampleBound {
  BoundTerm term;
  double epsilon = 0.0;  // -d epsilon / d x_0 for epsilon = (x_t - sqrt(abar_t) x_0) / sqrt(1 - abar_t)
};

/// Calls result(n, means) for each sample n with the means over its values of
///
///     {the term of the bound in nats,
///      (pred_xstart - x_0)^2,
///      (epsilon of pred_xstart - epsilon of x_0)^2}
///
/// and writes pred_xstart. Calls the model once.
template <class Scalar, class M, class D, class C, class X, class Y, class P, class Result>
void bound_means(const char* where, const ReverseProcess<Scalar, M, D, C>& reverse, const BoundOptions& options,
                 const Argument<X>& x_start, const Y& x_t, TimestepsView t, P& pred_xstart, const Result& result) {
  const auto& process = reverse.process();
  const auto output = reverse.model_output(x_t, t);
  const auto values = output_values<const Scalar>(where, output, "output", x_t, reverse.options().var_type);
  per_sample_means(
      where, Eigen::DefaultDevice(), x_start,
      [&](Index n) {
        return SampleBound{bound_term(process, reverse.options(), options.clip_denoised, options.likelihood, t[n]),
                           process.sqrt_alphas_cumprod()[t[n]] / process.sqrt_one_minus_alphas_cumprod()[t[n]]};
      },
      [&](const SampleBound& sample, Index i) {
        const OutputValue y = values[i];
        const auto x_0 = static_cast<double>(x_start.tensor.data()[i]), x = static_cast<double>(x_t.data()[i]);
        const double prediction = sample.term.pred_xstart(y.prediction, x);
        pred_xstart.data()[i] = static_cast<Scalar>(prediction);
        const double error = prediction - x_0, epsilon_error = sample.epsilon * error;
        return std::array{sample.term.value(y, x_0, x), error * error, epsilon_error * epsilon_error};
      },
      result);
}

}  // namespace detail

/// One term of the bound for each sample. `Tensor` is the plain tensor type of x_start.
template <class Tensor>
struct VbTerms {
  Eigen::Tensor<typename Tensor::Scalar, 1> output;  ///< the term in bits per dimension, [N]
  Tensor pred_xstart;                                ///< the model's prediction of x_0
};

/// The term of the bound at timestep t, in bits per dimension. x_t is a sample of q(x_t | x_start).
/// Calls the model once.
///
/// Throws std::invalid_argument if shapes differ or if the samples have no values,
/// std::out_of_range if a timestep is outside [0, T), and std::domain_error if the model's output
/// does not determine x_0 (epsilon at abar_t = 0).
template <class Scalar, class M, class D, class C, class X, class Y>
[[nodiscard]] VbTerms<PlainTensor<X>> vb_terms_bpd(const ReverseProcess<Scalar, M, D, C>& reverse, const X& x_start,
                                                   const Y& x_t, TimestepsView t, BoundOptions options) {
  constexpr const char* where = "vb_terms_bpd";
  const auto x_0 = detail::argument("x_start", x_start);
  const auto x = detail::argument("x_t", x_t);
  VbTerms<PlainTensor<X>> out;
  if constexpr (detail::tensors_agree<Scalar, X, Y>()) {
    const auto batch = detail::checked_batch(where, reverse.process(), t, x_0, x);
    detail::check_xstart_defined(where, reverse.process(), reverse.options().mean_type, t, batch);
    out = {Eigen::Tensor<Scalar, 1>(batch), detail::like(x_0.tensor)};
    detail::bound_means(
        where, reverse, options, x_0, x.tensor, t, out.pred_xstart,
        [&](Eigen::Index n, const auto& means) { out.output(n) = static_cast<Scalar>(detail::bits(means[0])); });
  }
  return out;
}
/// As above, with Likelihood::approximate. The prediction of x_0 is clipped if
/// reverse.options().clip_denoised is set.
template <class Scalar, class M, class D, class C, class X, class Y>
[[nodiscard]] VbTerms<PlainTensor<X>> vb_terms_bpd(const ReverseProcess<Scalar, M, D, C>& reverse, const X& x_start,
                                                   const Y& x_t, TimestepsView t) {
  return vb_terms_bpd(reverse, x_start, x_t, t, BoundOptions{reverse.options().clip_denoised});
}

/// The prior term of the bound for each sample, in bits per dimension and of shape [N]:
///
///     KL(q(x_T | x_0) || N(0, I))
///
/// x_T is the sample after all T steps of noise, at timestep num_timesteps() - 1. Throws
/// std::invalid_argument if the samples have no values.
template <class Scalar, class X>
[[nodiscard]] Eigen::Tensor<Scalar, 1> prior_bpd(const GaussianDiffusion<Scalar>& process, const X& x_start) {
  constexpr const char* where = "prior_bpd";
  const auto x_0 = detail::argument("x_start", x_start);
  if constexpr (detail::tensors_agree<Scalar, X>()) {
    const Eigen::Index last = process.num_timesteps() - 1;
    const double scale = process.sqrt_alphas_cumprod()[last];
    const double log_variance = process.log_one_minus_alphas_cumprod()[last];
    Eigen::Tensor<Scalar, 1> out(detail::checked_batch(where, process, last, x_0));
    detail::per_sample_means(
        where, Eigen::DefaultDevice(), x_0, [](Eigen::Index) { return 0; },
        [&](int, Eigen::Index i) {
          return std::array{detail::normal_kl(scale * static_cast<double>(x_0.tensor.data()[i]), log_variance, 0.0)};
        },
        [&](Eigen::Index n, const auto& means) { out(n) = static_cast<Scalar>(detail::bits(means[0])); });
    return out;
  }
  return {};
}

/// The whole bound and its parts. A Vector has shape [N]. A Matrix has shape [N, T] and one column
/// for each timestep; column 0 is t = T - 1.
template <class Vector, class Matrix>
struct BpdTerms {
  Vector total_bpd;   ///< prior_bpd plus the sum of vb over t, in bits per dimension
  Vector prior_bpd;   ///< prior term, in bits per dimension
  Matrix vb;          ///< terms of the bound, in bits per dimension
  Matrix xstart_mse;  ///< mean (pred_xstart - x_0)^2
  Matrix mse;         ///< mean (epsilon - noise)^2, with epsilon computed from pred_xstart and x_t
};

/// The variational bound on -log p(x_0), estimated from one sample of x_t for each timestep.
/// `noise` is a noise source; it is called once for each t = T - 1, ..., 0, before the model.
/// Throws std::invalid_argument if the samples have no values, and std::domain_error if the model's
/// output does not determine x_0 at some t (epsilon at abar_t = 0).
template <class Scalar, class M, class D, class C, class X, class Noise>
[[nodiscard]] auto calc_bpd_loop(const ReverseProcess<Scalar, M, D, C>& reverse, const X& x_start, Noise&& noise,
                                 BoundOptions options) {
  using Vector = Eigen::Tensor<Scalar, 1>;
  using Matrix = Eigen::Tensor<Scalar, 2, detail::Traits<X>::layout, typename PlainTensor<X>::Index>;
  constexpr const char* where = "calc_bpd_loop";
  static_assert(!detail::is_tensor_v<Noise>,
                "diffusion: calc_bpd_loop draws noise at every timestep: pass a noise source (RecordedNoise replays "
                "tensors)");
  const auto& process = reverse.process();
  const auto x_0 = detail::argument("x_start", x_start);
  BpdTerms<Vector, Matrix> out;
  if constexpr (!detail::is_tensor_v<Noise> && detail::tensors_agree<Scalar, X>()) {
    const Eigen::Index T = process.num_timesteps(), batch = detail::checked_batch(where, process, 0, x_0);
    const auto terms = [&] {
      return Matrix(static_cast<typename Matrix::Index>(batch), static_cast<typename Matrix::Index>(T));
    };
    out = {Vector(batch), prior_bpd(process, x_0.tensor), terms(), terms(), terms()};
    Eigen::ArrayXd total = Eigen::ArrayXd::Zero(batch);
    auto z = detail::like(x_0.tensor), x_t = detail::like(x_0.tensor), pred_xstart = detail::like(x_0.tensor);
    for (Eigen::Index column = 0; column < T; ++column) {
      const Eigen::Index t = T - 1 - column;
      detail::check_xstart_defined(where, process, reverse.options().mean_type, t, batch);
      detail::draw(noise, z, Eigen::DefaultDevice());
      process.q_sample_into(x_t, x_0.tensor, t, z);
      detail::bound_means(where, reverse, options, x_0, x_t, t, pred_xstart, [&](Eigen::Index n, const auto& means) {
        total[n] += detail::bits(means[0]);
        out.vb(n, column) = static_cast<Scalar>(detail::bits(means[0]));
        out.xstart_mse(n, column) = static_cast<Scalar>(means[1]);
        out.mse(n, column) = static_cast<Scalar>(means[2]);
      });
    }
    for (Eigen::Index n = 0; n < batch; ++n) {
      out.total_bpd(n) = static_cast<Scalar>(total[n] + static_cast<double>(out.prior_bpd(n)));
    }
  }
  return out;
}
/// As above, with Likelihood::approximate. The prediction of x_0 is clipped if
/// reverse.options().clip_denoised is set.
template <class Scalar, class M, class D, class C, class X, class Noise>
[[nodiscard]] auto calc_bpd_loop(const ReverseProcess<Scalar, M, D, C>& reverse, const X& x_start, Noise&& noise) {
  return calc_bpd_loop(reverse, x_start, noise, BoundOptions{reverse.options().clip_denoised});
}

}  // namespace diffusion
