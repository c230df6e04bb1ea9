/// @file adaptive_projected.hpp
/// Classifier-free guidance without what saturates at large scales; Sadat et al. 2024 (APG).
#pragma once

#include <array>
#include <cmath>    // std::sqrt
#include <cstddef>  // std::size_t
#include <limits>
#include <stdexcept>  // std::invalid_argument
#include <unsupported/Eigen/CXX11/Tensor>
#include <vector>

#include "../detail/arguments.hpp"
#include "../detail/check.hpp"
#include "../detail/kernel/multiply_add.hpp"
#include "../detail/kernel/per_sample.hpp"
#include "../detail/shape.hpp"
#include "classifier_free.hpp"

namespace diffusion {

/// Adaptive projected guidance; Sadat et al. 2024 (APG): against the saturation that large scales bring, of the difference of
/// the outputs only a part eta of what is parallel to the conditional output is kept,
///     d        = cond - uncond + momentum d_before          (d_before: the last step's d, 0 in the first)
///     d'       = d min(1, norm_threshold / |d|)
///     parallel = <d', cond> / <cond, cond> cond
///     guided   = cond + (s - 1) (d' - (1 - eta) parallel)
/// with norms and products over a sample. The paper means predictions of x_0. With eta = 1, no momentum and no threshold it is
/// classifier-free guidance. d of a sample stays as it was in steps where its s is 1.
///
/// With momentum the model remembers: call GuidedModel::reset() before another run. (Another shape of x resets it too.)
struct AdaptiveProjectedGuidance {
  GuidanceScale scale;
  double eta = 0.0;
  double norm_threshold = std::numeric_limits<double>::infinity();  // r in the paper
  double momentum = 0.0;                                            // beta in the paper, where it is negative

  template <class Tensor>
  struct State {
    Eigen::Tensor<double, Tensor::NumDimensions, Tensor::Layout, typename Tensor::Index> d;  // where there is momentum
    std::vector<std::array<double, 2>> coefficients;  // {a, b} of each sample in guided = cond + a (d - b cond)
  };

  /// cond becomes the guided output. scales: of each sample, [N].
  template <class Tensor>
  void guide(Tensor& cond, const Tensor& uncond, const Eigen::Tensor<double, 1>& scales, State<Tensor>& state) const {
    constexpr const char* where = "AdaptiveProjectedGuidance";
    detail::check_finite(where, "eta", eta);
    detail::check_finite(where, "momentum", momentum);
    if (!(norm_threshold > 0.0)) {
      detail::fail<std::invalid_argument>(where, "norm_threshold = ", norm_threshold, " must be greater than 0");
    }
    if (cond.size() == 0) return;
    const Eigen::DefaultDevice device;
    const auto value = [](const Tensor& x, Eigen::Index i) { return static_cast<double>(x.data()[i]); };
    if (momentum != 0.0) {
      if (detail::shape(state.d) != detail::shape(cond)) {
        detail::resize(state.d, detail::shape(cond));
        state.d.setZero();
      }
      detail::for_each_value_by_sample(
          device, cond, [&](Eigen::Index n) { return scales(n) != 1.0; },
          [&](bool guided, Eigen::Index, Eigen::Index i) {
            double& d = state.d.data()[i];
            if (guided) d = detail::multiply_add(momentum, d, value(cond, i) - value(uncond, i));
          },
          [](Eigen::Index, bool) {});
    }
    const auto d_at = [&](Eigen::Index i) {
      return momentum != 0.0 ? state.d.data()[i] : value(cond, i) - value(uncond, i);
    };
    const double values = static_cast<double>(cond.size()) / static_cast<double>(scales.size());
    state.coefficients.resize(static_cast<std::size_t>(scales.size()));
    detail::per_sample_means(
        where, device, detail::argument("the conditional output", cond), [](Eigen::Index n) { return n; },
        [&](Eigen::Index, Eigen::Index i) {
          const double c = value(cond, i), d = d_at(i);
          return std::array{d * d, d * c, c * c};
        },
        [&](Eigen::Index n, const auto& means) {
          const double norm = std::sqrt(means[0] * values), parallel = means[2] > 0.0 ? means[1] / means[2] : 0.0;
          const double shrunk = norm > norm_threshold ? norm_threshold / norm : 1.0;
          state.coefficients[static_cast<std::size_t>(n)] = {(scales(n) - 1.0) * shrunk, (1.0 - eta) * parallel};
        });
    detail::for_each_value_by_sample(
        device, cond, [&](Eigen::Index n) { return state.coefficients[static_cast<std::size_t>(n)]; },
        [&](const std::array<double, 2>& ab, Eigen::Index, Eigen::Index i) {
          if (ab[0] == 0.0) return;  // s = 1: nothing is done to cond, not even rounding
          const double c = value(cond, i), orthogonal = detail::multiply_add(-ab[1], c, d_at(i));
          cond.data()[i] = static_cast<typename Tensor::Scalar>(detail::multiply_add(ab[0], orthogonal, c));
        },
        [](Eigen::Index, const auto&) {});
  }
};

}  // namespace diffusion
