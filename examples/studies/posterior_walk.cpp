/// @file posterior_walk.cpp
/// Adds noise to a value, walks back to it with samples of the posterior, and compares every step
/// with the closed form. It tests three functions of the library together.
///
///     symbol    meaning                                       in the library
///     T         number of steps                               num_timesteps()
///     t         timestep, 0 ... T - 1                         one Index for the whole batch
///     beta_t    variance of the noise that step t adds        betas()
///     abar_t    (1 - beta_0) (1 - beta_1) ... (1 - beta_t)    alphas_cumprod()
///     x_t       x_0 after t + 1 steps of noise; x_{-1} is x_0
///
/// The forward process goes from x_0 to any x_t in one step. If x_0 is known, each step of the
/// process can be reversed:
///
///     q(x_t | x_0) = N(sqrt(abar_t) x_0, 1 - abar_t)          q_sample, q_mean_variance
///     q(x_{t-1} | x_t, x_0) = N(c0_t x_0 + c1_t x_t, v_t)     q_posterior_mean_variance
///
/// If x_t is a sample of q(x_t | x_0), and x_{t-1} is a sample of the posterior given this x_t,
/// then x_{t-1} is a sample of q(x_{t-1} | x_0). Its mean and variance are
///
///     c0_t x_0 + c1_t sqrt(abar_t) x_0 = sqrt(abar_{t-1}) x_0
///     v_t + c1_t^2 (1 - abar_t) = 1 - abar_{t-1}
///
/// Many walkers must therefore have the mean and variance of the closed form at every t, from
/// x_{T-1} down to x_0. (A trained model walks in the same way, but has to predict x_0 from x_t.)
///
/// For n walkers, the standard error of the mean of a Gaussian of variance V is sqrt(V / n), and
/// that of its variance is V sqrt(2 / (n - 1)). The program divides each difference by its standard
/// error. Most of these quotients z lie between -2 and 2, for every t.
#include <algorithm>  // std::max, std::min
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <diffusion/noise/philox_noise.hpp>
#include <diffusion/process/gaussian_diffusion.hpp>
#include <diffusion/process/schedules.hpp>
#include <string>

#include "common/options.hpp"

using Eigen::Index;
using Walkers = Eigen::Tensor<double, 2, Eigen::RowMajor>;  // [values of x_0, walkers]

/// Sample mean and variance of the walkers at one t and for one x_0, and those of q(x_t | x_0).
struct Comparison {
  double mean, expected_mean, z_mean;
  double variance, expected_variance, z_variance;
  double largest_z() const { return (std::max)(std::abs(z_mean), std::abs(z_variance)); }
};

Comparison compare(const Walkers& x, Index row, double expected_mean, double expected_variance) {
  const Index count = x.dimension(1);
  const Eigen::Map<const Eigen::ArrayXd> walkers(x.data() + row * count, count);
  const double n = double(count), mean = walkers.mean(), variance = (walkers - mean).square().sum() / (n - 1.0);
  return {mean,     expected_mean,     (mean - expected_mean) / std::sqrt(expected_variance / n),
          variance, expected_variance, (variance / expected_variance - 1.0) / std::sqrt(2.0 / (n - 1.0))};
}

int main(int argc, char** argv) {
  std::string schedule = "linear";
  Index T = 1000, walkers = 20000;
  std::uint32_t seed = 1;

  example::Options options(
      "posterior_walk",
      "Walks from noise back to x_0 by sampling the posterior, and compares each step with the closed form.");
  options.add("--schedule", schedule, "name of the schedule; an unknown name prints the list");
  options.add("--steps", T, "T, the number of steps; \"linear\" needs at least 20", 1, 1000000);
  options.add("--walkers", walkers, "number of walkers for each x_0", 1000, 10000000);
  options.add_seed(seed, "seed of the noise");

  return options.run(argc, argv, [&] {
    const diffusion::GaussianDiffusion<double> process(diffusion::named_beta_schedule(schedule, T));
    diffusion::PhiloxNoise noise(seed);

    Walkers x_start(3, walkers);
    x_start.chip<0>(0).setConstant(-1.0);
    x_start.chip<0>(1).setConstant(0.25);
    x_start.chip<0>(2).setConstant(2.0);

    std::printf("%s, T = %ld, %ld walkers for each x_0\n\n", schedule.c_str(), long(T), long(walkers));
    std::printf("                 mean of x_t                      variance of x_t\n");
    std::printf("     t     x_0    walkers closed form      z        walkers closed form      z\n");
    const Index lines = (std::min)(T, Index(9));  // lines of the table: evenly spaced timesteps from T - 1 to 0
    Index line = lines - 1;
    constexpr double bound = 6.0;  // exceeded by chance in fewer than 1 of 80000 runs of 6000 comparisons
    double largest_z = 0.0;
    bool agree = true;

    Walkers x = process.q_sample(x_start, T - 1, noise);  // x_{T-1}, the start of the walk
    Walkers z(x.dimensions());
    diffusion::MeanVariance<Walkers> expected{z, z, z}, posterior{z, z, z};
    for (Index t = T - 1; t >= 0; --t) {
      // At this point x is x_t.
      process.q_mean_variance_into(expected, x_start, t);
      const bool shown = t == (lines == 1 ? 0 : line * (T - 1) / (lines - 1));
      if (shown) --line;
      for (Index i = 0; i < x.dimension(0); ++i) {
        const Comparison c = compare(x, i, expected.mean(i, 0), expected.variance(i, 0));
        largest_z = (std::max)(largest_z, c.largest_z());
        agree = agree && c.largest_z() <= bound;
        if (!shown) continue;
        std::printf("%6ld %7.2f %10.6f %10.6f %7.2f     %10.3e %10.3e %7.2f\n", long(t), x_start(i, 0), c.mean,
                    c.expected_mean, c.z_mean, c.variance, c.expected_variance, c.z_variance);
      }

      // x_{t-1} ~ q(x_{t-1} | x_t, x_0)
      process.q_posterior_mean_variance_into(posterior, x_start, x, t);
      noise(z);
      x = posterior.mean + posterior.variance.sqrt() * z;
    }

    // The posterior at t = 0 has the mean x_0 and the variance 0.
    const Eigen::Tensor<double, 0, Eigen::RowMajor> miss = (x - x_start).abs().maximum();
    agree = agree && miss() <= 1e-12;
    std::printf("\nlargest error of x_0 at the end of the walk: %.1e (bound: 1e-12)\n", miss());
    std::printf("largest deviation at any t: %.1f standard errors, in %ld comparisons (bound: %.0f)\n", largest_z,
                long(6 * T), bound);
    std::printf("%s\n", agree ? "The walk agrees with the closed form." : "The walk DISAGREES with the closed form.");
    return agree ? 0 : 1;
  });
}
