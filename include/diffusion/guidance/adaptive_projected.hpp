/// @file adaptive_projected.hpp
/// Adaptive projected guidance (APG), which avoids saturation at large guidance scales.
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

/// Adaptive projected guidance; Sadat et al 2024 (APG). Large guidance scales saturate samples. To
/// avoid this, APG keeps only a fraction eta of the component of the update that is parallel to the
/// conditional output:
///
///     d        = cond - uncond + momentum d_before    (d of the previous step, 0 in the first)
///     d'       = d min(1, norm_threshold / |d|)
///     parallel = <d', cond> / <cond, cond> cond       (0 if cond is 0)
///     guided   = cond + (s - 1) (d' - (1 - eta) parallel)
///
/// Norms and inner products are per sample. The paper applies this to predictions of x_0. With
/// eta = 1, no momentum and no threshold, it is classifier-free guidance.
///
/// With momentum, d is kept between calls: call GuidedModel::reset() before another run. A change
/// of x's shape also resets it. d of a sample does not change in steps where its s is 1.
struct AdaptiveProjectedGuidance {
  GuidanceScale scale;                                              ///< s, a number or a function of model time
  double eta = 0.0;                                                 ///< fraction of the parallel component kept
  double norm_threshold = std::numeric_limits<double>::infinity();  ///< bound on |d'|; r in the paper
  double momentum = 0.0;                                            ///< beta in the paper, where it is negative

  /// Workspace of a GuidedModel, and the momentum of a run.
  template <class Tensor>
  struct State {
    /// d of the previous step; empty without momentum.
    Eigen::Tensor<double, Tensor::NumDimensions, Tensor::Layout, typename Tensor::Index> d;
    /// {a, b} of each sample in guided = cond + a (d - b cond).
    std::vector<std::array<double, 2>> coefficients;
  };

  /// Replaces cond by the guided output; GuidedModel calls it. `scales` has shape [N], one scale
  /// per sample. Throws std::invalid_argument unless eta and momentum are finite and norm_threshold
  /// is positive.
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
          if (ab[0] == 0.0) return;  // for s = 1, cond keeps its bits
          const double c = value(cond, i), orthogonal = detail::multiply_add(-ab[1], c, d_at(i));
          cond.data()[i] = static_cast<typename Tensor::Scalar>(detail::multiply_add(ab[0], orthogonal, c));
        },
        [](Eigen::Index, const auto&) {});
  }
};

}  // namespace diffusion
