/// @file dpm_solver_singlestep.hpp
/// The singlestep DPM-Solver and DPM-Solver++ as diffusers runs them.
#pragma once

#include <algorithm>  // std::min
#include <cstddef>    // std::size_t

#include "../../detail/check.hpp"
#include "../../detail/kernel/linear_combination.hpp"
#include "../exponential.hpp"

namespace diffusion {

namespace detail {

/// One step of DpmSolverSinglestep. `curvature` is the factor c of D2, 2 for the derivative of the
/// quadratic through the m_k.
template <class Solver, class Tensor, class Noise>
void singlestep_step(const Solver& solver, double curvature, const Step& step, Tensor& x,
                     Prediction<Tensor>& prediction, const Noise& noise,
                     typename Solver::template State<Tensor>& state) {
  // Orders 1, 2, 3, 1, 2, 3, ... for order 3. With lower_order_final, a full last block ends with
  // order 1.
  const bool ends_full_block = step.index + 1 == step.count && step.count % solver.order == 0;
  const int order = solver.lower_order_final && ends_full_block ? 1 : static_cast<int>(step.index % solver.order) + 1;
  if (step.first) state.predictions.clear();
  if (solver.eta > 0.0) check_goes_down(step.from, step.to);
  if (touches_infinite_lambda(step)) {
    return step_with_fixed_x_start(x, x, step.from, step.to, prediction.x_start, step.device);
  }
  auto& m = state.predictions;
  // A run that begins without signal or part-way may lack the first predictions of its block.
  const int now = (std::min)(order, static_cast<int>(m.size()) + 1);
  if (now == 1) {
    m.clear();
    state.x = x;
    state.from = step.from;
  }
  m.push(solver.predict_x0 ? prediction.x_start : prediction.epsilon, half_log_snr(step.from));

  const DpmSolverType weights_of = now == 3 ? DpmSolverType::heun : solver.type;
  const ExponentialStep d = solver.predict_x0 ? data_step(state.from, step.to, weights_of, solver.eta)
                                              : epsilon_step(state.from, step.to, weights_of, solver.eta);
  const double h = half_log_snr_rise(state.from, step.to);
  const auto last = static_cast<std::size_t>(now - 1);  // m[last] is m_0 and m[last - k] is m_k
  const auto r = [&](std::size_t k) { return (m.place(last - k) - m.place(last)) / h; };
  double weight[3] = {d.d0, 0.0, 0.0};
  const auto add_quotient = [&](std::size_t k, double a) {  // a (m_k - m_0) / r_k
    weight[k] += a / r(k);
    weight[0] -= a / r(k);
  };
  if (now == 2) add_quotient(1, d.d1);
  if (now == 3 && solver.type == DpmSolverType::midpoint) add_quotient(2, d.d1);
  if (now == 3 && solver.type == DpmSolverType::heun) {
    const double spread = r(2) - r(1);
    add_quotient(1, (d.d1 * r(2) - curvature * d.d2) / spread);
    add_quotient(2, (curvature * d.d2 - d.d1 * r(1)) / spread);
  }
  LinearCombination<Tensor> sum;
  sum.add(d.x, state.x);
  for (std::size_t k = 0; k <= last; ++k) sum.add(weight[k], m[last - k]);
  const double deviation = d.noise * solver.s_noise;
  if (deviation != 0.0) {
    noise(state.noise, x);
    sum.add(deviation, state.noise);
  }
  sum.into(x, x, step.device);
}

}  // namespace detail

/// DPM-Solver and DPM-Solver++ singlestep, with one model call per step. Lu et al. 2022
/// (DPM-Solver), Algorithms 2 and 4, and (DPM-Solver++), Algorithm 1, as in diffusers'
/// DPMSolverSinglestepScheduler. The steps of the grid form blocks of `order` steps. Each step of a
/// block starts again from the x at the block's beginning and has one prediction more than the step
/// before, so the last step of a block has the full order.
///
/// m_0, m_1 and m_2 are the predictions of the block in the order of its steps, at lambda_0,
/// lambda_1 and lambda_2. With h = lambda_to - lambda_0:
///
///     r_k = (lambda_k - lambda_0) / h
///     Q_k = (m_k - m_0) / r_k
///
///     order 1              D0 = m_0
///     order 2              D0 = m_0,  D1 = Q_1
///     order 3 (midpoint)   D0 = m_0,  D1 = Q_2
///     order 3 (heun)       D0 = m_0,  D1 = (r_2 Q_1 - r_1 Q_2) / (r_2 - r_1),
///                          D2 = 2 (Q_2 - Q_1) / (r_2 - r_1)
///
/// x_to follows from these as in DpmSolverPP (data_step) or, with predict_x0 = false, as in
/// DpmSolver (epsilon_step). Changes made by Hooks::correct_x_t inside a block are overwritten by
/// the next step of the block.
struct DpmSolverSinglestep {
  /// Order and length of a block, 1 to 3; solver_order in diffusers.
  int order = 2;
  /// Form of the second- and third-order terms; solver_type in diffusers.
  DpmSolverType type = DpmSolverType::midpoint;
  /// Amount of noise, >= 0: 0 solves the ODE, 1 the SDE (algorithm_type "sde-dpmsolver++" in
  /// diffusers).
  double eta = 0.0;
  /// Factor on the standard deviation of the noise, >= 0; 1 is exact.
  double s_noise = 1.0;
  /// True interpolates the predictions of x_0 (DPM-Solver++), false those of epsilon (DPM-Solver);
  /// algorithm_type in diffusers.
  bool predict_x0 = true;
  /// Take the last step of a run with order 1 if its block is full. Steps in an incomplete last
  /// block have a lower order in any case. The default in diffusers is false.
  bool lower_order_final = true;

  /// Memory of a run.
  template <class Tensor>
  struct State {
    History<Tensor, 3> predictions;  ///< Predictions of this block, placed at their lambda.
    Tensor x,                        ///< x at the beginning of the block.
        noise;                       ///< Noise of one step.
    NoiseLevel from;                 ///< Level at the beginning of the block.
  };

  /// Throws std::invalid_argument if a parameter is out of range.
  void check() const {
    detail::check_order("DpmSolverSinglestep", order, 3);
    detail::check_not_negative("DpmSolverSinglestep", "eta", eta);
    detail::check_not_negative("DpmSolverSinglestep", "s_noise", s_noise);
  }

  /// Moves x to step.to.
  template <class Tensor, class Noise>
  void advance(const Step& step, const ModelCall&, Tensor& x, Prediction<Tensor>& prediction, const Noise& noise,
               State<Tensor>& state) const {
    detail::singlestep_step(*this, 2.0, step, x, prediction, noise, state);
  }
};

}  // namespace diffusion
