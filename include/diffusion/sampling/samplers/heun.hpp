/// @file heun.hpp
/// The Heun sampler of EDM.
#pragma once

#include <optional>

#include "../../detail/kernel/linear_combination.hpp"
#include "../churn.hpp"
#include "../steps.hpp"

namespace diffusion {

/// Heun's second-order method for dz / ds = epsilon, where z = x / alpha and s = sigma / alpha,
/// with churn. Karras et al. 2022 (EDM), Algorithm 2:
///
///     z'   = z + (s_to - s) epsilon(z, s)
///     z_to = z + (s_to - s) (epsilon(z, s) + epsilon(z', s_to)) / 2
///
/// A step calls the model twice, or once if it ends clean or starts without signal.
struct Heun {
  /// Noise added before each step; none by default.
  Churn churn = {};

  /// Memory of a run.
  template <class Tensor>
  using State = TwoCallState<Tensor>;

  /// Throws std::invalid_argument if a parameter is out of range.
  void check() const { churn.check("Heun"); }

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
      if (touches_clean_or_pure_noise(step)) {
        step_with_fixed_x_start(x, x, from, to, prediction.x_start, step.device);
        return {};
      }
      store(state.x, x);
      store(state.epsilon, prediction.epsilon);
      step_with_fixed_x_start(x, state.x, from, to, prediction.x_start, step.device);
      return to;
    }
    const double half = 0.5 * (to.sigma - to.alpha * noise_to_signal(from));  // alpha_to (s_to - s) / 2
    combine<Tensor>(x, {{to.alpha / from.alpha, state.x}, {half, state.epsilon}, {half, prediction.epsilon}},
                    step.device);
    return {};
  }
};

}  // namespace diffusion
