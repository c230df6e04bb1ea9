/// @file dpm_solver_fast.hpp
/// DPM-Solver for a given number of model calls.
#pragma once

#include <cmath>  // std::sqrt
#include <optional>
#include <stdexcept>  // std::invalid_argument

#include "../../detail/check.hpp"
#include "../exponential.hpp"

namespace diffusion {

/// DPM-Solver-fast, which makes exactly a given number of model calls. Lu et al. 2022 (DPM-Solver),
/// Section 3.3 and Appendix D.3: it takes steps of third order while the calls suffice, and ends
/// with steps of lower order. The grid must have n = floor(model_calls / 3) + 1 steps, evenly
/// spaced in log(sigma / alpha), and end at sigma > 0: lu_sigmas(n + 1, ...) without its 0.
///
/// With eta > 0 the steps are ancestral, as in EulerAncestral. The last step adds no noise, and no
/// step goes below the last level of the grid: s_down is raised to that level and s_up is reduced.
struct DpmSolverFast {
  /// Number of model calls, >= 1; `n` in k-diffusion's sample_dpm_fast.
  Eigen::Index model_calls = 12;
  /// Amount of ancestral noise, >= 0; 0 adds none. See ancestral_step.
  double eta = 0.0;
  /// Factor on the standard deviation of the noise, >= 0; 1 is exact.
  double s_noise = 1.0;

  /// Memory of a run.
  template <class Tensor>
  struct State {
    DpmStages<Tensor> stages;  ///< x and epsilon of the first call in a step.
    Tensor noise;              ///< Noise of one step.
  };

  /// Throws std::invalid_argument if a parameter is out of range.
  void check() const {
    detail::check_at_least<Eigen::Index>("DpmSolverFast", "model_calls", model_calls, 1);
    detail::check_not_negative("DpmSolverFast", "eta", eta);
    detail::check_not_negative("DpmSolverFast", "s_noise", s_noise);
  }

  /// The second and third calls are at lambda + h / 3 and lambda + 2 h / 3, or the second at
  /// lambda + h / 2 in a step of second order. Throws std::invalid_argument unless the grid has
  /// floor(model_calls / 3) + 1 steps.
  template <class Tensor, class Noise>
  std::optional<NoiseLevel> advance(const Step& step, const ModelCall& call, Tensor& x, Prediction<Tensor>& prediction,
                                    const Noise& noise, State<Tensor>& state) const {
    if (step.count != model_calls / 3 + 1) {
      detail::fail<std::invalid_argument>("DpmSolverFast", "model_calls = ", model_calls, " requires a grid of ",
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
    const int order = touches_clean_or_pure_noise(step) ? 1 : order_of(step);
    const double r1 = order == 2 ? 0.5 : 1.0 / 3.0, r2 = 2.0 / 3.0;
    if (order == 1) {
      step_with_fixed_x_start(x, x, from, down, prediction.x_start, step.device);
    } else if (call.index == 0) {
      const NoiseLevel next = stages.level(step.grid, from, down, r1);
      store(stages.x, x);
      store(stages.epsilon, prediction.epsilon);
      stages.first(x, from, next, step.device);
      return next;
    } else if (order == 2) {
      stages.second(x, from, down, r1, prediction.epsilon, step.device);
    } else if (call.index == 1) {
      stages.before_third(x, from, down, r1, r2, step.grid, prediction.epsilon, step.device);
      return stages.level(step.grid, from, down, r2);
    } else {
      stages.third(x, from, down, r2, prediction.epsilon, step.device);
    }
    add_step_noise(x, up * s_noise, noise, state.noise, step.device);
    return {};
  }

 private:
  /// Returns the order of a step: 3, ..., 3, 2, 1 if 3 divides model_calls; otherwise 3, ..., 3, r
  /// where r = model_calls % 3.
  int order_of(const Step& step) const {
    const auto left = static_cast<int>(step.count - step.index);
    const auto rest = static_cast<int>(model_calls % 3);
    if (rest == 0) return left < 3 ? left : 3;
    return left == 1 ? rest : 3;
  }
};

}  // namespace diffusion
