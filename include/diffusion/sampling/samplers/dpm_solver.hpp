/// @file dpm_solver.hpp
#pragma once

#include "../exponential.hpp"

namespace diffusion {

/// DPM-Solver multistep, of predictions of epsilon; Lu et al. 2022 (DPM-Solver), Eq. (3.4), in the multistep form of
/// DPM-Solver++. With lambda = log(alpha / sigma), h = lambda_to - lambda, m_0, m_1, m_2 the last predictions:
///     x_to = (alpha_to / alpha) x - (1 + eta) sigma_to h (phi_1(h) m_0 + phi_2(h) D1 + phi_3(h) D2) + noise
/// D1 and D2 are differences of the m_k (see exponential.hpp). A step that ends clean is x_to = alpha_to x_0. The
/// parameters are those of DpmSolverPP, which is the more stable under guidance.
struct DpmSolver {
  int order = 2;
  DpmSolverType type = DpmSolverType::midpoint;
  double eta = 0.0;
  double s_noise = 1.0;
  bool lower_order_final = true;
  bool euler_at_final = false;

  template <class Tensor>
  using State = MultistepState<Tensor>;

  void check() const { options().check("DpmSolver"); }

  template <class Tensor, class Denoise, class Noise>
  void step(const Step& step, Tensor& x, const Denoise& denoise, const Noise& noise, State<Tensor>& state) const {
    multistep_step(options(), step, x, denoise, noise, state);
  }

 private:
  MultistepOptions options() const {
    return {false, 1.0, order, type, eta, s_noise, lower_order_final, euler_at_final};
  }
};

}  // namespace diffusion
