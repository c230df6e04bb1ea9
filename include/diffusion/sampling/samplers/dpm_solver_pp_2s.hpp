/// @file dpm_solver_pp_2s.hpp
/// The second-order singlestep DPM-Solver++ with ancestral noise.
#pragma once

#include <optional>

#include "../../detail/check.hpp"
#include "../steps.hpp"

namespace diffusion {

/// DPM-Solver++(2S) with ancestral noise. Lu et al. 2022 (DPM-Solver++), Algorithm 1 with r = 1/2,
/// takes x down to the s_down of EulerAncestral; then noise is added. k-diffusion's
/// sample_dpmpp_2s_ancestral. With lambda_mid halfway between lambda and lambda_down:
///
///     x_mid  = (sigma_mid / sigma) x + alpha_mid (1 - exp(lambda - lambda_mid)) x_0(x)
///     x_down = (sigma_down / sigma) x + alpha_down (1 - exp(lambda - lambda_down)) x_0(x_mid)
///
/// A step calls the model twice, or once if it ends clean or starts without signal.
struct DpmSolverPP2SAncestral {
  /// Amount of ancestral noise, >= 0; 0 is DPM-Solver++(2S). See ancestral_step.
  double eta = 1.0;
  /// Factor on the standard deviation of the noise, >= 0; 1 is exact.
  double s_noise = 1.0;

  /// Memory of a run.
  template <class Tensor>
  using State = TwoCallState<Tensor>;

  /// Throws std::invalid_argument if a parameter is out of range.
  void check() const {
    detail::check_not_negative("DpmSolverPP2SAncestral", "eta", eta);
    detail::check_not_negative("DpmSolverPP2SAncestral", "s_noise", s_noise);
  }

  /// The second call is at lambda_mid.
  template <class Tensor, class Noise>
  std::optional<NoiseLevel> advance(const Step& step, const ModelCall& call, Tensor& x, Prediction<Tensor>& prediction,
                                    const Noise& noise, State<Tensor>& state) const {
    const NoiseLevel& from = step.from;
    const auto [down, up] = ancestral_step(from, step.to, eta);
    if (call.index == 0 && from.alpha > 0.0 && down.sigma > 0.0) {
      const NoiseLevel middle = midpoint_in_log_sigma(step.grid, from, down);
      store(state.x, x);
      step_with_fixed_x_start(x, state.x, from, middle, prediction.x_start, step.device);
      return middle;
    }
    step_with_fixed_x_start(x, call.index == 0 ? x : state.x, from, down, prediction.x_start, step.device);
    add_step_noise(x, up * s_noise, noise, state.noise, step.device);
    return {};
  }
};

}  // namespace diffusion
