/// @file pndm.hpp
#pragma once

#include <array>
#include <cmath>  // std::hypot

#include "../../detail/kernel/linear_combination.hpp"
#include "../detail/adams_bashforth.hpp"
#include "../steps.hpp"

namespace diffusion {

/// PNDM; Liu, Ren, Lin, Zhao 2022, Eqs. (9), (12), (13): DDIM steps along combinations of the last four epsilons. The first
/// three steps are by Runge and Kutta's method of fourth order (four calls of the model each, two of them at the time in the
/// middle, which diffusers rounds to a whole timestep, one way for x and the other for the model) or, as Stable Diffusion has
/// it, skipping those, the first is by Heun's (two calls) and the orders rise from there. With `velocity` it is v = alpha
/// epsilon - sigma x_0 that is combined, as in diffusers for models of v; otherwise epsilon.
struct Pndm {
  bool skip_prk_steps = true;
  bool velocity = false;

  template <class Tensor>
  struct State {
    Prediction<Tensor> prediction;
    History<Tensor, 4> slopes;  // epsilon or v
    Tensor guess, mean;
  };

  template <class Tensor, class Denoise, class Noise>
  void step(const Step& step, Tensor& x, const Denoise& denoise, const Noise&, State<Tensor>& state) const {
    const NoiseLevel &from = step.from, &to = step.to;
    auto& slopes = state.slopes;
    if (step.first) slopes.clear();
    denoise(x, from, state.prediction);
    if (from.alpha == 0.0) return step_with_fixed_x_start(x, x, from, to, state.prediction.x_start);
    slopes.push(slope(from, state.prediction), 0.0);
    const bool clean = to.sigma == 0.0;  // no model is asked there
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
  /// epsilon, or v, which takes the place of epsilon; of x / r, r^2 = alpha^2 + sigma^2, as models of v know it.
  template <class Tensor>
  Tensor& slope(const NoiseLevel& level, Prediction<Tensor>& prediction) const {
    if (velocity) {
      const double r = std::hypot(level.alpha, level.sigma);
      combine<Tensor>(prediction.epsilon,
                      {{level.alpha / r, prediction.epsilon}, {-level.sigma / r, prediction.x_start}});
    }
    return prediction.epsilon;
  }

  /// {a, b} in x_to = alpha_to x_0 + sigma_to epsilon = a x + b slope.
  std::array<double, 2> coefficients(const NoiseLevel& from, const NoiseLevel& to) const {
    const double r = std::hypot(from.alpha, from.sigma), ratio = to.alpha / from.alpha;
    if (!velocity) return {ratio, to.sigma - from.sigma * ratio};
    return {(to.alpha * from.alpha + to.sigma * from.sigma) / (r * r),
            (to.sigma * from.alpha - to.alpha * from.sigma) / r};
  }
  template <class Tensor>
  void move(Tensor& out, const Tensor& x, const NoiseLevel& from, const NoiseLevel& to, const Tensor& along) const {
    const auto [of_x, of_slope] = coefficients(from, to);
    combine<Tensor>(out, {{of_x, x}, {of_slope, along}});
  }

  /// (e_1 + 2 e_2 + 2 e_3 + e_4) / 6, e_2 and e_3 at the time in the middle, e_4 at the end.
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
