/// @file uni_pc.hpp
/// The UniPC predictor-corrector sampler.
#pragma once

#include <Eigen/Core>
#include <algorithm>  // std::find, std::min
#include <array>
#include <cmath>    // std::expm1
#include <cstddef>  // std::size_t
#include <vector>

#include "../../detail/check.hpp"
#include "../../detail/kernel/linear_combination.hpp"
#include "../../detail/math/phi.hpp"
#include "../history.hpp"
#include "../steps.hpp"

namespace diffusion {

/// UniPC, a multistep predictor-corrector. Zhao, Bai, Rao, Zhou, Lu 2023, Algorithms 1 and 2. Each
/// step first corrects the result of the previous step with the new prediction (UniC-p), then takes
/// its own step (UniP-p). With lambda = log(alpha / sigma), h = lambda_to - lambda and the last
/// predictions m_0, m_1, ..., predictor and corrector have this form (phi_k as in exponential.hpp):
///
///     x_to = a x + b (h' phi_1(h') m_0 + B(h') sum_k rho_k D_k)
///     D_k  = (m_k - m_0) / r_k
///     r_k  = (lambda_k - lambda) / h
///
///     predictions of x_0       h' = -h,  a = sigma_to / sigma,  b = -alpha_to
///     predictions of epsilon   h' = h,   a = alpha_to / alpha,  b = -sigma_to
///
/// The rho_k solve, for j = 1, 2, ...,
///
///     sum_k r_k^(j-1) rho_k = h' phi_{j+1}(h') j! / B(h')
///
/// A single rho is 1/2. The corrector also has the new prediction among the m_k, with r_k = 1. It
/// differs from the predictor only in the weights of the m_k. The difference is added to x, so
/// changes by Hooks::correct_x_t are kept. A step that ends clean is x_to = alpha_to x_0.
struct UniPc {
  /// The function B(h').
  enum class B {
    bh1,  ///< B(h') = h'
    bh2   ///< B(h') = exp(h') - 1
  };
  /// The p of UniP-p and UniC-p, 1 to 3; solver_order in diffusers.
  int order = 2;
  /// The function B(h'); solver_type in diffusers.
  B b = B::bh2;
  /// Apply the corrector; diffusers has no such switch.
  bool corrector = true;
  /// Indices of the steps whose results are not corrected, for example the first ones under strong
  /// guidance.
  std::vector<Eigen::Index> disable_corrector = {};
  /// True interpolates the predictions of x_0, false those of epsilon.
  bool predict_x0 = true;
  /// Limit the order of a step to the number of steps left, so that the last step has order 1.
  bool lower_order_final = true;

  /// Memory of a run.
  template <class Tensor>
  struct State {
    History<Tensor, 3> predictions;      ///< Last predictions, placed at their lambda.
    NoiseLevel last;                     ///< Level at which the previous step began.
    std::array<double, 4> last_weights;  ///< Weights of the m_k in the predictor of that step.
    int last_order = 0;                  ///< Order of that step; 0 if there is nothing to correct.
  };

  /// Throws std::invalid_argument unless 1 <= order <= 3.
  void check() const { detail::check_order("UniPc", order, 3); }

  /// Moves x to step.to.
  template <class Tensor, class Noise>
  void advance(const Step& step, const ModelCall&, Tensor& x, Prediction<Tensor>& prediction, const Noise&,
               State<Tensor>& state) const {
    if (step.first) {
      state.predictions.clear();
      state.last_order = 0;
    }
    Tensor& newest = predict_x0 ? prediction.x_start : prediction.epsilon;
    const bool left_alone =
        std::find(disable_corrector.begin(), disable_corrector.end(), step.index - 1) != disable_corrector.end();
    const auto& m = state.predictions;
    if (corrector && !left_alone && state.last_order > 0) {
      const auto order_of_last = static_cast<std::size_t>(state.last_order);
      const auto corrected = weights(state.last, step.from, state.last_order, m, true);
      LinearCombination<Tensor> sum;
      sum.add(1.0, x).add(corrected[order_of_last], newest);
      for (std::size_t k = 0; k < order_of_last; ++k) sum.add(corrected[k] - state.last_weights[k], m[k]);
      sum.into(x, x, step.device);
    }
    if (touches_infinite_lambda(step)) {
      step_with_fixed_x_start(x, x, step.from, step.to, prediction.x_start, step.device);
      state.last_order = 0;
      return;
    }
    state.predictions.push(newest, half_log_snr(step.from));
    int now = (std::min)(order, static_cast<int>(state.predictions.size()));
    if (lower_order_final) now = (std::min)(now, static_cast<int>(step.count - step.index));
    state.last = step.from;
    state.last_order = now;
    state.last_weights = weights(step.from, step.to, now, m, false);
    LinearCombination<Tensor> sum;
    sum.add(predict_x0 ? step.to.sigma / step.from.sigma : step.to.alpha / step.from.alpha, x);
    for (std::size_t k = 0; k < static_cast<std::size_t>(now); ++k) sum.add(state.last_weights[k], m[k]);
    sum.into(x, x, step.device);
  }

 private:
  /// Weights of m_0, ..., m_{p-1} in the equation above. For the corrector, the weight of the
  /// prediction at `to` follows.
  template <class Predictions>
  std::array<double, 4> weights(const NoiseLevel& from, const NoiseLevel& to, int p, const Predictions& m,
                                bool corrects) const {
    const double h = half_log_snr_rise(from, to), signed_h = predict_x0 ? -h : h;
    const double B_h = b == B::bh1 ? signed_h : std::expm1(signed_h);
    const int known = p - 1, size = known + (corrects ? 1 : 0);
    std::array<double, 3> r, rho;
    for (int k = 0; k < size; ++k) {
      r[at(k)] = k < known ? (m.place(static_cast<std::size_t>(k + 1)) - half_log_snr(from)) / h : 1.0;
    }
    double factorial = 1.0;
    for (int j = 1; j <= size; ++j) {
      factorial *= j;
      rho[at(j - 1)] = signed_h * detail::phi(j + 1, signed_h) * factorial / B_h;
    }
    // The paper sets a single rho to 1/2, which is accurate enough for any B.
    if (size == 1) rho[0] = 0.5;
    if (size > 1) solve_vandermonde(r, rho, size);

    const double scale = predict_x0 ? -to.alpha : -to.sigma;
    std::array<double, 4> out{scale * signed_h * detail::phi(1, signed_h)};
    for (int k = 0; k < size; ++k) {
      const double weight = scale * B_h * rho[at(k)] / r[at(k)];
      out[0] -= weight;
      out[at(k + 1)] = weight;
    }
    return out;
  }

  static std::size_t at(int k) { return static_cast<std::size_t>(k); }

  /// Replaces b by the solution y of this system, j = 0, ..., size - 1; Bjorck and Pereyra 1970:
  ///
  ///     sum_k r_k^j y_k = b_j
  static void solve_vandermonde(const std::array<double, 3>& r, std::array<double, 3>& b, int size) {
    for (int k = 0; k + 1 < size; ++k) {
      for (int j = size - 1; j > k; --j) b[at(j)] -= r[at(k)] * b[at(j - 1)];
    }
    for (int k = size - 2; k >= 0; --k) {
      for (int j = k + 1; j < size; ++j) b[at(j)] /= r[at(j)] - r[at(j - k - 1)];
      for (int j = k; j + 1 < size; ++j) b[at(j)] -= b[at(j + 1)];
    }
  }
};

}  // namespace diffusion
