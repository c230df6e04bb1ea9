/// @file pndm.hpp
/// The PNDM sampler.
#pragma once

#include <array>
#include <cmath>  // std::hypot

#include "../../detail/kernel/linear_combination.hpp"
#include "../detail/adams_bashforth.hpp"
#include "../steps.hpp"

namespace diffusion {

/// PNDM: DDIM steps along Adams-Bashforth combinations of the last four epsilons. Liu, Ren, Lin,
/// Zhao 2022, Eqs. (9), (12) and (13). skip_prk_steps selects how a run starts:
///
///   - false: three Runge-Kutta steps of fourth order with four model calls each. Two of these
///     calls are at the middle time. diffusers rounds that time to a whole timestep, one way for x
///     and the other way for the model; this class does not round it.
///   - true: one step of Heun's method with two model calls. The order rises from there.
struct Pndm {
  /// Skip the Runge-Kutta steps, as Stable Diffusion does. The default in diffusers is false.
  bool skip_prk_steps = true;
  /// Combine v = alpha epsilon - sigma x_0 instead of epsilon. diffusers does this for
  /// prediction_type "v_prediction".
  bool velocity = false;

  /// Memory of a run.
  template <class Tensor>
  struct State {
    Prediction<Tensor> prediction;  ///< Prediction at the last call of the model.
    History<Tensor, 4> slopes;      ///< Last epsilons, or last v; their places are not used.
    Tensor guess,                   ///< x at an intermediate stage.
        mean;                       ///< Mean of the slopes of one step.
  };

  /// One step; sample() calls it.
  template <class Tensor, class Denoise, class Noise>
  void step(const Step& step, Tensor& x, const Denoise& denoise, const Noise&, State<Tensor>& state) const {
    const NoiseLevel &from = step.from, &to = step.to;
    auto& slopes = state.slopes;
    if (step.first) slopes.clear();
    denoise(x, from, state.prediction);
    if (from.alpha == 0.0) return step_with_fixed_x_start(x, x, from, to, state.prediction.x_start);
    slopes.push(slope(from, state.prediction), 0.0);
    const bool clean = to.sigma == 0.0;  // the model is not called at sigma = 0
    if (!skip_prk_steps && slopes.size() < 4 && !clean) return runge_kutta(step, x, denoise, state);
    if (skip_prk_steps && slopes.size() == 1 && !clean) {
      move(state.guess, x, from, to, slopes[0]);
      denoise(state.guess, to, state.prediction);
      combine<Tensor>(state.mean, {{0.5, slopes[0]}, {0.5, slope(to, state.prediction)}});
      return move(x, x, from, to, state.mean);
    }
    const auto [of_x, along] = coefficients(from, to);
    detail::adams_bashforth_step(x, x, of_x, along, slopes, 4);
  }

 private:
  /// Returns epsilon, or v if `velocity` is set; v overwrites prediction.epsilon. Models predict v
  /// for x / r, where r^2 = alpha^2 + sigma^2.
  template <class Tensor>
  Tensor& slope(const NoiseLevel& level, Prediction<Tensor>& prediction) const {
    if (velocity) {
      const double r = std::hypot(level.alpha, level.sigma);
      combine<Tensor>(prediction.epsilon,
                      {{level.alpha / r, prediction.epsilon}, {-level.sigma / r, prediction.x_start}});
    }
    return prediction.epsilon;
  }

  /// {a, b} in x_to = alpha_to x_0 + sigma_to epsilon = a x + b slope
  std::array<double, 2> coefficients(const NoiseLevel& from, const NoiseLevel& to) const {
    const double r = std::hypot(from.alpha, from.sigma), ratio = to.alpha / from.alpha;
    if (!velocity) return {ratio, to.sigma - from.sigma * ratio};
    return {(to.alpha * from.alpha + to.sigma * from.sigma) / (r * r),
            (to.sigma * from.alpha - to.alpha * from.sigma) / r};
  }
  /// Writes x, moved from `from` to `to` along this slope, to out. out may be x.
  template <class Tensor>
  void move(Tensor& out, const Tensor& x, const NoiseLevel& from, const NoiseLevel& to, const Tensor& along) const {
    const auto [of_x, of_slope] = coefficients(from, to);
    combine<Tensor>(out, {{of_x, x}, {of_slope, along}});
  }

  /// Moves x along (e_1 + 2 e_2 + 2 e_3 + e_4) / 6, with e_2 and e_3 at the middle time and e_4 at
  /// the end.
  template <class Tensor, class Denoise>
  void runge_kutta(const Step& step, Tensor& x, const Denoise& denoise, State<Tensor>& state) const {
    const NoiseLevel middle = step.grid.at_time(0.5 * (step.from.t + step.to.t));
    const NoiseLevel stages[3] = {middle, middle, step.to};
    combine<Tensor>(state.mean, {{1.0 / 6.0, state.slopes[0]}});
    move(state.guess, x, step.from, middle, state.slopes[0]);
    for (int i = 0; i < 3; ++i) {
      denoise(state.guess, stages[i], state.prediction);
      const Tensor& next = slope(stages[i], state.prediction);
      if (i < 2) move(state.guess, x, step.from, stages[i + 1], next);
      combine<Tensor>(state.mean, {{1.0, state.mean}, {i < 2 ? 1.0 / 3.0 : 1.0 / 6.0, next}});
    }
    move(x, x, step.from, step.to, state.mean);
  }
};

}  // namespace diffusion
