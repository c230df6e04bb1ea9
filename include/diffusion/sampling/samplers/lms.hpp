/// @file lms.hpp
/// The linear multistep sampler.
#pragma once

#include <algorithm>  // std::min
#include <cmath>      // std::sqrt
#include <cstddef>    // std::size_t

#include "../../detail/check.hpp"
#include "../../detail/kernel/linear_combination.hpp"
#include "../history.hpp"
#include "../steps.hpp"

namespace diffusion {

/// The Adams-Bashforth method for dz / ds = epsilon on unequal steps, where z = x / alpha and
/// s = sigma / alpha. k-diffusion's sample_lms:
///
///     z_to = z + sum_j epsilon_j integral from s to s_to of l_j(u) du
///
/// The l_j are the Lagrange polynomials of the last `order` levels.
struct Lms {
  /// Highest order, 1 to 4. The order rises from 1 in the first step.
  int order = 4;

  /// Memory of a run.
  template <class Tensor>
  struct State {
    History<Tensor, 4> epsilons;  ///< Last epsilons, placed at their s.
  };

  /// Throws std::invalid_argument unless 1 <= order <= 4.
  void check() const { detail::check_order("Lms", order, 4); }

  /// Moves x to step.to.
  template <class Tensor, class Noise>
  void advance(const Step& step, const ModelCall&, Tensor& x, Prediction<Tensor>& prediction, const Noise&,
               State<Tensor>& state) const {
    auto& epsilons = state.epsilons;
    if (step.first) epsilons.clear();
    if (step.from.alpha == 0.0)
      return step_with_fixed_x_start(x, x, step.from, step.to, prediction.x_start, step.device);
    if (step.to.alpha == 0.0)
      return combine<Tensor>(x, {{step.to.sigma, prediction.epsilon}}, step.device);  // s_to is infinite
    epsilons.push(prediction.epsilon, noise_to_signal(step.from));
    const std::size_t points = (std::min)(static_cast<std::size_t>(order), epsilons.size());
    LinearCombination<Tensor> sum;
    sum.add(step.to.alpha / step.from.alpha, x);
    for (std::size_t j = 0; j < points; ++j) {
      sum.add(step.to.alpha * weight(epsilons, points, j, noise_to_signal(step.to)), epsilons[j]);
    }
    sum.into(x, x, step.device);
  }

 private:
  /// The integral of l_j from s_0 to s_to by two-point Gauss quadrature, exact up to degree 3.
  template <class Predictions>
  static double weight(const Predictions& at, std::size_t points, std::size_t j, double s_to) {
    const double middle = 0.5 * (at.place(0) + s_to), half = 0.5 * (s_to - at.place(0));
    double sum = 0.0;
    for (const double u : {middle - half / std::sqrt(3.0), middle + half / std::sqrt(3.0)}) {
      double l = 1.0;
      for (std::size_t k = 0; k < points; ++k) {
        if (k != j) l *= (u - at.place(k)) / (at.place(j) - at.place(k));
      }
      sum += l;
    }
    return half * sum;
  }
};

}  // namespace diffusion
