/// @file tcd.hpp
/// The sampler of trajectory consistency models.
#pragma once

#include <cmath>  // std::floor, std::sqrt

#include "../../detail/check.hpp"
#include "../../detail/kernel/linear_combination.hpp"
#include "../steps.hpp"

namespace diffusion {

/// Strategic stochastic sampling of a trajectory consistency model. Zheng et al. 2024 (TCD),
/// Algorithm 4: each step goes down to timestep floor((1 - eta) t_to) without noise, then back up
/// to t_to by noise.
struct Tcd {
  /// Amount of noise, 0 to 1; an argument of TCDScheduler.step in diffusers. 0 is Ddim. 1 goes down
  /// to timestep 0 in each step, much like Lcm.
  double eta = 0.3;

  /// Memory of a run.
  template <class Tensor>
  using State = NoiseState<Tensor>;

  /// Throws std::invalid_argument unless 0 <= eta <= 1.
  void check() const { detail::check_in("Tcd", "eta", eta, 0.0, 1.0); }

  /// Throws std::invalid_argument if eta > 0 and the grid has no timesteps (edm_grid).
  template <class Tensor, class Noise>
  NoiseLevel begin(const Step& step, Tensor&, const Noise&, State<Tensor>&) const {
    if (eta > 0.0 && step.first) check_has_timesteps("Tcd", step.grid);
    return step.from;
  }
  /// Moves x to step.to.
  template <class Tensor, class Noise>
  void advance(const Step& step, const ModelCall&, Tensor& x, Prediction<Tensor>& prediction, const Noise& noise,
               State<Tensor>& state) const {
    NoiseLevel down = step.to;
    if (eta > 0.0 && step.to.sigma > 0.0) {
      down = step.grid.at_time(eta == 1.0 ? 0.0 : std::floor((1.0 - eta) * step.to.t));
      if (is_zero_length(step.to, down)) down = step.to;
    }
    // From `down` to `to`, x is scaled with the signal and noise makes up the rest of sigma.
    const double scale = step.to.alpha == down.alpha ? 1.0 : step.to.alpha / down.alpha, below = scale * down.sigma;
    combine<Tensor>(x, {{scale * down.alpha, prediction.x_start}, {below, prediction.epsilon}}, step.device);
    const double missing = (step.to.sigma - below) * (step.to.sigma + below);
    add_step_noise(x, missing > 0.0 ? std::sqrt(missing) : 0.0, noise, state.noise, step.device);
  }
};

}  // namespace diffusion
