/// @file dpm_solver.hpp
/// The multistep DPM-Solver.
#pragma once

#include "../exponential.hpp"

namespace diffusion {

/// DPM-Solver multistep, which interpolates the predictions of epsilon. Lu et al. 2022
/// (DPM-Solver), Eq. (3.4), in the multistep form of DPM-Solver++. With
/// lambda = log(alpha / sigma), h = lambda_to - lambda and the last predictions m_0, m_1 and m_2:
///
///     x_to = (alpha_to / alpha) x
///            - (1 + eta) sigma_to h (phi_1(h) m_0 + phi_2(h) D1 + phi_3(h) D2) + noise
///
/// exponential.hpp defines the phi_k, and D1 and D2, which are differences of the m_k. A step that
/// ends clean is x_to = alpha_to x_0. DpmSolverPP, which has the same parameters, is more stable
/// under guidance.
struct DpmSolver {
  /// Order, 1 to 3; solver_order in diffusers.
  int order = 2;
  /// Form of the second-order term in steps of order 2; solver_type in diffusers.
  DpmSolverType type = DpmSolverType::midpoint;
  /// Amount of noise, >= 0: 0 solves the ODE, 1 the SDE (algorithm_type "sde-dpmsolver" in
  /// diffusers).
  double eta = 0.0;
  /// Factor on the standard deviation of the noise, >= 0; 1 is exact.
  double s_noise = 1.0;
  /// Lower the order at the end of runs of fewer than 15 steps: 1 in the last step and at most 2 in
  /// the one before.
  bool lower_order_final = true;
  /// Take the last step of any run with order 1.
  bool euler_at_final = false;

  /// Memory of a run.
  template <class Tensor>
  using State = MultistepState<Tensor>;

  /// Throws std::invalid_argument if a parameter is out of range.
  void check() const { options().check("DpmSolver"); }

  /// Moves x to step.to.
  template <class Tensor, class Noise>
  void advance(const Step& step, const ModelCall&, Tensor& x, Prediction<Tensor>& prediction, const Noise& noise,
               State<Tensor>& state) const {
    multistep_step(options(), step, x, prediction, noise, state);
  }

 private:
  MultistepOptions options() const {
    return {false, 1.0, order, type, eta, s_noise, lower_order_final, euler_at_final};
  }
};

}  // namespace diffusion
