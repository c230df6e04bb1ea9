/// @file gaussian_diffusion.hpp
/// The forward process of a Gaussian diffusion model, its posterior, and the conversions between
/// x_0, x_t, epsilon and v.
///
/// The notation follows Ho, Jain, Abbeel 2020 (DDPM): beta_t is the variance of one step and
///
///     alpha_t = 1 - beta_t,   abar_t = alpha_0 alpha_1 ... alpha_t   (alphas_cumprod)
///
/// Timesteps are 0-based: x_t has t + 1 steps of noise, and abar_{-1} = 1.
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

/// Mean, variance and log-variance of a Gaussian with independent components.
///
/// The three tensors have the same shape. To write into existing tensors, pass a
/// `MeanVariance<Tensor&>` as `out`.
template <class Tensor>
struct MeanVariance {
  Tensor mean;          ///< Mean of each element.
  Tensor variance;      ///< Variance of each element.
  Tensor log_variance;  ///< Natural logarithm of the variance.
};

/// The forward process of a diffusion model for a fixed schedule of betas.
///
///     q(x_t | x_0) = N(sqrt(abar_t) x_0, (1 - abar_t) I)
///
/// Computes the tables of the schedule once, in double. The operations on batches draw x_t, return
/// the moments of q(x_t | x_0) and of its posterior, and convert between x_0, x_t, epsilon and v.
///
/// @code{.cpp}
/// #include <cmath>
/// #include <diffusion/diffusion.hpp>
///
/// int main() {
///   const diffusion::GaussianDiffusion<float> process(diffusion::cosine_beta_schedule(1000));
///   Eigen::Tensor<float, 4> x_0(2, 3, 8, 8), noise(2, 3, 8, 8);  // the first axis is the batch
///   x_0.setConstant(0.5f);
///   diffusion::PhiloxNoise{42}(noise);
///   diffusion::Timesteps t(2);  // one timestep per sample
///   t.setValues({10, 500});
///   const auto x_t = process.q_sample(x_0, t, noise);
///   const auto posterior = process.q_posterior_mean_variance(x_0, x_t, t);
///   const auto recovered = process.predict_xstart_from_eps(x_t, t, noise);
///   const bool right = std::abs(recovered(1, 0, 0, 0) - 0.5f) < 1e-5f;
///   return right && posterior.variance(1, 0, 0, 0) > 0 ? 0 : 1;
/// }
/// @endcode
///
/// A tensor argument is an Eigen tensor of `Scalar`, or an expression, whose first axis is the
/// batch. All tensors of a call have the same shape and layout. `t` is one timestep per sample
/// (Timesteps) or one integer for the whole batch. An empty batch is valid.
///
/// Each operation f(args...) that returns tensors of this shape has a twin f_into(out, args...,
/// device) that writes into a tensor or map of the right shape. `out` may be one of the inputs.
/// `device` is an optional Eigen device; the result does not depend on it. The twin allocates only
/// to evaluate an expression, or to draw from a noise source in place, that is with `out` = x_start
/// or x_s.
///
/// Elements are computed in Scalar; for half and bfloat16 in float, with one rounding at the end. A
/// sample's result does not depend on the rest of its batch, bit for bit.
///
/// Before anything is written, an operation throws std::invalid_argument if shapes differ, the rank
/// is 0 or `t` has the wrong length, and std::out_of_range unless 0 <= t[n] < num_timesteps().
/// Const operations may be called from many threads at the same time.
template <class Scalar>
class GaussianDiffusion {
  static_assert(detail::is_scalar_v<Scalar>,
                "diffusion: Scalar must be float, double, long double, Eigen::half or Eigen::bfloat16");

 public:
  using Index = Eigen::Index;  ///< Type of timesteps and table sizes.

  /// Creates the process with the given betas; schedules.hpp has the usual ones. Throws
  /// std::invalid_argument if `betas` is empty or an entry is outside (0, 1].
  explicit GaussianDiffusion(Eigen::ArrayXd betas) : tables_(std::move(betas)) {}
  /// @private Rejects a std::vector with one readable static_assert.
  template <class T>
  explicit GaussianDiffusion(const std::vector<T>&) : GaussianDiffusion(Eigen::ArrayXd()) {
    static_assert(!std::is_same_v<T, T>,
                  "diffusion: betas must be an Eigen::ArrayXd; convert a std::vector<double> v with "
                  "Eigen::Map<const Eigen::ArrayXd>(v.data(), v.size())");
  }
  /// @private Rejects an array of another scalar type with one readable static_assert.
  template <class T, std::enable_if_t<!std::is_same_v<typename T::Scalar, double>, int> = 0>
  explicit GaussianDiffusion(const Eigen::DenseBase<T>&) : GaussianDiffusion(Eigen::ArrayXd()) {
    static_assert(
        !std::is_same_v<T, T>,
        "diffusion: betas must be an Eigen::ArrayXd; they are double for every Scalar of the process. Convert with "
        "betas.cast<double>()");
  }

  /// Number of timesteps T.
  Index num_timesteps() const { return tables_.betas.size(); }

  // Tables, with one entry for each timestep t in [0, T).

  /// beta_t, the variance of one step.
  const Eigen::ArrayXd& betas() const { return tables_.betas; }
  /// abar_t = (1 - beta_0) (1 - beta_1) ... (1 - beta_t).
  const Eigen::ArrayXd& alphas_cumprod() const { return tables_.alphas_cumprod; }
  /// abar_{t-1}; 1 at t = 0.
  const Eigen::ArrayXd& alphas_cumprod_prev() const { return tables_.alphas_cumprod_prev; }
  /// abar_{t+1}; 0 at t = T - 1.
  const Eigen::ArrayXd& alphas_cumprod_next() const { return tables_.alphas_cumprod_next; }
  /// 1 - abar_t, the variance of q(x_t | x_0).
  const Eigen::ArrayXd& one_minus_alphas_cumprod() const { return tables_.one_minus_alphas_cumprod; }
  /// sqrt(abar_t).
  const Eigen::ArrayXd& sqrt_alphas_cumprod() const { return tables_.sqrt_alphas_cumprod; }
  /// sqrt(1 - abar_t).
  const Eigen::ArrayXd& sqrt_one_minus_alphas_cumprod() const { return tables_.sqrt_one_minus_alphas_cumprod; }
  /// log(1 - abar_t).
  const Eigen::ArrayXd& log_one_minus_alphas_cumprod() const { return tables_.log_one_minus_alphas_cumprod; }
  /// sqrt(1 / abar_t); infinite where abar_t = 0.
  const Eigen::ArrayXd& sqrt_recip_alphas_cumprod() const { return tables_.sqrt_recip_alphas_cumprod; }
  /// sqrt(1 / abar_t - 1); infinite where abar_t = 0.
  const Eigen::ArrayXd& sqrt_recipm1_alphas_cumprod() const { return tables_.sqrt_recipm1_alphas_cumprod; }
  /// (1 - abar_{t-1}) / (1 - abar_t) beta_t, the variance of q(x_{t-1} | x_t, x_0).
  const Eigen::ArrayXd& posterior_variance() const { return tables_.posterior_variance; }
  /// log(posterior_variance); at t = 0 its value at t = 1 (log(beta_0) if T = 1).
  const Eigen::ArrayXd& posterior_log_variance_clipped() const { return tables_.posterior_log_variance_clipped; }
  /// coef1_t = sqrt(abar_{t-1}) beta_t / (1 - abar_t).
  const Eigen::ArrayXd& posterior_mean_coef1() const { return tables_.posterior_mean_coef1; }
  /// coef2_t = sqrt(alpha_t) (1 - abar_{t-1}) / (1 - abar_t).
  const Eigen::ArrayXd& posterior_mean_coef2() const { return tables_.posterior_mean_coef2; }

  /// Timestep of the original process for each step of a respaced process (respacing.hpp). These
  /// are the timesteps the model was trained on. Without respacing: 0, 1, ..., T - 1.
  const std::vector<Index>& timestep_map() const { return tables_.timestep_map; }
  /// Number of timesteps of the original process; T without respacing.
  Index original_num_timesteps() const { return tables_.original_num_timesteps; }

  /// Mean, variance and log-variance of q(x_t | x_0), each with the shape of x_start.
  ///
  ///     mean         = sqrt(abar_t) x_0
  ///     variance     = 1 - abar_t
  ///     log_variance = log(1 - abar_t)
  ///
  /// Source: Ho et al 2020, Eq. (4). q_mean and q_variance are faster if one variance per sample is
  /// enough.
  template <class X>
  [[nodiscard]] MeanVariance<PlainTensor<X>> q_mean_variance(const X& x_start, TimestepsView t) const {
    const auto& x = detail::evaluated(x_start);
    MeanVariance<PlainTensor<X>> out{detail::like(x), detail::like(x), detail::like(x)};
    q_mean_variance_into(out, x, t);
    return out;
  }
  /// @copydoc q_mean_variance()
  template <class Moments, class X, class Device = Eigen::DefaultDevice>
  void q_mean_variance_into(Moments&& out, const X& x_start, TimestepsView t, const Device& device = Device()) const {
    operation("GaussianDiffusion::q_mean_variance")
        .moments(device, out, t, mean_coefficients(), tables_.one_minus_alphas_cumprod,
                 tables_.log_one_minus_alphas_cumprod, detail::argument("x_start", x_start));
  }

  /// Mean of q(x_t | x_0).
  ///
  ///     q_mean = sqrt(abar_t) x_0
  template <class X>
  [[nodiscard]] PlainTensor<X> q_mean(const X& x_start, TimestepsView t) const {
    return detail::returned(x_start, [&](auto& out, const auto& x) { q_mean_into(out, x, t); });
  }
  /// @copydoc q_mean()
  template <class Out, class X, class Device = Eigen::DefaultDevice>
  void q_mean_into(Out&& out, const X& x_start, TimestepsView t, const Device& device = Device()) const {
    operation("GaussianDiffusion::q_mean")
        .combine(device, out, t, mean_coefficients(), detail::argument("x_start", x_start));
  }

  /// Variance of q(x_t | x_0), one value per sample, or a single value if t is one integer.
  ///
  ///     q_variance = 1 - abar_t
  ///
  /// q_mean_variance repeats this value for every element. Throws std::out_of_range unless
  /// 0 <= t[n] < num_timesteps().
  [[nodiscard]] Eigen::Tensor<Scalar, 1> q_variance(TimestepsView t) const {
    return operation("GaussianDiffusion::q_variance").of_each_step(tables_.one_minus_alphas_cumprod, t);
  }
  /// Logarithm of q_variance, one value per sample, or a single value if t is one integer.
  ///
  ///     q_log_variance = log(1 - abar_t)
  ///
  /// Throws std::out_of_range as q_variance does.
  [[nodiscard]] Eigen::Tensor<Scalar, 1> q_log_variance(TimestepsView t) const {
    return operation("GaussianDiffusion::q_log_variance").of_each_step(tables_.log_one_minus_alphas_cumprod, t);
  }

  /// Draws x_t from q(x_t | x_0).
  ///
  ///     x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise
  ///
  /// `noise` is a tensor of N(0, 1) values with the shape of x_start, or a noise source
  /// (noise.hpp). Source: Ho et al 2020, Section 3.2.
  template <class X, class Noise>
  [[nodiscard]] PlainTensor<X> q_sample(const X& x_start, TimestepsView t, Noise&& noise) const {
    return detail::returned(x_start, [&](auto& out, const auto& x) { q_sample_into(out, x, t, noise); });
  }
  /// @copydoc q_sample()
  template <class Out, class X, class Noise, class Device = Eigen::DefaultDevice>
  void q_sample_into(Out&& out, const X& x_start, TimestepsView t, Noise&& noise,
                     const Device& device = Device()) const {
    const auto coefficients = [this](Index i) {
      return std::array{tables_.sqrt_alphas_cumprod.coeff(i), tables_.sqrt_one_minus_alphas_cumprod.coeff(i)};
    };
    operation("GaussianDiffusion::q_sample")
        .combine_with_noise(device, out, t, coefficients, detail::argument("x_start", x_start), noise);
  }

  /// Mean, variance and log-variance of q(x_{t-1} | x_t, x_0), the posterior of the forward
  /// process.
  ///
  ///     mean     = coef1_t x_0 + coef2_t x_t
  ///     coef1_t  = sqrt(abar_{t-1}) beta_t / (1 - abar_t)
  ///     coef2_t  = sqrt(alpha_t) (1 - abar_{t-1}) / (1 - abar_t)
  ///     variance = (1 - abar_{t-1}) / (1 - abar_t) beta_t
  ///
  /// At t = 0 the variance is 0, and log_variance is clipped to its value at t = 1 (to
  /// log(betas[0]) if T = 1). Source: Ho et al 2020, Eqs. (6)-(7).
  template <class X, class Y>
  [[nodiscard]] MeanVariance<PlainTensor<X>> q_posterior_mean_variance(const X& x_start, const Y& x_t,
                                                                       TimestepsView t) const {
    const auto& x = detail::evaluated(x_start);
    MeanVariance<PlainTensor<X>> out{detail::like(x), detail::like(x), detail::like(x)};
    q_posterior_mean_variance_into(out, x, x_t, t);
    return out;
  }
  /// @copydoc q_posterior_mean_variance()
  template <class Moments, class X, class Y, class Device = Eigen::DefaultDevice>
  void q_posterior_mean_variance_into(Moments&& out, const X& x_start, const Y& x_t, TimestepsView t,
                                      const Device& device = Device()) const {
    operation("GaussianDiffusion::q_posterior_mean_variance")
        .moments(device, out, t, posterior_coefficients(), tables_.posterior_variance,
                 tables_.posterior_log_variance_clipped, detail::argument("x_start", x_start),
                 detail::argument("x_t", x_t));
  }

  /// Mean of q(x_{t-1} | x_t, x_0), as in q_posterior_mean_variance.
  ///
  ///     mean = coef1_t x_0 + coef2_t x_t
  template <class X, class Y>
  [[nodiscard]] PlainTensor<X> q_posterior_mean(const X& x_start, const Y& x_t, TimestepsView t) const {
    return detail::returned(x_start, [&](auto& out, const auto& x) { q_posterior_mean_into(out, x, x_t, t); });
  }
  /// @copydoc q_posterior_mean()
  template <class Out, class X, class Y, class Device = Eigen::DefaultDevice>
  void q_posterior_mean_into(Out&& out, const X& x_start, const Y& x_t, TimestepsView t,
                             const Device& device = Device()) const {
    operation("GaussianDiffusion::q_posterior_mean")
        .combine(device, out, t, posterior_coefficients(), detail::argument("x_start", x_start),
                 detail::argument("x_t", x_t));
  }

  /// Variance of q(x_{t-1} | x_t, x_0), one value per sample, or a single value if t is one
  /// integer.
  ///
  ///     q_posterior_variance = (1 - abar_{t-1}) / (1 - abar_t) beta_t
  ///
  /// q_posterior_mean_variance repeats this value for every element. Throws std::out_of_range
  /// unless 0 <= t[n] < num_timesteps().
  [[nodiscard]] Eigen::Tensor<Scalar, 1> q_posterior_variance(TimestepsView t) const {
    return operation("GaussianDiffusion::q_posterior_variance").of_each_step(tables_.posterior_variance, t);
  }
  /// Logarithm of q_posterior_variance, one value per sample, or a single value if t is one
  /// integer. It is clipped at t = 0 as in q_posterior_mean_variance. Throws std::out_of_range as
  /// q_posterior_variance does.
  [[nodiscard]] Eigen::Tensor<Scalar, 1> q_posterior_log_variance(TimestepsView t) const {
    return operation("GaussianDiffusion::q_posterior_log_variance")
        .of_each_step(tables_.posterior_log_variance_clipped, t);
  }

  /// Draws x_t from q(x_t | x_s) for any s < t; s = -1 means that x_s is x_0.
  ///
  ///     x_t = sqrt(abar_t / abar_s) x_s + sqrt(1 - abar_t / abar_s) noise
  ///
  /// `s` is one timestep per sample or one integer for the whole batch, independently of `t`.
  /// `noise` is as in q_sample. Also throws std::out_of_range unless -1 <= s[n] < t[n], and
  /// std::domain_error if abar_s = 0, where the ratio is undefined.
  template <class X, class Noise>
  [[nodiscard]] PlainTensor<X> q_step(const X& x_s, TimestepsView s, TimestepsView t, Noise&& noise) const {
    return detail::returned(x_s, [&](auto& out, const auto& x) { q_step_into(out, x, s, t, noise); });
  }
  /// @copydoc q_step()
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

  /// Recovers x_0 from x_t and the noise eps in it; inverts q_sample.
  ///
  ///     x_0 = x_t / sqrt(abar_t) - sqrt(1 / abar_t - 1) eps
  ///
  /// With a model's prediction as eps this is the estimate of x_0 in Ho et al 2020, Eq. (15). Also
  /// throws std::domain_error if abar_t = 0.
  template <class X, class Y>
  [[nodiscard]] PlainTensor<X> predict_xstart_from_eps(const X& x_t, TimestepsView t, const Y& eps) const {
    return detail::returned(x_t, [&](auto& out, const auto& x) { predict_xstart_from_eps_into(out, x, t, eps); });
  }
  /// @copydoc predict_xstart_from_eps()
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

  /// Recovers x_0 from x_t and the posterior's mean xprev.
  ///
  ///     x_0 = (xprev - coef2_t x_t) / coef1_t
  ///
  /// coef1 and coef2 are posterior_mean_coef1() and posterior_mean_coef2(). Source: Ho et al 2020,
  /// Eq. (7), solved for x_0. Also throws std::domain_error if coef1_t = 0.
  template <class X, class Y>
  [[nodiscard]] PlainTensor<X> predict_xstart_from_xprev(const X& x_t, TimestepsView t, const Y& xprev) const {
    return detail::returned(x_t, [&](auto& out, const auto& x) { predict_xstart_from_xprev_into(out, x, t, xprev); });
  }
  /// @copydoc predict_xstart_from_xprev()
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

  /// Recovers x_0 from x_t and v.
  ///
  ///     x_0 = sqrt(abar_t) x_t - sqrt(1 - abar_t) v
  ///
  /// Also defined where abar_t = 0. Source: Salimans, Ho 2022, Appendix D.
  template <class X, class Y>
  [[nodiscard]] PlainTensor<X> predict_xstart_from_v(const X& x_t, TimestepsView t, const Y& v) const {
    return detail::returned(x_t, [&](auto& out, const auto& x) { predict_xstart_from_v_into(out, x, t, v); });
  }
  /// @copydoc predict_xstart_from_v()
  template <class Out, class X, class Y, class Device = Eigen::DefaultDevice>
  void predict_xstart_from_v_into(Out&& out, const X& x_t, TimestepsView t, const Y& v,
                                  const Device& device = Device()) const {
    const auto coefficients = [this](Index i) {
      return std::array{tables_.sqrt_alphas_cumprod.coeff(i), -tables_.sqrt_one_minus_alphas_cumprod.coeff(i)};
    };
    operation("GaussianDiffusion::predict_xstart_from_v")
        .combine(device, out, t, coefficients, detail::argument("x_t", x_t), detail::argument("v", v));
  }

  /// Recovers the noise eps that q_sample added to x_0 to form x_t.
  ///
  ///     eps = (x_t - sqrt(abar_t) x_0) / sqrt(1 - abar_t)
  template <class X, class Y>
  [[nodiscard]] PlainTensor<X> predict_eps_from_xstart(const X& x_t, TimestepsView t, const Y& x_start) const {
    return detail::returned(x_t, [&](auto& out, const auto& x) { predict_eps_from_xstart_into(out, x, t, x_start); });
  }
  /// @copydoc predict_eps_from_xstart()
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

  /// Recovers the noise eps from x_t and v.
  ///
  ///     eps = sqrt(1 - abar_t) x_t + sqrt(abar_t) v
  ///
  /// Source: Salimans, Ho 2022, Appendix D.
  template <class X, class Y>
  [[nodiscard]] PlainTensor<X> predict_eps_from_v(const X& x_t, TimestepsView t, const Y& v) const {
    return detail::returned(x_t, [&](auto& out, const auto& x) { predict_eps_from_v_into(out, x, t, v); });
  }
  /// @copydoc predict_eps_from_v()
  template <class Out, class X, class Y, class Device = Eigen::DefaultDevice>
  void predict_eps_from_v_into(Out&& out, const X& x_t, TimestepsView t, const Y& v,
                               const Device& device = Device()) const {
    const auto coefficients = [this](Index i) {
      return std::array{tables_.sqrt_one_minus_alphas_cumprod.coeff(i), tables_.sqrt_alphas_cumprod.coeff(i)};
    };
    operation("GaussianDiffusion::predict_eps_from_v")
        .combine(device, out, t, coefficients, detail::argument("x_t", x_t), detail::argument("v", v));
  }

  /// Velocity v, the target of v-prediction.
  ///
  ///     v = sqrt(abar_t) noise - sqrt(1 - abar_t) x_0
  ///
  /// Source: Salimans, Ho 2022, Section 4 and Appendix D.
  template <class X, class Y>
  [[nodiscard]] PlainTensor<X> velocity(const X& x_start, TimestepsView t, const Y& noise) const {
    return detail::returned(x_start, [&](auto& out, const auto& x) { velocity_into(out, x, t, noise); });
  }
  /// @copydoc velocity()
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

  // Operations read the tables with coeff(t): t has been checked already, and operator[] would
  // check it again for every sample unless NDEBUG is defined.
  detail::Tables tables_;
};

}  // namespace diffusion
