/// @file ddim.hpp
/// The DDIM sampler.
#pragma once

#include "../../detail/check.hpp"
#include "../../detail/kernel/linear_combination.hpp"
#include "../steps.hpp"

namespace diffusion {

/// DDIM, deterministic by default. Song, Meng, Ermon 2021, Eqs. (12) and (16), with
/// s = sigma / alpha:
///
///     x_to      = alpha_to x_0 + sqrt(sigma_to^2 - deviation^2) epsilon + deviation noise
///     deviation = eta sigma_to sqrt(1 - s_to^2 / s^2)
///
/// With eta = 0, a run on a reversed() grid goes from data to noise (DDIM inversion). eta = 1 is
/// Ddpm. The step uses the denoiser's epsilon, which may differ from the epsilon of a clipped x_0
/// (DenoiserOptions::rederive_epsilon).
struct Ddim {
  /// Amount of noise added in each step, from 0 (none) to 1 (DDPM). An argument of
  /// DDIMScheduler.step in diffusers.
  double eta = 0.0;

  /// Memory of a run.
  template <class Tensor>
  using State = NoiseState<Tensor>;

  /// Throws std::invalid_argument unless 0 <= eta <= 1.
  void check() const { detail::check_in("Ddim", "eta", eta, 0.0, 1.0); }

  /// Moves x to step.to.
  template <class Tensor, class Noise>
  void advance(const Step& step, const ModelCall&, Tensor& x, Prediction<Tensor>& prediction, const Noise& noise,
               State<Tensor>& state) const {
    const auto [down, up] = ancestral_step(step.from, step.to, eta);
    combine<Tensor>(x, {{down.alpha, prediction.x_start}, {down.sigma, prediction.epsilon}}, step.device);
    add_step_noise(x, up, noise, state.noise, step.device);
  }
};

}  // namespace diffusion
