/// @file likelihood.hpp
/// Gaussians element by element: the KL divergence of two, and the probability of an 8-bit pixel
/// value under one. Ho, Jain, Abbeel 2020 (DDPM), Section 3.3.
///
/// An argument is a tensor, or one number for all elements; the tensors of a call share shape and
/// layout. For numbers alone the result is a double. Everything is evaluated in double and rounded
/// to the tensors' scalar type once. `_into` forms and devices are as in GaussianDiffusion. Throws
/// std::invalid_argument for shapes that differ.
#pragma once

#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>

#include "../detail/arguments.hpp"
#include "../detail/kernel/in_parallel.hpp"
#include "../detail/shape.hpp"
#include "detail/gaussian_likelihood.hpp"

namespace diffusion {
namespace detail {

template <class X>
inline constexpr bool is_number_v = std::is_arithmetic_v<std::decay_t<X>> || is_scalar_v<std::decay_t<X>>;

/// Whether all are tensors or numbers; if not, one sentence says so.
template <class... X>
constexpr bool are_values() {
  constexpr bool values = ((is_tensor_v<X> || is_number_v<X>)&&...);
  static_assert(values,
                "diffusion: this argument must be a number or an Eigen tensor: an Eigen::Tensor, TensorMap, "
                "TensorFixedSize or an expression of them");
  return values;
}

/// i -> value i in double.
template <class Stored>
auto values_of(const Argument<Stored>& x) {
  if constexpr (is_tensor_v<Stored>) {
    return [data = x.tensor.data()](Index i) { return static_cast<double>(data[i]); };
  } else {
    return [number = static_cast<double>(x.tensor)](Index) { return number; };
  }
}

/// The first argument that is a tensor.
template <class X, class... More>
const auto& first_tensor(const Argument<X>& x, const Argument<More>&... more) {
  if constexpr (is_tensor_v<X>) {
    return x;
  } else {
    return first_tensor(more...);
  }
}

template <class X, class Y>
void check_same_shape_if_tensor(const char* where, const Argument<X>& x, const Argument<Y>& y) {
  if constexpr (is_tensor_v<Y>) check_same_shape(where, x, y);
}

/// out[i] = f(x[i] ...), after all checks. One x at least is a tensor; out may be one of them.
template <class Device, class Out, class F, class... X>
void elementwise_double_into(const char* where, const Device& device, Out& out, const F& f, const Argument<X>&... x) {
  using Scalar = typename Traits<Out>::Scalar;
  static_assert((is_tensor_v<X> || ...), "diffusion: of the arguments besides `out` one at least must be a tensor");
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

/// The same in a new tensor; a double when no x is a tensor.
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

/// KL(N(mean1, exp(logvar1)) || N(mean2, exp(logvar2))) in nats, of each element:
///
///     1/2 (logvar2 - logvar1 - 1 + exp(logvar1 - logvar2) + (mean1 - mean2)^2 exp(-logvar2))
///
/// without the cancellation of the formula as it stands. Each argument is a tensor or one number
/// for all elements; the tensors share a shape. For four numbers it is a double.
template <class M1, class V1, class M2, class V2>
[[nodiscard]] auto normal_kl(const M1& mean1, const V1& logvar1, const M2& mean2, const V2& logvar2) {
  if constexpr (detail::are_values<M1, V1, M2, V2>()) {
    return detail::elementwise_double("normal_kl", detail::normal_kl_of_means, detail::argument("mean1", mean1),
                                      detail::argument("logvar1", logvar1), detail::argument("mean2", mean2),
                                      detail::argument("logvar2", logvar2));
  }
}
template <class Out, class M1, class V1, class M2, class V2, class Device = Eigen::DefaultDevice>
void normal_kl_into(Out&& out, const M1& mean1, const V1& logvar1, const M2& mean2, const V2& logvar2,
                    const Device& device = Device()) {
  if constexpr (detail::are_values<M1, V1, M2, V2>()) {
    detail::elementwise_double_into("normal_kl", device, out, detail::normal_kl_of_means,
                                    detail::argument("mean1", mean1), detail::argument("logvar1", logvar1),
                                    detail::argument("mean2", mean2), detail::argument("logvar2", logvar2));
  }
}

/// The approximation of the normal distribution function that Likelihood::approximate is made of:
///
///     Phi(x) ~ 1/2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
///
/// of each element, right to 1e-14 of itself also where it is near 0. For a number it is a double.
template <class X>
[[nodiscard]] auto approx_standard_normal_cdf(const X& x) {
  if constexpr (detail::are_values<X>()) {
    return detail::elementwise_double("approx_standard_normal_cdf", detail::approximate_normal_cdf,
                                      detail::argument("x", x));
  }
}
template <class Out, class X, class Device = Eigen::DefaultDevice>
void approx_standard_normal_cdf_into(Out&& out, const X& x, const Device& device = Device()) {
  if constexpr (detail::are_values<X>()) {
    detail::elementwise_double_into("approx_standard_normal_cdf", device, out, detail::approximate_normal_cdf,
                                    detail::argument("x", x));
  }
}

/// How the probability of a bin is computed.
enum class Likelihood {
  approximate,  // as the reference does: by approx_standard_normal_cdf, and nothing below 1e-12
  exact         // by the normal distribution function, however small it gets
};

namespace detail {

/// The log of the probability that N(mean, e^(2 log_scale)) gives to the bin of x.
inline double log_likelihood(Likelihood likelihood, double x, double mean, double log_scale) {
  const Bin bin(x, mean, log_scale);
  return likelihood == Likelihood::exact ? exact_log_likelihood(bin) : approximate_log_likelihood(bin);
}
/// Its derivatives by the mean and log_scale.
inline GaussianGradient log_likelihood_gradient(Likelihood likelihood, double x, double mean, double log_scale) {
  const Bin bin(x, mean, log_scale);
  return likelihood == Likelihood::exact ? exact_log_likelihood_gradient(bin)
                                         : approximate_log_likelihood_gradient(bin);
}

/// log_likelihood as a function of values. (A functor: a lambda in a template would compile its
/// walk again.)
struct LogLikelihood {
  Likelihood likelihood;
  double operator()(double x, double mean, double log_scale) const {
    return log_likelihood(likelihood, x, mean, log_scale);
  }
};

}  // namespace detail

/// log P(bin of x) in nats under N(means, exp(log_scales)^2), of each element; Ho et al. 2020, Eq.
/// (13). The bin of x is [x - 1/255, x + 1/255], and the outermost ones, of x < -0.999 and x >
/// 0.999, reach to infinity. Arguments as in normal_kl.
///
/// `approximate` has the values of guided-diffusion, without what that loses by cancellation (in
/// float32 up to 7 nats); where the probability is below 1e-12 its gradient is 0. `exact` is
/// correct to 1e-13 or so, relative, also far into the tails.
template <class X, class M, class S>
[[nodiscard]] auto discretized_gaussian_log_likelihood(const X& x, const M& means, const S& log_scales,
                                                       Likelihood likelihood = Likelihood::approximate) {
  if constexpr (detail::are_values<X, M, S>()) {
    return detail::elementwise_double("discretized_gaussian_log_likelihood", detail::LogLikelihood{likelihood},
                                      detail::argument("x", x), detail::argument("means", means),
                                      detail::argument("log_scales", log_scales));
  }
}
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
