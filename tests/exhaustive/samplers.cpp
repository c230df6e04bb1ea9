// Every sampler on random mixtures of Gaussians in the plane, whose exact denoiser is known: ODE
// solvers against a fine solve, stochastic samplers against the moments of the mixture.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "matchers.hpp"
#include "sampler_list.hpp"

using namespace diffusion;
using Eigen::Index;

namespace {

using Tensor = Eigen::Tensor<double, 2, Eigen::RowMajor, Index>;

/// A mixture of up to four round Gaussians.
struct Mixture {
  struct Part {
    double weight, deviation;
    std::array<double, 2> mean;
  };
  std::vector<Part> parts;

  explicit Mixture(unsigned seed) {
    std::mt19937 engine(seed);
    std::uniform_real_distribution<double> uniform(-1.0, 1.0);
    double sum = 0.0;
    for (unsigned k = 0; k <= seed % 4; ++k) {
      parts.push_back({1.1 + uniform(engine), 0.4 + 0.2 * uniform(engine), {uniform(engine), uniform(engine)}});
      sum += parts.back().weight;
    }
    for (Part& part : parts) part.weight /= sum;
  }

  double mean(int axis) const {
    double sum = 0.0;
    for (const Part& part : parts) sum += part.weight * part.mean[static_cast<std::size_t>(axis)];
    return sum;
  }
  double variance(int axis) const {
    double sum = 0.0;
    for (const Part& part : parts) {
      const double off = part.mean[static_cast<std::size_t>(axis)] - mean(axis);
      sum += part.weight * (part.deviation * part.deviation + off * off);
    }
    return sum;
  }

  /// Samples of the data.
  Tensor draw(Index count) const {
    std::mt19937 engine(7);
    std::vector<double> weights;
    for (const Part& part : parts) weights.push_back(part.weight);
    std::discrete_distribution<std::size_t> which(weights.begin(), weights.end());
    std::normal_distribution<double> normal;
    Tensor x(count, 2);
    for (Index n = 0; n < count; ++n) {
      const Part& part = parts[which(engine)];
      for (int j = 0; j < 2; ++j) {
        x(n, j) = part.mean[static_cast<std::size_t>(j)] + part.deviation * normal(engine);
      }
    }
    return x;
  }

  /// E[x_0 | x] is the mean over the parts of
  ///
  ///     m + alpha d^2 / (alpha^2 d^2 + sigma^2) (x - alpha m)
  ///
  /// weighted by each part's share of the density of x.
  ErasedDenoiser<Tensor> denoiser() const {
    return [this](const Tensor& x, const NoiseLevel& level, Prediction<Tensor>& out) {
      const double a = level.alpha, s = level.sigma;
      out.x_start.resize(x.dimensions()), out.epsilon.resize(x.dimensions());
      for (Index n = 0; n < x.dimension(0); ++n) {
        double total = 0.0, best = -1e300;
        std::array<double, 2> x_0{}, epsilon{};
        std::array<double, 4> logs{};
        for (std::size_t k = 0; k < parts.size(); ++k) {
          const Part& p = parts[k];
          const double variance = a * a * p.deviation * p.deviation + s * s;
          const double dx = x(n, 0) - a * p.mean[0], dy = x(n, 1) - a * p.mean[1];
          logs[k] = std::log(p.weight / variance) - (dx * dx + dy * dy) / (2.0 * variance);
          best = std::max(best, logs[k]);
        }
        for (std::size_t k = 0; k < parts.size(); ++k) {
          const Part& p = parts[k];
          const double share = std::exp(logs[k] - best), square = p.deviation * p.deviation;
          const double variance = a * a * square + s * s;
          total += share;
          for (std::size_t j = 0; j < 2; ++j) {
            const double off = x(n, static_cast<Index>(j)) - a * p.mean[j];
            x_0[j] += share * (p.mean[j] + a * square / variance * off);
            epsilon[j] += share * s / variance * off;
          }
        }
        for (std::size_t j = 0; j < 2; ++j) {
          out.x_start(n, static_cast<Index>(j)) = x_0[j] / total;
          out.epsilon(n, static_cast<Index>(j)) = epsilon[j] / total;
        }
      }
    };
  }
};

/// n steps from sigma = 20 to 0.1, evenly spaced in log sigma.
TimeGrid levels(Index n) { return edm_grid(lu_sigmas(n + 1, 0.1, 20.0).head(n + 1)); }

double largest(const Tensor& x) {
  double most = 0.0;
  for (Index i = 0; i < x.size(); ++i) most = std::max(most, std::abs(x.data()[i]));
  return most;
}

}  // namespace

TEST_CASE("every ODE solver converges to the fine solution on random mixtures of Gaussians", "[exhaustive]") {
  for (unsigned seed = 0; seed < 12; ++seed) {
    const Mixture mixture(seed);
    const auto denoiser = mixture.denoiser();
    Tensor x(16, 2);
    PhiloxNoise{seed}(x);
    x = x * 20.0;
    const auto no_noise = [](Tensor&) { throw std::logic_error("noise was asked for"); };
    const Tensor fine = sample(Heun{}, levels(6400), denoiser, x);
    for (const auto& sampler : all_samplers<Tensor>()) {
      if (sampler.order == 0 || sampler.stochastic) continue;
      INFO(sampler.name << ", mixture " << seed);
      std::array<double, 3> errors{};
      for (std::size_t i = 0; i < 3; ++i) {
        errors[i] = largest(sampler.run(levels(Index{192} << i), denoiser, x, no_noise, {}) - fine);
      }
      if (seed == 11) {
        std::printf("%-30s error with 192, 384, 768 steps: %.1e %.1e %.1e\n", sampler.name.c_str(), errors[0],
                    errors[1], errors[2]);
      }
      // Each doubling divides the error by 2^order in the limit; a factor less than half of that
      // is a lower order. The fine solution itself is off by up to 1e-7.
      const double ratio = sampler.order >= 2 ? 0.36 : 0.6;
      CHECK(errors[1] <= ratio * errors[0] + tolerance::fine_solution);
      CHECK(errors[2] <= ratio * errors[1] + tolerance::fine_solution);
      CHECK(errors[2] <= (sampler.order >= 2 ? tolerance::second_order_run : tolerance::first_order_run));
    }
  }
}

TEST_CASE("every stochastic sampler keeps the moments of random mixtures of Gaussians", "[exhaustive]") {
  const Index count = 8192;
  for (unsigned seed = 0; seed < 4; ++seed) {
    const Mixture mixture(seed);
    const auto denoiser = mixture.denoiser();
    const TimeGrid grid = levels(200);
    const Tensor x = add_noise(mixture.draw(count), grid.levels().front(), PhiloxNoise{seed});
    for (const auto& sampler : all_samplers<Tensor>()) {
      if (!sampler.stochastic || !sampler.converges || sampler.consistency) continue;
      INFO(sampler.name << ", mixture " << seed);
      const auto noise = [source = PhiloxNoise(seed + 100)](Tensor& z) mutable { source(z); };
      const Tensor out = sampler.run(grid, denoiser, x, noise, {});
      const double sigma = grid.levels().back().sigma;
      for (int j = 0; j < 2; ++j) {
        double mean = 0.0, square = 0.0;
        for (Index n = 0; n < count; ++n) mean += out(n, j) / double(count);
        for (Index n = 0; n < count; ++n) square += (out(n, j) - mean) * (out(n, j) - mean) / double(count);
        const double variance = mixture.variance(j) + sigma * sigma, error = std::sqrt(variance / double(count));
        CHECK(std::abs(mean - mixture.mean(j)) < 5.0 * error + tolerance::stochastic_bias);
        CHECK(std::abs(square / variance - 1.0) < 5.0 * std::sqrt(2.0 / double(count)) + tolerance::stochastic_bias);
      }
    }
  }
}
