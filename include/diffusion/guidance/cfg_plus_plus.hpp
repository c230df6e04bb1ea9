/// @file cfg_plus_plus.hpp
/// CFG++: guidance of x_0 that keeps the unconditional noise.
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

/// A denoiser that combines a conditional and an unconditional denoiser; made by cfg_plus_plus().
/// It reuses its workspace between calls, so its call is not const: use one object per thread.
template <class Cond, class Uncond>
class CfgPlusPlus {
 public:
  /// Use cfg_plus_plus() instead. Throws std::invalid_argument unless scale is finite.
  CfgPlusPlus(Cond denoise_cond, Uncond denoise_uncond, double scale)
      : cond_(std::move(denoise_cond)), uncond_(std::move(denoise_uncond)), scale_(scale) {
    detail::check_finite("cfg_plus_plus", "scale", scale);
  }

  /// Writes x_0 and epsilon to prediction.x_start and prediction.epsilon. Throws
  /// std::invalid_argument unless the tensors that the denoisers write have x's shape.
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

/// Returns a denoiser for CFG++; Chung et al 2024, Algorithm 2. Only x_0 is guided; epsilon, the
/// noise that a sampler adds to x_0 again, is the unconditional one:
///
///     x_start = x_start_uncond + scale (x_start_cond - x_start_uncond)
///     epsilon = epsilon_uncond
///
/// Use it with a sampler that reads epsilon, such as Ddim{eta}. Euler and DpmSolverPP read x_0
/// alone, so they are guided as by classifier-free guidance.
///
/// The paper takes scale in [0, 1]. Both arguments are denoisers, which are callables
/// denoise(x, level, prediction) that write prediction.x_start and prediction.epsilon; so is the
/// result. Throws std::invalid_argument unless scale is finite.
template <class Cond, class Uncond>
[[nodiscard]] CfgPlusPlus<Cond, Uncond> cfg_plus_plus(Cond denoise_cond, Uncond denoise_uncond, double scale) {
  return {std::move(denoise_cond), std::move(denoise_uncond), scale};
}

}  // namespace diffusion
