/// @file pndm.hpp
/// The PNDM sampler.
#pragma once

#include <array>
#include <cmath>  // std::hypot
#include <optional>

#include "../../detail/kernel/linear_combination.hpp"
#include "../detail/adams_bashforth.hpp"
#include "../steps.hpp"

namespace diffusion {

namespace detail {

/// Returns the slope of PNDM at this level: epsilon, or v if `velocity` is set; v overwrites
/// prediction.epsilon. Models predict v for x / r, where r^2 = alpha^2 + sigma^2.
template <class Tensor>
Tensor& pndm_slope(bool velocity, const Step& step, const NoiseLevel& level, Prediction<Tensor>& prediction) {
  if (velocity) {
    const double r = std::hypot(level.alpha, level.sigma);
    combine<Tensor>(prediction.epsilon, {{level.alpha / r, prediction.epsilon}, {-level.sigma / r, prediction.x_start}},
                    step.device);
  }
  return prediction.epsilon;
}

/// {a, b} in x_to = alpha_to x_0 + sigma_to epsilon = a x + b slope
inline std::array<double, 2> pndm_coefficients(bool velocity, const NoiseLevel& from, const NoiseLevel& to) {
  const double r = std::hypot(from.alpha, from.sigma), ratio = to.alpha / from.alpha;
  if (!velocity) return {ratio, to.sigma - from.sigma * ratio};
  return {(to.alpha * from.alpha + to.sigma * from.sigma) / (r * r),
          (to.sigma * from.alpha - to.alpha * from.sigma) / r};
}

}  // namespace detail

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
    History<Tensor, 4> slopes;  ///< Last epsilons, or last v; their places are not used.
    Tensor x,                   ///< x in the first call of a step.
        mean;                   ///< Mean of the slopes of one step.
  };

  /// Calls the model again in the first steps of a run, but not at a clean level.
  template <class Tensor, class Noise>
  std::optional<NoiseLevel> advance(const Step& step, const ModelCall& call, Tensor& x, Prediction<Tensor>& prediction,
                                    const Noise&, State<Tensor>& state) const {
    const NoiseLevel &from = step.from, &to = step.to;
    auto& slopes = state.slopes;
    if (call.index > 0)
      return skip_prk_steps ? heun(step, x, prediction, state) : runge_kutta(step, call, x, prediction, state);

    if (step.first) slopes.clear();
    if (from.alpha == 0.0) {
      step_with_fixed_x_start(x, x, from, to, prediction.x_start, step.device);
      return {};
    }
    slopes.push(detail::pndm_slope(velocity, step, from, prediction), 0.0);
    if (to.sigma > 0.0 && slopes.size() < (skip_prk_steps ? 2U : 4U)) {
      const NoiseLevel next = skip_prk_steps ? to : middle(step);
      combine<Tensor>(state.mean, {{skip_prk_steps ? 0.5 : 1.0 / 6.0, slopes[0]}}, step.device);
      store(state.x, x);
      move(step, x, state.x, next, slopes[0]);
      return next;
    }
    const auto [of_x, along] = detail::pndm_coefficients(velocity, from, to);
    detail::adams_bashforth_step(x, x, of_x, along, slopes, 4, step.device);
    return {};
  }

 private:
  /// Writes x, moved from step.from to `to` along this slope, to out. out may be x.
  template <class Tensor>
  void move(const Step& step, Tensor& out, const Tensor& x, const NoiseLevel& to, const Tensor& along) const {
    const auto [of_x, of_slope] = detail::pndm_coefficients(velocity, step.from, to);
    combine<Tensor>(out, {{of_x, x}, {of_slope, along}}, step.device);
  }

  static NoiseLevel middle(const Step& step) { return step.grid.at_time(0.5 * (step.from.t + step.to.t)); }

  /// Moves x along (e_1 + e_2) / 2, with e_2 at the end.
  template <class Tensor>
  std::optional<NoiseLevel> heun(const Step& step, Tensor& x, Prediction<Tensor>& prediction,
                                 State<Tensor>& state) const {
    combine<Tensor>(state.mean, {{1.0, state.mean}, {0.5, detail::pndm_slope(velocity, step, step.to, prediction)}},
                    step.device);
    move(step, x, state.x, step.to, state.mean);
    return {};
  }

  /// Moves x along (e_1 + 2 e_2 + 2 e_3 + e_4) / 6, with e_2 and e_3 at the middle time and e_4 at
  /// the end.
  template <class Tensor>
  std::optional<NoiseLevel> runge_kutta(const Step& step, const ModelCall& call, Tensor& x,
                                        Prediction<Tensor>& prediction, State<Tensor>& state) const {
    const Tensor& e = detail::pndm_slope(velocity, step, call.level, prediction);
    const bool last = call.index == 3;
    combine<Tensor>(state.mean, {{1.0, state.mean}, {last ? 1.0 / 6.0 : 1.0 / 3.0, e}}, step.device);
    const NoiseLevel next = call.index == 1 ? middle(step) : step.to;
    move(step, x, state.x, next, last ? state.mean : e);
    if (last) return {};
    return next;
  }
};

}  // namespace diffusion
