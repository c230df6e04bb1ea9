/// @file deis.hpp
/// The DEIS multistep sampler.
#pragma once

#include "../exponential.hpp"

namespace diffusion {

/// DEIS multistep: interpolates epsilon by a polynomial in log(sigma / alpha) and integrates the
/// polynomial exactly. Zhang, Chen 2023, in the form of diffusers' solver_type "logrho":
///
///     x_to = (alpha_to / alpha) x - sigma_to h (phi_1(h) m_0 + phi_2(h) D1 + phi_3(h) D2)
///
/// exponential.hpp defines h, phi_k, m_0, D1 and D2. The polynomial passes through the last `order`
/// predictions, so this is DpmSolver with c = 2 in D2 instead of c = 1. A step that ends clean is
/// x_to = alpha_to x_0.
struct Deis {
  /// Order, 1 to 3; solver_order in diffusers, where the default is 2.
  int order = 3;
  /// Lower the order at the end of runs of fewer than 15 steps: 1 in the last step and at most 2 in
  /// the one before.
  bool lower_order_final = true;

  /// Memory of a run.
  template <class Tensor>
  using State = MultistepState<Tensor>;

  /// Throws std::invalid_argument unless 1 <= order <= 3.
  void check() const { options().check("Deis"); }

  /// Moves x to step.to.
  template <class Tensor, class Noise>
  void advance(const Step& step, const ModelCall&, Tensor& x, Prediction<Tensor>& prediction, const Noise& noise,
               State<Tensor>& state) const {
    multistep_step(options(), step, x, prediction, noise, state);
  }

 private:
  MultistepOptions options() const {
    return {false, 2.0, order, DpmSolverType::heun, 0.0, 1.0, lower_order_final, false};
  }
};

}  // namespace diffusion
