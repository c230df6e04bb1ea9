/// @file deis.hpp
#pragma once

#include "../exponential.hpp"

namespace diffusion {

/// DEIS; Zhang, Chen 2023, but of "logrho" in diffusers: the epsilon of the last `order` levels, as a polynomial in
/// log(sigma / alpha), integrated exactly. That is DpmSolver with a full quadratic:
///     x_to = (alpha_to / alpha) x - sigma_to h (phi_1(h) m_0 + phi_2(h) D1 + phi_3(h) D2)
/// (exponential.hpp has D1 and D2; c = 2). A step that ends clean is x_to = alpha_to x_0.
struct Deis {
  int order = 3;                  // 1 to 3
  bool lower_order_final = true;  // in runs of fewer than 15 steps, order 1 at the last and at most 2 at the one before

  template <class Tensor>
  using State = MultistepState<Tensor>;

  void check() const { options().check("Deis"); }

  template <class Tensor, class Denoise, class Noise>
  void step(const Step& step, Tensor& x, const Denoise& denoise, const Noise& noise, State<Tensor>& state) const {
    multistep_step(options(), step, x, denoise, noise, state);
  }

 private:
  MultistepOptions options() const {
    return {false, 2.0, order, DpmSolverType::heun, 0.0, 1.0, lower_order_final, false};
  }
};

}  // namespace diffusion
