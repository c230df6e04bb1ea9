/// @file likelihood.hpp
/// Element-wise functions of Gaussians: the KL divergence of two Gaussians, and the probability of
/// an 8-bit pixel value. Ho, Jain, Abbeel 2020 (DDPM), Section 3.3.
///
/// Each argument is a tensor, or one number for all elements. The tensors of a call share shape and
/// layout. If all arguments are numbers, the result is a double. All arithmetic is in double, and
/// the result is rounded once to the scalar type of the tensors. `_into` forms and devices are as
/// in GaussianDiffusion. Throws std::invalid_argument if shapes differ.
#pragma once

#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>

#include "../detail/arguments.hpp"
#include "../detail/kernel/in_parallel.hpp"
#include "../detail/shape.hpp"
#include "detail/gaussian_likelihood.hpp"

namespace diffusion {
namespace detail {

/// True if X is a built-in number or one of the library's scalar types.
template <class X>
inline constexpr bool is_number_v = std::is_arithmetic_v<std::decay_t<X>> || is_scalar_v<std::decay_t<X>>;

/// True if every X is a tensor or a number; otherwise fails with one readable static_assert.
template <class... X>
constexpr bool are_values() {
  constexpr bool values = ((is_tensor_v<X> || is_number_v<X>)&&...);
  static_assert(values,
                "diffusion: this argument must be a number or an Eigen tensor: an Eigen::Tensor, TensorMap, "
                "TensorFixedSize or an expression of them");
  return values;
}

/// Returns the function i -> x[i] in double. It is constant if x is a number.
template <class Stored>
auto values_of(const Argument<Stored>& x) {
  if constexpr (is_tensor_v<Stored>) {
    return [data = x.tensor.data()](Index i) { return static_cast<double>(data[i]); };
  } else {
    return [number = static_cast<double>(x.tensor)](Index) { return number; };
  }
}

/// Returns the first argument that is a tensor.
template <class X, class... More>
const auto& first_tensor(const Argument<X>& x, const Argument<More>&... more) {
  if constexpr (is_tensor_v<X>) {
    return x;
  } else {
    return first_tensor(more...);
  }
}

/// Checks the shape of y against x if y is a tensor; a number fits every shape.
template <class X, class Y>
void check_same_shape_if_tensor(const char* where, const Argument<X>& x, const Argument<Y>& y) {
  if constexpr (is_tensor_v<Y>) check_same_shape(where, x, y);
}

/// Checks the arguments and computes out[i] = f(x[i]...). At least one x must be a tensor; `out`
/// may be one of them.
template <class Device, class Out, class F, class... X>
void elementwise_double_into(const char* where, const Device& device, Out& out, const F& f, const Argument<X>&... x) {
  using Scalar = typename Traits<Out>::Scalar;
  static_assert((is_tensor_v<X> || ...), "diffusion: at least one argument besides `out` must be a tensor");
  if constexpr ((is_tensor_v<X> || ...)) {
    if constexpr (tensors_agree<Scalar, Out, std::conditional_t<is_tensor_v<X>, X, Out>...>()) {
      const auto& first = first_tensor(x...);
      (check_same_shape_if_tensor(where, first, x), ...);
      check_same_shape(where, first, argument("out", out));
      if (out.size() == 0) return;
      const auto run = [to = out.data(), &f](Index begin, Index end, const auto&... value) {
        for (Index i = begin; i < end; ++i) to[i] = static_cast<Scalar>(f(value(i)...));
      };
      in_parallel(device, static_cast<Index>(out.size()), sizeof(Scalar),
                  [&](Index begin, Index end) { run(begin, end, values_of(x)...); });
    }
  }
}

/// Returns f(x[i]...) for every i as a new tensor, or as a double if every x is a number.
template <class F, class... X>
auto elementwise_double(const char* where, const F& f, const Argument<X>&... x) {
  if constexpr ((is_tensor_v<X> || ...)) {
    auto out = like(first_tensor(x...).tensor);
    elementwise_double_into(where, Eigen::DefaultDevice(), out, f, x...);
    return out;
  } else {
    return f(values_of(x)(0)...);
  }
}

}  // namespace detail

/// KL divergence of two Gaussians for each element, in nats:
///
///     KL(N(mean1, exp(logvar1)) || N(mean2, exp(logvar2)))
///         = 1/2 (logvar2 - logvar1 - 1 + exp(logvar1 - logvar2)
///                + (mean1 - mean2)^2 exp(-logvar2))
///
/// The evaluation avoids the cancellation of this formula for nearly equal variances. Each argument
/// is a tensor or one number for all elements; the tensors share a shape. If all four are numbers,
/// the result is a double. Throws std::invalid_argument if shapes differ.
template <class M1, class V1, class M2, class V2>
[[nodiscard]] auto normal_kl(const M1& mean1, const V1& logvar1, const M2& mean2, const V2& logvar2) {
  if constexpr (detail::are_values<M1, V1, M2, V2>()) {
    return detail::elementwise_double("normal_kl", detail::normal_kl_of_means, detail::argument("mean1", mean1),
                                      detail::argument("logvar1", logvar1), detail::argument("mean2", mean2),
                                      detail::argument("logvar2", logvar2));
  }
}
/// @copydoc normal_kl()
template <class Out, class M1, class V1, class M2, class V2, class Device = Eigen::DefaultDevice>
void normal_kl_into(Out&& out, const M1& mean1, const V1& logvar1, const M2& mean2, const V2& logvar2,
                    const Device& device = Device()) {
  if constexpr (detail::are_values<M1, V1, M2, V2>()) {
    detail::elementwise_double_into("normal_kl", device, out, detail::normal_kl_of_means,
                                    detail::argument("mean1", mean1), detail::argument("logvar1", logvar1),
                                    detail::argument("mean2", mean2), detail::argument("logvar2", logvar2));
  }
}

/// Approximate standard normal distribution function, the one that Likelihood::approximate uses:
///
///     Phi(x) ~ 1/2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
///
/// This expression is evaluated for each element with a relative error of 1e-14, also where it is
/// near 0. If x is a number, the result is a double.
template <class X>
[[nodiscard]] auto approx_standard_normal_cdf(const X& x) {
  if constexpr (detail::are_values<X>()) {
    return detail::elementwise_double("approx_standard_normal_cdf", detail::approximate_normal_cdf,
                                      detail::argument("x", x));
  }
}
/// @copydoc approx_standard_normal_cdf()
template <class Out, class X, class Device = Eigen::DefaultDevice>
void approx_standard_normal_cdf_into(Out&& out, const X& x, const Device& device = Device()) {
  if constexpr (detail::are_values<X>()) {
    detail::elementwise_double_into("approx_standard_normal_cdf", device, out, detail::approximate_normal_cdf,
                                    detail::argument("x", x));
  }
}

/// Formula for the probability of the bin of a pixel value.
enum class Likelihood {
  approximate,  ///< as in guided-diffusion: from approx_standard_normal_cdf, and at least 1e-12
  exact         ///< from the exact normal distribution function, without a lower limit
};

namespace detail {

/// Log-probability of the bin of x under N(mean, e^(2 log_scale)).
inline double log_likelihood(Likelihood likelihood, double x, double mean, double log_scale) {
  const Bin bin(x, mean, log_scale);
  return likelihood == Likelihood::exact ? exact_log_likelihood(bin) : approximate_log_likelihood(bin);
}
/// Derivatives of log_likelihood with respect to mean and log_scale.
inline GaussianGradient log_likelihood_gradient(Likelihood likelihood, double x, double mean, double log_scale) {
  const Bin bin(x, mean, log_scale);
  return likelihood == Likelihood::exact ? exact_log_likelihood_gradient(bin)
                                         : approximate_log_likelihood_gradient(bin);
}

/// log_likelihood as a functor. A lambda in a template would be a new type for each instantiation
/// and would compile the element loop again.
struct LogLikelihood {
  Likelihood likelihood;
  double operator()(double x, double mean, double log_scale) const {
    return log_likelihood(likelihood, x, mean, log_scale);
  }
};

}  // namespace detail

/// Log-likelihood of 8-bit pixel values in [-1, 1] under a Gaussian, for each element in nats.
/// Ho et al. 2020, Eq. (13):
///
///     log P(x - 1/255 <= y <= x + 1/255),   y ~ N(means, exp(log_scales)^2)
///
/// The bin of x < -0.999 extends to -infinity, and the bin of x > 0.999 to infinity. Arguments and
/// errors are as in normal_kl.
///
/// Likelihood::approximate gives the values of guided-diffusion, without the cancellation that
/// costs guided-diffusion up to 7 nats in float32. Its gradient is 0 where the probability is below
/// 1e-12. Likelihood::exact has a relative error of about 1e-13, also far into the tails.
template <class X, class M, class S>
[[nodiscard]] auto discretized_gaussian_log_likelihood(const X& x, const M& means, const S& log_scales,
                                                       Likelihood likelihood = Likelihood::approximate) {
  if constexpr (detail::are_values<X, M, S>()) {
    return detail::elementwise_double("discretized_gaussian_log_likelihood", detail::LogLikelihood{likelihood},
                                      detail::argument("x", x), detail::argument("means", means),
                                      detail::argument("log_scales", log_scales));
  }
}
/// @copydoc discretized_gaussian_log_likelihood()
template <class Out, class X, class M, class S, class Device = Eigen::DefaultDevice>
void discretized_gaussian_log_likelihood_into(Out&& out, const X& x, const M& means, const S& log_scales,
                                              Likelihood likelihood = Likelihood::approximate,
                                              const Device& device = Device()) {
  if constexpr (detail::are_values<X, M, S>()) {
    detail::elementwise_double_into("discretized_gaussian_log_likelihood", device, out,
                                    detail::LogLikelihood{likelihood}, detail::argument("x", x),
                                    detail::argument("means", means), detail::argument("log_scales", log_scales));
  }
}

}  // namespace diffusion
