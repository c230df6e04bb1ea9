/// @file midpoint_step.hpp
/// The midpoint step of Dpm2 and Dpm2Ancestral.
#pragma once

#include <optional>

#include "../steps.hpp"

namespace diffusion {
namespace detail {

/// Moves x from `from` to `to` along the epsilon at the level halfway in log(sigma / alpha). An
/// Euler step leads to that level, which is returned to ask for the second prediction.
template <class Tensor>
std::optional<NoiseLevel> midpoint_step(const Step& step, const ModelCall& call, Tensor& x,
                                        Prediction<Tensor>& prediction, const NoiseLevel& from, const NoiseLevel& to,
                                        TwoCallState<Tensor>& state) {
  if (call.index == 1) {
    step_with_fixed_epsilon(x, state.x, from, to, prediction.epsilon, step.device);
    return {};
  }
  if (touches_clean_or_pure_noise(step) || to.sigma == 0.0) {
    step_with_fixed_x_start(x, x, from, to, prediction.x_start, step.device);
    return {};
  }
  const NoiseLevel middle = midpoint_in_log_sigma(step.grid, from, to);
  store(state.x, x);
  step_with_fixed_x_start(x, state.x, from, middle, prediction.x_start, step.device);
  return middle;
}

}  // namespace detail
}  // namespace diffusion
