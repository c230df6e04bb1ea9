/// @file dpm_solver_pp.hpp
/// The multistep DPM-Solver++.
#pragma once

#include "../exponential.hpp"

namespace diffusion {

/// DPM-Solver++ multistep, which interpolates the predictions of x_0. Lu et al. 2022
/// (DPM-Solver++), Algorithm 2 and Section 5 (the SDE); "2M", "2M SDE" and "3M SDE" in k-diffusion.
/// With lambda = log(alpha / sigma), h = lambda_to - lambda, g = (1 + eta) h and the last
/// predictions m_0, m_1 and m_2:
///
///     x_to = (sigma_to / sigma) exp(-eta h) x
///            + alpha_to g (phi_1(-g) m_0 + phi_2(-g) D1 + phi_3(-g) D2) + noise
///
/// exponential.hpp defines the phi_k, and D1 and D2, which are differences of the m_k. A step that
/// ends clean is x_to = alpha_to m_0. order = 3 uses the published weight of D2; it converges
/// with second order only, with a small error constant.
///
/// @code{.cpp}
/// #include <diffusion/diffusion.hpp>
///
/// int main() {
///   using Images = Eigen::Tensor<float, 4>;
///   const diffusion::GaussianDiffusion<float> process(diffusion::cosine_beta_schedule(1000));
///   // In place of a network: predicts x_0 = 0.5 for any x and model time.
///   const auto model = [](const Images& x, const Eigen::Tensor<float, 1>&) -> Images {
///     return x.constant(0.5f);
///   };
///   const diffusion::Denoiser denoiser(model, diffusion::ModelMeanType::start_x);
///   const auto grid = diffusion::timestep_grid(process, diffusion::TimestepSpacing::trailing, 20);
///   Images x(4, 1, 8, 8);
///   diffusion::PhiloxNoise(0)(x);
///   const Images images = diffusion::sample(diffusion::DpmSolverPP{}, grid, denoiser, x);
///   const Eigen::Tensor<float, 0> error = (images - 0.5f).abs().maximum();
///   return error() < 1e-6f ? 0 : 1;
/// }
/// @endcode
struct DpmSolverPP {
  /// Order, 1 to 3; solver_order in diffusers.
  int order = 2;
  /// Form of the second-order term in steps of order 2; solver_type in diffusers.
  DpmSolverType type = DpmSolverType::midpoint;
  /// Amount of noise, >= 0: 0 solves the ODE, 1 the SDE (algorithm_type "sde-dpmsolver++" in
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
  void check() const { options().check("DpmSolverPP"); }

  /// Moves x to step.to.
  template <class Tensor, class Noise>
  void advance(const Step& step, const ModelCall&, Tensor& x, Prediction<Tensor>& prediction, const Noise& noise,
               State<Tensor>& state) const {
    multistep_step(options(), step, x, prediction, noise, state);
  }

 private:
  MultistepOptions options() const { return {true, 1.0, order, type, eta, s_noise, lower_order_final, euler_at_final}; }
};

}  // namespace diffusion
