/// @file classifier.hpp
/// Classifier guidance of an epsilon model; Dhariwal, Nichol 2021, Algorithm 2.
#pragma once

#include <any>
#include <array>
#include <stdexcept>  // std::out_of_range
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>  // std::move

#include "../detail/arguments.hpp"
#include "../detail/check.hpp"
#include "../detail/kernel/elementwise.hpp"
#include "../detail/shape.hpp"
#include "../model/detail/call.hpp"
#include "../process/detail/interpolated_process.hpp"
#include "../process/gaussian_diffusion.hpp"
#include "../tensor.hpp"
#include "detail/two_outputs.hpp"

namespace diffusion {

/// A model of epsilon that follows the gradient of a classifier; made by classifier_guidance().
/// Like a GuidedModel it reuses its workspace between calls: use one object per thread, and pass it
/// as std::ref(guided) to a Denoiser or a ReverseProcess.
template <class Scalar, class Model, class CondFn>
class ClassifierGuidedModel {
 public:
  using Index = Eigen::Index;  ///< index of a sample

  /// Use classifier_guidance() instead. Throws std::invalid_argument unless scale is finite.
  ClassifierGuidedModel(const GaussianDiffusion<Scalar>& process, Model model, CondFn cond_fn, double scale,
                        bool rescale_timesteps)
      : model_(std::move(model)),
        cond_fn_(std::move(cond_fn)),
        scale_(scale),
        process_(process),
        time_unit_(rescale_timesteps ? 1000.0 / static_cast<double>(process.original_num_timesteps()) : 1.0) {
    detail::check_finite("classifier_guidance", "scale", scale);
  }

  /// Returns the guided epsilon for x at model time t, a tensor of x's shape.
  template <class X, class T>
  [[nodiscard]] PlainTensor<X> operator()(const X& x, const T& t) {
    return detail::returned(x, [&](auto& out, const auto& in) { (*this)(in, t, out); });
  }
  /// Writes the guided output to `out`, which must have x's shape, or twice the channels for
  /// learned variances, and must not alias x.
  template <class X, class T, class Out>
  void operator()(const X& x, const T& t, Out& out) {
    constexpr const char* where = "classifier_guidance";
    constexpr bool plain = std::is_same_v<Out, PlainTensor<Out>>;
    static_assert(plain,
                  "diffusion: `out` of a guided model must be an Eigen::Tensor of x's scalar type, rank and layout");
    if constexpr (plain && detail::tensors_agree<Scalar, X, Out>()) {
      const auto& in = detail::evaluated(x);
      const auto& model_t = detail::evaluated(t);
      detail::check_model_time(where, in, model_t);
      detail::has_variances(where, out, in);  // throws if the shape of out is wrong
      auto& memory = detail::workspace<Workspace<Out>>(workspace_);
      detail::resize(memory.sigmas, detail::shape(model_t));
      for (Index n = 0; n < memory.sigmas.size(); ++n) {
        memory.sigmas(n) = sigma(static_cast<double>(model_t.data()[n]), n);
      }
      detail::call_model(where, "cond_fn's output", cond_fn_, in, model_t, memory.gradient, detail::shape(in));
      detail::call_model(where, "the model's output", model_, in, model_t, out, detail::shape(out));
      Out& epsilon = detail::prediction_in(where, out, in, memory.half);
      const auto coefficients = [&](Index n) { return std::array{1.0, -scale_ * memory.sigmas(n)}; };
      detail::affine(Eigen::DefaultDevice(), epsilon, coefficients, epsilon, memory.gradient);
      detail::set_prediction(out, epsilon);
    }
  }

 private:
  template <class Out>
  struct Workspace {
    Eigen::Tensor<double, 1> sigmas;
    Out gradient, half;
  };

  /// Returns sqrt(1 - abar) at model time t of sample n. Throws std::out_of_range unless t is
  /// between the model times of the first and the last timestep.
  double sigma(double t, Index n) const {
    // Round the ends like the times passed to a model, so that both are in range.
    const auto model_time = [this](double time) { return static_cast<double>(static_cast<Scalar>(time * time_unit_)); };
    const double first = model_time(process_.time.front()), last = model_time(process_.time.back());
    if (!(t >= first && t <= last)) {
      detail::fail<std::out_of_range>("classifier_guidance", "t[", n, "] = ", t, " is outside [", first, ", ", last,
                                      "]");
    }
    return process_.at_time(t / time_unit_).sigma;
  }

  Model model_;
  CondFn cond_fn_;
  double scale_;
  detail::InterpolatedProcess process_;
  double time_unit_;  // model time of one timestep of the original process
  std::any workspace_;
};

/// Returns an epsilon model guided by cond_fn(x, t) = d log p(y | x_t) / dx_t:
///
///     epsilon = model(x, t) - scale sqrt(1 - abar_t) cond_fn(x, t)
///
/// Use it with sample() and its samplers; for a ReverseProcess use ReverseProcess::with_cond_fn.
/// cond_fn is called like the model and gives a tensor of x's shape. It writes or returns the
/// tensor; a returned expression must not refer to local variables. Models are called as in
/// GuidedModel, with the same errors.
///
/// t is the model time: a timestep of the original process, times 1000 / (its number of timesteps)
/// if `rescale_timesteps`. Between two timesteps of `process`, log(sqrt(1 - abar) / sqrt(abar)) is
/// interpolated linearly. Throws std::out_of_range for t before the first or after the last
/// timestep of `process`, and std::invalid_argument unless scale is finite.
template <class Scalar, class Model, class CondFn>
[[nodiscard]] ClassifierGuidedModel<Scalar, Model, CondFn> classifier_guidance(const GaussianDiffusion<Scalar>& process,
                                                                               Model model, CondFn cond_fn,
                                                                               double scale = 1.0,
                                                                               bool rescale_timesteps = false) {
  return {process, std::move(model), std::move(cond_fn), scale, rescale_timesteps};
}

}  // namespace diffusion
