/// @file gaussian_diffusion.hpp
/// The forward process of a Gaussian diffusion model, its posterior, and the conversions between x_0, x_t, epsilon and v.
///
/// Notation, after Ho, Jain, Abbeel 2020 (DDPM): beta_t is the variance of one step, alpha_t = 1 - beta_t, and abar_t =
/// alpha_0 alpha_1 ... alpha_t (`alphas_cumprod`). Timesteps are 0-based: x_t has t + 1 steps of noise, and abar_{-1} = 1.
#pragma once

#include <Eigen/Core>
#include <array>
#include <cmath>  // std::sqrt
#include <type_traits>
#include <utility>  // std::move
#include <vector>

#include "../detail/arguments.hpp"
#include "../detail/shape.hpp"
#include "../tensor.hpp"
#include "detail/forward_operation.hpp"
#include "detail/tables.hpp"

namespace diffusion {

/// Mean, variance and log-variance of a Gaussian with independent components, all three of one shape.
template <class Tensor>
struct MeanVariance {
  Tensor mean;
  Tensor variance;
  Tensor log_variance;
};

/// q(x_t | x_0) for a fixed schedule of betas: its tables, computed once in double, and the operations on batches.
///
/// Every tensor argument is an Eigen tensor of `Scalar`, or an expression of them, whose first axis is the batch; all of one
/// call share shape and layout. `t` is one timestep per sample (Timesteps) or one integer for the whole batch. Each operation
/// f(args...) that returns a tensor has a form f_into(out, args...[, device]) that writes into a tensor or map of the right
/// shape, which may be one of the inputs, and allocates nothing unless an input is an expression, which is evaluated first,
/// or noise is drawn from a source while `out` is the other input.
/// `device` is an Eigen device; the result does not depend on it. An empty batch is valid.
///
/// Element arithmetic is done in Scalar, for half and bfloat16 in float with one rounding at the end. A sample's result does
/// not depend on the rest of its batch, bit for bit.
///
/// Throws std::invalid_argument for shapes that differ, rank 0 and a `t` of the wrong length, std::out_of_range for timesteps
/// outside [0, num_timesteps()), before anything is written. Const operations are safe to call from many threads.
template <class Scalar>
class GaussianDiffusion {
  static_assert(detail::is_scalar_v<Scalar>,
                "diffusion: Scalar must be float, double, long double, Eigen::half or Eigen::bfloat16");

 public:
  using Index = Eigen::Index;

  /// The process with these betas (schedules.hpp makes them). Throws std::invalid_argument unless there is at least one and
  /// each is in (0, 1].
  explicit GaussianDiffusion(Eigen::ArrayXd betas) : tables_(std::move(betas)) {}
  template <class T>
  explicit GaussianDiffusion(const std::vector<T>&) : GaussianDiffusion(Eigen::ArrayXd()) {
    static_assert(!std::is_same_v<T, T>,
                  "diffusion: betas must be an Eigen::ArrayXd; a std::vector<double> v is one as "
                  "Eigen::Map<const Eigen::ArrayXd>(v.data(), v.size())");
  }
  template <class T, std::enable_if_t<!std::is_same_v<typename T::Scalar, double>, int> = 0>
  explicit GaussianDiffusion(const Eigen::DenseBase<T>&) : GaussianDiffusion(Eigen::ArrayXd()) {
    static_assert(!std::is_same_v<T, T>, "diffusion: betas must be an Eigen::ArrayXd: of double, whatever Scalar is");
  }

  /// T, the number of steps.
  Index num_timesteps() const { return tables_.betas.size(); }

  // The tables, each of length T; detail/tables.hpp has their formulas.
  const Eigen::ArrayXd& betas() const { return tables_.betas; }
  const Eigen::ArrayXd& alphas_cumprod() const { return tables_.alphas_cumprod; }
  const Eigen::ArrayXd& alphas_cumprod_prev() const { return tables_.alphas_cumprod_prev; }
  const Eigen::ArrayXd& alphas_cumprod_next() const { return tables_.alphas_cumprod_next; }
  const Eigen::ArrayXd& one_minus_alphas_cumprod() const { return tables_.one_minus_alphas_cumprod; }
  const Eigen::ArrayXd& sqrt_alphas_cumprod() const { return tables_.sqrt_alphas_cumprod; }
  const Eigen::ArrayXd& sqrt_one_minus_alphas_cumprod() const { return tables_.sqrt_one_minus_alphas_cumprod; }
  const Eigen::ArrayXd& log_one_minus_alphas_cumprod() const { return tables_.log_one_minus_alphas_cumprod; }
  const Eigen::ArrayXd& sqrt_recip_alphas_cumprod() const { return tables_.sqrt_recip_alphas_cumprod; }
  const Eigen::ArrayXd& sqrt_recipm1_alphas_cumprod() const { return tables_.sqrt_recipm1_alphas_cumprod; }
  const Eigen::ArrayXd& posterior_variance() const { return tables_.posterior_variance; }
  const Eigen::ArrayXd& posterior_log_variance_clipped() const { return tables_.posterior_log_variance_clipped; }
  const Eigen::ArrayXd& posterior_mean_coef1() const { return tables_.posterior_mean_coef1; }
  const Eigen::ArrayXd& posterior_mean_coef2() const { return tables_.posterior_mean_coef2; }

  /// For a respaced process (respacing.hpp), the original timestep of each step, which is what the
  /// model was trained on, and the original length. Otherwise 0, 1, ..., T - 1 and T.
  const std::vector<Index>& timestep_map() const { return tables_.timestep_map; }
  Index original_num_timesteps() const { return tables_.original_num_timesteps; }

  /// q(x_t | x_0); Ho et al. 2020, Eq. (4):
  ///
  ///     q(x_t | x_0) = N(sqrt(abar_t) x_0, (1 - abar_t) I)
  ///
  /// All three results have x_start's shape. Where one variance per sample will do, q_mean and q_variance are faster.
  template <class X>
  [[nodiscard]] MeanVariance<PlainTensor<X>> q_mean_variance(const X& x_start, TimestepsView t) const {
    const auto& x = detail::evaluated(x_start);
    MeanVariance<PlainTensor<X>> out{detail::like(x), detail::like(x), detail::like(x)};
    q_mean_variance_into(out, x, t);
    return out;
  }
  template <class Moments, class X, class Device = Eigen::DefaultDevice>
  void q_mean_variance_into(Moments&& out, const X& x_start, TimestepsView t, const Device& device = Device()) const {
    operation("GaussianDiffusion::q_mean_variance")
        .moments(device, out, t, mean_coefficients(), tables_.one_minus_alphas_cumprod,
                 tables_.log_one_minus_alphas_cumprod, detail::argument("x_start", x_start));
  }

  /// The mean of q(x_t | x_0) alone:
  ///
  ///     q_mean = sqrt(abar_t) x_0
  template <class X>
  [[nodiscard]] PlainTensor<X> q_mean(const X& x_start, TimestepsView t) const {
    return detail::returned(x_start, [&](auto& out, const auto& x) { q_mean_into(out, x, t); });
  }
  template <class Out, class X, class Device = Eigen::DefaultDevice>
  void q_mean_into(Out&& out, const X& x_start, TimestepsView t, const Device& device = Device()) const {
    operation("GaussianDiffusion::q_mean")
        .combine(device, out, t, mean_coefficients(), detail::argument("x_start", x_start));
  }

  /// The variance of q(x_t | x_0) and its logarithm, one number per sample (one in all if t is one integer):
  ///
  ///     q_variance = 1 - abar_t,   q_log_variance = log(1 - abar_t)
  ///
  /// They are the values that q_mean_variance repeats for every element. Throws std::out_of_range for timesteps out of range.
  [[nodiscard]] Eigen::Tensor<Scalar, 1> q_variance(TimestepsView t) const {
    return operation("GaussianDiffusion::q_variance").of_each_step(tables_.one_minus_alphas_cumprod, t);
  }
  [[nodiscard]] Eigen::Tensor<Scalar, 1> q_log_variance(TimestepsView t) const {
    return operation("GaussianDiffusion::q_log_variance").of_each_step(tables_.log_one_minus_alphas_cumprod, t);
  }

  /// A sample of q(x_t | x_0), reparameterised; Ho et al. 2020, Section 3.2:
  ///
  ///     x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise
  ///
  /// `noise`: a tensor of x_start's shape holding N(0, 1) values, or a noise source (noise.hpp) that makes them.
  template <class X, class Noise>
  [[nodiscard]] PlainTensor<X> q_sample(const X& x_start, TimestepsView t, Noise&& noise) const {
    return detail::returned(x_start, [&](auto& out, const auto& x) { q_sample_into(out, x, t, noise); });
  }
  template <class Out, class X, class Noise, class Device = Eigen::DefaultDevice>
  void q_sample_into(Out&& out, const X& x_start, TimestepsView t, Noise&& noise,
                     const Device& device = Device()) const {
    const auto coefficients = [this](Index i) {
      return std::array{tables_.sqrt_alphas_cumprod.coeff(i), tables_.sqrt_one_minus_alphas_cumprod.coeff(i)};
    };
    operation("GaussianDiffusion::q_sample")
        .combine_with_noise(device, out, t, coefficients, detail::argument("x_start", x_start), noise);
  }

  /// q(x_{t-1} | x_t, x_0), the posterior of the forward process; Ho et al. 2020, Eqs. (6)-(7):
  ///
  ///     mean     = sqrt(abar_{t-1}) beta_t / (1 - abar_t) * x_0  +  sqrt(alpha_t) (1 - abar_{t-1}) / (1 - abar_t) * x_t
  ///     variance = (1 - abar_{t-1}) / (1 - abar_t) * beta_t
  ///
  /// log_variance is clipped at t = 0, where the variance is 0, to its value at t = 1 (to log(betas[0]) when T = 1).
  template <class X, class Y>
  [[nodiscard]] MeanVariance<PlainTensor<X>> q_posterior_mean_variance(const X& x_start, const Y& x_t,
                                                                       TimestepsView t) const {
    const auto& x = detail::evaluated(x_start);
    MeanVariance<PlainTensor<X>> out{detail::like(x), detail::like(x), detail::like(x)};
    q_posterior_mean_variance_into(out, x, x_t, t);
    return out;
  }
  template <class Moments, class X, class Y, class Device = Eigen::DefaultDevice>
  void q_posterior_mean_variance_into(Moments&& out, const X& x_start, const Y& x_t, TimestepsView t,
                                      const Device& device = Device()) const {
    operation("GaussianDiffusion::q_posterior_mean_variance")
        .moments(device, out, t, posterior_coefficients(), tables_.posterior_variance,
                 tables_.posterior_log_variance_clipped, detail::argument("x_start", x_start),
                 detail::argument("x_t", x_t));
  }

  /// The mean of q(x_{t-1} | x_t, x_0) alone, as in q_posterior_mean_variance.
  template <class X, class Y>
  [[nodiscard]] PlainTensor<X> q_posterior_mean(const X& x_start, const Y& x_t, TimestepsView t) const {
    return detail::returned(x_start, [&](auto& out, const auto& x) { q_posterior_mean_into(out, x, x_t, t); });
  }
  template <class Out, class X, class Y, class Device = Eigen::DefaultDevice>
  void q_posterior_mean_into(Out&& out, const X& x_start, const Y& x_t, TimestepsView t,
                             const Device& device = Device()) const {
    operation("GaussianDiffusion::q_posterior_mean")
        .combine(device, out, t, posterior_coefficients(), detail::argument("x_start", x_start),
                 detail::argument("x_t", x_t));
  }

  /// The variance of q(x_{t-1} | x_t, x_0) and its logarithm, one number per sample (one in all if t is one integer): the values
  /// that q_posterior_mean_variance repeats for every element. Throws std::out_of_range for timesteps out of range.
  [[nodiscard]] Eigen::Tensor<Scalar, 1> q_posterior_variance(TimestepsView t) const {
    return operation("GaussianDiffusion::q_posterior_variance").of_each_step(tables_.posterior_variance, t);
  }
  [[nodiscard]] Eigen::Tensor<Scalar, 1> q_posterior_log_variance(TimestepsView t) const {
    return operation("GaussianDiffusion::q_posterior_log_variance")
        .of_each_step(tables_.posterior_log_variance_clipped, t);
  }

  /// A sample of q(x_t | x_s) for any s < t, where s = -1 means x_0:
  ///
  ///     x_t = sqrt(abar_t / abar_s) x_s + sqrt(1 - abar_t / abar_s) noise
  ///
  /// `s`, like `t`, is one per sample or one for all; `noise` as in q_sample. Throws also std::out_of_range unless
  /// -1 <= s[n] < t[n], and std::domain_error where abar_s = 0, after which the ratio has no meaning.
  template <class X, class Noise>
  [[nodiscard]] PlainTensor<X> q_step(const X& x_s, TimestepsView s, TimestepsView t, Noise&& noise) const {
    return detail::returned(x_s, [&](auto& out, const auto& x) { q_step_into(out, x, s, t, noise); });
  }
  template <class Out, class X, class Noise, class Device = Eigen::DefaultDevice>
  void q_step_into(Out&& out, const X& x_s, TimestepsView s, TimestepsView t, Noise&& noise,
                   const Device& device = Device()) const {
    const auto coefficients = [this](detail::StepRange i) {
      const double variance = i.s < 0 ? tables_.one_minus_alphas_cumprod.coeff(i.t) : tables_.step_variance(i.s, i.t);
      const double scale = i.s < 0 ? tables_.sqrt_alphas_cumprod.coeff(i.t)
                                   : std::sqrt(tables_.alphas_cumprod.coeff(i.t) / tables_.alphas_cumprod.coeff(i.s));
      return std::array{scale, std::sqrt(variance)};
    };
    operation("GaussianDiffusion::q_step")
        .combine_with_noise(device, out, detail::StepRanges{s, t}, coefficients, detail::argument("x_s", x_s), noise);
  }

  /// x_0 = x_t / sqrt(abar_t) - sqrt(1 / abar_t - 1) eps, which inverts q_sample; Ho et al. 2020, Eq. (15) before it is
  /// approximated. Throws std::domain_error where abar_t = 0.
  template <class X, class Y>
  [[nodiscard]] PlainTensor<X> predict_xstart_from_eps(const X& x_t, TimestepsView t, const Y& eps) const {
    return detail::returned(x_t, [&](auto& out, const auto& x) { predict_xstart_from_eps_into(out, x, t, eps); });
  }
  template <class Out, class X, class Y, class Device = Eigen::DefaultDevice>
  void predict_xstart_from_eps_into(Out&& out, const X& x_t, TimestepsView t, const Y& eps,
                                    const Device& device = Device()) const {
    constexpr const char* where = "GaussianDiffusion::predict_xstart_from_eps";
    operation(where).check_positive("alphas_cumprod", tables_.alphas_cumprod, t);
    const auto coefficients = [this](Index i) {
      return std::array{tables_.sqrt_recip_alphas_cumprod.coeff(i), -tables_.sqrt_recipm1_alphas_cumprod.coeff(i)};
    };
    operation(where).combine(device, out, t, coefficients, detail::argument("x_t", x_t), detail::argument("eps", eps));
  }

  /// x_0 of a given x_{t-1}, by the posterior's mean: x_0 = (x_{t-1} - coef2_t x_t) / coef1_t; Ho et al. 2020, Eq. (7),
  /// solved for x_0. Throws std::domain_error where coef1_t = 0.
  template <class X, class Y>
  [[nodiscard]] PlainTensor<X> predict_xstart_from_xprev(const X& x_t, TimestepsView t, const Y& xprev) const {
    return detail::returned(x_t, [&](auto& out, const auto& x) { predict_xstart_from_xprev_into(out, x, t, xprev); });
  }
  template <class Out, class X, class Y, class Device = Eigen::DefaultDevice>
  void predict_xstart_from_xprev_into(Out&& out, const X& x_t, TimestepsView t, const Y& xprev,
                                      const Device& device = Device()) const {
    constexpr const char* where = "GaussianDiffusion::predict_xstart_from_xprev";
    operation(where).check_positive("posterior_mean_coef1", tables_.posterior_mean_coef1, t);
    const auto coefficients = [this](Index i) {
      return std::array{-tables_.posterior_mean_coef2.coeff(i) / tables_.posterior_mean_coef1.coeff(i),
                        1.0 / tables_.posterior_mean_coef1.coeff(i)};
    };
    operation(where).combine(device, out, t, coefficients, detail::argument("x_t", x_t),
                             detail::argument("xprev", xprev));
  }

  /// x_0 = sqrt(abar_t) x_t - sqrt(1 - abar_t) v; Salimans, Ho 2022, Appendix D. Defined also where abar_t = 0.
  template <class X, class Y>
  [[nodiscard]] PlainTensor<X> predict_xstart_from_v(const X& x_t, TimestepsView t, const Y& v) const {
    return detail::returned(x_t, [&](auto& out, const auto& x) { predict_xstart_from_v_into(out, x, t, v); });
  }
  template <class Out, class X, class Y, class Device = Eigen::DefaultDevice>
  void predict_xstart_from_v_into(Out&& out, const X& x_t, TimestepsView t, const Y& v,
                                  const Device& device = Device()) const {
    const auto coefficients = [this](Index i) {
      return std::array{tables_.sqrt_alphas_cumprod.coeff(i), -tables_.sqrt_one_minus_alphas_cumprod.coeff(i)};
    };
    operation("GaussianDiffusion::predict_xstart_from_v")
        .combine(device, out, t, coefficients, detail::argument("x_t", x_t), detail::argument("v", v));
  }

  /// eps = (x_t - sqrt(abar_t) x_0) / sqrt(1 - abar_t), the noise that led from x_0 to x_t.
  template <class X, class Y>
  [[nodiscard]] PlainTensor<X> predict_eps_from_xstart(const X& x_t, TimestepsView t, const Y& x_start) const {
    return detail::returned(x_t, [&](auto& out, const auto& x) { predict_eps_from_xstart_into(out, x, t, x_start); });
  }
  template <class Out, class X, class Y, class Device = Eigen::DefaultDevice>
  void predict_eps_from_xstart_into(Out&& out, const X& x_t, TimestepsView t, const Y& x_start,
                                    const Device& device = Device()) const {
    const auto coefficients = [this](Index i) {
      const double recip_sigma = 1.0 / tables_.sqrt_one_minus_alphas_cumprod.coeff(i);
      return std::array{recip_sigma, -tables_.sqrt_alphas_cumprod.coeff(i) * recip_sigma};
    };
    operation("GaussianDiffusion::predict_eps_from_xstart")
        .combine(device, out, t, coefficients, detail::argument("x_t", x_t), detail::argument("x_start", x_start));
  }

  /// eps = sqrt(1 - abar_t) x_t + sqrt(abar_t) v; Salimans, Ho 2022, Appendix D.
  template <class X, class Y>
  [[nodiscard]] PlainTensor<X> predict_eps_from_v(const X& x_t, TimestepsView t, const Y& v) const {
    return detail::returned(x_t, [&](auto& out, const auto& x) { predict_eps_from_v_into(out, x, t, v); });
  }
  template <class Out, class X, class Y, class Device = Eigen::DefaultDevice>
  void predict_eps_from_v_into(Out&& out, const X& x_t, TimestepsView t, const Y& v,
                               const Device& device = Device()) const {
    const auto coefficients = [this](Index i) {
      return std::array{tables_.sqrt_one_minus_alphas_cumprod.coeff(i), tables_.sqrt_alphas_cumprod.coeff(i)};
    };
    operation("GaussianDiffusion::predict_eps_from_v")
        .combine(device, out, t, coefficients, detail::argument("x_t", x_t), detail::argument("v", v));
  }

  /// v = sqrt(abar_t) noise - sqrt(1 - abar_t) x_0, the target of v-prediction; Salimans, Ho 2022, Section 4 and Appendix D.
  template <class X, class Y>
  [[nodiscard]] PlainTensor<X> velocity(const X& x_start, TimestepsView t, const Y& noise) const {
    return detail::returned(x_start, [&](auto& out, const auto& x) { velocity_into(out, x, t, noise); });
  }
  template <class Out, class X, class Y, class Device = Eigen::DefaultDevice>
  void velocity_into(Out&& out, const X& x_start, TimestepsView t, const Y& noise,
                     const Device& device = Device()) const {
    const auto coefficients = [this](Index i) {
      return std::array{-tables_.sqrt_one_minus_alphas_cumprod.coeff(i), tables_.sqrt_alphas_cumprod.coeff(i)};
    };
    operation("GaussianDiffusion::velocity")
        .combine(device, out, t, coefficients, detail::argument("x_start", x_start), detail::argument("noise", noise));
  }

 private:
  detail::ForwardOperation<Scalar> operation(const char* where) const { return {where, tables_}; }

  auto mean_coefficients() const {
    return [this](Index i) { return std::array{tables_.sqrt_alphas_cumprod.coeff(i)}; };
  }
  auto posterior_coefficients() const {
    return [this](Index i) {
      return std::array{tables_.posterior_mean_coef1.coeff(i), tables_.posterior_mean_coef2.coeff(i)};
    };
  }

  template <class S>
  friend GaussianDiffusion<S> respace(const GaussianDiffusion<S>& process, std::vector<Index> steps);
  GaussianDiffusion(const GaussianDiffusion& base, const std::vector<Index>& steps) : tables_(base.tables_, steps) {}

  // Read by coeff(t), since t has been checked: [t] would assert it again for every sample, unless NDEBUG.
  detail::Tables tables_;
};

}  // namespace diffusion
