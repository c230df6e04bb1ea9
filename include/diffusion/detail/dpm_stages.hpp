/// @file dpm_stages.hpp
/// The singlestep DPM-Solvers of orders 1 to 3 with all their calls of the model in one step.
#pragma once

#include "level_steps.hpp"
#include "phi.hpp"

namespace diffusion {
namespace detail {

/// A step from x at `from` to `to`; Lu et al. 2022 (DPM-Solver), Eq. (3.7), Algorithm 2 and, for second order with any r1,
/// Algorithm 4. Call first; then second, if at all; then third; each evaluates the model once and offers an answer of its order.
template <class Tensor>
struct DpmStages {
  Prediction<Tensor> at_start, at_r1, at_r2;
  Tensor guess;

  template <class Denoise>
  void first(Tensor& out, const Tensor& x, const NoiseLevel& from, const NoiseLevel& to, const Denoise& denoise) {
    denoise(x, from, at_start);
    move_by_epsilon(out, x, from, to, at_start.epsilon);
  }

  /// x_to = (alpha_to / alpha) x - sigma_to (exp(h) - 1) (e_0 + (e_1 - e_0) / (2 r1)), e_1 at lambda + r1 h
  template <class Denoise>
  void second(Tensor& out, const Tensor& x, const NoiseLevel& from, const NoiseLevel& to, double r1,
              const TimeGrid& grid, const Denoise& denoise) {
    const NoiseLevel middle = grid.at(half_log_snr(from) + r1 * half_log_snr_rise(from, to));
    move_by_epsilon(guess, x, from, middle, at_start.epsilon);
    denoise(guess, middle, at_r1);
    const double ratio = to.alpha / from.alpha, whole = to.sigma - from.sigma * ratio, slope = whole * 0.5 / r1;
    combine<Tensor>(out, {{ratio, x}, {whole - slope, at_start.epsilon}, {slope, at_r1.epsilon}});
  }

  /// With e_2 at lambda + r2 h, which e_1 leads to:
  ///     x_to = (alpha_to / alpha) x - sigma_to ((exp(h) - 1) e_0 + h phi_2(h) (e_2 - e_0) / r2)
  template <class Denoise>
  void third(Tensor& out, const Tensor& x, const NoiseLevel& from, const NoiseLevel& to, double r1, double r2,
             const TimeGrid& grid, const Denoise& denoise) {
    const double h = half_log_snr_rise(from, to);
    const NoiseLevel later = grid.at(half_log_snr(from) + r2 * h);
    const auto weighted = [&](Tensor& result, const NoiseLevel& end, double step, double slope,
                              const Prediction<Tensor>& second) {
      const double ratio = end.alpha / from.alpha, whole = end.sigma - from.sigma * ratio;
      const double change = -end.sigma * step * phi(2, step) * slope;
      combine<Tensor>(result, {{ratio, x}, {whole - change, at_start.epsilon}, {change, second.epsilon}});
    };
    weighted(guess, later, r2 * h, r2 / r1, at_r1);
    denoise(guess, later, at_r2);
    weighted(out, to, h, 1.0 / r2, at_r2);
  }
};

}  // namespace detail
}  // namespace diffusion
