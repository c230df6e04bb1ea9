/// @file denoiser.hpp
/// From the output of any kind of model to what samplers work with, x_0 and epsilon.
#pragma once

#include <array>
#include <cmath>  // std::abs, std::hypot, std::log, std::sqrt
#include <limits>
#include <stdexcept>  // std::domain_error, std::invalid_argument
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>  // std::move

#include "detail/affine.hpp"
#include "detail/model_call.hpp"
#include "detail/operands.hpp"
#include "detail/threshold.hpp"
#include "reverse_types.hpp"
#include "tensor.hpp"
#include "time_grid.hpp"

namespace diffusion {

/// How a Denoiser reads its model and corrects what it says of x_0.
struct DenoiserOptions {
  /// x_0 is limited to [clip_min, clip_max]: [-1, 1] for pictures. By default it is not.
  double clip_min = -std::numeric_limits<double>::infinity();
  double clip_max = std::numeric_limits<double>::infinity();

  /// Dynamic thresholding; Saharia et al. 2022 (Imagen), Section 2.3. With s the threshold_quantile of |x_0| over a
  /// sample (0.995 in its Figure A.10), but between threshold_min and threshold_max, x_0 becomes x_0 limited to [-s, s]
  /// and divided by s. A sample in which a value of x_0 is not finite becomes NaN throughout. 0 disables thresholding.
  double threshold_quantile = 0.0;
  double threshold_min = 1.0;
  double threshold_max = std::numeric_limits<double>::infinity();

  /// After x_0 was clipped or thresholded, epsilon becomes (x - alpha x_0) / sigma, as in guided-diffusion. If not, it
  /// stays what the model said, as in diffusers' DDIM; samplers that go by epsilon then do not feel the clipping.
  bool rederive_epsilon = true;

  /// The model's output has twice the channels (axis 1), the second half for variances; only the first is read.
  bool learned_variance = false;

  /// The model is given x scaled to the path it was trained on: alpha^2 + sigma^2 = 1, or of flow_velocity
  /// alpha + sigma = 1. If not, it is given x as it is, like the denoisers D(x, sigma) of k-diffusion. edm always scales,
  /// by c_in.
  bool scale_input = true;

  /// Of edm: the standard deviation of the data; Karras et al. 2022, Table 1.
  double sigma_data = 0.5;
};

namespace detail {

/// x_0 = (x_start_x x + x_start_output output) / divisor, epsilon = epsilon_x x + epsilon_output output; the model is given
/// input x. The divisor is 1 but where alone it takes x back to x_0.
struct DenoiserCoefficients {
  double x_start_x, x_start_output, epsilon_x, epsilon_output, input, divisor = 1.0;
};

inline DenoiserCoefficients denoiser_coefficients(const NoiseLevel& level, ModelMeanType mean_type, double sigma_data) {
  const double alpha = level.alpha, sigma = level.sigma, r = std::hypot(alpha, sigma);
  switch (mean_type) {
    case ModelMeanType::epsilon:
      return {1.0, -sigma, 0.0, 1.0, 1.0 / r, alpha};
    case ModelMeanType::start_x:
      return {0.0, 1.0, 1.0 / sigma, -alpha / sigma, 1.0 / r};
    case ModelMeanType::score:
      return {1.0, sigma * sigma / r, 0.0, -sigma / r, 1.0 / r, alpha};
    case ModelMeanType::flow_velocity: {
      // x / (alpha + sigma) = (1 - u) x_0 + u epsilon, from which x_0 = x / (alpha + sigma) - u v.
      const double scale = alpha + sigma;
      return {1.0 / scale, -sigma / scale, 1.0 / scale, alpha / scale, 1.0 / scale};
    }
    case ModelMeanType::edm: {
      // With s = sigma / alpha and z = x / alpha:
      //     x_0 = sd^2 / (s^2 + sd^2) z + s sd / sqrt(s^2 + sd^2) F,   epsilon = (z - x_0) / s
      const double n = std::hypot(sigma, alpha * sigma_data);
      return {alpha * sigma_data * sigma_data / (n * n), sigma * sigma_data / n, sigma / (n * n),
              -alpha * sigma_data / n, 1.0 / n};
    }
    default:  // velocity, of the variance-preserving path: x / r = (alpha x_0 + sigma epsilon) / r
      return {alpha / (r * r), -sigma / r, sigma / (r * r), alpha / r, 1.0 / r};
  }
}

}  // namespace detail

/// denoiser(x, level): x_0 and epsilon of x = alpha x_0 + sigma epsilon, as the model has them. The model, held by value,
/// is called as const: model(x, t, out) writes a tensor of x's shape, or model(x, t) returns one. (A returned
/// expression is evaluated after the call: it may refer to x, never to a local variable of the model, which is gone by
/// then. Return a plain tensor, or write.) t is an
/// Eigen::Tensor<Scalar, 1> of shape [N], level.t for every sample (log(sigma / alpha) / 4 for edm), rounded to Scalar: of
/// the timesteps beyond 256 bfloat16 does not have all. Coefficients are in double; a sample's result does not depend on the
/// rest of its batch, if the model's does not.
///
///     epsilon        x_0 = (x - sigma output) / alpha                     Ho et al. 2020, Eq. (15)
///     start_x        epsilon = (x - alpha output) / sigma
///     velocity       x_0 = alpha x - sigma output                         Salimans, Ho 2022, Appendix D
///     score          epsilon = -sigma output                              Song et al. 2021
///     flow_velocity  x_0 = x - sigma output                               Lipman et al. 2023
///     edm            x_0 = c_skip x + c_out output                        Karras et al. 2022, Eq. (7)
///
/// each on the path its model was trained on, where x is scaled to (see DenoiserOptions::scale_input).
///
/// Throws std::domain_error where the output does not tell both: epsilon and score at alpha = 0, start_x at sigma = 0, edm
/// at either; std::invalid_argument for an output of the wrong shape.
template <class Model>
class Denoiser {
 public:
  /// Throws std::invalid_argument for previous_x and for options out of range.
  Denoiser(Model model, ModelMeanType mean_type, DenoiserOptions options = {})
      : model_(std::move(model)), mean_type_(mean_type), options_(options) {
    constexpr const char* where = "Denoiser";
    if (mean_type == ModelMeanType::previous_x) {
      detail::fail<std::invalid_argument>(where, "a model of previous_x knows one process only: use ReverseProcess");
    }
    if (!(options.clip_min < options.clip_max)) {
      detail::fail<std::invalid_argument>(where, "clip_min = ", options.clip_min,
                                          " must be less than clip_max = ", options.clip_max);
    }
    if (!(options.threshold_quantile >= 0.0 && options.threshold_quantile <= 1.0)) {
      detail::fail<std::invalid_argument>(where, "threshold_quantile = ", options.threshold_quantile,
                                          " is outside [0, 1]");
    }
    if (!(options.threshold_min > 0.0 && options.threshold_min <= options.threshold_max)) {
      detail::fail<std::invalid_argument>(where, "threshold_min = ", options.threshold_min,
                                          " must be positive and at most threshold_max = ", options.threshold_max);
    }
    if (!(options.sigma_data > 0.0)) {
      detail::fail<std::invalid_argument>(where, "sigma_data = ", options.sigma_data, " must be positive");
    }
  }

  ModelMeanType mean_type() const { return mean_type_; }
  const DenoiserOptions& options() const { return options_; }

  template <class X>
  [[nodiscard]] Prediction<PlainTensor<X>> operator()(const X& x, const NoiseLevel& level) const {
    Prediction<PlainTensor<X>> out;
    (*this)(x, level, out);
    return out;
  }

  /// The same into `out`, whose memory it uses again; x may be none of its tensors.
  template <class X>
  void operator()(const X& x_or_expression, const NoiseLevel& level, Prediction<PlainTensor<X>>& out) const {
    const auto& x = detail::stored(x_or_expression);
    check(level);
    const auto c = detail::denoiser_coefficients(level, mean_type_, options_.sigma_data);
    const auto uniform = [&](auto& to, const auto& coefficients, const auto&... from) {
      detail::affine(
          Eigen::DefaultDevice(), to, true, [&](Eigen::Index) { return coefficients; }, from...);
    };
    detail::resize(out.x_start, detail::shape(x));
    detail::resize(out.epsilon, detail::shape(x));

    // The output of a model of epsilon or x_0 is made in its place.
    auto& output = mean_type_ == ModelMeanType::epsilon   ? out.epsilon
                   : mean_type_ == ModelMeanType::start_x ? out.x_start
                                                          : out.memory.output;
    tell_time(x, level, out.memory.model_t);
    const bool scaled = (options_.scale_input || mean_type_ == ModelMeanType::edm) && std::abs(c.input - 1.0) > 1e-12;
    if (scaled) {
      detail::resize(out.memory.input, detail::shape(x));
      uniform(out.memory.input, std::array{c.input}, x);
      run_model(out.memory.input, out, output);
    } else {
      run_model(x, out, output);
    }

    if (c.divisor != 1.0) {
      detail::quotient(
          Eigen::DefaultDevice(), out.x_start, true,
          [&](Eigen::Index) {
            return std::array{c.x_start_output, c.divisor};
          },
          x, output);
    } else if (mean_type_ != ModelMeanType::start_x) {
      uniform(out.x_start, std::array{c.x_start_x, c.x_start_output}, x, output);
    }
    // Before x_0 is corrected: the output may be what x_0 is made of in its place.
    const bool rederives = corrects() && options_.rederive_epsilon && level.sigma > 0.0;
    if (mean_type_ != ModelMeanType::epsilon && !rederives) {
      uniform(out.epsilon, std::array{c.epsilon_x, c.epsilon_output}, x, output);
    }
    correct(out);
    if (rederives) uniform(out.epsilon, std::array{1.0 / level.sigma, -level.alpha / level.sigma}, x, out.x_start);
  }

 private:
  void check(const NoiseLevel& level) const {
    detail::check_level("Denoiser", level);
    const bool divides_by_alpha = mean_type_ == ModelMeanType::epsilon || mean_type_ == ModelMeanType::score;
    if (divides_by_alpha && level.alpha == 0.0) {
      detail::fail<std::domain_error>("Denoiser", "alpha = 0 at t = ", level.t,
                                      ": x_0 cannot be told from epsilon or the score where no signal is left");
    }
    if (mean_type_ == ModelMeanType::edm && (level.alpha == 0.0 || level.sigma == 0.0)) {
      detail::fail<std::domain_error>("Denoiser", "alpha = ", level.alpha, " and sigma = ", level.sigma,
                                      ": an edm model is told log(sigma / alpha) / 4, which is infinite");
    }
    if (mean_type_ == ModelMeanType::start_x && level.sigma == 0.0) {
      detail::fail<std::domain_error>("Denoiser", "sigma = 0 at t = ", level.t,
                                      ": epsilon cannot be told from x_0 where there is no noise");
    }
  }

  template <class X>
  void tell_time(const X& x, const NoiseLevel& level, Eigen::Tensor<typename X::Scalar, 1>& t) const {
    const Eigen::Index batch = detail::batch_size("Denoiser", detail::argument("x", x));
    const bool edm = mean_type_ == ModelMeanType::edm;
    detail::resize(t, std::array<Eigen::Index, 1>{batch});
    t.setConstant(static_cast<typename X::Scalar>(edm ? 0.25 * std::log(noise_to_signal(level)) : level.t));
  }

  /// output = model(x, t), or the first half of its channels.
  template <class X, class Tensor>
  void run_model(const X& x, Prediction<Tensor>& out, Tensor& output) const {
    constexpr detail::CallForm form = detail::call_form<Model, X, decltype(out.memory.model_t), Tensor>();
    static_assert(form != detail::CallForm::none,
                  "diffusion: the model must be callable, as const, as model(x, t), returning a tensor, or as "
                  "model(x, t, out), writing one, where x is a tensor like the one sampled and t an "
                  "Eigen::Tensor<Scalar, 1>; wrap one that is not const in "
                  "std::ref");
    static_assert(form != detail::CallForm::returns_other,
                  "diffusion: the model must return a tensor, or an expression, of x's scalar type, rank and layout");
    if constexpr (form == detail::CallForm::writes || form == detail::CallForm::returns) {
      auto sizes = detail::shape(x);
      const auto call = [&](Tensor& to) {
        detail::call<form>("Denoiser", "the model's output", model_, x, out.memory.model_t, to, sizes);
      };
      if (!options_.learned_variance) return call(output);
      if constexpr (detail::Traits<X>::rank >= 2) {
        sizes[1] *= 2;
        call(out.memory.channels);
        detail::resize(output, detail::shape(x));
        detail::split_channels(out.memory.channels, output, &output == &out.epsilon ? out.x_start : out.epsilon);
      } else {
        detail::fail<std::invalid_argument>(
            "Denoiser", "x has rank ", detail::Traits<X>::rank,
            "; learned variances are the second half of the channels, which are axis 1");
      }
    }
  }

  bool clips() const {
    constexpr double infinity = std::numeric_limits<double>::infinity();
    return options_.clip_min > -infinity || options_.clip_max < infinity;
  }
  bool corrects() const { return clips() || options_.threshold_quantile > 0.0; }

  /// x_0 within its limits.
  template <class Tensor>
  void correct(Prediction<Tensor>& out) const {
    if (options_.threshold_quantile > 0.0) {
      detail::threshold(out.x_start, options_.threshold_quantile, options_.threshold_min, options_.threshold_max,
                        out.memory.magnitudes, out.memory.thresholds);
    }
    if (clips()) {
      detail::clamp(
          Eigen::DefaultDevice(), out.x_start, true,
          [this](Eigen::Index) {
            return std::array{options_.clip_min, options_.clip_max};
          },
          out.x_start);
    }
  }

  Model model_;
  ModelMeanType mean_type_;
  DenoiserOptions options_;
};

}  // namespace diffusion
