/// @file flow_heun.hpp
#pragma once

#include "../../detail/kernel/linear_combination.hpp"
#include "../churn.hpp"
#include "../steps.hpp"

namespace diffusion {

/// Heun's second-order method for dx / dsigma = epsilon - x_0 on the straight path x = (1 - sigma) x_0 + sigma epsilon.
/// On any other path it is that of y = x / (alpha + sigma) and u = sigma / (alpha + sigma), which is straight:
/// y = (1 - u) x_0 + u epsilon. Two calls of the model a step, one where it ends clean. (With churn, up along the path, which
/// diffusers' does not follow: its runs do not tend to the data's variance.)
struct FlowHeun {
  Churn churn = {};

  template <class Tensor>
  using State = TwoCallState<Tensor>;

  void check() const { churn.check("FlowHeun"); }

  template <class Tensor, class Denoise, class Noise>
  void step(const Step& step, Tensor& x, const Denoise& denoise, const Noise& noise, State<Tensor>& state) const {
    const NoiseLevel from = churn.apply(step, x, noise, state.noise), &to = step.to;
    denoise(x, from, state.first);
    if (to.sigma == 0.0) return step_with_fixed_x_start(x, x, from, to, state.first.x_start);
    step_with_fixed_x_start(state.guess, x, from, to, state.first.x_start);
    denoise(state.guess, to, state.second);
    const double scale = to.alpha + to.sigma;
    const double half = 0.5 * scale * (to.sigma / scale - from.sigma / (from.alpha + from.sigma));
    combine<Tensor>(x, {{scale / (from.alpha + from.sigma), x},
                        {half, state.first.epsilon},
                        {-half, state.first.x_start},
                        {half, state.second.epsilon},
                        {-half, state.second.x_start}});
  }
};

}  // namespace diffusion
