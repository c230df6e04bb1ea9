/// @file dpm_solver_adaptive.hpp
/// DPM-Solver with adaptive step size.
#pragma once

#include <algorithm>  // std::max, std::min
#include <array>
#include <cmath>  // std::abs, std::atan, std::pow, std::sqrt
#include <optional>
#include <stdexcept>  // std::invalid_argument
#include <type_traits>
#include <utility>  // std::swap
#include <vector>

#include "../../detail/arguments.hpp"
#include "../../detail/check.hpp"
#include "../../detail/kernel/per_sample.hpp"
#include "../exponential.hpp"

namespace diffusion {

/// The error of a trial step of DpmSolverAdaptive, a mean over all values of a batch:
///
///     sqrt(mean(((low - high) / max(atol, rtol max(|low|, scale |previous|)))^2))
template <class Tensor>
struct ErrorNorm {
  const Tensor &low,  ///< Result of the lower order.
      &high,          ///< Result of the higher order.
      &previous;      ///< Result of the last accepted step.
  double scale,       ///< Factor of `previous`.
      atol,           ///< Absolute tolerance.
      rtol;           ///< Relative tolerance.
};

namespace detail {

/// Whether TensorOperations<Tensor> has error_norm.
template <class Tensor, class = void>
inline constexpr bool has_error_norm_v = false;
template <class Tensor>
inline constexpr bool has_error_norm_v<Tensor, std::void_t<decltype(&TensorOperations<Tensor>::error_norm)>> = true;

/// The norm for Eigen's tensors. It sums sample by sample, so that the sum has the same bits in
/// both layouts and for any number of threads. `errors` is memory for one number per sample.
template <class Tensor>
double error_norm(const ErrorNorm<Tensor>& e, std::vector<double>& errors, const DeviceRef& device) {
  if (e.low.size() == 0) return 0.0;
  errors.resize(static_cast<std::size_t>(shape(e.low)[0]));
  const auto at = [](const Tensor& x, Eigen::Index i) { return static_cast<double>(x.data()[i]); };
  per_sample_means(
      "DpmSolverAdaptive", device, argument("x", e.low), [](Eigen::Index) { return 0; },
      [&](int, Eigen::Index i) {
        const double low = at(e.low, i), largest = (std::max)(std::abs(low), e.scale * std::abs(at(e.previous, i)));
        const double error = (low - at(e.high, i)) / (std::max)(e.atol, e.rtol * largest);
        return std::array{error * error};
      },
      [&](Eigen::Index n, const std::array<double, 1>& mean) { errors[static_cast<std::size_t>(n)] = mean[0]; });
  double sum = 0.0;
  for (const double error : errors) sum += error;
  return std::sqrt(sum / static_cast<double>(errors.size()));
}

}  // namespace detail

/// DPM-Solver with adaptive step size. Lu et al. 2022 (DPM-Solver), Appendix C, with the step-size
/// controller of k-diffusion's sample_dpm_adaptive. Between two levels of the grid it takes as many
/// steps of length h in lambda = log(alpha / sigma) as the error requires, so a grid of one step is
/// enough. x_low and x_high are the results of orders p - 1 and p, and x_previous is the x_low of
/// the last accepted step. With z = x / alpha:
///
///     error  = root mean square of (z_low - z_high) / max(atol, rtol max(|z_low|, |z_previous|))
///     factor = 1 + atan(e_0^b1 e_1^b2 e_2^b3 - 1)
///     b1     = (pcoeff + icoeff + dcoeff) / p
///     b2     = -(pcoeff + 2 dcoeff) / p
///     b3     = dcoeff / p
///
/// e = 1 / error; e_0 belongs to this step, e_1 and e_2 to the last two accepted steps. A step is
/// accepted if factor >= accept_safety. h is multiplied by factor in any case. The whole batch
/// shares its steps, so the result of a sample depends on the other samples.
struct DpmSolverAdaptive {
  int order = 3;       ///< Order p, 2 or 3.
  double rtol = 0.05,  ///< Relative tolerance, > 0.
      atol = 0.0078;   ///< Absolute tolerance of z, > 0.
  /// Length in lambda of the first trial step from each level of the grid, > 0.
  double h_init = 0.05;
  double pcoeff = 0.0,  ///< Proportional coefficient of the controller, >= 0.
      icoeff = 1.0,     ///< Integral coefficient of the controller, >= 0.
      dcoeff = 0.0;     ///< Derivative coefficient of the controller, >= 0.
  /// Least factor at which a step is accepted, in (0, 1]. A smaller value accepts larger errors.
  double accept_safety = 0.81;

  /// Memory of a run.
  template <class Tensor>
  struct State {
    DpmStages<Tensor> stages;      ///< x and epsilon of the first call in a trial step.
    Tensor low,                    ///< Result of order p - 1.
        high,                      ///< Result of order p.
        previous;                  ///< x_low of the last accepted step; x before the first one.
    std::vector<double> errors;    ///< Error of each sample.
    NoiseLevel from,               ///< Level at the start of the trial step.
        to;                        ///< Level at its end.
    double h = 0.0;                ///< Length of the trial step in lambda.
    double previous_alpha = 1.0;   ///< alpha at the level of `previous`.
    std::array<double, 3> e = {};  ///< e_0, e_1 and e_2; 0 before the first step.
  };

  /// Throws std::invalid_argument if a parameter is out of range.
  void check() const {
    if (order != 2 && order != 3) {
      detail::fail<std::invalid_argument>("DpmSolverAdaptive", "order = ", order, " must be 2 or 3");
    }
    detail::check_positive("DpmSolverAdaptive", "rtol", rtol);
    detail::check_positive("DpmSolverAdaptive", "atol", atol);
    detail::check_positive("DpmSolverAdaptive", "h_init", h_init);
    detail::check_not_negative("DpmSolverAdaptive", "pcoeff", pcoeff);
    detail::check_not_negative("DpmSolverAdaptive", "icoeff", icoeff);
    detail::check_not_negative("DpmSolverAdaptive", "dcoeff", dcoeff);
    if (!(accept_safety > 0.0 && accept_safety <= 1.0)) {  // factor is 1 at error = 1, and below 1 + pi / 2
      detail::fail<std::invalid_argument>("DpmSolverAdaptive", "accept_safety = ", accept_safety, " is outside (0, 1]");
    }
  }

  /// A trial step calls the model `order` times, and the first of these is at its start. Throws
  /// std::invalid_argument if sigma / alpha rises or the model's output is not finite.
  template <class Tensor, class Noise>
  std::optional<NoiseLevel> advance(const Step& step, const ModelCall& call, Tensor& x, Prediction<Tensor>& prediction,
                                    const Noise&, State<Tensor>& state) const {
    auto& stages = state.stages;
    if (touches_clean_or_pure_noise(step)) {
      step_with_fixed_x_start(x, x, step.from, step.to, prediction.x_start, step.device);
      return {};
    }
    if (call.index == 0) {
      check_goes_down(step.from, step.to);
      state.e = {};
      state.h = h_init;
      state.from = step.from;
      state.previous_alpha = step.from.alpha;
      state.previous = x;
      if (!goes_on(step, state)) return {};
    }
    const NoiseLevel& from = state.from;
    const double r1 = order == 2 ? 0.5 : 1.0 / 3.0, r2 = 2.0 / 3.0;
    const Eigen::Index stage = call.index % order;
    if (stage == 0) {
      const bool last = half_log_snr_rise(from, step.to) <= state.h;
      state.to = last ? step.to : step.grid.at(half_log_snr(from) + state.h);
      store(stages.x, x);
      store(stages.epsilon, prediction.epsilon);
      if (order == 2) stages.first(state.low, from, state.to, step.device);
      const NoiseLevel next = stages.level(step.grid, from, state.to, r1);
      stages.first(x, from, next, step.device);
      return next;
    }
    if (stage == 1 && order == 3) {
      stages.second(state.low, from, state.to, r1, prediction.epsilon, step.device);
      stages.before_third(x, from, state.to, r1, r2, step.grid, prediction.epsilon, step.device);
      return stages.level(step.grid, from, state.to, r2);
    }
    if (order == 2) stages.second(state.high, from, state.to, r1, prediction.epsilon, step.device);
    if (order == 3) stages.third(state.high, from, state.to, r2, prediction.epsilon, step.device);

    auto& e = state.e;
    const bool first = e[1] == 0.0;
    e[0] = 1.0 / (error(state, step.device) + 1e-8);
    if (first) e = {e[0], e[0], e[0]};
    const double proposed = std::pow(e[0], (pcoeff + icoeff + dcoeff) / order) *
                            std::pow(e[1], -(pcoeff + 2.0 * dcoeff) / order) * std::pow(e[2], dcoeff / order);
    const double factor = 1.0 + std::atan(proposed - 1.0);
    if (!(factor > 0.0)) {
      detail::fail<std::invalid_argument>("DpmSolverAdaptive", "the error estimate at t = ", state.to.t,
                                          " is not finite; the model's output must be finite");
    }
    const bool accepted = factor >= accept_safety;
    if (accepted) {
      e = {e[0], e[0], e[1]};
      std::swap(state.previous, state.low);
      state.from = state.to;
      state.previous_alpha = state.to.alpha;
    }
    std::swap(x, accepted ? state.high : stages.x);
    state.h *= factor;
    if (goes_on(step, state)) return state.from;
    return {};
  }

 private:
  /// True if a trial step is left before step.to.
  template <class Tensor>
  static bool goes_on(const Step& step, const State<Tensor>& state) {
    return half_log_snr_rise(state.from, step.to) > 1e-5;
  }

  template <class Tensor>
  double error(State<Tensor>& state, const DeviceRef& device) const {
    const double alpha = state.to.alpha;
    const ErrorNorm<Tensor> norm{state.low,    state.high, state.previous, alpha / state.previous_alpha,
                                 alpha * atol, rtol};
    if constexpr (detail::is_adapted_v<Tensor>) {
      constexpr bool has_norm = detail::has_error_norm_v<Tensor>;
      static_assert(has_norm, "diffusion: DpmSolverAdaptive needs TensorOperations<Tensor>::error_norm");
      if constexpr (has_norm) return TensorOperations<Tensor>::error_norm(norm, device);
    } else {
      return detail::error_norm(norm, state.errors, device);
    }
    return 0.0;
  }
};

}  // namespace diffusion
