/// @file exponential.hpp
/// Exponential integrators, the steps of DPM-Solver and DPM-Solver++. They solve the linear part of
/// the ODE or SDE exactly and approximate the prediction by a polynomial in
/// lambda = log(alpha / sigma). Multistep solvers fit the polynomial to the predictions of earlier
/// steps, singlestep solvers (DpmStages) to more calls of the model within a step. The phi_k are
///
///     phi_1(z) = (exp(z) - 1) / z,   phi_{k+1}(z) = (phi_k(z) - 1 / k!) / z
///
#pragma once

#include <Eigen/Core>
#include <algorithm>  // std::min
#include <array>
#include <cmath>    // std::exp, std::expm1, std::sqrt
#include <cstddef>  // std::size_t

#include "../detail/check.hpp"
#include "../detail/kernel/linear_combination.hpp"
#include "../detail/math/phi.hpp"
#include "history.hpp"
#include "steps.hpp"

namespace diffusion {

/// How DPM-Solver and DPM-Solver++ weight their second-order term.
enum class DpmSolverType {
  midpoint,  ///< phi_1 / 2
  heun       ///< phi_2, the exact integral of a linear prediction
};

/// The coefficients of one step. The prediction at lambda + u h is approximated by a polynomial in
/// u with the derivatives D0, D1 and D2 at u = 0:
///
///     prediction(u) = D0 + D1 u + D2 u^2 / 2
///     x_to          = x * x + d0 * D0 + d1 * D1 + d2 * D2 + noise * N(0, 1)
struct ExponentialStep {
  double x,   ///< Coefficient of x.
      d0,     ///< Coefficient of D0.
      d1,     ///< Coefficient of D1.
      d2,     ///< Coefficient of D2.
      noise;  ///< Standard deviation of the noise.
};

/// Returns the step for predictions of x_0. Lu et al. 2022 (DPM-Solver++), Sections 4 and 5, with
/// h = lambda_to - lambda and g = (1 + eta) h:
///
///     x_to = (sigma_to / sigma) exp(-eta h) x
///            + alpha_to g (phi_1(-g) D0 + phi_2(-g) D1 + phi_3(-g) D2)
///            + sigma_to sqrt(1 - exp(-2 eta h)) noise
///
/// eta = 0 solves the ODE, eta = 1 the SDE. Throws std::domain_error if from.sigma == 0.
inline ExponentialStep data_step(const NoiseLevel& from, const NoiseLevel& to, DpmSolverType type, double eta) {
  const double h = half_log_snr_rise(from, to), g = (1.0 + eta) * h, scale = to.alpha * g;
  const double d0 = scale * detail::phi(1, -g);
  return {to.sigma / from.sigma * std::exp(-eta * h), d0,
          type == DpmSolverType::midpoint ? 0.5 * d0 : scale * detail::phi(2, -g), scale * detail::phi(3, -g),
          is_zero_length(from, to) ? 0.0 : to.sigma * std::sqrt(-std::expm1(-2.0 * eta * h))};
}

/// Returns the step for predictions of epsilon. Lu et al. 2022 (DPM-Solver), Eq. (3.4) and Appendix
/// B, with h = lambda_to - lambda:
///
///     x_to = (alpha_to / alpha) x
///            - (1 + eta) sigma_to h (phi_1(h) D0 + phi_2(h) D1 + phi_3(h) D2)
///            + sigma_to sqrt(eta (exp(2 h) - 1)) noise
///
/// eta = 0 solves the ODE, eta = 1 the SDE. Throws std::domain_error if from.sigma == 0.
inline ExponentialStep epsilon_step(const NoiseLevel& from, const NoiseLevel& to, DpmSolverType type, double eta) {
  const double h = half_log_snr_rise(from, to), scale = -(1.0 + eta) * to.sigma * h;
  const double d0 = scale * detail::phi(1, h);
  return {to.alpha / from.alpha, d0, type == DpmSolverType::midpoint ? 0.5 * d0 : scale * detail::phi(2, h),
          scale * detail::phi(3, h), is_zero_length(from, to) ? 0.0 : to.sigma * std::sqrt(eta * std::expm1(2.0 * h))};
}

/// Memory of a run of a multistep solver.
template <class Tensor>
struct MultistepState {
  History<Tensor, 3> predictions;  ///< Last predictions, placed at their lambda.
  Tensor noise;                    ///< Noise of one step.
};

/// The parameters of multistep_step; see DpmSolverPP.
struct MultistepOptions {
  bool data;               ///< True interpolates the predictions of x_0, false those of epsilon.
  double curvature;        ///< The factor c of D2 in multistep_weights.
  int order;               ///< Highest order, 1 to 3.
  DpmSolverType type;      ///< Form of the second-order term in steps of order 2.
  double eta,              ///< Amount of noise, >= 0: 0 solves the ODE, 1 the SDE.
      s_noise;             ///< Factor on the standard deviation of the noise, >= 0.
  bool lower_order_final,  ///< Lower the order at the end of runs of fewer than 15 steps.
      euler_at_final;      ///< Take the last step with order 1.

  /// Throws std::invalid_argument if a parameter is out of range. `where` is the name of the
  /// sampler, for the message.
  void check(const char* where) const {
    detail::check_order(where, order, 3);
    detail::check_not_negative(where, "eta", eta);
    detail::check_not_negative(where, "s_noise", s_noise);
  }
};

/// Returns the order of a step: the number of stored predictions, at most options.order. The last
/// steps of a run of fewer than 15 steps are long and have a lower order if options ask for it.
inline int multistep_order(const Step& step, const MultistepOptions& options, std::size_t predictions) {
  const Eigen::Index left = step.count - step.index;
  int order = (std::min)(options.order, static_cast<int>(predictions));
  if (options.lower_order_final && step.count < 15 && left <= 2) order = (std::min)(order, static_cast<int>(left));
  return options.euler_at_final && left == 1 ? 1 : order;
}

/// Returns the weights of m_0, m_1 and m_2 in d0 D0 + d1 D1 + d2 D2. m_0 is the prediction at
/// lambda; m_1 and m_2 are the predictions of the two steps before. With h = lambda_to - lambda:
///
///     r_k  = (lambda_k - lambda_{k+1}) / h
///     D_01 = (m_0 - m_1) / r_0
///     D_12 = (m_1 - m_2) / r_1
///
///     order 1   D0 = m_0
///     order 2   D0 = m_0,  D1 = D_01
///     order 3   D0 = m_0,  D1 = D_01 + r_0 (D_01 - D_12) / (r_0 + r_1),
///               D2 = c (D_01 - D_12) / (r_0 + r_1)
///
/// c = 2 gives the derivatives of the quadratic through the m_k. The published DPM-Solvers have
/// c = 1.
template <class Predictions>
std::array<double, 3> multistep_weights(const ExponentialStep& d, double h, int order, double c, const Predictions& m) {
  if (order == 1) return {d.d0, 0.0, 0.0};
  const double r0 = (m.place(0) - m.place(1)) / h;
  double first = d.d1 / r0, second = 0.0;  // coefficients of m_0 - m_1 and m_1 - m_2
  if (order == 3) {
    const double r1 = (m.place(1) - m.place(2)) / h;
    const double change = (d.d1 * r0 + c * d.d2) / (r0 + r1);  // coefficient of D_01 - D_12
    first += change / r0;
    second -= change / r1;
  }
  return {d.d0 + first, second - first, -second};
}

/// One step of a multistep solver: moves x to step.to by data_step or epsilon_step. Throws
/// std::invalid_argument if options.eta > 0 and sigma / alpha rises, and std::domain_error if the
/// step starts without noise.
template <class Tensor, class Noise>
void multistep_step(const MultistepOptions& options, const Step& step, Tensor& x, Prediction<Tensor>& prediction,
                    const Noise& noise, MultistepState<Tensor>& state) {
  auto& m = state.predictions;
  if (step.first) m.clear();
  if (options.eta > 0.0) check_goes_down(step.from, step.to);
  const bool ends = touches_infinite_lambda(step);
  if (ends) step_with_fixed_x_start(x, x, step.from, step.to, prediction.x_start, step.device);
  m.push(options.data ? prediction.x_start : prediction.epsilon, half_log_snr(step.from));
  if (ends) return;

  const int order = multistep_order(step, options, m.size());
  const DpmSolverType type = order == 3 ? DpmSolverType::heun : options.type;
  const ExponentialStep d = options.data ? data_step(step.from, step.to, type, options.eta)
                                         : epsilon_step(step.from, step.to, type, options.eta);
  const double h = half_log_snr_rise(step.from, step.to);
  const auto weights = multistep_weights(d, h, order, options.curvature, m);
  detail::LinearCombination<Tensor> sum;
  sum.add(d.x, x);
  for (std::size_t k = 0; k < static_cast<std::size_t>(order); ++k) sum.add(weights[k], m[k]);
  const double deviation = d.noise * options.s_noise;
  if (deviation != 0.0) {
    noise(state.noise, x);
    sum.add(deviation, state.noise);
  }
  sum.into(x, x, step.device);
}

/// The singlestep DPM-Solvers of orders 1 to 3 from x at `from` to `to`. Lu et al. 2022
/// (DPM-Solver), Eq. (3.7), Algorithm 2, and Algorithm 4 for second order with any r1. The model is
/// called at x, then at lambda + r1 h, then at lambda + r2 h; these calls give e_0, e_1 and e_2.
template <class Tensor>
struct DpmStages {
  Tensor x,     ///< x at `from`.
      epsilon;  ///< e_0, the epsilon there.

  /// The level at lambda + r h.
  static NoiseLevel level(const TimeGrid& grid, const NoiseLevel& from, const NoiseLevel& to, double r) {
    return grid.at(half_log_snr(from) + r * half_log_snr_rise(from, to));
  }

  /// The step of first order. It also gives the x of the second call.
  ///
  ///     x_to = (alpha_to / alpha) x - sigma_to (exp(h) - 1) e_0
  void first(Tensor& out, const NoiseLevel& from, const NoiseLevel& to, const DeviceRef& device = {}) const {
    step_with_fixed_epsilon(out, x, from, to, epsilon, device);
  }

  /// The step of second order:
  ///
  ///     x_to = (alpha_to / alpha) x - sigma_to (exp(h) - 1) (e_0 + (e_1 - e_0) / (2 r1))
  void second(Tensor& out, const NoiseLevel& from, const NoiseLevel& to, double r1, const Tensor& e_1,
              const DeviceRef& device = {}) const {
    const double ratio = to.alpha / from.alpha, whole = to.sigma - from.sigma * ratio, slope = whole * 0.5 / r1;
    combine<Tensor>(out, {{ratio, x}, {whole - slope, epsilon}, {slope, e_1}}, device);
  }

  /// The x of the third call, at lambda + r2 h.
  void before_third(Tensor& out, const NoiseLevel& from, const NoiseLevel& to, double r1, double r2,
                    const TimeGrid& grid, const Tensor& e_1, const DeviceRef& device = {}) const {
    weighted(out, from, level(grid, from, to, r2), r2 * half_log_snr_rise(from, to), r2 / r1, e_1, device);
  }

  /// The step of third order:
  ///
  ///     x_to = (alpha_to / alpha) x - sigma_to ((exp(h) - 1) e_0 + h phi_2(h) (e_2 - e_0) / r2)
  void third(Tensor& out, const NoiseLevel& from, const NoiseLevel& to, double r2, const Tensor& e_2,
             const DeviceRef& device = {}) const {
    weighted(out, from, to, half_log_snr_rise(from, to), 1.0 / r2, e_2, device);
  }

 private:
  void weighted(Tensor& out, const NoiseLevel& from, const NoiseLevel& to, double h, double slope, const Tensor& e,
                const DeviceRef& device) const {
    const double ratio = to.alpha / from.alpha, whole = to.sigma - from.sigma * ratio;
    const double change = -to.sigma * h * detail::phi(2, h) * slope;
    combine<Tensor>(out, {{ratio, x}, {whole - change, epsilon}, {change, e}}, device);
  }
};

}  // namespace diffusion
