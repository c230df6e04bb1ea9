/// @file classifier_guidance.hpp
/// Guidance of a model of epsilon by the gradient of a classifier; Dhariwal, Nichol 2021, Algorithm 2.
#pragma once

#include <Eigen/Core>
#include <algorithm>  // std::upper_bound
#include <any>
#include <array>
#include <cmath>      // std::exp, std::log, std::sqrt, std::isfinite
#include <cstddef>    // std::size_t
#include <stdexcept>  // std::invalid_argument, std::out_of_range
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>  // std::move
#include <vector>

#include "detail/affine.hpp"
#include "detail/guided_models.hpp"
#include "detail/model_call.hpp"
#include "detail/operands.hpp"
#include "gaussian_diffusion.hpp"
#include "tensor.hpp"

namespace diffusion {

/// The model that classifier_guidance makes.
template <class Scalar, class Model, class CondFn>
class ClassifierGuidedModel {
 public:
  using Index = Eigen::Index;

  /// classifier_guidance makes these.
  ClassifierGuidedModel(const GaussianDiffusion<Scalar>& process, Model model, CondFn cond_fn, double scale,
                        bool rescale_timesteps)
      : model_(std::move(model)),
        cond_fn_(std::move(cond_fn)),
        scale_(scale),
        sqrt_one_minus_alphas_cumprod_(process.sqrt_one_minus_alphas_cumprod()),
        sqrt_recipm1_alphas_cumprod_(process.sqrt_recipm1_alphas_cumprod()) {
    if (!std::isfinite(scale)) {
      detail::fail<std::invalid_argument>("classifier_guidance", "scale = ", scale, " is not finite");
    }
    const double unit = rescale_timesteps ? 1000.0 / static_cast<double>(process.original_num_timesteps()) : 1.0;
    for (const Index t : process.timestep_map()) {
      told_.push_back(static_cast<double>(static_cast<Scalar>(static_cast<double>(t) * unit)));
    }
  }

  template <class X, class T>
  [[nodiscard]] PlainTensor<X> operator()(const X& x, const T& t) {
    return detail::returned(x, [&](auto& out, const auto& in) { (*this)(in, t, out); });
  }
  /// out: of x's shape or, of learned variances, with twice the channels. It may not be x.
  template <class X, class T, class Out>
  void operator()(const X& x, const T& t, Out& out) {
    constexpr const char* where = "classifier_guidance";
    constexpr bool plain = std::is_same_v<Out, PlainTensor<Out>>;
    static_assert(plain, "diffusion: a guided model writes an Eigen::Tensor of x's scalar type, rank and layout");
    if constexpr (plain && detail::tensors_agree<Scalar, X, Out>()) {
      const auto& in = detail::stored(x);
      const auto& told = detail::stored(t);
      detail::check_told(where, in, told);
      detail::learns_variances(where, out, in);  // or throws
      auto& kept = detail::kept<Workspace<Out>>(workspace_);
      detail::resize(kept.sigmas, detail::shape(told));
      for (Index n = 0; n < kept.sigmas.size(); ++n) {
        kept.sigmas(n) = sigma(static_cast<double>(told.data()[n]), n);
      }
      detail::call_model(where, "cond_fn's output", cond_fn_, in, told, kept.gradient, detail::shape(in));
      detail::call_model(where, "the model's output", model_, in, told, out, detail::shape(out));
      detail::with_prediction(where, out, in, kept.half, [&](Out& epsilon) {
        const auto coefficients = [&](Index n) { return std::array{1.0, -scale_ * kept.sigmas(n)}; };
        detail::affine(Eigen::DefaultDevice(), epsilon, false, coefficients, epsilon, kept.gradient);
      });
    }
  }

 private:
  template <class Out>
  struct Workspace {
    Eigen::Tensor<double, 1> sigmas;
    Out gradient, half;
  };

  /// sqrt(1 - abar) at t; between two timesteps by interpolation of log(sqrt(1 - abar) / sqrt(abar)).
  double sigma(double t, Index n) const {
    if (!(t >= told_.front() && t <= told_.back())) {
      detail::fail<std::out_of_range>("classifier_guidance", "t[", n, "] = ", t, " is outside [", told_.front(), ", ",
                                      told_.back(), "]");
    }
    const auto above = std::upper_bound(told_.begin(), told_.end(), t);
    const auto k = static_cast<Index>(above - told_.begin()) - 1;
    const double below = told_[static_cast<std::size_t>(k)];
    if (t == below) return sqrt_one_minus_alphas_cumprod_[k];
    const double part = (t - below) / (*above - below);
    const double log_ratio =
        (1.0 - part) * std::log(sqrt_recipm1_alphas_cumprod_[k]) + part * std::log(sqrt_recipm1_alphas_cumprod_[k + 1]);
    return 1.0 / std::sqrt(1.0 + std::exp(-2.0 * log_ratio));
  }

  Model model_;
  CondFn cond_fn_;
  double scale_;
  Eigen::ArrayXd sqrt_one_minus_alphas_cumprod_;
  Eigen::ArrayXd sqrt_recipm1_alphas_cumprod_;
  std::vector<double> told_;  // t of each step, as a model is told it
  std::any workspace_;
};

/// The model of epsilon that is guided by cond_fn(x, t) = d log p(y | x_t) / dx_t,
///     epsilon = model(x, t) - scale sqrt(1 - abar_t) cond_fn(x, t)
/// for samplers other than those of ReverseProcess, which has with_cond_fn. cond_fn is called as the model is, and gives a
/// tensor of x's shape (written, or returned; an expression must not refer to local variables). How a model is called and what is thrown is as in guidance.hpp; besides, std::out_of_range for a t that
/// is not between timesteps of the process. t is as the model is told it: a timestep of the original process, times 1000 / its
/// length if `rescale_timesteps`; between two of them log(sqrt(1 - abar) / sqrt(abar)) is interpolated.
template <class Scalar, class Model, class CondFn>
[[nodiscard]] ClassifierGuidedModel<Scalar, Model, CondFn> classifier_guidance(const GaussianDiffusion<Scalar>& process,
                                                                               Model model, CondFn cond_fn,
                                                                               double scale = 1.0,
                                                                               bool rescale_timesteps = false) {
  return {process, std::move(model), std::move(cond_fn), scale, rescale_timesteps};
}

}  // namespace diffusion
