/// @file variational_bound.hpp
/// The variational bound on -log p(x_0): how many bits a model needs for an image. Ho, Jain, Abbeel
/// 2020 (DDPM), Eq. (5):
///
///     the terms     t > 0:  KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t))
///                   t = 0:  -log p(x_0 | x_1)
///     the prior             KL(q(x_T | x_0) || N(0, I))
///
/// The decoder at t = 0 gives probabilities to the bins of 8-bit pixel values in [-1, 1]
/// (likelihood.hpp): for other data, such as the latents of an autoencoder, it has no meaning.
///
/// Everything is evaluated in double and rounded to Scalar at the end. "bpd" is bits per dimension:
/// nats / ln 2, and the mean over all axes but the first (over none for rank 1: there it is the
/// value of each sample). A sample's results do not depend on the rest of its batch nor on the
/// layout, bit for bit, if the model's do not. As in guided-diffusion, denoised_fn and cond_fn take
/// no part.
///
/// Tensors and timesteps are as in GaussianDiffusion, and so are the errors. Besides,
/// std::invalid_argument is thrown for samples without values, std::domain_error where the model's
/// output does not determine x_0 (epsilon at abar_t = 0).
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

/// How a bound is computed that is not a training loss.
struct BoundOptions {
  bool clip_denoised = true;  // limit the prediction of x_0 to [-1, 1]
  Likelihood likelihood = Likelihood::approximate;
};

namespace detail {

/// The bound at one sample's t.
struct SampleBound {
  BoundTerm term;
  double epsilon = 0.0;  // epsilon = (x_t - sqrt(abar_t) x_0) / sqrt(1 - abar_t): by how much it falls when x_0 grows
};

/// result(n, means) for each sample, where the means are
///
///     {the term of the bound in nats,
///      (pred_xstart - x_0)^2,
///      (epsilon of pred_xstart - epsilon of x_0)^2}
///
/// and pred_xstart itself. Calls the model once.
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

/// A term of the bound, [N], in bits per dimension; and the prediction of x_0 it was made from.
template <class Tensor>
struct VbTerms {
  Eigen::Tensor<typename Tensor::Scalar, 1> output;
  Tensor pred_xstart;
};

/// The term of the bound at t. Without options, x_0 is clipped if those of the reverse process say
/// so.
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
template <class Scalar, class M, class D, class C, class X, class Y>
[[nodiscard]] VbTerms<PlainTensor<X>> vb_terms_bpd(const ReverseProcess<Scalar, M, D, C>& reverse, const X& x_start,
                                                   const Y& x_t, TimestepsView t) {
  return vb_terms_bpd(reverse, x_start, x_t, t, BoundOptions{reverse.options().clip_denoised});
}

/// The prior's term, KL(q(x_T | x_0) || N(0, I)), at the last of the steps; [N], in bits per
/// dimension.
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

/// The whole bound: [N] and, a term for each timestep, [N, T] with t = T - 1 in column 0. In bits
/// per dimension but the last two.
template <class Vector, class Matrix>
struct BpdTerms {
  Vector total_bpd;  // prior_bpd + the sum of vb over t
  Vector prior_bpd;
  Matrix vb;          // the terms of the bound
  Matrix xstart_mse;  // mean (pred_xstart - x_0)^2
  Matrix mse;         // mean (epsilon - noise)^2, of the epsilon that leads from pred_xstart to x_t
};

/// The variational bound on -log p(x_0), from one sample of x_t for each t. `noise` is a noise
/// source, which is called once for each t = T - 1, ..., 0, before the model. Without options as in
/// vb_terms_bpd.
template <class Scalar, class M, class D, class C, class X, class Noise>
[[nodiscard]] auto calc_bpd_loop(const ReverseProcess<Scalar, M, D, C>& reverse, const X& x_start, Noise&& noise,
                                 BoundOptions options) {
  using Vector = Eigen::Tensor<Scalar, 1>;
  using Matrix = Eigen::Tensor<Scalar, 2, detail::Traits<X>::layout, typename PlainTensor<X>::Index>;
  constexpr const char* where = "calc_bpd_loop";
  static_assert(!detail::is_tensor_v<Noise>,
                "diffusion: calc_bpd_loop takes noise at every timestep: give it a noise source (RecordedNoise replays "
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
template <class Scalar, class M, class D, class C, class X, class Noise>
[[nodiscard]] auto calc_bpd_loop(const ReverseProcess<Scalar, M, D, C>& reverse, const X& x_start, Noise&& noise) {
  return calc_bpd_loop(reverse, x_start, noise, BoundOptions{reverse.options().clip_denoised});
}

}  // namespace diffusion
