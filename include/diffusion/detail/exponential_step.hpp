/// @file exponential_step.hpp
/// The step of DPM-Solver and DPM-Solver++: the linear part of the equation is solved exactly, the prediction is a
/// polynomial in lambda = log(alpha / sigma).
#pragma once

#include <cmath>  // std::exp, std::expm1, std::sqrt

#include "level_steps.hpp"
#include "phi.hpp"

namespace diffusion {

/// How the second-order term of DPM-Solver is weighted.
enum class DpmSolverType {
  midpoint,  // phi_1 / 2
  heun       // phi_2, the integral of a linear prediction
};

namespace detail {

/// x_to = x * x + d0 D0 + d1 D1 + d2 D2 + noise N(0, 1), where the prediction is D0 + D1 u + D2 u^2 / 2 at lambda + u h.
struct ExponentialStep {
  double x, d0, d1, d2, noise;
};

/// Of predictions of x_0; Lu et al. 2022 (DPM-Solver++), Sections 4 and 5. With h = lambda_to - lambda and
/// g = (1 + eta) h,
///     x_to = (sigma_to / sigma) exp(-eta h) x + alpha_to g (phi_1(-g) D0 + phi_2(-g) D1 + phi_3(-g) D2)
///            + sigma_to sqrt(1 - exp(-2 eta h)) noise
/// eta = 0 is the ODE, eta = 1 the SDE.
inline ExponentialStep data_step(const NoiseLevel& from, const NoiseLevel& to, DpmSolverType type, double eta) {
  const double h = half_log_snr_rise(from, to), g = (1.0 + eta) * h, scale = to.alpha * g;
  const double d0 = scale * phi(1, -g);
  return {to.sigma / from.sigma * std::exp(-eta * h), d0,
          type == DpmSolverType::midpoint ? 0.5 * d0 : scale * phi(2, -g), scale * phi(3, -g),
          no_length(from, to) ? 0.0 : to.sigma * std::sqrt(-std::expm1(-2.0 * eta * h))};
}

/// Of predictions of epsilon; Lu et al. 2022 (DPM-Solver), Eq. (3.4) and Appendix B:
///     x_to = (alpha_to / alpha) x - (1 + eta) sigma_to h (phi_1(h) D0 + phi_2(h) D1 + phi_3(h) D2)
///            + sigma_to sqrt(eta (exp(2 h) - 1)) noise
inline ExponentialStep epsilon_step(const NoiseLevel& from, const NoiseLevel& to, DpmSolverType type, double eta) {
  const double h = half_log_snr_rise(from, to), scale = -(1.0 + eta) * to.sigma * h;
  const double d0 = scale * phi(1, h);
  return {to.alpha / from.alpha, d0, type == DpmSolverType::midpoint ? 0.5 * d0 : scale * phi(2, h), scale * phi(3, h),
          no_length(from, to) ? 0.0 : to.sigma * std::sqrt(eta * std::expm1(2.0 * h))};
}

}  // namespace detail
}  // namespace diffusion
