/// @file dpm_solver_pp_sde.hpp
#pragma once

#include <stdexcept>  // std::invalid_argument

#include "../../detail/check.hpp"
#include "../../detail/kernel/linear_combination.hpp"
#include "../steps.hpp"

namespace diffusion {

/// DPM-Solver++ (stochastic), singlestep of second order; k-diffusion's sample_dpmpp_sde. At lambda_mid = lambda + r h an
/// ancestral half step is made with noise of its own; the whole step, ancestral too, goes by
///     x_0 = (1 - 1 / (2 r)) x_0(x) + 1 / (2 r) x_0(x_mid)
/// Two calls of the model a step, one where it ends clean. The noise of a step is independent of that of others: a run with
/// other stops follows another Brownian path, where k-diffusion's keeps it. DpmSolverPP with eta = 1 is the SDE of Lu et al.
/// 2022, which this is not.
struct DpmSolverPPSde {
  double eta = 1.0;
  double s_noise = 1.0;
  double r = 0.5;

  template <class Tensor>
  using State = TwoCallState<Tensor>;

  void check() const {
    detail::check_not_negative("DpmSolverPPSde", "eta", eta);
    detail::check_not_negative("DpmSolverPPSde", "s_noise", s_noise);
    if (!(r > 0.0 && r < 1.0)) detail::fail<std::invalid_argument>("DpmSolverPPSde", "r = ", r, " is outside (0, 1)");
  }

  template <class Tensor, class Denoise, class Noise>
  void step(const Step& step, Tensor& x, const Denoise& denoise, const Noise& noise, State<Tensor>& state) const {
    const NoiseLevel &from = step.from, &to = step.to;
    denoise(x, from, state.first);
    if (touches_clean_or_pure_noise(step)) return step_with_fixed_x_start(x, x, from, to, state.first.x_start);

    const NoiseLevel middle = step.grid.at(half_log_snr(from) + r * half_log_snr_rise(from, to));
    const auto half = ancestral_step(from, middle, eta);
    step_with_fixed_x_start(state.guess, x, from, half.down, state.first.x_start);
    add_step_noise(state.guess, half.up * s_noise, noise, state.noise);
    denoise(state.guess, middle, state.second);

    const auto [down, up] = ancestral_step(from, to, eta);
    const double second = 0.5 / r;
    combine<Tensor>(state.first.x_start, {{1.0 - second, state.first.x_start}, {second, state.second.x_start}});
    step_with_fixed_x_start(x, x, from, down, state.first.x_start);
    add_step_noise(x, up * s_noise, noise, state.noise);
  }
};

}  // namespace diffusion
