/// @file classifier_free.hpp
/// Classifier-free guidance, and the guidance scale as a function of model time.
#pragma once

#include <array>
#include <cmath>       // std::isfinite, std::sqrt
#include <cstddef>     // std::size_t
#include <functional>  // std::function
#include <stdexcept>   // std::invalid_argument
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>  // std::move
#include <vector>

#include "../detail/check.hpp"
#include "../detail/kernel/elementwise.hpp"
#include "../detail/kernel/multiply_add.hpp"
#include "../detail/kernel/per_sample.hpp"
#include "detail/two_outputs.hpp"

namespace diffusion {

/// The guidance scale s at model time t. s = 1 gives the conditional output, s = 0 the
/// unconditional output. Papers that write (1 + w) cond - w uncond mean s = 1 + w. Converts
/// implicitly from a number or from a function of t, double -> double.
class GuidanceScale {
 public:
  /// The same scale at every t. Throws std::invalid_argument unless s is finite.
  GuidanceScale(double s) : at_([s](double) { return s; }) { detail::check_finite("GuidanceScale", "scale", s); }
  /// The scale s(t).
  template <class F, std::enable_if_t<std::is_invocable_r_v<double, const F&, double> &&
                                          !std::is_same_v<std::decay_t<F>, GuidanceScale>,
                                      int> = 0>
  GuidanceScale(F s) : at_(std::move(s)) {}

  /// Returns the scale at model time t. Throws std::invalid_argument unless it is finite.
  [[nodiscard]] double operator()(double t) const {
    const double s = at_(t);
    if (!std::isfinite(s)) {
      detail::fail<std::invalid_argument>("GuidanceScale", "scale(", t, ") = ", s, " is not finite");
    }
    return s;
  }

 private:
  std::function<double(double)> at_;
};

/// Returns a scale that is s for low <= t <= high and 1 elsewhere, where t is the model time of
/// each sample. Outside the interval the output is the conditional one; Kynkaanniemi et al. 2024.
/// The unconditional model of guided_model() is not called if no sample of a batch is inside.
/// Throws std::invalid_argument unless low <= high.
[[nodiscard]] inline GuidanceScale limited_interval(GuidanceScale s, double low, double high) {
  if (!(low <= high)) {
    detail::fail<std::invalid_argument>("limited_interval", "low = ", low, " must be at most high = ", high);
  }
  return [s = std::move(s), low, high](double t) { return low <= t && t <= high ? s(t) : 1.0; };
}

/// Classifier-free guidance. Ho, Salimans 2022, Eq. (6):
///
///     guided = uncond + s (cond - uncond)
///
/// If `uncond` is a worse model of the same condition, this is autoguidance (Karras et al. 2024).
/// If `uncond` has a condition to avoid, that condition is a negative prompt.
///
/// `rescale` moves the standard deviation back towards that of the conditional output; Lin et al.
/// 2024, Section 3.4:
///
///     guided = guided (phi std(cond) / std(guided) + 1 - phi),   phi in [0, 1]
///
/// where std is over the values of a sample. A guided sample whose values are all equal is not
/// rescaled.
///
/// Guidance between two model times, used by a Denoiser:
///
/// @code{.cpp}
/// #include <diffusion/diffusion.hpp>
/// #include <functional>
///
/// int main() {
///   using Image = Eigen::Tensor<float, 4, Eigen::RowMajor>;
///   using Time = Eigen::Tensor<float, 1>;
///   const auto cond = [](const Image& x, const Time&, Image& out) { out = 0.5f * x; };
///   const auto uncond = [](const Image& x, const Time&, Image& out) { out = 0.25f * x; };
///   const auto scale = diffusion::limited_interval(3.0, 200.0, 800.0);
///   auto guided = diffusion::guided_model(cond, uncond, diffusion::ClassifierFreeGuidance{scale});
///   const diffusion::Denoiser denoiser(std::ref(guided), diffusion::ModelMeanType::epsilon);
///
///   Image x(1, 3, 8, 8);
///   x.setConstant(1.0f);
///   const auto inside = denoiser(x, {500, 0.6, 0.8});   // 0.25 + 3 (0.5 - 0.25) = 1
///   const auto outside = denoiser(x, {900, 0.6, 0.8});  // 0.5, the conditional output
///   return inside.epsilon(0, 0, 0, 0) == 1.0f && outside.epsilon(0, 0, 0, 0) == 0.5f ? 0 : 1;
/// }
/// @endcode
struct ClassifierFreeGuidance {
  GuidanceScale scale;   ///< s, a number or a function of model time
  double rescale = 0.0;  ///< phi, in [0, 1]; Lin et al. use 0.7

  /// Workspace of a GuidedModel.
  template <class Tensor>
  struct State {
    std::vector<double> factors;  ///< phi std(cond) / std(guided) + 1 - phi of each sample
  };

  /// Replaces cond by the guided output; GuidedModel calls it. `scales` has shape [N], one scale
  /// per sample. Throws std::invalid_argument unless 0 <= rescale <= 1.
  template <class Tensor>
  void guide(Tensor& cond, const Tensor& uncond, const Eigen::Tensor<double, 1>& scales, State<Tensor>& state) const {
    detail::check_in("ClassifierFreeGuidance", "rescale", rescale, 0.0, 1.0);
    const Eigen::DefaultDevice device;
    state.factors.assign(static_cast<std::size_t>(scales.size()), 1.0);
    if (rescale != 0.0) {
      struct Sample {
        double scale;
        detail::Welford cond{}, guided{};
      };
      detail::for_each_value_by_sample(
          device, cond, [&](Eigen::Index n) { return Sample{scales(n)}; },
          [&](Sample& sample, Eigen::Index p, Eigen::Index i) {
            const auto c = static_cast<double>(cond.data()[i]), u = static_cast<double>(uncond.data()[i]);
            const double recip_count = 1.0 / static_cast<double>(p + 1);
            sample.cond.add(c, recip_count);
            sample.guided.add(detail::CfgCombine()(std::array{sample.scale, 1.0}, c, u), recip_count);
          },
          [&](Eigen::Index n, const Sample& sample) {
            if (sample.guided.sum == 0.0) return;
            const double ratio = std::sqrt(sample.cond.sum / sample.guided.sum);  // of the std; the counts cancel
            state.factors[static_cast<std::size_t>(n)] = detail::multiply_add(rescale, ratio - 1.0, 1.0);
          });
    }
    const auto coefficients = [&](Eigen::Index n) {
      return std::array{scales(n), state.factors[static_cast<std::size_t>(n)]};
    };
    detail::apply(device, cond, detail::CfgCombine(), coefficients, cond, uncond);
  }
};

}  // namespace diffusion
