/// @file flow_heun.hpp
/// The Heun sampler for flow matching.
#pragma once

#include <optional>

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

  /// Adds the noise of churn.
  template <class Tensor, class Noise>
  NoiseLevel begin(const Step& step, Tensor& x, const Noise& noise, State<Tensor>& state) const {
    return state.from = churn.apply(step, x, noise, state.noise);
  }
  /// The second call is at step.to.
  template <class Tensor, class Noise>
  std::optional<NoiseLevel> advance(const Step& step, const ModelCall& call, Tensor& x, Prediction<Tensor>& prediction,
                                    const Noise&, State<Tensor>& state) const {
    const NoiseLevel &from = state.from, &to = step.to;
    if (call.index == 0) {
      if (to.sigma == 0.0) {
        step_with_fixed_x_start(x, x, from, to, prediction.x_start, step.device);
        return {};
      }
      store(state.x, x);
      store(state.epsilon, prediction.epsilon);
      store(state.x_start, prediction.x_start);
      step_with_fixed_x_start(x, state.x, from, to, state.x_start, step.device);
      return to;
    }
    const double scale = to.alpha + to.sigma;
    const double half = 0.5 * scale * (to.sigma / scale - from.sigma / (from.alpha + from.sigma));
    combine<Tensor>(x,
                    {{scale / (from.alpha + from.sigma), state.x},
                     {half, state.epsilon},
                     {-half, state.x_start},
                     {half, prediction.epsilon},
                     {-half, prediction.x_start}},
                    step.device);
    return {};
  }
};

}  // namespace diffusion
