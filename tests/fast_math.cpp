// Checks what the documentation promises for programs compiled with -ffast-math, as this one is. It
// prints each measurement and returns 1 if a promise is broken. It does not use Catch2, which
// relies on arithmetic that -ffast-math changes.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <limits>
#include <stdexcept>
#include <string>
#include <unsupported/Eigen/CXX11/Tensor>

#include "diffusion/process/gaussian_diffusion.hpp"
#include "diffusion/process/schedules.hpp"
#include "golden.hpp"

using diffusion::GaussianDiffusion;
using diffusion::linear_beta_schedule;
using Eigen::ArrayXd;
using Eigen::Index;

namespace {

bool promises_hold = true;

/// Prints a measurement beside its promised bound. A NaN breaks the promise; it is recognised by
/// its bits, because -ffast-math makes comparisons with NaN meaningless.
void promise(const std::string& what, double measured, double promised) {
  std::uint64_t bits;
  std::memcpy(&bits, &measured, sizeof bits);
  const bool is_number = (bits >> 52 & 0x7FF) != 0x7FF;
  const bool good = is_number && measured <= promised;
  std::printf("%-62s %9.2e  promised %7.0e%s\n", what.c_str(), measured, promised, good ? "" : "  BROKEN");
  promises_hold = promises_hold && good;
}

/// Prints whether a promise without a bound holds.
void promise(const std::string& what, bool good) {
  std::printf("%-62s %s\n", what.c_str(), good ? "yes" : "no  BROKEN");
  promises_hold = promises_hold && good;
}

using Process = GaussianDiffusion<double>;
struct Table {
  const char* name;
  const ArrayXd& (Process::*get)() const;
  bool is_log;
};
constexpr std::array tables = {
    Table{"alphas_cumprod", &Process::alphas_cumprod, false},
    Table{"one_minus_alphas_cumprod", &Process::one_minus_alphas_cumprod, false},
    Table{"sqrt_alphas_cumprod", &Process::sqrt_alphas_cumprod, false},
    Table{"sqrt_one_minus_alphas_cumprod", &Process::sqrt_one_minus_alphas_cumprod, false},
    Table{"log_one_minus_alphas_cumprod", &Process::log_one_minus_alphas_cumprod, true},
    Table{"sqrt_recip_alphas_cumprod", &Process::sqrt_recip_alphas_cumprod, false},
    Table{"sqrt_recipm1_alphas_cumprod", &Process::sqrt_recipm1_alphas_cumprod, false},
    Table{"posterior_variance", &Process::posterior_variance, false},
    Table{"posterior_log_variance_clipped", &Process::posterior_log_variance_clipped, true},
    Table{"posterior_mean_coef1", &Process::posterior_mean_coef1, false},
    Table{"posterior_mean_coef2", &Process::posterior_mean_coef2, false},
};

/// Largest error of any table of a process with a recorded schedule. It is relative to |x|, or to
/// 1 + |x| for the logarithms.
double table_error(const std::string& group, const ArrayXd& betas) {
  const Golden& g = golden("schedules_truth.txt");
  const Process process(betas);
  const ArrayXd index = g.array(group + "/betas/index");
  double worst = 0;
  for (const Table& table : tables) {
    const ArrayXd expected = g.array(group + "/betas/" + table.name);
    for (Index i = 0; i < index.size(); ++i) {
      const double got = (process.*table.get)()[static_cast<Index>(std::llround(index[i]))];
      const double scale = table.is_log ? 1 + std::abs(expected[i]) : std::abs(expected[i]);
      const double difference = std::abs(got - expected[i]);
      worst = std::max(worst, difference == 0 ? 0 : difference / scale);
    }
  }
  return worst;
}

/// Largest relative difference between the variance of one step, q_step from t - 1 to t, and its
/// beta.
double step_error(const ArrayXd& betas) {
  const Process process(betas);
  Eigen::Tensor<double, 1> zero(1), one(1);
  zero.setZero();
  one.setConstant(1);
  double worst = 0;
  for (Index t = 1; t < process.num_timesteps(); ++t) {
    const double deviation = process.q_step(zero, t - 1, t, one)(0);
    worst = std::max(worst, std::abs(deviation * deviation / betas[t] - 1));
  }
  return worst;
}

/// Largest error, in units of the scalar type's epsilon, of
///
///     x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise
template <class Scalar>
double sample_error() {
  const GaussianDiffusion<Scalar> process(linear_beta_schedule(1000));
  Eigen::Tensor<Scalar, 2> x(9, 70), noise(9, 70);
  for (Index i = 0; i < x.size(); ++i) {
    x.data()[i] = static_cast<Scalar>(std::sin(static_cast<double>(i)));
    noise.data()[i] = static_cast<Scalar>(std::cos(3.0 * static_cast<double>(i)));
  }
  diffusion::Timesteps t(9);
  for (Index n = 0; n < 9; ++n) t(n) = n * 124;
  const Eigen::Tensor<Scalar, 2> x_t = process.q_sample(x, t, noise);
  long double worst = 0;
  for (Index i = 0; i < x.size(); ++i) {
    const Index step = t(i % 9);
    const long double expected =
        static_cast<long double>(process.sqrt_alphas_cumprod()[step]) * x.data()[i] +
        static_cast<long double>(process.sqrt_one_minus_alphas_cumprod()[step]) * noise.data()[i];
    worst = std::max(worst, std::abs(x_t.data()[i] - expected));
  }
  return static_cast<double>(worst / std::numeric_limits<Scalar>::epsilon());
}

/// Whether the constructor rejects this beta.
bool is_rejected(double beta) {
  ArrayXd betas = ArrayXd::Constant(5, 0.1);
  betas[3] = beta;
  try {
    const Process process(betas);
  } catch (const std::invalid_argument&) {
    return true;
  }
  return false;
}

}  // namespace

int main() {
  try {
#if !defined(__FAST_MATH__)
    std::puts("not compiled with -ffast-math: all errors should be far below their bounds");
#endif
    const Golden& truth = golden("schedules_truth.txt");
    for (const char* const name : {"linear_T50", "linear_T1000", "linear_T100000", "cosine_T10", "cosine_T1000"}) {
      const std::string group = name;
      const ArrayXd betas = group == "linear_T100000" ? linear_beta_schedule(100000)
                            : truth.contains(group + "/betas/betas_input")
                                ? truth.array(group + "/betas/betas_input")
                                : golden("guided_schedules.txt").array(group + "/betas");
      promise("tables of " + group + ", relative error", table_error(group, betas), 2e-13);
    }
    promise("variance of a single step, T = 1000, relative error", step_error(linear_beta_schedule(1000)), 2e-13);
    promise("variance of a single step, T = 100000, relative error", step_error(linear_beta_schedule(100000)), 2e-11);
    promise("q_sample in float, error in epsilons", sample_error<float>(), 2);
    promise("q_sample in double, error in epsilons", sample_error<double>(), 2);
    promise("betas of 0, below 0 and above 1 are rejected", is_rejected(0.0) && is_rejected(-0.1) && is_rejected(1.5));
    std::printf("%-62s %s\n", "a beta that is NaN is rejected (not promised)",
                is_rejected(std::numeric_limits<double>::quiet_NaN()) ? "yes" : "no");
  } catch (const std::exception& e) {
    std::printf("%s\n", e.what());
    return 1;
  }
  std::puts(promises_hold ? "all promises kept" : "a promise is broken");
  return promises_hold ? 0 : 1;
}
