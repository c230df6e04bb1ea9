/// @file tables.hpp
/// The tables of a Gaussian diffusion process, computed from its betas in double-double arithmetic.
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

/// True if 0 < beta <= 1. A beta of 0 adds no noise and makes the posterior 0/0; a beta of 1 is
/// pure noise; NaN is not a beta.
inline bool is_beta(double beta) { return beta > 0.0 && beta <= 1.0; }

/// Throws std::invalid_argument unless 0 < value <= 1, as "<name> = 1.5 is outside (0, 1]".
inline void check_beta(const char* where, const char* name, double value) {
  if (!is_beta(value)) fail<std::invalid_argument>(where, name, " = ", value, " is outside (0, 1]");
}

/// Throws std::invalid_argument unless there is at least one beta and 0 < betas[i] <= 1 for every i.
inline void check_betas(const char* where, const Eigen::ArrayXd& betas) {
  if (betas.size() == 0) fail<std::invalid_argument>(where, "betas is empty");
  for (Eigen::Index i = 0; i < betas.size(); ++i) {
    if (!is_beta(betas[i])) {
      fail<std::invalid_argument>(where, "betas[", i, "] = ", betas[i], " is outside (0, 1]");
    }
  }
}

/// A number as the unevaluated sum of two doubles, about 32 digits, which keeps a product of 10^6
/// factors right to the last bit of its double: high + low with |low| <= ulp(high) / 2.
struct DoubleDouble {
  double high = 0.0;
  double low = 0.0;
};

/// x + y = s + e exactly (Knuth's TwoSum).
inline DoubleDouble two_sum(double x, double y) {
  const double s = x + y;
  const double y_part = s - x;
  const double x_part = s - y_part;
  return {s, (x - x_part) + (y - y_part)};
}

/// x * y = p + e exactly. fma, not a split: contraction cannot change what it rounds.
inline DoubleDouble two_product(double x, double y) {
  const double p = x * y;
  return {p, std::fma(x, y, -p)};
}

/// x + y to about 2^-104 relative, also when the two nearly cancel.
inline DoubleDouble operator+(const DoubleDouble& x, const DoubleDouble& y) {
  const DoubleDouble high = two_sum(x.high, y.high);
  const DoubleDouble low = two_sum(x.low, y.low);
  const DoubleDouble sum = two_sum(high.high, high.low + low.high);
  return two_sum(sum.high, sum.low + low.low);
}

inline DoubleDouble operator-(const DoubleDouble& x) { return {-x.high, -x.low}; }

inline DoubleDouble operator-(const DoubleDouble& x, const DoubleDouble& y) { return x + (-y); }

/// x * y to about 2^-104 relative.
inline DoubleDouble operator*(const DoubleDouble& x, double y) {
  const DoubleDouble p = two_product(x.high, y);
  return two_sum(p.high, std::fma(x.low, y, p.low));
}

/// What GaussianDiffusion knows of its schedule, each array of length T = num_timesteps and within 4 ulp of the true value as
/// long as abar_t is above 1e-290, so that both its halves are normal doubles; below it has fewer digits, and where it cannot fall
/// further it is 0.
struct Tables {
  using Index = Eigen::Index;

  /// Throws std::invalid_argument unless there is at least one beta and each is in (0, 1].
  explicit Tables(Eigen::ArrayXd from_betas) : betas(std::move(from_betas)) {
    check_betas("GaussianDiffusion", betas);
    accumulate();
    derive();
    timestep_map.resize(static_cast<std::size_t>(betas.size()));
    std::iota(timestep_map.begin(), timestep_map.end(), Index(0));
    original_num_timesteps = betas.size();
  }

  /// The process that stops only at these steps of `base`, at least one, rising and in range. They keep abar and 1 - abar;
  ///     beta_i = 1 - abar_i / abar_{i-1} = ((1 - abar_i) - (1 - abar_{i-1})) / abar_{i-1}
  /// (the base's own beta where no step is left out). Throws std::domain_error where abar_{i-1} = 0.
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
        fail<std::domain_error>("respace", "alphas_cumprod[", previous, "] = 0: no signal is left to step from");
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
  Eigen::ArrayXd alphas_cumprod;                  // abar_t = prod_{s <= t} (1 - beta_s), and what is missing from it
  Eigen::ArrayXd alphas_cumprod_low;              //     in a double
  Eigen::ArrayXd alphas_cumprod_prev;             // abar_{t-1}; 1 at t = 0
  Eigen::ArrayXd alphas_cumprod_next;             // abar_{t+1}; 0 at t = T - 1
  Eigen::ArrayXd one_minus_alphas_cumprod;        // 1 - abar_t, and what is missing from it in a double
  Eigen::ArrayXd one_minus_alphas_cumprod_low;
  Eigen::ArrayXd sqrt_alphas_cumprod;             // sqrt(abar_t)
  Eigen::ArrayXd sqrt_one_minus_alphas_cumprod;   // sqrt(1 - abar_t)
  Eigen::ArrayXd log_one_minus_alphas_cumprod;    // log(1 - abar_t)
  Eigen::ArrayXd sqrt_recip_alphas_cumprod;       // sqrt(1 / abar_t); inf where abar_t = 0
  Eigen::ArrayXd sqrt_recipm1_alphas_cumprod;     // sqrt(1 / abar_t - 1); inf where abar_t = 0
  Eigen::ArrayXd posterior_variance;              // (1 - abar_{t-1}) / (1 - abar_t) beta_t
  Eigen::ArrayXd posterior_log_variance_clipped;  // its log; at t = 0 that of t = 1
  Eigen::ArrayXd posterior_mean_coef1;            // sqrt(abar_{t-1}) beta_t / (1 - abar_t)
  Eigen::ArrayXd posterior_mean_coef2;            // sqrt(alpha_t) (1 - abar_{t-1}) / (1 - abar_t)
  std::vector<Index> timestep_map;                // the timestep of the original process that step t is
  Index original_num_timesteps = 0;               // and the length of that process
  // clang-format on

  /// alpha_t = 1 - beta_t = abar_t / abar_{t-1}: by the quotient, which stays exact where beta_t is itself a rounded
  /// difference close to 1, unless abar_t is too small to have all its digits.
  double alpha(Index t) const {
    return alphas_cumprod[t] < (std::numeric_limits<double>::min)() ? 1.0 - betas[t]
                                                                    : alphas_cumprod[t] / alphas_cumprod_prev[t];
  }

  /// abar_t and 1 - abar_t of every step, together and in twice the working precision:
  ///     1 - abar_t = (1 - abar_{t-1}) + abar_{t-1} beta_t,   abar_t = abar_{t-1} - abar_{t-1} beta_t
  /// so that neither suffers where the other is close to 1. (-ffast-math removes the second half of each number. Then the tables
  /// of linear and cosine schedules are right to 2e-13 up to T = 100000, the variance of a single step to 2e-13 at T = 1000 and
  /// 2e-11 at T = 100000, and a NaN among the betas may pass unnoticed.)
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
      // Where abar is about to underflow, the product has: abar would stay what it is for ever.
      const bool stuck = step.high == 0.0 && alpha_bar.high < (std::numeric_limits<double>::min)();
      alpha_bar = stuck ? DoubleDouble{0.0} : alpha_bar - step;
      alphas_cumprod[t] = alpha_bar.high;
      alphas_cumprod_low[t] = alpha_bar.low;
      one_minus_alphas_cumprod[t] = one_minus.high;
      one_minus_alphas_cumprod_low[t] = one_minus.low;
    }
  }

  /// The other tables, none by a subtraction that cancels. (In scalar std::sqrt and std::log: Eigen's vectorised ones are not
  /// rounded correctly on every target.)
  void derive() {
    const Index T = betas.size();
    alphas_cumprod_prev.resize(T);
    alphas_cumprod_prev << 1.0, alphas_cumprod.head(T - 1);
    alphas_cumprod_next.resize(T);
    alphas_cumprod_next << alphas_cumprod.tail(T - 1), 0.0;
    for (Eigen::ArrayXd* table : {&sqrt_alphas_cumprod, &sqrt_one_minus_alphas_cumprod, &log_one_minus_alphas_cumprod,
                                  &sqrt_recip_alphas_cumprod, &sqrt_recipm1_alphas_cumprod, &posterior_variance,
                                  &posterior_log_variance_clipped, &posterior_mean_coef1, &posterior_mean_coef2}) {
      table->resize(T);
    }
    for (Index t = 0; t < T; ++t) {
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

  /// 1 - abar_t / abar_s = (abar_s - abar_t) / abar_s, where the difference is taken of abar or of 1 - abar, whichever is the
  /// smaller at s; the low halves keep it exact.
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
