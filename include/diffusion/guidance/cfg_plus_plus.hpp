/// @file cfg_plus_plus.hpp
/// Guidance of x_0 with the unconditional noise.
#pragma once

#include <any>
#include <array>
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>  // std::move

#include "../detail/arguments.hpp"
#include "../detail/check.hpp"
#include "../detail/kernel/elementwise.hpp"
#include "detail/two_outputs.hpp"

namespace diffusion {

/// The denoiser that cfg_plus_plus() makes.
template <class Cond, class Uncond>
class CfgPlusPlus {
 public:
  /// cfg_plus_plus makes these.
  CfgPlusPlus(Cond denoise_cond, Uncond denoise_uncond, double scale)
      : cond_(std::move(denoise_cond)), uncond_(std::move(denoise_uncond)), scale_(scale) {
    detail::check_finite("cfg_plus_plus", "scale", scale);
  }

  /// prediction: of x_0 and epsilon, in tensors x_start and epsilon of x's shape.
  template <class X, class Level, class Prediction>
  void operator()(const X& x, const Level& level, Prediction& prediction) {
    constexpr const char* where = "cfg_plus_plus";
    auto& cond = detail::workspace<Prediction>(workspace_);
    const auto sizes = detail::shape(x);
    detail::resize(cond.x_start, sizes);
    detail::resize(cond.epsilon, sizes);
    uncond_(x, level, prediction);
    cond_(x, level, cond);
    detail::check_result(where, "the unconditional x_start", prediction.x_start, x, sizes);
    detail::check_result(where, "the unconditional epsilon", prediction.epsilon, x, sizes);
    detail::check_result(where, "the conditional x_start", cond.x_start, x, sizes);
    detail::apply(Eigen::DefaultDevice(), prediction.x_start, detail::CfgCombine(), std::array{scale_, 1.0},
                  cond.x_start, prediction.x_start);
  }

 private:
  Cond cond_;
  Uncond uncond_;
  double scale_;
  std::any workspace_;
};

/// CFG++; Chung et al. 2024, Algorithm 2: x_0 is guided, and the sampler adds the unconditional
/// noise to it again,
///
///     x_start = x_start_uncond + scale (x_start_cond - x_start_uncond)
///     epsilon = epsilon_uncond
///
/// with scale in [0, 1] in the paper. Made of two denoisers, callables denoise(x, level,
/// prediction) that write prediction.x_start and prediction.epsilon, it is one itself. Throws
/// std::invalid_argument unless scale is finite.
template <class Cond, class Uncond>
[[nodiscard]] CfgPlusPlus<Cond, Uncond> cfg_plus_plus(Cond denoise_cond, Uncond denoise_uncond, double scale) {
  return {std::move(denoise_cond), std::move(denoise_uncond), scale};
}

}  // namespace diffusion
