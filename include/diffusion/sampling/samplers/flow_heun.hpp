/// @file flow_heun.hpp
/// The Heun sampler for flow matching.
#pragma once

#include "../../detail/kernel/linear_combination.hpp"
#include "../churn.hpp"
#include "../steps.hpp"

namespace diffusion {

/// Heun's second-order method for flow matching. On the straight path it solves
///
///     x           = (1 - sigma) x_0 + sigma epsilon
///     dx / dsigma = epsilon - x_0
///
/// On any other path it is applied to y = x / (alpha + sigma) and u = sigma / (alpha + sigma), for
/// which the path is straight: y = (1 - u) x_0 + u epsilon. A step calls the model twice, or once
/// if it ends clean. Churn moves x up along the path. (The churn of diffusers'
/// FlowMatchHeunDiscreteScheduler leaves the path, so the variance of its samples does not converge
/// to that of the data.)
struct FlowHeun {
  /// Noise added before each step; none by default.
  Churn churn = {};

  /// Memory of a run.
  template <class Tensor>
  using State = TwoCallState<Tensor>;

  /// Throws std::invalid_argument if a parameter is out of range.
  void check() const { churn.check("FlowHeun"); }

  /// One step; sample() calls it.
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
