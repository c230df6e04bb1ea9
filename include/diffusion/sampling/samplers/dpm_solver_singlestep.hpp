/// @file dpm_solver_singlestep.hpp
#pragma once

#include <algorithm>  // std::min
#include <cstddef>    // std::size_t

#include "../../detail/check.hpp"
#include "../../detail/kernel/linear_combination.hpp"
#include "../exponential.hpp"

namespace diffusion {

/// DPM-Solver and DPM-Solver++ singlestep; Lu et al. 2022 (DPM-Solver), Algorithms 2 and 4, (DPM-Solver++), Algorithm 1.
/// The levels of the grid go in blocks of `order`: the steps of a block all start from the x at its beginning, where the
/// prediction was m_0, with one prediction more each, so that the last one is of full order. In a block, with h from its
/// beginning to `to`, and r_1 and r_2 the places of the other predictions m_1, m_2 in units of h,
///
///     second step   D0 = m_0,  D1 = (m_1 - m_0) / r_1
///     third step    D0 = m_0,  D1 = (m_2 - m_0) / r_2   (midpoint), or the derivatives of the quadratic (heun):
///                   D1 = (r_2 D_1 - r_1 D_2) / (r_2 - r_1),  D2 = 2 (D_2 - D_1) / (r_2 - r_1),  D_k = (m_k - m_0) / r_k
///
/// Each step is that of DpmSolverPP or, with predict_x0 = false, of DpmSolver. Changes made by Hooks::correct_x_t inside a
/// block are overwritten by the next step of the block.
struct DpmSolverSinglestep {
  int order = 2;  // 1 to 3
  DpmSolverType type = DpmSolverType::midpoint;
  double eta = 0.0;  // 0: the ODE; 1: the SDE
  double s_noise = 1.0;
  bool predict_x0 = true;  // interpolate the predictions of x_0, or those of epsilon
  bool lower_order_final =
      true;  // steps that are left over when the blocks are full, and the last one, are of lower order

  template <class Tensor>
  struct State {
    Prediction<Tensor> prediction;
    History<Tensor, 3> predictions;  // of this block, at lambda
    Tensor x, noise;                 // x at the beginning of the block
    NoiseLevel from;                 // its level
  };

  void check() const {
    detail::check_order("DpmSolverSinglestep", order, 3);
    detail::check_not_negative("DpmSolverSinglestep", "eta", eta);
    detail::check_not_negative("DpmSolverSinglestep", "s_noise", s_noise);
  }

  template <class Tensor, class Denoise, class Noise>
  void step(const Step& step, Tensor& x, const Denoise& denoise, const Noise& noise, State<Tensor>& state) const {
    if (step.first) state.predictions.clear();
    if (eta > 0.0) check_goes_down(step.from, step.to);
    denoise(x, step.from, state.prediction);
    if (touches_clean_or_pure_noise(step)) {
      return step_with_fixed_x_start(x, x, step.from, step.to, state.prediction.x_start);
    }
    auto& m = state.predictions;
    // A run that begins without signal, or part-way, may find its block without a beginning.
    const int now = (std::min)(order_of(step.index, step.count), static_cast<int>(m.size()) + 1);
    if (now == 1) {
      m.clear();
      state.x = x;
      state.from = step.from;
    }
    m.push(predict_x0 ? state.prediction.x_start : state.prediction.epsilon, half_log_snr(step.from));

    const DpmSolverType weights_of = now == 3 ? DpmSolverType::heun : type;
    const ExponentialStep d = predict_x0 ? data_step(state.from, step.to, weights_of, eta)
                                         : epsilon_step(state.from, step.to, weights_of, eta);
    const double h = half_log_snr_rise(state.from, step.to);
    const auto last = static_cast<std::size_t>(now - 1);  // m[last] is m_0, m[last - k] is m_k
    const auto r = [&](std::size_t k) { return (m.place(last - k) - m.place(last)) / h; };
    double weight[3] = {d.d0, 0.0, 0.0};
    const auto add_quotient = [&](std::size_t k, double a) {  // a (m_k - m_0) / r_k
      weight[k] += a / r(k);
      weight[0] -= a / r(k);
    };
    if (now == 2) add_quotient(1, d.d1);
    if (now == 3 && type == DpmSolverType::midpoint) add_quotient(2, d.d1);
    if (now == 3 && type == DpmSolverType::heun) {
      const double spread = r(2) - r(1);
      add_quotient(1, (d.d1 * r(2) - 2.0 * d.d2) / spread);
      add_quotient(2, (2.0 * d.d2 - d.d1 * r(1)) / spread);
    }
    LinearCombination<Tensor> sum;
    sum.add(d.x, state.x);
    for (std::size_t k = 0; k <= last; ++k) sum.add(weight[k], m[last - k]);
    const double deviation = d.noise * s_noise;
    if (deviation != 0.0) {
      noise(state.noise, x);
      sum.add(deviation, state.noise);
    }
    sum.into(x, x);
  }

 private:
  /// The order of step `index`: 1, 2, 3, 1, 2, 3, ... for order 3. With lower_order_final the last step is the first of
  /// its block, and a block that is too short is cut.
  int order_of(Eigen::Index index, Eigen::Index count) const {
    const Eigen::Index in_block = index % order;
    if (!lower_order_final) return static_cast<int>(in_block) + 1;
    if (index + 1 == count && (count % order != 0 || order == 1)) return count % order == 2 ? 2 : 1;
    // Where the blocks fill the run, the last one gives a step away: 1, 2, 1 for order 3, and 1, 1 for order 2.
    if (index + 1 == count) return 1;
    return static_cast<int>(in_block) + 1;
  }
};

}  // namespace diffusion
