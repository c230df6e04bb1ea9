/// @file dpm_solver_pp_sde.hpp
/// The stochastic singlestep DPM-Solver++ of k-diffusion.
#pragma once

#include <optional>
#include <stdexcept>  // std::invalid_argument

#include "../../detail/check.hpp"
#include "../../detail/kernel/linear_combination.hpp"
#include "../steps.hpp"

namespace diffusion {

/// DPM-Solver++ (stochastic), a singlestep method of second order; k-diffusion's sample_dpmpp_sde.
/// An ancestral step leads to x_mid at lambda_mid = lambda + r h. The whole step, also ancestral,
/// starts again from x and uses
///
///     x_0 = (1 - 1 / (2 r)) x_0(x) + 1 / (2 r) x_0(x_mid)
///
/// A step calls the model twice, or once if it ends clean or starts without signal. Each noise is
/// independent of all others, so a run on another grid follows another Brownian path; k-diffusion's
/// sampler keeps the path. This is not the SDE solver of Lu et al. 2022, which is DpmSolverPP with
/// eta = 1.
struct DpmSolverPPSde {
  /// Amount of ancestral noise, >= 0; 0 adds none. See ancestral_step.
  double eta = 1.0;
  /// Factor on the standard deviation of the noise, >= 0; 1 is exact.
  double s_noise = 1.0;
  /// Place of x_mid in the step, in lambda, in (0, 1).
  double r = 0.5;

  /// Memory of a run.
  template <class Tensor>
  using State = TwoCallState<Tensor>;

  /// Throws std::invalid_argument if a parameter is out of range.
  void check() const {
    detail::check_not_negative("DpmSolverPPSde", "eta", eta);
    detail::check_not_negative("DpmSolverPPSde", "s_noise", s_noise);
    if (!(r > 0.0 && r < 1.0)) detail::fail<std::invalid_argument>("DpmSolverPPSde", "r = ", r, " is outside (0, 1)");
  }

  /// The second call is at lambda_mid.
  template <class Tensor, class Noise>
  std::optional<NoiseLevel> advance(const Step& step, const ModelCall& call, Tensor& x, Prediction<Tensor>& prediction,
                                    const Noise& noise, State<Tensor>& state) const {
    const NoiseLevel &from = step.from, &to = step.to;
    if (touches_clean_or_pure_noise(step)) {
      step_with_fixed_x_start(x, x, from, to, prediction.x_start, step.device);
      return {};
    }
    if (call.index == 0) {
      const NoiseLevel middle = step.grid.at(half_log_snr(from) + r * half_log_snr_rise(from, to));
      const auto half = ancestral_step(from, middle, eta);
      store(state.x, x);
      store(state.x_start, prediction.x_start);
      step_with_fixed_x_start(x, state.x, from, half.down, state.x_start, step.device);
      add_step_noise(x, half.up * s_noise, noise, state.noise, step.device);
      return middle;
    }
    const auto [down, up] = ancestral_step(from, to, eta);
    const double second = 0.5 / r;
    combine<Tensor>(state.x_start, {{1.0 - second, state.x_start}, {second, prediction.x_start}}, step.device);
    step_with_fixed_x_start(x, state.x, from, down, state.x_start, step.device);
    add_step_noise(x, up * s_noise, noise, state.noise, step.device);
    return {};
  }
};

}  // namespace diffusion
