/// @file uni_pc.hpp
#pragma once

#include <Eigen/Core>
#include <Eigen/LU>
#include <algorithm>  // std::find, std::min
#include <array>
#include <cmath>    // std::expm1, std::pow
#include <cstddef>  // std::size_t
#include <vector>

#include "../../detail/check.hpp"
#include "../../detail/kernel/linear_combination.hpp"
#include "../../detail/math/phi.hpp"
#include "../history.hpp"
#include "../steps.hpp"

namespace diffusion {

/// UniPC; Zhao, Bai, Rao, Zhou, Lu 2023, Algorithms 1 and 2. Each step first corrects the previous one with
/// the new prediction (UniC-p), then predicts (UniP-p). Both, from `from` to `to`, are
///
///     x_to = a x + b (h' phi_1(h') m_0 + B(h') sum_k rho_k D_k),   D_k = (m_k - m_0) / r_k,  r_k = (lambda_k - lambda) / h
///
/// with h' = -h, a = sigma_to / sigma, b = -alpha_to of predictions of x_0, and h' = h, a = alpha_to / alpha,
/// b = -sigma_to of predictions of epsilon. The rho solve sum_k r_k^(j-1) rho_k = h' phi_{j+1}(h') j! / B(h') for j = 1, 2,
/// ...; a single rho is 1/2. The corrector has the new prediction, r = 1, among the m_k; it differs by the weights of the m_k
/// alone, so their difference is added to x, and what Hooks::correct_x_t did there stays. A step that ends clean is
/// x_to = alpha_to x_0.
struct UniPc {
  enum class B {
    bh1,  // B(h') = h'
    bh2   // B(h') = exp(h') - 1
  };
  int order = 2;  // 1 to 3
  B b = B::bh2;
  bool corrector = true;
  // Step indices at which the corrector is skipped, e.g. the first ones under strong guidance.
  std::vector<Eigen::Index> disable_corrector = {};
  bool predict_x0 = true;         // interpolate the predictions of x_0, or those of epsilon
  bool lower_order_final = true;  // the last steps are of order 1, 2, ... counted from the end

  template <class Tensor>
  struct State {
    Prediction<Tensor> prediction;
    History<Tensor, 3> predictions;      // at lambda
    NoiseLevel last;                     // where the last step began
    std::array<double, 4> last_weights;  // those of its predictor
    int last_order = 0;                  // 0: there is none, or it is not to be corrected
  };

  void check() const { detail::check_order("UniPc", order, 3); }

  template <class Tensor, class Denoise, class Noise>
  void step(const Step& step, Tensor& x, const Denoise& denoise, const Noise&, State<Tensor>& state) const {
    if (step.first) {
      state.predictions.clear();
      state.last_order = 0;
    }
    denoise(x, step.from, state.prediction);
    Tensor& prediction = predict_x0 ? state.prediction.x_start : state.prediction.epsilon;
    const bool left_alone =
        std::find(disable_corrector.begin(), disable_corrector.end(), step.index - 1) != disable_corrector.end();
    const auto& m = state.predictions;
    if (corrector && !left_alone && state.last_order > 0) {
      const auto order_of_last = static_cast<std::size_t>(state.last_order);
      const auto corrected = weights(state.last, step.from, state.last_order, m, true);
      LinearCombination<Tensor> sum;
      sum.add(1.0, x).add(corrected[order_of_last], prediction);
      for (std::size_t k = 0; k < order_of_last; ++k) sum.add(corrected[k] - state.last_weights[k], m[k]);
      sum.into(x, x);
    }
    if (touches_clean_or_pure_noise(step)) {
      step_with_fixed_x_start(x, x, step.from, step.to, state.prediction.x_start);
      state.last_order = 0;
      return;
    }
    state.predictions.push(prediction, half_log_snr(step.from));
    int now = (std::min)(order, static_cast<int>(state.predictions.size()));
    if (lower_order_final) now = (std::min)(now, static_cast<int>(step.count - step.index));
    state.last = step.from;
    state.last_order = now;
    state.last_weights = weights(step.from, step.to, now, m, false);
    LinearCombination<Tensor> sum;
    sum.add(predict_x0 ? step.to.sigma / step.from.sigma : step.to.alpha / step.from.alpha, x);
    for (std::size_t k = 0; k < static_cast<std::size_t>(now); ++k) sum.add(state.last_weights[k], m[k]);
    sum.into(x, x);
  }

 private:
  /// Those of m_0, ..., m_{p-1} in the equation above; of the corrector, then that of the prediction at `to`.
  template <class Predictions>
  std::array<double, 4> weights(const NoiseLevel& from, const NoiseLevel& to, int p, const Predictions& m,
                                bool corrects) const {
    using Vector = Eigen::Matrix<double, Eigen::Dynamic, 1, 0, 4, 1>;
    using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, 0, 4, 4>;
    const double h = half_log_snr_rise(from, to), signed_h = predict_x0 ? -h : h;
    const double B_h = b == B::bh1 ? signed_h : std::expm1(signed_h);
    const int known = p - 1, size = known + (corrects ? 1 : 0);
    Vector r(size), right(size), rho(size);
    for (int k = 0; k < size; ++k) {
      r[k] = k < known ? (m.place(static_cast<std::size_t>(k + 1)) - half_log_snr(from)) / h : 1.0;
    }
    double factorial = 1.0;
    for (int j = 1; j <= size; ++j) {
      factorial *= j;
      right[j - 1] = signed_h * detail::phi(j + 1, signed_h) * factorial / B_h;
    }
    // The paper's choice where there is one rho: 1/2 is right to the order that is needed, whatever B.
    if (size == 1) {
      rho[0] = 0.5;
    } else if (size > 1) {
      Matrix powers(size, size);
      for (int j = 0; j < size; ++j) {
        for (int k = 0; k < size; ++k) powers(j, k) = std::pow(r[k], j);
      }
      rho = powers.partialPivLu().solve(right);
    }

    const double scale = predict_x0 ? -to.alpha : -to.sigma;
    std::array<double, 4> out{scale * signed_h * detail::phi(1, signed_h)};
    for (int k = 0; k < size; ++k) {
      const double weight = scale * B_h * rho[k] / r[k];
      out[0] -= weight;
      out[static_cast<std::size_t>(k + 1)] = weight;
    }
    return out;
  }
};

}  // namespace diffusion
