/// @file multistep.hpp
/// Multistep DPM-Solvers: one call of the model a step, and the predictions of the steps before.
#pragma once

#include <algorithm>  // std::min
#include <array>
#include <cstddef>  // std::size_t

#include "exponential_step.hpp"
#include "history.hpp"

namespace diffusion {
namespace detail {

template <class Tensor>
struct MultistepState {
  Prediction<Tensor> prediction;
  History<Tensor, 3> predictions;  // at lambda
  Tensor noise;
};

/// What the multistep solvers differ in.
struct MultistepOptions {
  bool data;         // predictions of x_0, or of epsilon
  double curvature;  // the weight c of D2, below
  int order;
  DpmSolverType type;
  double eta, s_noise;
  bool lower_order_final, euler_at_final;

  void check(const char* where) const {
    check_order(where, order, 3);
    check_not_negative(where, "eta", eta);
    check_not_negative(where, "s_noise", s_noise);
  }
};

/// The order of a step: what there are predictions for, but less towards the end, where the last steps of a short run are
/// long.
inline int multistep_order(const Step& step, const MultistepOptions& options, std::size_t predictions) {
  const Eigen::Index left = step.count - step.index;
  int order = (std::min)(options.order, static_cast<int>(predictions));
  if (options.lower_order_final && step.count < 15 && left <= 2) order = (std::min)(order, static_cast<int>(left));
  return options.euler_at_final && left == 1 ? 1 : order;
}

/// With m_0 the prediction at lambda, m_1 and m_2 those of the steps before, h = lambda_to - lambda, and quotients of
/// differences r_k = (lambda_k - lambda_{k+1}) / h, D_01 = (m_0 - m_1) / r_0, D_12 = (m_1 - m_2) / r_1:
///     order 1    D0 = m_0
///     order 2    D1 = D_01
///     order 3    D2 = c (D_01 - D_12) / (r_0 + r_1),   D1 = D_01 + r_0 (D_01 - D_12) / (r_0 + r_1)
/// c = 2 makes them the derivatives of the quadratic through the m_k; the published DPM-Solvers have c = 1. The result is
/// the weights of m_0, m_1, m_2 in d0 D0 + d1 D1 + d2 D2.
template <class History>
std::array<double, 3> multistep_weights(const ExponentialStep& d, double h, int order, double c, const History& m) {
  if (order == 1) return {d.d0, 0.0, 0.0};
  const double r0 = (m.place(0) - m.place(1)) / h;
  double first = d.d1 / r0, second = 0.0;  // of m_0 - m_1 and m_1 - m_2
  if (order == 3) {
    const double r1 = (m.place(1) - m.place(2)) / h;
    const double change = (d.d1 * r0 + c * d.d2) / (r0 + r1);  // of D_01 - D_12
    first += change / r0;
    second -= change / r1;
  }
  return {d.d0 + first, second - first, -second};
}

/// One step; the equations are those of ExponentialStep.
template <class Tensor, class Denoise, class Noise>
void multistep(const MultistepOptions& options, const Step& step, Tensor& x, const Denoise& denoise, const Noise& noise,
               MultistepState<Tensor>& state) {
  auto& m = state.predictions;
  if (step.first) m.clear();
  if (options.eta > 0.0) check_goes_down(step.from, step.to);
  denoise(x, step.from, state.prediction);
  const bool ends = at_an_end(step);
  if (ends) move_by_x_start(x, x, step.from, step.to, state.prediction.x_start);
  m.push(options.data ? state.prediction.x_start : state.prediction.epsilon, half_log_snr(step.from));
  if (ends) return;

  const int order = multistep_order(step, options, m.size());
  const DpmSolverType type = order == 3 ? DpmSolverType::heun : options.type;
  const ExponentialStep d = options.data ? data_step(step.from, step.to, type, options.eta)
                                         : epsilon_step(step.from, step.to, type, options.eta);
  const double h = half_log_snr_rise(step.from, step.to);
  const auto weights = multistep_weights(d, h, order, options.curvature, m);
  LinearCombination<Tensor> sum;
  sum.add(d.x, x);
  for (std::size_t k = 0; k < static_cast<std::size_t>(order); ++k) sum.add(weights[k], m[k]);
  const double deviation = d.noise * options.s_noise;
  if (deviation != 0.0) {
    noise(state.noise, x);
    sum.add(deviation, state.noise);
  }
  sum.into(x, x);
}

}  // namespace detail
}  // namespace diffusion
