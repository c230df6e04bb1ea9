/// @file dpm_solver_pp_2s.hpp
#pragma once

#include "../../detail/check.hpp"
#include "../steps.hpp"

namespace diffusion {

/// DPM-Solver++(2S) with ancestral noise: Lu et al. 2022 (DPM-Solver++), Algorithm 1 with r = 1/2, down to the level of
/// EulerAncestral, then noise; k-diffusion's sample_dpmpp_2s_ancestral. With lambda_mid in the middle,
///     x_mid = (sigma_mid / sigma) x + alpha_mid (1 - exp(lambda - lambda_mid)) x_0(x)
///     x_down = (sigma_down / sigma) x + alpha_down (1 - exp(lambda - lambda_down)) x_0(x_mid)
/// Two calls of the model a step, one where it ends clean. eta = 0 is DPM-Solver++(2S).
struct DpmSolverPP2SAncestral {
  double eta = 1.0;
  double s_noise = 1.0;

  template <class Tensor>
  struct State {
    Prediction<Tensor> prediction;
    Tensor middle, noise;
  };

  void check() const {
    detail::check_not_negative("DpmSolverPP2SAncestral", "eta", eta);
    detail::check_not_negative("DpmSolverPP2SAncestral", "s_noise", s_noise);
  }

  template <class Tensor, class Denoise, class Noise>
  void step(const Step& step, Tensor& x, const Denoise& denoise, const Noise& noise, State<Tensor>& state) const {
    const NoiseLevel& from = step.from;
    const auto [down, up] = ancestral_step(from, step.to, eta);
    denoise(x, from, state.prediction);
    if (from.alpha > 0.0 && down.sigma > 0.0) {
      const NoiseLevel middle = midpoint_in_log_sigma(step.grid, from, down);
      step_with_fixed_x_start(state.middle, x, from, middle, state.prediction.x_start);
      denoise(state.middle, middle, state.prediction);
    }
    step_with_fixed_x_start(x, x, from, down, state.prediction.x_start);
    add_step_noise(x, up * s_noise, noise, state.noise);
  }
};

}  // namespace diffusion
