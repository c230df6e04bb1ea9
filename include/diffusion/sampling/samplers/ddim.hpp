/// @file ddim.hpp
#pragma once

#include "../../detail/check.hpp"
#include "../../detail/kernel/linear_combination.hpp"
#include "../steps.hpp"

namespace diffusion {

/// Song, Meng, Ermon 2021 (DDIM), Eqs. (12), (16), with s = sigma / alpha:
///     x_to = alpha_to x_0 + sqrt(sigma_to^2 - deviation^2) epsilon + deviation noise
///     deviation = eta sigma_to sqrt(1 - s_to^2 / s^2)
/// eta = 0 is deterministic, and on a grid that is reversed() the inversion, from data to noise; eta = 1 is Ddpm. The
/// epsilon is the denoiser's, which need not be that of a clipped x_0 (DenoiserOptions::rederive_epsilon).
struct Ddim {
  double eta = 0.0;

  template <class Tensor>
  using State = OneCallState<Tensor>;

  void check() const { detail::check_in("Ddim", "eta", eta, 0.0, 1.0); }

  template <class Tensor, class Denoise, class Noise>
  void step(const Step& step, Tensor& x, const Denoise& denoise, const Noise& noise, State<Tensor>& state) const {
    denoise(x, step.from, state.prediction);
    const auto [down, up] = ancestral_step(step.from, step.to, eta);
    combine<Tensor>(x, {{down.alpha, state.prediction.x_start}, {down.sigma, state.prediction.epsilon}});
    add_step_noise(x, up, noise, state.noise);
  }
};

}  // namespace diffusion
