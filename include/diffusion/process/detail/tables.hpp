/// @file tables.hpp
/// Tables of a Gaussian diffusion process, computed from its betas in double-double arithmetic.
#pragma once

#include <Eigen/Core>
#include <cmath>    // std::fma, std::log, std::log1p, std::sqrt
#include <cstddef>  // std::size_t
#include <limits>
#include <numeric>    // std::iota
#include <stdexcept>  // std::domain_error, std::invalid_argument
#include <utility>    // std::move
#include <vector>

#include "../../detail/error.hpp"

namespace diffusion {
namespace detail {

/// Whether 0 < beta <= 1, which is false for NaN. A beta of 0 adds no noise and makes the posterior
/// 0/0; a beta of 1 gives pure noise.
inline bool is_beta(double beta) { return beta > 0.0 && beta <= 1.0; }

/// Throws std::invalid_argument unless 0 < value <= 1: "name = 1.5 is outside (0, 1]".
inline void check_beta(const char* where, const char* name, double value) {
  if (!is_beta(value)) fail<std::invalid_argument>(where, name, " = ", value, " is outside (0, 1]");
}

/// Throws std::invalid_argument if betas is empty or an entry is outside (0, 1].
inline void check_betas(const char* where, const Eigen::ArrayXd& betas) {
  if (betas.size() == 0) fail<std::invalid_argument>(where, "betas is empty");
  for (Eigen::Index i = 0; i < betas.size(); ++i) {
    if (!is_beta(betas[i])) {
      fail<std::invalid_argument>(where, "betas[", i, "] = ", betas[i], " is outside (0, 1]");
    }
  }
}

/// A number of about 32 digits as the sum high + low of two doubles, with |low| <= ulp(high) / 2. A
/// product of 10^6 factors stays right to the last bit of a double.
struct DoubleDouble {
  double high = 0.0;
  double low = 0.0;
};

/// The exact sum x + y (Knuth's TwoSum).
inline DoubleDouble two_sum(double x, double y) {
  const double s = x + y;
  const double y_part = s - x;
  const double x_part = s - y_part;
  return {s, (x - x_part) + (y - y_part)};
}

/// The exact product x * y. Uses fma, not Dekker's split: compilers that contract a * b + c cannot
/// change its result.
inline DoubleDouble two_product(double x, double y) {
  const double p = x * y;
  return {p, std::fma(x, y, -p)};
}

/// x + y with a relative error of about 2^-104, even if the two nearly cancel.
inline DoubleDouble operator+(const DoubleDouble& x, const DoubleDouble& y) {
  const DoubleDouble high = two_sum(x.high, y.high);
  const DoubleDouble low = two_sum(x.low, y.low);
  const DoubleDouble sum = two_sum(high.high, high.low + low.high);
  return two_sum(sum.high, sum.low + low.low);
}

inline DoubleDouble operator-(const DoubleDouble& x) { return {-x.high, -x.low}; }

inline DoubleDouble operator-(const DoubleDouble& x, const DoubleDouble& y) { return x + (-y); }

/// x * y with a relative error of about 2^-104.
inline DoubleDouble operator*(const DoubleDouble& x, double y) {
  const DoubleDouble p = two_product(x.high, y);
  return two_sum(p.high, std::fma(x.low, y, p.low));
}

/// Tables of a schedule, each of length T = num_timesteps. Values are within 4 ulp of the exact
/// ones while abar_t > 1e-290, where both halves of abar_t are normal doubles. Below that abar_t
/// has fewer digits, and it becomes 0 where it can no longer decrease.
struct Tables {
  using Index = Eigen::Index;

  /// Throws std::invalid_argument if the betas are empty or one is outside (0, 1].
  explicit Tables(Eigen::ArrayXd from_betas) : betas(std::move(from_betas)) {
    check_betas("GaussianDiffusion", betas);
    accumulate();
    derive();
    timestep_map.resize(static_cast<std::size_t>(betas.size()));
    std::iota(timestep_map.begin(), timestep_map.end(), Index(0));
    original_num_timesteps = betas.size();
  }

  /// Tables of the process that visits only the given steps of `base`. `steps` must not be empty,
  /// and must be ascending and in range. The steps keep their abar and 1 - abar, and
  ///
  ///     beta_i = 1 - abar_i / abar_{i-1} = ((1 - abar_i) - (1 - abar_{i-1})) / abar_{i-1}
  ///
  /// which is the base's own beta if no step is left out before step i. Throws std::domain_error if
  /// abar_{i-1} = 0, and std::invalid_argument if a beta rounds to 0.
  Tables(const Tables& base, const std::vector<Index>& steps) {
    const Index T = static_cast<Index>(steps.size());
    betas.resize(T);
    for (Eigen::ArrayXd Tables::*table : {&Tables::alphas_cumprod, &Tables::alphas_cumprod_low,
                                          &Tables::one_minus_alphas_cumprod, &Tables::one_minus_alphas_cumprod_low}) {
      (this->*table).resize(T);
      for (Index i = 0; i < T; ++i) (this->*table)[i] = (base.*table)[steps[static_cast<std::size_t>(i)]];
    }
    for (Index i = 0, previous = -1; i < T; ++i) {
      const Index step = steps[static_cast<std::size_t>(i)];
      if (previous >= 0 && base.alphas_cumprod[previous] == 0.0) {
        fail<std::domain_error>("respace", "alphas_cumprod[", previous, "] = 0: keep no step after timestep ", previous,
                                ", where no signal is left");
      }
      betas[i] = step == previous + 1 ? base.betas[step]
                 : previous < 0       ? base.one_minus_alphas_cumprod[step]
                                      : base.step_variance(previous, step);
      timestep_map.push_back(base.timestep_map[static_cast<std::size_t>(step)]);
      previous = step;
    }
    check_betas("respace", betas);
    derive();
    original_num_timesteps = base.original_num_timesteps;
  }

  // clang-format off
  Eigen::ArrayXd betas;                           // beta_t
  Eigen::ArrayXd alphas_cumprod;                  // abar_t = prod_{s <= t} (1 - beta_s), high half
  Eigen::ArrayXd alphas_cumprod_low;              // low half of abar_t
  Eigen::ArrayXd alphas_cumprod_prev;             // abar_{t-1}; 1 at t = 0
  Eigen::ArrayXd alphas_cumprod_next;             // abar_{t+1}; 0 at t = T - 1
  Eigen::ArrayXd one_minus_alphas_cumprod;        // 1 - abar_t, high half
  Eigen::ArrayXd one_minus_alphas_cumprod_low;    // low half of 1 - abar_t
  Eigen::ArrayXd sqrt_alphas_cumprod;             // sqrt(abar_t)
  Eigen::ArrayXd sqrt_one_minus_alphas_cumprod;   // sqrt(1 - abar_t)
  Eigen::ArrayXd log_one_minus_alphas_cumprod;    // log(1 - abar_t)
  Eigen::ArrayXd sqrt_recip_alphas_cumprod;       // sqrt(1 / abar_t); inf where abar_t = 0
  Eigen::ArrayXd sqrt_recipm1_alphas_cumprod;     // sqrt(1 / abar_t - 1); inf where abar_t = 0
  Eigen::ArrayXd posterior_variance;              // (1 - abar_{t-1}) / (1 - abar_t) beta_t
  Eigen::ArrayXd posterior_log_variance_clipped;  // log(posterior_variance); at t = 0 its value at t = 1
  Eigen::ArrayXd posterior_mean_coef1;            // sqrt(abar_{t-1}) beta_t / (1 - abar_t)
  Eigen::ArrayXd posterior_mean_coef2;            // sqrt(alpha_t) (1 - abar_{t-1}) / (1 - abar_t)
  std::vector<Index> timestep_map;                // timestep of the original process for each step
  Index original_num_timesteps = 0;               // number of timesteps of the original process
  // clang-format on

  /// alpha_t = 1 - beta_t = abar_t / abar_{t-1}. Returns the quotient, because 1 - beta_t magnifies
  /// the rounding error of a beta_t near 1. Returns 1 - beta_t if abar_t is subnormal and so has
  /// lost digits.
  double alpha(Index t) const {
    return alphas_cumprod[t] < (std::numeric_limits<double>::min)() ? 1.0 - betas[t]
                                                                    : alphas_cumprod[t] / alphas_cumprod_prev[t];
  }

  /// Computes abar_t and 1 - abar_t of every step in double-double arithmetic. Neither is computed
  /// from the other, so each keeps its digits where the other is close to 1:
  ///
  ///     1 - abar_t = (1 - abar_{t-1}) + abar_{t-1} beta_t
  ///     abar_t     = abar_{t-1} - abar_{t-1} beta_t
  ///
  /// -ffast-math removes the low half of each number. The tables of linear and cosine schedules are
  /// then right to 2e-13 up to T = 100000, and the variance of a single step to 2e-13 at T = 1000
  /// and 2e-11 at T = 100000. A NaN among the betas may pass unnoticed.
  void accumulate() {
    const Index T = betas.size();
    alphas_cumprod.resize(T);
    alphas_cumprod_low.resize(T);
    one_minus_alphas_cumprod.resize(T);
    one_minus_alphas_cumprod_low.resize(T);
    detail::DoubleDouble alpha_bar{1.0}, one_minus{0.0};
    for (Index t = 0; t < T; ++t) {
      const detail::DoubleDouble step = alpha_bar * betas[t];
      one_minus = one_minus + step;
      // A subnormal abar would stop decreasing once abar beta_t underflows to 0; it is set to 0
      // instead.
      const bool stuck = step.high == 0.0 && alpha_bar.high < (std::numeric_limits<double>::min)();
      alpha_bar = stuck ? DoubleDouble{0.0} : alpha_bar - step;
      alphas_cumprod[t] = alpha_bar.high;
      alphas_cumprod_low[t] = alpha_bar.low;
      one_minus_alphas_cumprod[t] = one_minus.high;
      one_minus_alphas_cumprod_low[t] = one_minus.low;
    }
  }

  /// Computes the other tables without a subtraction that cancels. Uses scalar std::sqrt and
  /// std::log, because Eigen's vectorised ones are not correctly rounded on every target.
  void derive() {
    const Index T = betas.size();
    for (Eigen::ArrayXd* table :
         {&alphas_cumprod_prev, &alphas_cumprod_next, &sqrt_alphas_cumprod, &sqrt_one_minus_alphas_cumprod,
          &log_one_minus_alphas_cumprod, &sqrt_recip_alphas_cumprod, &sqrt_recipm1_alphas_cumprod, &posterior_variance,
          &posterior_log_variance_clipped, &posterior_mean_coef1, &posterior_mean_coef2}) {
      table->resize(T);
    }
    for (Index t = 0; t < T; ++t) {
      alphas_cumprod_prev[t] = t == 0 ? 1.0 : alphas_cumprod[t - 1];
      alphas_cumprod_next[t] = t == T - 1 ? 0.0 : alphas_cumprod[t + 1];
      const double beta = betas[t], alpha_bar = alphas_cumprod[t], alpha_bar_prev = alphas_cumprod_prev[t];
      const double one_minus = one_minus_alphas_cumprod[t];
      const double one_minus_prev = t == 0 ? 0.0 : one_minus_alphas_cumprod[t - 1];
      sqrt_alphas_cumprod[t] = std::sqrt(alpha_bar);
      sqrt_one_minus_alphas_cumprod[t] = std::sqrt(one_minus);
      log_one_minus_alphas_cumprod[t] = one_minus < 0.5 ? std::log(one_minus) : std::log1p(-alpha_bar);
      sqrt_recip_alphas_cumprod[t] = 1.0 / std::sqrt(alpha_bar);
      sqrt_recipm1_alphas_cumprod[t] = sqrt_one_minus_alphas_cumprod[t] / sqrt_alphas_cumprod[t];
      posterior_variance[t] = one_minus_prev / one_minus * beta;
      posterior_mean_coef1[t] = beta * std::sqrt(alpha_bar_prev) / one_minus;
      posterior_mean_coef2[t] = one_minus_prev * std::sqrt(alpha(t)) / one_minus;
      posterior_log_variance_clipped[t] = std::log(t == 0 ? beta : posterior_variance[t]);
    }
    if (T > 1) posterior_log_variance_clipped[0] = posterior_log_variance_clipped[1];
  }

  /// Variance of the jump from s to t:
  ///
  ///     1 - abar_t / abar_s = (abar_s - abar_t) / abar_s
  ///
  /// Subtracts two values of abar, or of 1 - abar if that is the smaller one at s. The low halves
  /// prevent cancellation.
  double step_variance(Index s, Index t) const {
    if (alphas_cumprod[s] < 0.5) {
      const double high = alphas_cumprod[s] - alphas_cumprod[t];
      const double low = alphas_cumprod_low[s] - alphas_cumprod_low[t];
      return (high + low) / alphas_cumprod[s];
    }
    const double high = one_minus_alphas_cumprod[t] - one_minus_alphas_cumprod[s];
    const double low = one_minus_alphas_cumprod_low[t] - one_minus_alphas_cumprod_low[s];
    return (high + low) / alphas_cumprod[s];
  }
};

}  // namespace detail
}  // namespace diffusion
