// Tests of diffusion/sampling/samplers/*.hpp: single samplers against their definitions in plain
// loops, their parameters and their defaults.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "diffusion/diffusion.hpp"
#include "matchers.hpp"
#include "sampling_problem.hpp"

namespace sampler_definitions_tests {

using namespace diffusion;
using namespace sampling_problem;
using Eigen::Index;

TEST_CASE("RePaint keeps the known values, fills in the rest, and takes the extra steps of its jumps", "[samplers]") {
  Tensor known = start().constant(0.5), mask = start().constant(0.0);
  mask(0, 0) = mask(1, 2) = 1;
  Index calls = 0;
  const auto counted = [&](const Tensor& x, const NoiseLevel& level, Prediction<Tensor>& out) {
    ++calls;
    denoiser()(x, level, out);
  };
  const Tensor x = sample(RePaint<Tensor>{known, mask, 2, 3}, grid(7), counted, start(), PhiloxNoise(3));
  REQUIRE(x(0, 0) == 0.5);
  REQUIRE(x(1, 2) == 0.5);
  REQUIRE(std::abs(x(0, 1) - 0.5) > 1e-6);
  // 7 steps, and two jumps of 2 steps at each of three levels, which are 0, 2 and 4 above the last
  // noisy one: 7 + 3 * 2 * 2.
  REQUIRE(calls == 19);
  // If all values are known, the result is the picture.
  const Tensor all =
      sample(RePaint<Tensor>{known, Tensor(start().constant(1.0)), 1, 2}, grid(4), counted, start(), PhiloxNoise(3));
  REQUIRE_THAT(all, AllEqual(known));
  REQUIRE(error_message([&] {
            (void)sample(RePaint<Tensor>{known, mask, 0, 3}, grid(7), counted, start(), PhiloxNoise(3));
          }) == "diffusion::RePaint: jump_length = 0 must be at least 1");
  REQUIRE_THAT(error_message([&] {
                 (void)sample(RePaint<Tensor>{known, mask}, grid(7), counted, Tensor(2, 4), PhiloxNoise(3));
               }),
               StartsWith("diffusion::RePaint: known has shape [2, 3], but x has [2, 4]"));
}

namespace {

/// x_0 = sin(x) / 2 + cos(t / 100) / 10, and the epsilon that follows from it.
void curved(const Tensor& x, const NoiseLevel& level, Prediction<Tensor>& out) {
  out.x_start = out.epsilon = x;
  for (Index i = 0; i < x.size(); ++i) {
    const double x_0 = 0.5 * std::sin(x.data()[i]) + 0.1 * std::cos(level.t / 100);
    out.x_start.data()[i] = x_0;
    out.epsilon.data()[i] = (x.data()[i] - level.alpha * x_0) / level.sigma;
  }
}

Prediction<Tensor> curved(const Tensor& x, const NoiseLevel& level) {
  Prediction<Tensor> out;
  curved(x, level, out);
  return out;
}

/// `curved` as a denoiser that appends sigma / alpha of each call to `calls`.
auto counted_curve(std::vector<double>& calls) {
  return [&calls](const Tensor& x, const NoiseLevel& level, Prediction<Tensor>& out) {
    calls.push_back(noise_to_signal(level));
    curved(x, level, out);
  };
}

/// RePaint as its paper defines it, in plain loops. Each index of a level counts its own jumps.
Tensor repaint(const RePaint<Tensor>& sampler, const TimeGrid& grid, Tensor x, PhiloxNoise noise) {
  const Index n = grid.num_steps();
  const auto level = [&](Index i) { return grid.levels()[static_cast<std::size_t>(i)]; };
  std::vector<Index> jumps(static_cast<std::size_t>(n + 1));
  Tensor z = x;
  for (Index i = 0; i < n;) {
    const NoiseLevel from = level(i), to = level(++i);
    const double r = noise_to_signal(to) / noise_to_signal(from);
    x = Tensor(x * (to.sigma / from.sigma * r) + curved(x, from).x_start * (to.alpha * (1 - r * r)));
    if (to.sigma > 0) {
      noise(z);
      x = Tensor(x + z * (to.sigma * std::sqrt(1 - r * r)));
    }
    noise(z);
    x = Tensor(sampler.mask * (sampler.known * to.alpha + z * to.sigma) + (x.constant(1.0) - sampler.mask) * x);
    // Jumps start 0, jump_length, 2 jump_length, ... levels above the last noisy one, and end below
    // or at the first level.
    const Index above_last = n - 1 - i, top = i - sampler.jump_length;
    if (above_last < 0 || above_last % sampler.jump_length != 0 || top < 0) continue;
    if (++jumps[static_cast<std::size_t>(i)] == sampler.resamplings) continue;
    const double scale = level(top).alpha / level(i).alpha;
    const double variance = std::pow(level(top).sigma, 2) - std::pow(scale * level(i).sigma, 2);
    noise(z);
    x = Tensor(x * scale + z * std::sqrt(variance));
    i = top;
  }
  return x;
}

}  // namespace

TEST_CASE("RePaint equals its definition for every length and number of jumps", "[samplers]") {
  const Tensor known = random_tensor<Tensor>({2, 3}, 5);
  Tensor mask(2, 3);
  mask.setValues({{0, 1, 0.25}, {0.5, 0, 1}});
  const auto check = [&](const RePaint<Tensor>& sampler, Index n) {
    INFO(n << " steps, " << sampler.resamplings << " passes through " << sampler.jump_length << " levels");
    CHECK_THAT(sample(
                   sampler, grid(n), [](const auto& x, const auto& level) { return curved(x, level); }, start(),
                   PhiloxNoise(3)),
               AllClose(repaint(sampler, grid(n), start(), PhiloxNoise(3)), tolerance::sampler, tolerance::sampler));
  };
  for (const auto& [length, passes] : {std::pair<Index, Index>{1, 2}, {2, 3}, {3, 2}, {4, 1}}) {
    for (const Index n : {1, 6, 7}) check({known, mask, length, passes}, n);
  }
  // Ten passes through ten levels are the default.
  const RePaint<Tensor> defaults{known, mask};
  check({known, mask, 10, 10}, 11);
  REQUIRE((defaults.jump_length == 10 && defaults.resamplings == 10));
}

TEST_CASE("RePaint throws for parameters out of range and for a mask of another shape", "[samplers]") {
  const Tensor known = start();
  REQUIRE(error_message([&] {
            RePaint<Tensor>{known, known, 0, 3}.check();
          }) == "diffusion::RePaint: jump_length = 0 must be at least 1");
  REQUIRE(error_message([&] {
            RePaint<Tensor>{known, known, 3, 0}.check();
          }) == "diffusion::RePaint: resamplings = 0 must be at least 1");
  REQUIRE_NOTHROW(RePaint<Tensor>{known, known, 1, 1}.check());
  REQUIRE(error_message([&] {
            RePaint<Tensor>{known, Tensor(2, 4), 1, 1}.check();
          }) == "diffusion::RePaint: mask has shape [2, 4], but known has [2, 3]");
}

TEST_CASE("a step of Tcd goes down to the whole timestep below and back up by noise", "[samplers]") {
  const auto lists = {timestep_grid(process(), TimestepSpacing::trailing, 5),
                      flow_matching_grid((Eigen::ArrayXd(4) << 0.9, 0.6123, 0.3, 0.0).finished())};
  for (const TimeGrid& levels : lists) {
    for (const double eta : {0.1, 0.3, 0.75, 1.0}) {
      INFO("eta = " << eta);
      PhiloxNoise noise(3);
      Tensor x = start(), z = start();
      for (Index i = 0; i < levels.num_steps(); ++i) {
        const NoiseLevel from = levels.levels()[static_cast<std::size_t>(i)], to = levels.target(i);
        const auto at_x = curved(x, from);
        if (to.sigma == 0) {
          x = at_x.x_start;
          break;
        }
        const NoiseLevel down = levels.at_time(std::floor((1 - eta) * to.t));
        const double scale = to.alpha / down.alpha;
        noise(z);
        x = Tensor((at_x.x_start * down.alpha + at_x.epsilon * down.sigma) * scale +
                   z * std::sqrt(std::pow(to.sigma, 2) - std::pow(scale * down.sigma, 2)));
      }
      const auto model = [](const Tensor& y, const NoiseLevel& level) { return curved(y, level); };
      CHECK_THAT(sample(Tcd{eta}, levels, model, start(), PhiloxNoise(3)),
                 AllClose(x, tolerance::sampler, tolerance::sampler));
    }
  }
  REQUIRE(Tcd{}.eta == 0.3);
}

TEST_CASE("Pndm starts with Heun's method or Runge-Kutta steps and goes on with Adams-Bashforth, for epsilon and v",
          "[samplers]") {
  // v is that of x / r, where r^2 = alpha^2 + sigma^2. It turns x / r by the angle
  // atan2(sigma, alpha) of the levels.
  const auto angle = [](const NoiseLevel& level) { return std::atan2(level.sigma, level.alpha); };
  const auto size = [](const NoiseLevel& level) { return std::hypot(level.alpha, level.sigma); };
  const auto lists = {timestep_grid(process(), TimestepSpacing::trailing, 7),
                      timestep_grid(process(), TimestepSpacing::trailing, 2),
                      flow_matching_grid((Eigen::ArrayXd(8) << 0.9, 0.8, 0.7, 0.55, 0.4, 0.2, 0.1, 0.0).finished()),
                      flow_matching_grid((Eigen::ArrayXd(2) << 0.9, 0.0).finished())};
  for (const bool velocity : {false, true}) {
    for (const bool skip : {false, true}) {
      for (const TimeGrid& levels : lists) {
        INFO("velocity " << velocity << ", skip_prk_steps " << skip << ", " << levels.num_steps() << " steps");
        const auto slope = [&](const Tensor& x, const NoiseLevel& level) {
          const auto at_x = curved(x, level);
          if (!velocity) return at_x.epsilon;
          return Tensor((at_x.epsilon * level.alpha - at_x.x_start * level.sigma) / size(level));
        };
        const auto moved = [&](const Tensor& x, const NoiseLevel& from, const NoiseLevel& to, const Tensor& along) {
          const double turn = angle(to) - angle(from), length = noise_to_signal(to) - noise_to_signal(from);
          if (!velocity) return Tensor((x / from.alpha + along * length) * to.alpha);
          return Tensor((x / size(from) * std::cos(turn) + along * std::sin(turn)) * size(to));
        };
        Tensor x = start();
        std::vector<Tensor> e;  // newest last
        for (Index i = 0; i < levels.num_steps(); ++i) {
          const NoiseLevel from = levels.levels()[static_cast<std::size_t>(i)], to = levels.target(i);
          e.push_back(slope(x, from));
          const auto before = [&](std::size_t k) { return e[e.size() - 1 - k]; };
          if (to.sigma > 0 && skip && e.size() == 1) {
            const Tensor end = slope(moved(x, from, to, e[0]), to);
            x = moved(x, from, to, (e[0] + end) * 0.5);
          } else if (to.sigma > 0 && !skip && e.size() < 4) {
            const NoiseLevel middle = levels.at_time((from.t + to.t) / 2);
            const Tensor first = before(0), second = slope(moved(x, from, middle, first), middle),
                         third = slope(moved(x, from, middle, second), middle),
                         fourth = slope(moved(x, from, to, third), to);
            x = moved(x, from, to, (first + second * 2.0 + third * 2.0 + fourth) * (1 / 6.0));
          } else if (e.size() == 1) {
            x = moved(x, from, to, before(0));
          } else if (e.size() == 2) {
            x = moved(x, from, to, (before(0) * 3.0 - before(1)) / 2.0);
          } else if (e.size() == 3) {
            x = moved(x, from, to, (before(0) * 23.0 - before(1) * 16.0 + before(2) * 5.0) / 12.0);
          } else {
            x = moved(x, from, to, (before(0) * 55.0 - before(1) * 59.0 + before(2) * 37.0 - before(3) * 9.0) / 24.0);
          }
        }
        const auto model = [](const Tensor& y, const NoiseLevel& level) { return curved(y, level); };
        CHECK_THAT(sample(Pndm{skip, velocity}, levels, model, start()),
                   AllClose(x, tolerance::sampler, tolerance::sampler));
      }
    }
  }
  REQUIRE(Pndm{}.skip_prk_steps);
  REQUIRE_FALSE(Pndm{}.velocity);
}

TEST_CASE("the noise of a step of Ddpm has the variance of the posterior, or of the forward step", "[samplers]") {
  // The forward step from `to` to `from` keeps the share abar / abar_to of the signal's variance.
  const auto abar = [](const NoiseLevel& level) {
    return level.alpha * level.alpha / (level.alpha * level.alpha + level.sigma * level.sigma);
  };
  const auto lists = {timestep_grid(process(), {500, 499}, Ending::sigma_min),
                      timestep_grid(process(), {999, 300}, Ending::sigma_min),
                      edm_grid((Eigen::ArrayXd(3) << 5.0, 1.5, 0.5).finished()),
                      flow_matching_grid((Eigen::ArrayXd(3) << 1.0, 0.7, 0.2).finished())};
  for (const TimeGrid& levels : lists) {
    const NoiseLevel from = levels.levels()[0], to = levels.levels()[1];
    const double beta = 1 - abar(from) / abar(to), r = noise_to_signal(to) / noise_to_signal(from);
    Hooks<Tensor> hooks;
    hooks.stop = [](const Step&, const Tensor&) { return true; };
    const auto deviation = [&](Ddpm::Variance variance) {
      const auto run = [&](double z) {
        return sample(
            Ddpm{variance}, levels, [](const auto& x, const auto& level) { return curved(x, level); }, start(),
            [z](Tensor& out) { out.setConstant(z); }, hooks);
      };
      return Tensor(run(1.0) - run(0.0));
    };
    const Tensor small = start().constant(to.sigma * std::sqrt(1 - r * r));
    const Tensor large = start().constant(std::hypot(to.alpha, to.sigma) * std::sqrt(beta));
    CHECK_THAT(deviation(Ddpm::Variance::fixed_small), AllClose(small, tolerance::sampler));
    CHECK_THAT(deviation(Ddpm::Variance::fixed_large), AllClose(large, tolerance::sampler));
  }
  CHECK(Ddpm{}.variance == Ddpm::Variance::fixed_small);
}

namespace {

/// DpmSolverAdaptive in plain loops, on a path with alpha = 1: Lu et al. 2022 (DPM-Solver),
/// Algorithms 2 to 4, with the step-size controller of k-diffusion. Appends sigma of each model
/// call to `calls`, and counts the steps that are not accepted.
Tensor adaptive(const DpmSolverAdaptive& sampler, const TimeGrid& grid, Tensor x, std::vector<double>& calls,
                int& refused) {
  const auto epsilon = [&](const Tensor& y, double lambda) {
    calls.push_back(std::exp(-lambda));
    return curved(y, grid.at(lambda)).epsilon;
  };
  for (Index i = 0; i < grid.num_steps(); ++i) {
    double lambda = half_log_snr(grid.levels()[static_cast<std::size_t>(i)]), h = sampler.h_init;
    const double end = half_log_snr(grid.target(i));
    Tensor previous = x, low = x, high = x;
    std::vector<double> inverse;  // 1 / error of this step and of the last two accepted ones
    if (end - lambda <= 1e-5) calls.push_back(std::exp(-lambda));  // the prediction is not used
    while (end - lambda > 1e-5) {
      const double to = (std::min)(end, lambda + h), step = to - lambda;
      const auto sigma = [&](double r) { return std::exp(-lambda - r * step); };
      const auto growth = [&](double r) { return sigma(r) * std::expm1(r * step); };
      const auto phi_2 = [&](double r) { return std::expm1(r * step) / (r * step) - 1; };
      const Tensor e_0 = epsilon(x, lambda);
      if (sampler.order == 2) {
        const Tensor e_1 = epsilon(x - e_0 * growth(0.5), lambda + 0.5 * step);
        low = x - e_0 * growth(1);
        high = x - e_1 * growth(1);
      } else {
        const double r1 = 1 / 3.0, r2 = 2 / 3.0;
        const Tensor e_1 = epsilon(x - e_0 * growth(r1), lambda + r1 * step);
        const Tensor e_2 =
            epsilon(x - e_0 * growth(r2) - (e_1 - e_0) * (sigma(r2) * r2 / r1 * phi_2(r2)), lambda + r2 * step);
        low = x - e_0 * growth(1) - (e_1 - e_0) * (growth(1) / (2 * r1));
        high = x - e_0 * growth(1) - (e_2 - e_0) * (sigma(1) / r2 * phi_2(1));
      }
      double sum = 0;
      for (Index k = 0; k < x.size(); ++k) {
        const double largest = (std::max)(std::abs(low.data()[k]), std::abs(previous.data()[k]));
        sum += std::pow((low.data()[k] - high.data()[k]) / (std::max)(sampler.atol, sampler.rtol * largest), 2);
      }
      const double now = 1 / (std::sqrt(sum / static_cast<double>(x.size())) + 1e-8);
      if (inverse.empty()) inverse = {now, now, now};
      inverse[0] = now;
      const double p = sampler.pcoeff, d = sampler.dcoeff, order = sampler.order;
      const double factor =
          1 + std::atan(std::pow(inverse[0], (p + sampler.icoeff + d) / order) *
                            std::pow(inverse[1], -(p + 2 * d) / order) * std::pow(inverse[2], d / order) -
                        1);
      if (factor >= sampler.accept_safety) {
        inverse = {now, now, inverse[1]};
        previous = low;
        x = high;
        lambda = to;
      } else {
        ++refused;
      }
      h *= factor;
    }
  }
  return x;
}

}  // namespace

TEST_CASE("DpmSolverAdaptive takes the steps of k-diffusion's controller, for every parameter", "[samplers]") {
  const TimeGrid levels =
      edm_grid((Eigen::ArrayXd(5) << 20.0, 1.0, std::exp(-1.2e-5), std::exp(-2e-5), 0.05).finished());
  for (const int order : {2, 3}) {
    const std::vector<DpmSolverAdaptive> samplers = {
        {order},
        {order, 0.02, 0.002},
        {order, 0.001, 0.05, 1.5},
        {order, 0.01, 0.003, 2.0, 0.2, 0.9, 0.1},
        {order, 0.01, 0.003, 0.5, 0.3, 0.5, 0.0, 0.95},
        {order, 0.01, 0.003, 3.0, 0.0, 0.8, 0.4, 0.5},
    };
    for (std::size_t i = 0; i < samplers.size(); ++i) {
      INFO("order " << order << ", sampler " << i);
      std::vector<double> expected_calls, calls;
      int refused = 0;
      const Tensor x = start() * 20.0, expected = adaptive(samplers[i], levels, x, expected_calls, refused);
      if (i >= 2) CHECK(refused > 0);
      CHECK_THAT(sample(samplers[i], levels, counted_curve(calls), x),
                 AllClose(expected, tolerance::adaptive_sampler, tolerance::adaptive_sampler));
      REQUIRE(calls.size() == expected_calls.size());
      for (std::size_t k = 0; k < calls.size(); ++k) {
        CHECK_THAT(calls[k], WithinRel(expected_calls[k], tolerance::adaptive_sampler));
      }
    }
  }
  REQUIRE(DpmSolverAdaptive{}.order == 3);
}

TEST_CASE("DpmSolverAdaptive throws if the model's output is not finite", "[samplers]") {
  const auto broken = [](const Tensor& x, const NoiseLevel& level, Prediction<Tensor>& out) {
    curved(x, level, out);
    out.epsilon(1, 2) = std::nan("");
  };
  REQUIRE_THAT(error_message([&] { (void)sample(DpmSolverAdaptive{}, grid(3), broken, start()); }),
               StartsWith("diffusion::DpmSolverAdaptive: the error estimate at t = ") &&
                   EndsWith("is not finite; the model's output must be finite"));
}

namespace {

/// Moves x from `from` to `to` with the polynomial through `predictions`, which are at the lambda
/// of `places`. The integral over lambda is computed by composite Gauss quadrature:
///
///     x_0       x_to = (sigma_to / sigma) e^(-eta h) x
///                      + (1 + eta) alpha_to integral of e^(-(1 + eta) (lambda_to - lambda)) x_0
///     epsilon   x_to = (alpha_to / alpha) x
///                      - (1 + eta) sigma_to integral of e^(lambda_to - lambda) epsilon
Tensor integrated(const Tensor& x, const NoiseLevel& from, const NoiseLevel& to, bool data, double eta,
                  const std::vector<double>& places, const std::vector<Tensor>& predictions) {
  const double start = half_log_snr(from), end = half_log_snr(to), h = end - start;
  Tensor sum = x.constant(0.0);
  constexpr int parts = 20;
  const double inner = std::sqrt(5 - 2 * std::sqrt(10 / 7.0)) / 3, outer = std::sqrt(5 + 2 * std::sqrt(10 / 7.0)) / 3;
  const double of_inner = (322 + 13 * std::sqrt(70.0)) / 900, of_outer = (322 - 13 * std::sqrt(70.0)) / 900;
  for (int i = 0; i < parts; ++i) {
    for (const auto& [node, weight] : {std::pair<double, double>{0, 128 / 225.0},
                                       {inner, of_inner},
                                       {-inner, of_inner},
                                       {outer, of_outer},
                                       {-outer, of_outer}}) {
      const double lambda = start + h * (i + 0.5 + 0.5 * node) / parts;
      const double kernel = data ? std::exp(-(1 + eta) * (end - lambda)) : std::exp(end - lambda);
      for (std::size_t k = 0; k < places.size(); ++k) {
        double lagrange = 1;
        for (std::size_t j = 0; j < places.size(); ++j) {
          if (j != k) lagrange *= (lambda - places[j]) / (places[k] - places[j]);
        }
        sum = Tensor(sum + predictions[k] * (0.5 * weight * h / parts * kernel * lagrange));
      }
    }
  }
  if (data) return x * (to.sigma / from.sigma * std::exp(-eta * h)) + sum * ((1 + eta) * to.alpha);
  return x * (to.alpha / from.alpha) - sum * ((1 + eta) * to.sigma);
}

/// DpmSolverSinglestep by its definition: each step of a block integrates the polynomial through
/// the predictions of the block.
Tensor singlestep(const DpmSolverSinglestep& sampler, const TimeGrid& grid, Tensor x, PhiloxNoise noise) {
  const Index n = grid.num_steps();
  std::vector<double> places;
  std::vector<Tensor> predictions;
  Tensor base = x, z = x;
  NoiseLevel base_level{};
  for (Index i = 0; i < n; ++i) {
    const NoiseLevel from = grid.levels()[static_cast<std::size_t>(i)], to = grid.target(i);
    const auto at_x = curved(x, from);
    if (to.sigma == 0) return at_x.x_start;
    const bool lowered = sampler.lower_order_final && i + 1 == n && n % sampler.order == 0;
    if (i % sampler.order == 0 || lowered) {
      places.clear();
      predictions.clear();
      base = x;
      base_level = from;
    }
    places.push_back(half_log_snr(from));
    predictions.push_back(sampler.predict_x0 ? at_x.x_start : at_x.epsilon);
    std::vector<double> used = places;
    std::vector<Tensor> values = predictions;
    if (used.size() == 3 && sampler.type == DpmSolverType::midpoint) {  // a line through the first and the last
      used.erase(used.begin() + 1);
      values.erase(values.begin() + 1);
    } else if (used.size() == 2 && sampler.type == DpmSolverType::midpoint) {  // its value halfway
      const double r = (used[1] - used[0]) / (half_log_snr(to) - used[0]);
      values = {Tensor(values[0] + (values[1] - values[0]) * (0.5 / r))};
      used.pop_back();
    }
    x = integrated(base, base_level, to, sampler.predict_x0, sampler.eta, used, values);
    const double h = half_log_snr(to) - half_log_snr(base_level), eta = sampler.eta;
    const double deviation = to.sigma * (sampler.predict_x0 ? std::sqrt(1 - std::exp(-2 * eta * h))
                                                            : std::sqrt(eta * (std::exp(2 * h) - 1)));
    if (deviation > 0) {
      noise(z);
      x = Tensor(x + z * (deviation * sampler.s_noise));
    }
  }
  return x;
}

}  // namespace

TEST_CASE("each step of a block of DpmSolverSinglestep integrates the predictions of the block", "[samplers]") {
  const auto model = [](const Tensor& y, const NoiseLevel& level) { return curved(y, level); };
  for (Index n = 3; n <= 6; ++n) {
    const TimeGrid clean = grid(n),
                   noisy = timestep_grid(process(), TimestepSpacing::trailing, n, 0, Ending::sigma_min);
    for (const TimeGrid& levels : {clean, noisy}) {
      for (const bool data : {true, false}) {
        for (const bool lower : {true, false}) {
          for (const double eta : {0.0, 1.0}) {
            INFO(n << " steps, x_0 " << data << ", lower_order_final " << lower << ", eta = " << eta);
            for (const DpmSolverType type : {DpmSolverType::heun, DpmSolverType::midpoint}) {
              if (n < 5 && type == DpmSolverType::midpoint) continue;
              const DpmSolverSinglestep sampler{3, type, eta, 0.9, data, lower};
              const Tensor expected = singlestep(sampler, levels, start(), PhiloxNoise(3));
              CHECK_THAT(sample(sampler, levels, model, start(), PhiloxNoise(3)),
                         AllClose(expected, tolerance::sampler, tolerance::sampler));
            }
          }
        }
      }
    }
  }
}

TEST_CASE("Lcm applies the boundary condition of consistency models to x_0", "[samplers]") {
  // One step from t: x_0' = c_skip x + c_out x_0, then alpha_to x_0'. The step ends clean.
  const TimeGrid levels = timestep_grid(process(), std::vector<Index>{3});
  const Lcm sampler{0.1, 0.5};
  const double u = 0.1 * 3, n = u * u + 0.25;
  const auto point = [](const Tensor& x, const NoiseLevel&, Prediction<Tensor>& out) {
    out.x_start = x.constant(0.7);
    out.epsilon = x.constant(0.0);
  };
  const Tensor x = start(), expected = x * (0.25 / n) + x.constant(0.7 * u / std::sqrt(n));
  REQUIRE_THAT(sample(sampler, levels, point, x), AllClose(expected, tolerance::sampler, tolerance::sampler));
}

TEST_CASE("the corrector of UniPc keeps what correct_x_t adds to x", "[samplers]") {
  // If x_0 = 0.25 for every x, a step scales an addition to x by sigma_to / sigma.
  const TimeGrid levels = timestep_grid(process(), TimestepSpacing::trailing, 6, 0, Ending::sigma_min);
  const auto constant = [](const Tensor& x, const NoiseLevel& level, Prediction<Tensor>& out) {
    out.x_start = x.constant(0.25);
    out.epsilon = (x - out.x_start * level.alpha) / level.sigma;
  };
  double expected = 0.0;
  Hooks<Tensor> hooks;
  hooks.correct_x_t = [&expected](Tensor& x, const NoiseLevel& level) {
    x = x + 0.1 * level.sigma;
    expected += 0.1;  // in units of sigma
  };
  const Tensor pushed = sample(UniPc{3}, levels, constant, start(), NoNoise(), hooks);
  const Tensor alone = sample(Ddim{}, levels, constant, start());  // exact, as with every sampler
  const Tensor moved = alone + alone.constant(expected * levels.levels().back().sigma);
  REQUIRE_THAT(pushed, AllClose(moved, tolerance::sampler, tolerance::sampler));
}

TEST_CASE("samplers throw for parameters out of range", "[samplers]") {
  const auto sample_error = [](const auto& sampler) {
    return error_message([&] { (void)sample(sampler, grid(5), denoiser(), start(), PhiloxNoise(1)); });
  };
  REQUIRE(sample_error(Ddim{1.5}) == "diffusion::Ddim: eta = 1.5 is outside [0, 1]");
  REQUIRE(sample_error(Ddim{std::nan("")}) == "diffusion::Ddim: eta = nan is outside [0, 1]");
  REQUIRE(sample_error(EulerAncestral{-1}) == "diffusion::EulerAncestral: eta = -1 must be finite and not negative");
  REQUIRE(sample_error(Heun{{-1}}) == "diffusion::Heun: s_churn = -1 must not be negative");
  REQUIRE(sample_error(Lms{5}) == "diffusion::Lms: order = 5 is outside [1, 4]");
  REQUIRE(sample_error(DpmSolverPP{4}) == "diffusion::DpmSolverPP: order = 4 is outside [1, 3]");
  REQUIRE(sample_error(DpmSolver{0}) == "diffusion::DpmSolver: order = 0 is outside [1, 3]");
  REQUIRE(sample_error(Deis{7}) == "diffusion::Deis: order = 7 is outside [1, 3]");
  REQUIRE(sample_error(UniPc{4}) == "diffusion::UniPc: order = 4 is outside [1, 3]");
  REQUIRE(sample_error(Ipndm{0}) == "diffusion::Ipndm: order = 0 is outside [1, 4]");
  REQUIRE(sample_error(DpmSolverPPSde{1, 1, 1}) == "diffusion::DpmSolverPPSde: r = 1 is outside (0, 1)");
  REQUIRE(sample_error(Tcd{2}) == "diffusion::Tcd: eta = 2 is outside [0, 1]");
  REQUIRE(sample_error(DpmSolverAdaptive{4}) == "diffusion::DpmSolverAdaptive: order = 4 must be 2 or 3");
  DpmSolverAdaptive hard_to_please;
  hard_to_please.accept_safety = 3;
  REQUIRE(sample_error(hard_to_please) == "diffusion::DpmSolverAdaptive: accept_safety = 3 is outside (0, 1]");
  const double infinity = std::numeric_limits<double>::infinity();
  REQUIRE(sample_error(EulerAncestral{1, infinity}) ==
          "diffusion::EulerAncestral: s_noise = inf must be finite and not negative");
  REQUIRE(sample_error(Lcm{std::nan("")}) == "diffusion::Lcm: timestep_scaling = nan must be finite and not negative");
  REQUIRE(sample_error(FlowHeun{{1, 0, std::nan("")}}) == "diffusion::FlowHeun: s_tmax = nan must not be negative");
  REQUIRE(sample_error(Heun{{infinity}}) == "nothing was thrown");  // gamma is limited to sqrt(2) - 1
  DpmSolverAdaptive backwards;
  backwards.icoeff = -1;
  REQUIRE(sample_error(backwards) == "diffusion::DpmSolverAdaptive: icoeff = -1 must be finite and not negative");
  const double nan = std::nan("");
  REQUIRE(error_message([&] { Euler{{1, -1}}.check(); }) == "diffusion::Euler: s_tmin = -1 must not be negative");
  REQUIRE(error_message([&] { Dpm2{{1, 0, -2}}.check(); }) == "diffusion::Dpm2: s_tmax = -2 must not be negative");
  REQUIRE(error_message([&] {
            Dpm2{{1, 0, 1, -3}}.check();
          }) == "diffusion::Dpm2: s_noise = -3 must be finite and not negative");
  REQUIRE(error_message([&] {
            Lcm{10, -1}.check();
          }) == "diffusion::Lcm: sigma_data = -1 must be finite and not negative");
  REQUIRE(error_message([&] { DpmSolverFast{0}.check(); }) ==
          "diffusion::DpmSolverFast: model_calls = 0 must be at least 1");
  REQUIRE(error_message([&] { DpmSolverSinglestep{4}.check(); }) ==
          "diffusion::DpmSolverSinglestep: order = 4 is outside [1, 3]");
  REQUIRE_NOTHROW((DpmSolverFast{1}.check(), DpmSolverSinglestep{1}.check(), DpmSolverSinglestep{3}.check()));
  REQUIRE(error_message([&] {
            DpmSolverPPSde{1, 1, 0}.check();
          }) == "diffusion::DpmSolverPPSde: r = 0 is outside (0, 1)");
  // eta and s_noise of each sampler that has both.
  const auto refuses = [&](const std::string& name, const auto& sampler) {
    for (const double value : {-0.5, nan, infinity}) {
      const std::string refusal = " = " + detail::text(value) + " must be finite and not negative";
      REQUIRE(error_message([&] { sampler(value, 1.0).check(); }) == "diffusion::" + name + ": eta" + refusal);
      REQUIRE(error_message([&] { sampler(1.0, value).check(); }) == "diffusion::" + name + ": s_noise" + refusal);
    }
    REQUIRE_NOTHROW((sampler(0.0, 1.0).check(), sampler(1.0, 0.0).check()));
  };
  const DpmSolverType heun = DpmSolverType::heun;
  refuses("EulerAncestral", [](double eta, double s) { return EulerAncestral{eta, s}; });
  refuses("Dpm2Ancestral", [](double eta, double s) { return Dpm2Ancestral{eta, s}; });
  refuses("DpmSolverPP2SAncestral", [](double eta, double s) { return DpmSolverPP2SAncestral{eta, s}; });
  refuses("DpmSolverPPSde", [](double eta, double s) { return DpmSolverPPSde{eta, s}; });
  refuses("DpmSolverFast", [](double eta, double s) { return DpmSolverFast{12, eta, s}; });
  refuses("DpmSolverPP", [&](double eta, double s) { return DpmSolverPP{2, heun, eta, s}; });
  refuses("DpmSolver", [&](double eta, double s) { return DpmSolver{2, heun, eta, s}; });
  refuses("DpmSolverSinglestep", [&](double eta, double s) { return DpmSolverSinglestep{2, heun, eta, s}; });
  // The parameters of DpmSolverAdaptive: rtol, atol and h_init are positive, the others may be 0.
  const char* const names[] = {"rtol", "atol", "h_init", "pcoeff", "icoeff", "dcoeff"};
  double DpmSolverAdaptive::*const members[] = {&DpmSolverAdaptive::rtol,   &DpmSolverAdaptive::atol,
                                                &DpmSolverAdaptive::h_init, &DpmSolverAdaptive::pcoeff,
                                                &DpmSolverAdaptive::icoeff, &DpmSolverAdaptive::dcoeff};
  for (std::size_t i = 0; i < 6; ++i) {
    const auto message = [&](double value) {
      DpmSolverAdaptive sampler;
      sampler.*members[i] = value;
      return error_message([&] { sampler.check(); });
    };
    const char* const must = i < 3 ? " must be positive and finite" : " must be finite and not negative";
    for (const double value : {-1.0, nan, infinity}) {
      REQUIRE(message(value) ==
              "diffusion::DpmSolverAdaptive: " + std::string(names[i]) + " = " + detail::text(value) + must);
    }
    REQUIRE((message(0.0) == "nothing was thrown") == (i >= 3));
  }
  for (const double safety : {0.0, 1.2, nan}) {
    hard_to_please.accept_safety = safety;
    REQUIRE_THROWS_AS(hard_to_please.check(), std::invalid_argument);
  }
  hard_to_please.accept_safety = 1;
  REQUIRE_NOTHROW(hard_to_please.check());
  REQUIRE(sample_error(DpmSolverFast{30}) ==
          "diffusion::DpmSolverFast: model_calls = 30 requires a grid of 11 steps, not 5");
}

TEST_CASE("a restarted run of DpmSolverSinglestep that starts inside a block forgets the run before", "[samplers]") {
  const TimeGrid part = timestep_grid(process(), TimestepSpacing::trailing, 7, 0, Ending::sigma_min).starting_at(1);
  SamplingRun run(DpmSolverSinglestep{3}, part, start());
  Prediction<Tensor> prediction;
  const auto finish = [&] {
    while (!run.done()) {
      curved(run.x(), run.level(), prediction);
      run.advance(prediction);
    }
    return run.x();
  };
  const Tensor once = finish();
  run.restart(start());
  REQUIRE_THAT(finish(), AllEqual(once));
}

TEST_CASE("the defaults of samplers are the documented ones", "[samplers]") {
  CHECK(Deis{}.order == 3);
  CHECK(DpmSolver{}.order == 2);
  CHECK(DpmSolverPP{}.order == 2);
  CHECK(DpmSolverSinglestep{}.order == 2);
  CHECK(DpmSolverFast{}.model_calls == 12);
  CHECK(Lms{}.order == 4);
  CHECK(Ipndm{}.order == 4);
  CHECK(UniPc{}.order == 2);
  for (const bool lowers : {Deis{}.lower_order_final, DpmSolver{}.lower_order_final, DpmSolverPP{}.lower_order_final,
                            DpmSolverSinglestep{}.lower_order_final, UniPc{}.lower_order_final}) {
    CHECK(lowers);
  }
  CHECK((UniPc{}.corrector && UniPc{}.predict_x0 && DpmSolverSinglestep{}.predict_x0));
  for (const double eta :
       {EulerAncestral{}.eta, Dpm2Ancestral{}.eta, DpmSolverPP2SAncestral{}.eta, DpmSolverPPSde{}.eta,
        EulerAncestral{}.s_noise, Dpm2Ancestral{}.s_noise, DpmSolverPP2SAncestral{}.s_noise, DpmSolverPPSde{}.s_noise,
        DpmSolverPP{}.s_noise, DpmSolver{}.s_noise, DpmSolverSinglestep{}.s_noise, DpmSolverFast{}.s_noise,
        Churn{}.s_noise}) {
    CHECK(eta == 1);
  }
  for (const double eta : {Ddim{}.eta, DpmSolverPP{}.eta, DpmSolver{}.eta, DpmSolverSinglestep{}.eta,
                           DpmSolverFast{}.eta, Churn{}.s_churn, Churn{}.s_tmin}) {
    CHECK(eta == 0);
  }
  CHECK((Lcm{}.timestep_scaling == 10 && Lcm{}.sigma_data == 0.5));
  const DpmSolverAdaptive adapts;
  CHECK((adapts.rtol == 0.05 && adapts.atol == 0.0078 && adapts.h_init == 0.05 && adapts.accept_safety == 0.81));
  CHECK((adapts.pcoeff == 0 && adapts.icoeff == 1 && adapts.dcoeff == 0));
}

TEST_CASE("Ipndm, Pndm and Lms forget the predictions before the last four", "[samplers]") {
  // correct_x_t gives x the same value before each step, so only the history remembers step 0.
  Hooks<Tensor> hooks;
  hooks.correct_x_t = [](Tensor& x, const NoiseLevel& level) {
    if (level.sigma > 0) x = start();
  };
  const auto breaks_at_first = [](const Tensor& x, const NoiseLevel& level, Prediction<Tensor>& out) {
    curved(x, level, out);
    if (level.t == 999) out.epsilon.setConstant(std::nan(""));
  };
  const auto finite = [&](const auto& sampler, Index n) {
    const Tensor x = sample(sampler, grid(n), breaks_at_first, start(), hooks);
    return std::isfinite(x(0, 0)) && std::isfinite(x(1, 2));
  };
  for (int order = 1; order <= 4; ++order) {
    INFO(order);
    CHECK(finite(Ipndm{order}, order + 1));
    CHECK(finite(Lms{order}, order + 1));
    CHECK_FALSE(finite(Ipndm{order}, order));
    CHECK_FALSE(finite(Lms{order}, order));
  }
  CHECK(finite(Pndm{}, 5));
  CHECK_FALSE(finite(Pndm{}, 4));
}

TEST_CASE("an ancestral step whose noise is all new goes down to x_0 in one call", "[samplers]") {
  // s_up is limited to s_to, so s_down = 0.
  const TimeGrid levels = timestep_grid(process(), std::vector<Index>{700}, Ending::sigma_min).starting_at(0);
  const TimeGrid to_unit = edm_grid((Eigen::ArrayXd(2) << 3.0, 1.0).finished());
  for (const TimeGrid& one_step : {levels, to_unit}) {
    const NoiseLevel from = one_step.levels()[0], to = one_step.levels()[1];
    Tensor z = start();
    PhiloxNoise{3}(z);
    const Tensor expected = curved(start(), from).x_start * to.alpha + z * (0.9 * to.sigma);
    std::vector<double> calls;
    CHECK_THAT(sample(Dpm2Ancestral{10, 0.9}, one_step, counted_curve(calls), start(), PhiloxNoise(3)),
               AllClose(expected, tolerance::sampler, tolerance::sampler));
    CHECK_THAT(sample(DpmSolverPP2SAncestral{10, 0.9}, one_step, counted_curve(calls), start(), PhiloxNoise(3)),
               AllClose(expected, tolerance::sampler, tolerance::sampler));
    CHECK_THAT(sample(EulerAncestral{10, 0.9}, one_step, counted_curve(calls), start(), PhiloxNoise(3)),
               AllClose(expected, tolerance::sampler, tolerance::sampler));
    CHECK(calls.size() == 3);
  }
}

TEST_CASE("Dpm2Ancestral calls the model at the middle of a step that ends at sigma = 1", "[samplers]") {
  std::vector<double> calls;
  (void)sample(Dpm2Ancestral{0}, edm_grid((Eigen::ArrayXd(2) << 4.0, 1.0).finished()), counted_curve(calls), start());
  REQUIRE(calls.size() == 2);
  REQUIRE_THAT(calls[1], WithinRel(2.0, tolerance::level));
}

TEST_CASE("DpmSolverFast takes one call for a step that ends clean or starts without signal", "[samplers]") {
  std::vector<double> calls;
  const TimeGrid clean = edm_grid((Eigen::ArrayXd(2) << 3.0, 0.0).finished());
  const NoiseLevel from = clean.levels()[0];
  CHECK_THAT(sample(DpmSolverFast{2}, clean, counted_curve(calls), start()),
             AllClose(curved(start(), from).x_start, tolerance::sampler));
  CHECK(calls.size() == 1);
  const TimeGrid pure = flow_matching_grid((Eigen::ArrayXd(2) << 1.0, 0.25).finished());
  const Tensor expected = curved(start(), pure.levels()[0]).x_start * 0.75 + start() * 0.25;
  CHECK_THAT(sample(DpmSolverFast{2}, pure, counted_curve(calls), start()),
             AllClose(expected, tolerance::sampler, tolerance::sampler));
  CHECK(calls.size() == 2);
}

}  // namespace sampler_definitions_tests
