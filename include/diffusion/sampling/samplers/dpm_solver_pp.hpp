/// @file dpm_solver_pp.hpp
#pragma once

#include "../exponential.hpp"

namespace diffusion {

/// DPM-Solver++ multistep, of predictions of x_0; Lu et al. 2022 (DPM-Solver++), Algorithm 2 and Section 5 (the SDE);
/// "2M", "2M SDE" and "3M SDE" in k-diffusion. With lambda = log(alpha / sigma), h = lambda_to - lambda, m_0, m_1, m_2
/// the last predictions:
///     x_to = (sigma_to / sigma) exp(-eta h) x + alpha_to g (phi_1(-g) m_0 + phi_2(-g) D1 + phi_3(-g) D2) + noise
/// g = (1 + eta) h; D1 and D2 are differences of the m_k (see exponential.hpp). A step that ends clean is
/// x_to = alpha_to m_0. Order 3 weighs D2 as published, which leaves it a method of second order with a small constant.
struct DpmSolverPP {
  int order = 2;                                 // 1 to 3
  DpmSolverType type = DpmSolverType::midpoint;  // of steps of order 2
  double eta = 0.0;                              // 0: the ODE; 1: the SDE
  double s_noise = 1.0;
  bool lower_order_final = true;  // in runs of fewer than 15 steps, order 1 at the last and at most 2 at the one before
  bool euler_at_final = false;    // order 1 at the last step of any run

  template <class Tensor>
  using State = MultistepState<Tensor>;

  void check() const { options().check("DpmSolverPP"); }

  template <class Tensor, class Denoise, class Noise>
  void step(const Step& step, Tensor& x, const Denoise& denoise, const Noise& noise, State<Tensor>& state) const {
    multistep_step(options(), step, x, denoise, noise, state);
  }

 private:
  MultistepOptions options() const { return {true, 1.0, order, type, eta, s_noise, lower_order_final, euler_at_final}; }
};

}  // namespace diffusion
