/// @file heun.hpp
/// The Heun sampler of EDM.
#pragma once

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

  /// One step; sample() calls it.
  template <class Tensor, class Denoise, class Noise>
  void step(const Step& step, Tensor& x, const Denoise& denoise, const Noise& noise, State<Tensor>& state) const {
    const NoiseLevel from = churn.apply(step, x, noise, state.noise), &to = step.to;
    denoise(x, from, state.first);
    if (touches_clean_or_pure_noise(step)) return step_with_fixed_x_start(x, x, from, to, state.first.x_start);
    step_with_fixed_x_start(state.guess, x, from, to, state.first.x_start);
    denoise(state.guess, to, state.second);
    const double half = 0.5 * (to.sigma - to.alpha * noise_to_signal(from));  // alpha_to (s_to - s) / 2
    combine<Tensor>(x, {{to.alpha / from.alpha, x}, {half, state.first.epsilon}, {half, state.second.epsilon}});
  }
};

}  // namespace diffusion
