/// @file denoiser.hpp
/// Converts the output of a model of any parameterisation to x_0 and epsilon, which samplers use.
#pragma once

#include <array>
#include <cmath>  // std::abs, std::hypot, std::isfinite, std::log
#include <limits>
#include <stdexcept>  // std::domain_error, std::invalid_argument
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>  // std::move

#include "../detail/arguments.hpp"
#include "../detail/check.hpp"
#include "../detail/kernel/in_parallel.hpp"
#include "../detail/shape.hpp"
#include "../process/noise_level.hpp"
#include "../tensor.hpp"
#include "detail/call.hpp"
#include "detail/prediction_operations.hpp"
#include "parameterization.hpp"
#include "prediction.hpp"

namespace diffusion {

/// How a Denoiser calls its model and corrects the prediction of x_0.
struct DenoiserOptions {
  /// Lower bound of x_0, less than clip_max; -1 for images. The default does not clip.
  double clip_min = -std::numeric_limits<double>::infinity();
  /// Upper bound of x_0; 1 for images. The default does not clip.
  double clip_max = std::numeric_limits<double>::infinity();

  /// Quantile of dynamic thresholding, in [0, 1]; 0 disables it. The method is that of Saharia et
  /// al. 2022 (Imagen), Section 2.3; their Figure A.10 uses 0.995. Per sample, before clipping:
  ///
  ///     s   = threshold_quantile of |x_0|, limited to [threshold_min, threshold_max]
  ///     x_0 = x_0 limited to [-s, s], divided by s
  ///
  /// All values of a sample become NaN if one is not finite.
  double threshold_quantile = 0.0;
  double threshold_min = 1.0;                                      ///< lower bound of s; positive
  double threshold_max = std::numeric_limits<double>::infinity();  ///< upper bound of s; at least threshold_min

  /// Recomputes epsilon after x_0 was clipped or thresholded, as guided-diffusion does:
  ///
  ///     epsilon = (x - alpha x_0) / sigma
  ///
  /// If false, epsilon stays as the model predicts it, as in diffusers' DDIM, and clipping has no
  /// effect on samplers that use epsilon alone. At sigma = 0, epsilon is never recomputed.
  bool rederive_epsilon = true;

  /// Set this if the model's output has twice the channels (axis 1). The denoiser reads the first
  /// half; the second half is for variances.
  bool learned_variance = false;

  /// Scales the model's input to the path on which the model was trained: alpha + sigma = 1 for
  /// flow_velocity, otherwise alpha^2 + sigma^2 = 1. If false, the model receives x unscaled, like
  /// the denoisers D(x, sigma) of k-diffusion. An edm model always receives c_in x / alpha.
  bool scale_input = true;

  double sigma_data = 0.5;  ///< standard deviation of the data for edm, positive; Karras et al. 2022, Table 1

  /// The model time of an edm model: log(sigma / alpha) / 4 if true, otherwise t of the level, as
  /// for other models. Stable Audio and consistency models have another time.
  bool edm_time = true;

  /// Factor of the model's output, finite and not 0. -1 is for models whose output has the opposite
  /// sign, such as x_0 - epsilon for flow_velocity (Mochi), or a velocity for edm (Stable Audio).
  double output_scale = 1.0;
};

/// Predicts x_0 and epsilon in x = alpha x_0 + sigma epsilon by a model of any parameterisation.
/// Either the denoiser calls the model, or an engine elsewhere runs the model and the denoiser
/// provides its input and interprets its output:
///
/// @code{.cpp}
/// #include <diffusion/diffusion.hpp>
///
/// int main() {
///   using Image = Eigen::Tensor<float, 4, Eigen::RowMajor>;
///   using Time = Eigen::Tensor<float, 1>;
///   const auto network = [](const Image& x, const Time&, Image& out) { out = 0.5f * x; };
///   const diffusion::Denoiser denoiser(network, diffusion::ModelMeanType::epsilon);
///   const diffusion::NoiseLevel level{300, 1.0, 0.75};  // model time, alpha, sigma
///   Image x(2, 3, 8, 8), output(2, 3, 8, 8);
///   x.setConstant(1.0f);
///
///   // The denoiser calls the model.
///   const auto called = denoiser(x, level);
///
///   // The model runs elsewhere: give it its input and times, and interpret its output.
///   const Image input = denoiser.model_input(x, level);
///   Time t(2);
///   t.setConstant(static_cast<float>(denoiser.model_time(level)));
///   network(input, t, output);
///   const auto asked = denoiser.prediction(output, x, level);
///
///   return asked.x_start(0, 0, 0, 0) == called.x_start(0, 0, 0, 0) ? 0 : 1;
/// }
/// @endcode
///
/// The model is held by value and called as const: model(x, t, out) writes a tensor of x's shape,
/// or model(x, t) returns one; with learned variances it has twice the channels. Pass a model that
/// changes when called, such as a guided model, as std::ref(model). A returned expression is
/// evaluated after the call: it may refer to x, but not to a local variable of the model, which no
/// longer exists then. Return a plain tensor or write to out.
///
/// t is an `Eigen::Tensor<Scalar, 1>` of shape [N], the model time of each sample, rounded to
/// Scalar. bfloat16 cannot represent every timestep above 256. For a tensor type that is not one of
/// Eigen's, TensorOperations says what t is.
///
/// Coefficients are computed in double. A sample's result does not depend on the rest of its batch
/// if the model's does not. Each type gives x_0 or epsilon by the formula below, and
/// x = alpha x_0 + sigma epsilon gives the other. The formulas hold on the path on which the model
/// was trained (DenoiserOptions::scale_input scales x to it):
///
///     epsilon        x_0 = (x - sigma output) / alpha         Ho et al. 2020, Eq. (15)
///     start_x        epsilon = (x - alpha output) / sigma
///     velocity       x_0 = alpha x - sigma output             Salimans, Ho 2022, Appendix D
///     score          epsilon = -sigma output                  Song et al. 2021
///     flow_velocity  x_0 = x - sigma output                   Lipman et al. 2023
///     edm            x_0 = c_skip x + c_out output            Karras et al. 2022, Eq. (7)
///
/// Functions that take a level throw std::domain_error if the output does not determine both x_0
/// and epsilon there: epsilon and score at alpha = 0, start_x at sigma = 0, edm in both cases. They
/// throw std::invalid_argument unless alpha and sigma are finite, not negative and not both 0, and
/// if a tensor has the wrong shape.
template <class Model>
class Denoiser {
 public:
  /// @private Rejects a model without its mean type with one readable static_assert.
  explicit Denoiser(Model model) : model_(std::move(model)), mean_type_() {
    static_assert(!std::is_same_v<Model, Model>,
                  "diffusion: Denoiser(model, mean_type) needs the quantity that the model predicts, for example "
                  "diffusion::ModelMeanType::epsilon");
  }

  /// Throws std::invalid_argument if mean_type is previous_x or an option is out of range.
  Denoiser(Model model, ModelMeanType mean_type, DenoiserOptions options = {})
      : model_(std::move(model)), mean_type_(mean_type), options_(options) {
    constexpr const char* where = "Denoiser";
    if (mean_type == ModelMeanType::previous_x) {
      detail::fail<std::invalid_argument>(where,
                                          "mean_type previous_x is not defined by a noise level; use a ReverseProcess");
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
    if (!(std::isfinite(options.output_scale) && options.output_scale != 0.0)) {
      detail::fail<std::invalid_argument>(where, "output_scale = ", options.output_scale, " must be finite and not 0");
    }
  }

  /// Returns the quantity that the model predicts.
  ModelMeanType mean_type() const { return mean_type_; }
  /// Returns the options given to the constructor.
  const DenoiserOptions& options() const { return options_; }

  // ---- calling the model ----

  /// Calls the model once, with model_input(x, level) and model_time(level), and returns its
  /// prediction.
  template <class X>
  [[nodiscard]] Prediction<PlainTensor<X>> operator()(const X& x, const NoiseLevel& level) const {
    Prediction<PlainTensor<X>> out;
    (*this)(x, level, out);
    return out;
  }
  /// As above, but writes to `out` and reuses its memory. x must not alias a tensor of `out`.
  /// `device` is an Eigen device for the denoiser's own work.
  template <class X, class Device = Eigen::DefaultDevice>
  void operator()(const X& x_or_expression, const NoiseLevel& level, Prediction<PlainTensor<X>>& out,
                  const Device& device = Device()) const {
    constexpr const char* where = "Denoiser";
    const auto& x = detail::evaluated(x_or_expression);
    const detail::Parameterization path = parameterization(where, level);
    const auto sizes = detail::output_shape(where, "x", x, options_.learned_variance);
    auto& memory = out.memory;
    detail::set_model_times(where, memory.model_t, x, time(level));
    // Without learned variances, an output that is epsilon or x_0 is written directly to its place.
    auto& output = options_.learned_variance ? memory.channels : place_of_output(path, out);
    if (scales_input(path)) {
      detail::resize_like(memory.input, x);
      scale_input(device, memory.input, x, path);
      detail::call_model(model_, memory.input, memory.model_t, output, sizes);
    } else {
      detail::call_model(model_, x, memory.model_t, output, sizes);
    }
    detail::check_output(where, "the model's output", output, x, sizes, learned_variance());
    read(device, output, x, path, out);
  }

  // ---- a model that runs elsewhere ----

  /// Returns the model's input for x at this level: x, scaled according to
  /// DenoiserOptions::scale_input. `out` must have x's shape and may be x.
  template <class X>
  [[nodiscard]] PlainTensor<X> model_input(const X& x, const NoiseLevel& level) const {
    return detail::returned(x, [&](auto& out, const auto& in) { model_input_into(out, in, level); });
  }
  /// @copydoc model_input()
  template <class Out, class X, class Device = Eigen::DefaultDevice>
  void model_input_into(Out&& out, const X& x_or_expression, const NoiseLevel& level,
                        const Device& device = Device()) const {
    constexpr const char* where = "Denoiser::model_input";
    if constexpr (detail::can_be_input<Out, X>()) {
      const auto x = detail::argument("x", x_or_expression);
      const detail::Parameterization path = parameterization(where, level);
      detail::check_same_shape(where, x, detail::argument("out", out));
      if (scales_input(path)) {
        scale_input(device, out, x.tensor, path);
      } else {
        detail::copy(x.tensor, out, device);
      }
    }
  }

  /// Returns the model time at this level, the same for every sample: level.t, or
  /// log(sigma / alpha) / 4 for edm (DenoiserOptions::edm_time).
  [[nodiscard]] double model_time(const NoiseLevel& level) const {
    parameterization("Denoiser::model_time", level);
    return time(level);
  }

  /// Returns x_0 and epsilon, given the model's output for model_input(x, level) and
  /// model_time(level). For the same output the result has the same bits as that of operator().
  template <class Y, class X>
  [[nodiscard]] Prediction<PlainTensor<X>> prediction(const Y& output, const X& x, const NoiseLevel& level) const {
    Prediction<PlainTensor<X>> out;
    prediction(output, x, level, out);
    return out;
  }
  /// As above, but writes to `out` and reuses its memory. x must not alias a tensor of `out`.
  /// `output` may be a tensor of `out`.
  template <class Y, class X, class Device = Eigen::DefaultDevice>
  void prediction(const Y& output, const X& x_or_expression, const NoiseLevel& level, Prediction<PlainTensor<X>>& out,
                  const Device& device = Device()) const {
    constexpr const char* where = "Denoiser::prediction";
    static_assert(detail::becomes<Y, PlainTensor<X>>(),
                  "diffusion: the model's output must have x's scalar type, rank and layout");
    if constexpr (detail::becomes<Y, PlainTensor<X>>()) {
      const auto& x = detail::evaluated(x_or_expression);
      const auto& raw = detail::evaluated(output);
      const detail::Parameterization path = parameterization(where, level);
      const auto sizes = detail::output_shape(where, "x", x, options_.learned_variance);
      detail::check_output(where, "output", raw, x, sizes, learned_variance());
      if (options_.learned_variance) {
        // raw has twice the channels of the tensor that replaces it, if it is a tensor of `out`;
        // and the second half is for the sampler.
        if (!detail::share_memory(raw, out.memory.channels)) out.memory.channels = raw;
        read(device, out.memory.channels, x, path, out);
      } else {
        read(device, raw, x, path, out);
      }
    }
  }

 private:
  bool is_edm() const { return mean_type_ == ModelMeanType::edm; }
  double time(const NoiseLevel& level) const {
    return is_edm() && options_.edm_time ? 0.25 * std::log(noise_to_signal(level)) : level.t;
  }

  detail::LearnedVariance learned_variance() const {
    return {options_.learned_variance, "DenoiserOptions::learned_variance = true",
            "DenoiserOptions::learned_variance = false"};
  }

  /// Returns the row of the table at this level. Throws std::domain_error if the output does not
  /// determine both x_0 and epsilon.
  detail::Parameterization parameterization(const char* where, const NoiseLevel& level) const {
    detail::check_level(where, level);
    if (is_edm() && (level.alpha == 0.0 || level.sigma == 0.0)) {
      detail::fail<std::domain_error>(where, "alpha = ", level.alpha, " and sigma = ", level.sigma,
                                      ": the time of an edm model, log(sigma / alpha) / 4, is infinite");
    }
    auto path = detail::parameterization(mean_type_, level.alpha, level.sigma, std::hypot(level.alpha, level.sigma),
                                         options_.sigma_data);
    path.p /= options_.output_scale;
    path.q /= options_.output_scale;
    path.divisor /= options_.output_scale;
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
  static void scale_input(const detail::DeviceRef& device, Out& out, const X& x, const detail::Parameterization& path) {
    detail::weighted_sum(device, out, std::array{1.0 / path.scale}, x);
  }

  /// Returns the tensor of `out` for the model's output: x_start or epsilon if the output is one of
  /// these, otherwise out.memory.output.
  template <class Tensor>
  static Tensor& place_of_output(const detail::Parameterization& path, Prediction<Tensor>& out) {
    return path.is_epsilon() ? out.epsilon : path.is_x_start() ? out.x_start : out.memory.output;
  }

  /// Fills `out` from the model's output, whose shape has been checked.
  template <class Output, class X, class Tensor>
  void read(const detail::DeviceRef& device, const Output& channels, const X& x, const detail::Parameterization& path,
            Prediction<Tensor>& out) const {
    Tensor& output = place_of_output(path, out);
    detail::resize_like(output, x);
    if (options_.learned_variance) {
      detail::take_prediction(channels, output);
    } else {
      detail::copy(channels, output, device);
    }
    detail::resize_like(out.x_start, x);
    detail::resize_like(out.epsilon, x);

    if (path.p == 0.0 && path.alpha != 1.0) {
      // Divide by alpha: it undoes the multiplication in x = alpha x_0 + ..., but a rounded 1 /
      // alpha would not.
      detail::divided_sum(device, out.x_start, std::array{-path.sigma / path.q, path.alpha}, x, output);
    } else if (!path.is_x_start()) {
      const auto [by_x, by_output] = path.x_start();
      detail::weighted_sum(device, out.x_start, std::array{by_x, by_output}, x, output);
    }
    // Compute epsilon before x_0 is corrected: for start_x models `output` aliases out.x_start.
    const bool rederives = corrects() && options_.rederive_epsilon && path.sigma > 0.0;
    if (!path.is_epsilon() && !rederives) {
      const auto [by_x, by_output] = path.epsilon();
      detail::weighted_sum(device, out.epsilon, std::array{by_x, by_output}, x, output);
    }
    if (options_.threshold_quantile > 0.0) {
      detail::threshold_x_start(device, out, options_.threshold_quantile, options_.threshold_min,
                                options_.threshold_max);
    }
    if (clips()) detail::clip(device, out.x_start, options_.clip_min, options_.clip_max);
    if (rederives) {
      detail::weighted_sum(device, out.epsilon, std::array{1.0 / path.sigma, -path.alpha / path.sigma}, x, out.x_start);
    }
  }

  bool clips() const {
    constexpr double infinity = std::numeric_limits<double>::infinity();
    return options_.clip_min > -infinity || options_.clip_max < infinity;
  }
  bool corrects() const { return clips() || options_.threshold_quantile > 0.0; }

  Model model_;
  ModelMeanType mean_type_;
  DenoiserOptions options_;
};

}  // namespace diffusion
