/// @file flow_euler.hpp
#pragma once

#include "../detail/level_steps.hpp"

namespace diffusion {

/// Euler's method for dx / dsigma = epsilon - x_0 on the straight path x = (1 - sigma) x_0 + sigma epsilon:
///     x_to = x + (sigma_to - sigma) (epsilon - x_0) = (1 - sigma_to) x_0 + sigma_to epsilon
/// Stochastic, epsilon is drawn anew at every step. The step is exact for constant predictions on any path, where it is
/// Euler's.
struct FlowEuler {
  bool stochastic = false;

  template <class Tensor>
  struct State {
    Prediction<Tensor> prediction;
    Tensor noise;
  };

  template <class Tensor, class Denoise, class Noise>
  void step(const Step& step, Tensor& x, const Denoise& denoise, const Noise& noise, State<Tensor>& state) const {
    denoise(x, step.from, state.prediction);
    if (!stochastic) return detail::move_by_x_start(x, x, step.from, step.to, state.prediction.x_start);
    detail::combine<Tensor>(x, {{step.to.alpha, state.prediction.x_start}});
    detail::add_step_noise(x, step.to.sigma, noise, state.noise);
  }
};

}  // namespace diffusion
