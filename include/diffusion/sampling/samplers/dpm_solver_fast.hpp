/// @file dpm_solver_fast.hpp
#pragma once

#include <cmath>      // std::sqrt
#include <stdexcept>  // std::invalid_argument

#include "../../detail/check.hpp"
#include "../exponential.hpp"

namespace diffusion {

/// DPM-Solver-fast; Lu et al. 2022 (DPM-Solver), Section 3.3 and Appendix D.3: as many steps of third order as a number of
/// model calls allows, and the last ones of lower order, so that the calls are spent exactly. The grid must have
/// floor(model_calls / 3) + 1 steps, even in log sigma (lu_sigmas), and end above 0. With eta the steps are ancestral, as
/// EulerAncestral's, but none goes below where the grid ends; its noise back up is less then.
struct DpmSolverFast {
  Eigen::Index model_calls = 12;
  double eta = 0.0;
  double s_noise = 1.0;

  template <class Tensor>
  struct State {
    DpmStages<Tensor> stages;
    Tensor noise;
  };

  void check() const {
    detail::check_at_least<Eigen::Index>("DpmSolverFast", "model_calls", model_calls, 1);
    detail::check_not_negative("DpmSolverFast", "eta", eta);
    detail::check_not_negative("DpmSolverFast", "s_noise", s_noise);
  }

  template <class Tensor, class Denoise, class Noise>
  void step(const Step& step, Tensor& x, const Denoise& denoise, const Noise& noise, State<Tensor>& state) const {
    if (step.count != model_calls / 3 + 1) {
      detail::fail<std::invalid_argument>("DpmSolverFast", "model_calls = ", model_calls, " need a grid of ",
                                          model_calls / 3 + 1, " steps, not ", step.count);
    }
    auto& stages = state.stages;
    const NoiseLevel& from = step.from;
    auto [down, up] = ancestral_step(from, step.to, eta);
    const double least = step.to.alpha * noise_to_signal(step.grid.levels().back());
    if (eta > 0.0 && step.index + 1 == step.count) {
      down = step.to, up = 0.0;
    } else if (eta > 0.0 && down.sigma < least) {
      down.sigma = least, up = std::sqrt((step.to.sigma - least) * (step.to.sigma + least));
    }
    // The answer of every order but the first overwrites that of the one below, for which x must not have changed.
    const int order = touches_clean_or_pure_noise(step) ? 1 : order_of(step);
    if (order == 1) {
      denoise(x, from, stages.at_start);
      step_with_fixed_x_start(x, x, from, down, stages.at_start.x_start);
    } else {
      stages.first(stages.guess, x, from, down, denoise);
      if (order == 2) {
        stages.second(x, x, from, down, 0.5, step.grid, denoise);
      } else {
        stages.second(stages.guess, x, from, down, 1.0 / 3.0, step.grid, denoise);
        stages.third(x, x, from, down, 1.0 / 3.0, 2.0 / 3.0, step.grid, denoise);
      }
    }
    add_step_noise(x, up * s_noise, noise, state.noise);
  }

 private:
  /// 3, ..., 3, 2, 1 where 3 divides the calls; else 3, ..., 3 and what is left.
  int order_of(const Step& step) const {
    const auto left = static_cast<int>(step.count - step.index);
    const auto rest = static_cast<int>(model_calls % 3);
    if (rest == 0) return left < 3 ? left : 3;
    return left == 1 ? rest : 3;
  }
};

}  // namespace diffusion
