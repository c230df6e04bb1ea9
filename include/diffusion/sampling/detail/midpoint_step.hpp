/// @file midpoint_step.hpp
/// The midpoint step of Dpm2 and Dpm2Ancestral.
#pragma once

#include "../steps.hpp"

namespace diffusion {
namespace detail {

/// Moves x from `from` to `to` along the epsilon at the level halfway in log(sigma / alpha). An
/// Euler step leads to that level.
template <class Tensor, class Denoise, class State>
void midpoint_step(Tensor& x, const Step& step, const NoiseLevel& from, const NoiseLevel& to, const Denoise& denoise,
                   State& state) {
  denoise(x, from, state.first);
  if (touches_clean_or_pure_noise(step) || to.sigma == 0.0)
    return step_with_fixed_x_start(x, x, from, to, state.first.x_start);
  const NoiseLevel middle = midpoint_in_log_sigma(step.grid, from, to);
  step_with_fixed_x_start(state.guess, x, from, middle, state.first.x_start);
  denoise(state.guess, middle, state.second);
  step_with_fixed_epsilon(x, x, from, to, state.second.epsilon);
}

}  // namespace detail
}  // namespace diffusion
