/// @file denoiser.hpp
/// From a model of any kind to x_0 and epsilon, which is what samplers work with.
#pragma once

#include <array>
#include <cmath>  // std::abs, std::hypot, std::log
#include <limits>
#include <stdexcept>  // std::domain_error, std::invalid_argument
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>  // std::move

#include "../detail/arguments.hpp"
#include "../detail/check.hpp"
#include "../detail/kernel/elementwise.hpp"
#include "../detail/shape.hpp"
#include "../process/noise_level.hpp"
#include "../tensor.hpp"
#include "detail/call.hpp"
#include "detail/threshold.hpp"
#include "parameterization.hpp"
#include "prediction.hpp"

namespace diffusion {

/// How a Denoiser reads its model and corrects the prediction of x_0.
struct DenoiserOptions {
  /// x_0 is limited to [clip_min, clip_max]: [-1, 1] for pictures. By default it is not limited.
  double clip_min = -std::numeric_limits<double>::infinity();
  double clip_max = std::numeric_limits<double>::infinity();

  /// Dynamic thresholding; Saharia et al. 2022 (Imagen), Section 2.3. With s the threshold_quantile
  /// of |x_0| over a sample (0.995 in its Figure A.10), but between threshold_min and
  /// threshold_max, x_0 becomes x_0 limited to [-s, s] and divided by s. A sample in which a value
  /// of x_0 is not finite becomes NaN throughout. 0 disables thresholding.
  double threshold_quantile = 0.0;
  double threshold_min = 1.0;
  double threshold_max = std::numeric_limits<double>::infinity();

  /// After x_0 was clipped or thresholded, epsilon becomes (x - alpha x_0) / sigma, as in
  /// guided-diffusion. Otherwise it stays what the model predicts, as in diffusers' DDIM; samplers
  /// that go by epsilon then do not feel the clipping.
  bool rederive_epsilon = true;

  /// The model's output has twice the channels (axis 1), the second half for variances; only the
  /// first half is read.
  bool learned_variance = false;

  /// The model is given x scaled to the path it was trained on: alpha^2 + sigma^2 = 1, or alpha +
  /// sigma = 1 for flow_velocity. Otherwise it is given x as it is, like the denoisers D(x, sigma)
  /// of k-diffusion. An edm model is always given c_in x.
  bool scale_input = true;

  /// The standard deviation of the data, for edm; Karras et al. 2022, Table 1.
  double sigma_data = 0.5;
};

/// x_0 and epsilon in x = alpha x_0 + sigma epsilon, as a model has them. There are two ways to use
/// it:
///
///     denoiser(x, level)                       calls the model
///
///     denoiser.model_input(x, level)           the input that an engine elsewhere must be given
///     denoiser.model_time(level)               and its time
///     denoiser.prediction(output, x, level)    the meaning of its answer
///
/// The model, held by value, is called as const: model(x, t, out) writes a tensor of x's shape, or
/// model(x, t) returns one. (A returned expression is evaluated after the call: it may refer to x,
/// never to a local variable of the model, which is gone by then. Return a plain tensor, or write.)
/// t is an Eigen::Tensor<Scalar, 1> of shape [N], the model time of every sample, rounded to Scalar:
/// bfloat16 does not have all timesteps beyond 256.
/// Coefficients are in double; a sample's result does not depend on the rest of its batch, if the
/// model's does not.
///
///     epsilon        x_0 = (x - sigma output) / alpha         Ho et al. 2020, Eq. (15)
///     start_x        epsilon = (x - alpha output) / sigma
///     velocity       x_0 = alpha x - sigma output             Salimans, Ho 2022, Appendix D
///     score          epsilon = -sigma output                  Song et al. 2021
///     flow_velocity  x_0 = x - sigma output                   Lipman et al. 2023
///     edm            x_0 = c_skip x + c_out output            Karras et al. 2022, Eq. (7)
///
/// each on the path its model was trained on, to which x is scaled (DenoiserOptions::scale_input).
///
/// Throws std::domain_error where the output does not determine both x_0 and epsilon: epsilon and
/// score at alpha = 0, start_x at sigma = 0, edm at either; std::invalid_argument for an output of
/// the wrong shape.
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
    detail::check_in(where, "threshold_quantile", options.threshold_quantile, 0.0, 1.0);
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

  // ---- by calling the model ----

  /// Calls the model once, at model_input(x, level) and model_time(level).
  template <class X>
  [[nodiscard]] Prediction<PlainTensor<X>> operator()(const X& x, const NoiseLevel& level) const {
    Prediction<PlainTensor<X>> out;
    (*this)(x, level, out);
    return out;
  }
  /// As above, reusing the memory of `out`. x must not alias a tensor of `out`.
  template <class X>
  void operator()(const X& x_or_expression, const NoiseLevel& level, Prediction<PlainTensor<X>>& out) const {
    constexpr const char* where = "Denoiser";
    const auto& x = detail::evaluated(x_or_expression);
    const detail::Parameterization path = parameterization(where, level);
    const auto sizes = detail::output_shape(where, "x", x, options_.learned_variance);
    auto& memory = out.memory;
    detail::resize(memory.model_t, std::array<Eigen::Index, 1>{detail::batch_size(where, detail::argument("x", x))});
    memory.model_t.setConstant(static_cast<typename detail::Traits<X>::Scalar>(time(level)));
    // Without variances beside it, a prediction of epsilon or x_0 is written where it is to be.
    auto& output = options_.learned_variance ? memory.channels : place_of_output(path, out);
    if (scales_input(path)) {
      detail::resize(memory.input, detail::shape(x));
      scale_input(memory.input, x, path);
      detail::call_model(model_, memory.input, memory.model_t, output, sizes);
    } else {
      detail::call_model(model_, x, memory.model_t, output, sizes);
    }
    detail::check_output(where, "the model's output", output, x, sizes, learned_variance());
    read(output, x, path, out);
  }

  // ---- by a model elsewhere ----

  /// The input of the model for x at this level: x, scaled as DenoiserOptions::scale_input says.
  template <class X>
  [[nodiscard]] PlainTensor<X> model_input(const X& x, const NoiseLevel& level) const {
    return detail::returned(x, [&](auto& out, const auto& in) { model_input_into(out, in, level); });
  }
  template <class Out, class X>
  void model_input_into(Out&& out, const X& x_or_expression, const NoiseLevel& level) const {
    constexpr const char* where = "Denoiser::model_input";
    if constexpr (detail::can_be_results<Out>() &&
                  detail::tensors_agree<typename detail::Traits<X>::Scalar, X, Out>()) {
      const auto x = detail::argument("x", x_or_expression);
      const detail::Parameterization path = parameterization(where, level);
      detail::check_same_shape(where, x, detail::argument("out", out));
      if (scales_input(path)) {
        scale_input(out, x.tensor, path);
      } else {
        detail::copy(x.tensor, out);
      }
    }
  }

  /// The time of the model at this level, the same for every sample: level.t, or log(sigma / alpha)
  /// / 4 for edm.
  [[nodiscard]] double model_time(const NoiseLevel& level) const {
    parameterization("Denoiser::model_time", level);
    return time(level);
  }

  /// x_0 and epsilon from the model's output for model_input(x, level) and model_time(level): all
  /// that operator() does after its call of the model, to the same bits.
  template <class Y, class X>
  [[nodiscard]] Prediction<PlainTensor<X>> prediction(const Y& output, const X& x, const NoiseLevel& level) const {
    Prediction<PlainTensor<X>> out;
    prediction(output, x, level, out);
    return out;
  }
  /// As above, reusing the memory of `out`. x must not alias a tensor of `out`; `output` may.
  template <class Y, class X>
  void prediction(const Y& output, const X& x_or_expression, const NoiseLevel& level,
                  Prediction<PlainTensor<X>>& out) const {
    constexpr const char* where = "Denoiser::prediction";
    static_assert(detail::becomes<Y, PlainTensor<X>>(),
                  "diffusion: the model's output must have x's scalar type, rank and layout");
    if constexpr (detail::becomes<Y, PlainTensor<X>>()) {
      const auto& x = detail::evaluated(x_or_expression);
      const auto& raw = detail::evaluated(output);
      const detail::Parameterization path = parameterization(where, level);
      const auto sizes = detail::output_shape(where, "x", x, options_.learned_variance);
      detail::check_output(where, "output", raw, x, sizes, learned_variance());
      read(raw, x, path, out);
    }
  }

 private:
  bool is_edm() const { return mean_type_ == ModelMeanType::edm; }
  double time(const NoiseLevel& level) const { return is_edm() ? 0.25 * std::log(noise_to_signal(level)) : level.t; }

  detail::LearnedVariance learned_variance() const {
    return {options_.learned_variance, "DenoiserOptions::learned_variance = true",
            "DenoiserOptions::learned_variance = false"};
  }

  /// The meaning of the output at this level. Throws where it does not determine x_0 and epsilon.
  detail::Parameterization parameterization(const char* where, const NoiseLevel& level) const {
    detail::check_level(where, level);
    if (is_edm() && (level.alpha == 0.0 || level.sigma == 0.0)) {
      detail::fail<std::domain_error>(where, "alpha = ", level.alpha, " and sigma = ", level.sigma,
                                      ": the time of an edm model, log(sigma / alpha) / 4, is infinite");
    }
    const auto path = detail::parameterization(mean_type_, level.alpha, level.sigma,
                                               std::hypot(level.alpha, level.sigma), options_.sigma_data);
    if (path.divisor == 0.0 && path.alpha == 0.0) {
      detail::fail<std::domain_error>(where, "alpha = 0 at t = ", level.t,
                                      ": x_0 cannot be recovered from epsilon or the score where no signal is left");
    }
    if (path.divisor == 0.0) {
      detail::fail<std::domain_error>(where, "sigma = 0 at t = ", level.t,
                                      ": epsilon cannot be recovered from x_0 where there is no noise");
    }
    return path;
  }

  bool scales_input(const detail::Parameterization& path) const {
    return (options_.scale_input || is_edm()) && std::abs(1.0 / path.scale - 1.0) > 1e-12;
  }
  template <class Out, class X>
  static void scale_input(Out& out, const X& x, const detail::Parameterization& path) {
    uniform(out, std::array{1.0 / path.scale}, x);
  }

  /// to = c_0 from_0 + c_1 from_1 ...
  template <class To, std::size_t K, class... From>
  static void uniform(To& to, const std::array<double, K>& c, const From&... from) {
    detail::affine(Eigen::DefaultDevice(), to, c, from...);
  }

  /// An output that is x_0 or epsilon itself belongs there.
  template <class Tensor>
  static Tensor& place_of_output(const detail::Parameterization& path, Prediction<Tensor>& out) {
    return path.is_epsilon() ? out.epsilon : path.is_x_start() ? out.x_start : out.memory.output;
  }

  /// x_0 and epsilon from the output, whose shape is right.
  template <class Output, class X, class Tensor>
  void read(const Output& channels, const X& x, const detail::Parameterization& path, Prediction<Tensor>& out) const {
    Tensor& output = place_of_output(path, out);
    detail::resize(output, detail::shape(x));
    if (options_.learned_variance) {
      detail::take_channels(channels, 0, output);
    } else {
      detail::copy(channels, output);
    }
    detail::resize(out.x_start, detail::shape(x));
    detail::resize(out.epsilon, detail::shape(x));

    if (path.p == 0.0 && path.alpha != 1.0) {
      // A quotient, which recovers x_0 exactly from an x made with alpha: 1 / alpha is rounded.
      detail::quotient(Eigen::DefaultDevice(), out.x_start, std::array{-path.sigma / path.q, path.alpha}, x, output);
    } else if (!path.is_x_start()) {
      const auto [by_x, by_output] = path.x_start();
      uniform(out.x_start, std::array{by_x, by_output}, x, output);
    }
    // Before x_0 is corrected, for the output of a model of x_0 is there.
    const bool rederives = corrects() && options_.rederive_epsilon && path.sigma > 0.0;
    if (!path.is_epsilon() && !rederives) {
      const auto [by_x, by_output] = path.epsilon();
      uniform(out.epsilon, std::array{by_x, by_output}, x, output);
    }
    correct(out);
    if (rederives) uniform(out.epsilon, std::array{1.0 / path.sigma, -path.alpha / path.sigma}, x, out.x_start);
  }

  bool clips() const {
    constexpr double infinity = std::numeric_limits<double>::infinity();
    return options_.clip_min > -infinity || options_.clip_max < infinity;
  }
  bool corrects() const { return clips() || options_.threshold_quantile > 0.0; }

  /// Thresholds and clips x_0.
  template <class Tensor>
  void correct(Prediction<Tensor>& out) const {
    if (options_.threshold_quantile > 0.0) {
      detail::threshold(out.x_start, options_.threshold_quantile, options_.threshold_min, options_.threshold_max,
                        out.memory.magnitudes, out.memory.thresholds);
    }
    if (clips()) {
      detail::clamp(Eigen::DefaultDevice(), out.x_start, std::array{options_.clip_min, options_.clip_max}, out.x_start);
    }
  }

  Model model_;
  ModelMeanType mean_type_;
  DenoiserOptions options_;
};

}  // namespace diffusion
