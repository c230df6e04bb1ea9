// Tests of diffusion/sampling/sample.hpp: the loop, its hooks and its errors. Also tests of single
// samplers that need a whole run.
#include "diffusion/sampling/sample.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "diffusion/diffusion.hpp"
#include "diffusion/model/denoiser.hpp"
#include "diffusion/sampling/steps.hpp"
#include "matchers.hpp"

using namespace diffusion;
using Eigen::Index;

namespace {

using Tensor = Eigen::Tensor<double, 2, Eigen::RowMajor, Index>;

const GaussianDiffusion<double>& process() {
  static const GaussianDiffusion<double> process(scaled_linear_beta_schedule(1000));
  return process;
}

TimeGrid grid(Index n) { return timestep_grid(process(), TimestepSpacing::trailing, n); }

/// epsilon = x / 2 + cos(t / 100) / 10
struct Model {
  void operator()(const Tensor& x, const Eigen::Tensor<double, 1>& t, Tensor& out) const {
    for (Index i = 0; i < x.size(); ++i) out.data()[i] = 0.5 * x.data()[i] + 0.1 * std::cos(t(0) / 100);
  }
};
const Denoiser<Model>& denoiser() {
  static const Denoiser denoiser(Model{}, ModelMeanType::epsilon);
  return denoiser;
}

Tensor start() { return random_tensor<Tensor>({2, 3}, 1); }

}  // namespace

TEST_CASE("sample takes one step of the sampler from each level of the grid to the next", "[sample]") {
  Tensor x = start();
  const TimeGrid levels = grid(5);
  for (Index i = 0; i < 5; ++i) {
    const NoiseLevel &from = levels.levels()[static_cast<std::size_t>(i)], &to = levels.target(i);
    const auto prediction = denoiser()(x, from);
    x = prediction.x_start * to.alpha + prediction.epsilon * to.sigma;
  }
  const Tensor sampled = sample(Ddim{}, levels, denoiser(), start());
  CHECK_THAT(sampled, AllClose(x, Tolerance<double>::rel, Tolerance<double>::abs));
}

TEST_CASE("Ddim and Ddpm equal the loops of ReverseProcess on a respaced process", "[sample]") {
  const auto respaced = respace(process(), space_timesteps(1000, "ddim10"));
  const auto reverse =
      ReverseProcess(respaced, Model{}, {ModelMeanType::epsilon, ModelVarType::fixed_small, false, false});
  std::vector<double> all;
  for (Index t = 9; t >= 0; --t) all.push_back(static_cast<double>(t));
  const TimeGrid levels = timestep_grid(respaced, all);
  CHECK_THAT(sample(Ddim{}, levels, denoiser(), start()),
             AllClose(reverse.ddim_sample_loop(start()), tolerance::sampler, tolerance::sampler));
  CHECK_THAT(sample(Ddim{0.7}, levels, denoiser(), start(), PhiloxNoise(5)),
             AllClose(reverse.ddim_sample_loop(start(), PhiloxNoise(5), 0.7), tolerance::sampler, tolerance::sampler));
  // Ddpm draws no noise in the last step; ReverseProcess draws it there and ignores it.
  CHECK_THAT(sample(Ddpm{}, levels, denoiser(), start(), PhiloxNoise(5)),
             AllClose(reverse.p_sample_loop(start(), PhiloxNoise(5)), tolerance::sampler, tolerance::sampler));
}

TEST_CASE("Ddim on a reversed grid inverts Ddim with an error that falls with the step length", "[sample]") {
  double errors[2];
  for (const int i : {0, 1}) {
    const TimeGrid down = timestep_grid(process(), TimestepSpacing::trailing, i == 0 ? 100 : 200);
    const Tensor back = sample(Ddim{}, down, denoiser(), sample(Ddim{}, down.reversed(), denoiser(), start()));
    const Eigen::Tensor<double, 0, Eigen::RowMajor> worst = (back - start()).abs().maximum();
    errors[i] = worst(0);
  }
  REQUIRE(errors[1] < 0.05);
  REQUIRE(errors[1] < 0.6 * errors[0]);
}

TEST_CASE("hooks are called at the documented times with the levels of the grid", "[sample]") {
  const TimeGrid levels = grid(4);
  std::vector<double> corrected, denoised, observed;
  Hooks<Tensor> hooks;
  hooks.correct_x_t = [&](Tensor&, const NoiseLevel& level) { corrected.push_back(level.t); };
  hooks.correct_x_start = [&](Tensor&, const NoiseLevel& level) { denoised.push_back(level.t); };
  hooks.observer = [&](const Step& step, const Tensor&) {
    REQUIRE(step.index == static_cast<Index>(observed.size()));
    REQUIRE(step.count == 4);
    observed.push_back(step.to.t);
  };
  const Tensor expected = sample(Heun{}, levels, denoiser(), start());
  REQUIRE_THAT(sample(Heun{}, levels, denoiser(), start(), NoNoise(), hooks),
               AllClose(expected, Tolerance<double>::rel, Tolerance<double>::abs));
  REQUIRE(corrected == std::vector<double>{999, 749, 499, 249, 0});
  REQUIRE(denoised == std::vector<double>{999, 749, 749, 499, 499, 249, 249});
  REQUIRE(observed == std::vector<double>{749, 499, 249, 0});
}

TEST_CASE("correct_x_t keeps a part of x fixed until the end of a run", "[sample]") {
  const Tensor known = random_tensor<Tensor>({2, 3}, 9), noise = random_tensor<Tensor>({2, 3}, 10);
  Hooks<Tensor> hooks;
  hooks.correct_x_t = [&](Tensor& x, const NoiseLevel& level) {
    for (Index n = 0; n < 2; ++n) x(n, 0) = level.alpha * known(n, 0) + level.sigma * noise(n, 0);
  };
  const Tensor free = sample(Ddim{}, grid(6), denoiser(), start());
  const Tensor held = sample(Ddim{}, grid(6), denoiser(), start(), NoNoise(), hooks);
  for (Index n = 0; n < 2; ++n) {
    REQUIRE(held(n, 0) == known(n, 0));
    REQUIRE(held(n, 1) == free(n, 1));  // this model treats each value by itself
  }
}

TEST_CASE("correct_x_start changes the prediction of x_0, and epsilon follows from it", "[sample]") {
  Hooks<Tensor> hooks;
  hooks.correct_x_start = [](Tensor& x_start, const NoiseLevel&) { x_start.setConstant(0.25); };
  const Tensor expected = start().constant(0.25);
  CHECK_THAT(sample(Heun{}, grid(6), denoiser(), start(), NoNoise(), hooks),
             AllClose(expected, Tolerance<double>::rel));
  const TimeGrid ends_noisy = timestep_grid(process(), TimestepSpacing::trailing, 6, 0, Ending::sigma_min);
  const NoiseLevel first = ends_noisy.levels().front(), last = ends_noisy.levels().back();
  const Tensor epsilon = (start() - expected * first.alpha) * (1 / first.sigma);
  const Tensor still_noisy = expected * last.alpha + epsilon * last.sigma;
  CHECK_THAT(sample(Ddim{}, ends_noisy, denoiser(), start(), NoNoise(), hooks),
             AllClose(still_noisy, tolerance::sampler));
}

TEST_CASE("stop ends a run after a step, and correct_x_t is called once more", "[sample]") {
  Index steps = 0;
  std::vector<double> corrected;
  Hooks<Tensor> hooks;
  hooks.correct_x_t = [&](Tensor&, const NoiseLevel& level) { corrected.push_back(level.t); };
  hooks.observer = [&](const Step&, const Tensor&) { ++steps; };
  hooks.stop = [](const Step& step, const Tensor&) { return step.index == 2; };
  const Tensor stopped = sample(Euler{}, grid(10), denoiser(), start(), NoNoise(), hooks);
  REQUIRE(steps == 3);
  REQUIRE(corrected == std::vector<double>{999, 899, 799, 699});
  Tensor after_three;
  Hooks<Tensor> watch;
  watch.observer = [&](const Step& step, const Tensor& x) {
    if (step.index == 2) after_three = x;
  };
  (void)sample(Euler{}, grid(10), denoiser(), start(), NoNoise(), watch);
  REQUIRE_THAT(stopped, AllEqual(after_three));
}

TEMPLATE_TEST_CASE("a step of Ddim on a small plan allocates nothing", "[sample]",
                   (Eigen::Tensor<float, 3, Eigen::RowMajor>), (Eigen::Tensor<float, 3, Eigen::ColMajor>)) {
  using Plan = TestType;
  const TimeGrid levels = grid(10);
  const diffusion::Step step{levels.levels()[4], levels.levels()[5], 4, 10, levels};
  Plan x(1, 16, 7);
  Ddim::State<Plan> state;
  Prediction<Plan> prediction;
  prediction.x_start = x.constant(0.5f);
  prediction.epsilon = x.constant(0.25f);
  const auto no_noise = [](const auto&...) { throw std::logic_error("noise was asked for"); };
  REQUIRE(count_allocations([&] { Ddim{}.advance(step, {step.from, 0}, x, prediction, no_noise, state); }) == 0);
  const Plan expected =
      prediction.x_start * static_cast<float>(step.to.alpha) + prediction.epsilon * static_cast<float>(step.to.sigma);
  REQUIRE_THAT(x, AllClose(expected, 1e-6, 1e-6));
}

TEST_CASE("add_noise makes the start of a run that begins part-way", "[sample]") {
  const TimeGrid part = grid(10).with_strength(0.3);
  const Tensor data = random_tensor<Tensor>({2, 3}, 5), noise = random_tensor<Tensor>({2, 3}, 6);
  const NoiseLevel& level = part.levels().front();
  const Tensor expected = data * level.alpha + noise * level.sigma;
  CHECK_THAT(add_noise(data, level, noise), AllClose(expected, Tolerance<double>::rel, Tolerance<double>::abs));
  PhiloxNoise draws(8);
  Tensor drawn(2, 3);
  draws(drawn);
  CHECK_THAT(add_noise(data, level, PhiloxNoise(8)), AllEqual(add_noise(data, level, drawn)));
  const auto q = process().q_sample(data, static_cast<Index>(level.t), noise);
  CHECK_THAT(add_noise(data, level, noise), AllClose(q, Tolerance<double>::rel, Tolerance<double>::abs));
  REQUIRE_THAT(error_message([&] { (void)add_noise(data, level, Tensor(2, 4)); }),
               StartsWith("diffusion::add_noise: noise has shape [2, 4]"));
}

TEST_CASE("add_noise_into writes what add_noise returns", "[sample]") {
  const NoiseLevel level = grid(4).levels()[2];
  const Tensor data = start();
  Tensor epsilon(2, 3);
  PhiloxNoise{2}(epsilon);
  const Tensor expected = add_noise(data, level, epsilon);
  Tensor out(2, 3), on_data = data, on_noise = epsilon, drawn_on_data = data;
  CHECK(count_allocations([&] { add_noise_into(out, data, level, epsilon); }) == 0);
  CHECK_THAT(out, AllEqual(expected));
  CHECK(count_allocations([&] { add_noise_into(out, data, level, PhiloxNoise(2)); }) == 0);
  CHECK_THAT(out, AllEqual(expected));
  add_noise_into(on_data, on_data, level, epsilon);
  CHECK_THAT(on_data, AllEqual(expected));
  add_noise_into(on_noise, data, level, on_noise);
  CHECK_THAT(on_noise, AllEqual(expected));
  add_noise_into(drawn_on_data, drawn_on_data, level, PhiloxNoise(2));
  CHECK_THAT(drawn_on_data, AllEqual(expected));
  Tensor small(2, 4);
  REQUIRE_THAT(error_message([&] { add_noise_into(small, data, level, epsilon); }),
               StartsWith("diffusion::add_noise: out has shape [2, 4]"));
}

TEST_CASE("RePaint keeps the known values, fills in the rest, and takes the extra steps of its jumps", "[sample]") {
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

TEST_CASE("RePaint equals its definition for every length and number of jumps", "[sample]") {
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

TEST_CASE("RePaint throws for parameters out of range and for a mask of another shape", "[sample]") {
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

TEST_CASE("a step of Tcd goes down to the whole timestep below and back up by noise", "[sample]") {
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
          "[sample]") {
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

TEST_CASE("the noise of a step of Ddpm has the variance of the posterior, or of the forward step", "[sample]") {
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

TEST_CASE("DpmSolverAdaptive takes the steps of k-diffusion's controller, for every parameter", "[sample]") {
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

TEST_CASE("DpmSolverAdaptive throws if the model's output is not finite", "[sample]") {
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

TEST_CASE("each step of a block of DpmSolverSinglestep integrates the predictions of the block", "[sample]") {
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

namespace {

/// A sampler as a user may write it. It keeps `share` of epsilon and redraws the rest.
struct MySampler {
  double share = 0.5;
  template <class T>
  struct State {
    Index steps = 0;
  };
  template <class T, class Noise>
  void advance(const Step& step, const diffusion::ModelCall& call, T& x, const Prediction<T>& at_x, const Noise& noise,
               State<T>& state) const {
    if (step.first) state.steps = 0;
    REQUIRE(state.steps++ == step.index);
    REQUIRE(call.index == 0);
    REQUIRE(call.level.sigma == step.from.sigma);
    T z = x;
    noise(z);
    x = at_x.x_start * step.to.alpha + at_x.epsilon * (share * step.to.sigma) + z * ((1 - share) * step.to.sigma);
  }
  void check() const {
    if (!(share >= 0)) throw std::invalid_argument("MySampler: share");
  }
};

}  // namespace

TEST_CASE("a sampler needs only a State and advance, and check is called if it has one", "[sample]") {
  const Tensor x = sample(MySampler{}, grid(5), denoiser(), start(), PhiloxNoise(4));
  Tensor expected = start(), z = start();
  PhiloxNoise noise(4);
  const TimeGrid levels = grid(5);
  for (Index i = 0; i < 5; ++i) {
    const NoiseLevel& to = levels.target(i);
    const auto at_x = denoiser()(expected, levels.levels()[static_cast<std::size_t>(i)]);
    noise(z);
    expected = at_x.x_start * to.alpha + at_x.epsilon * (0.5 * to.sigma) + z * (0.5 * to.sigma);
  }
  REQUIRE_THAT(x, AllClose(expected, tolerance::sampler, tolerance::sampler));
  REQUIRE_THROWS_AS(sample(MySampler{-1}, grid(5), denoiser(), start(), PhiloxNoise(4)), std::invalid_argument);
}

TEST_CASE("sample accepts a guided model and a guided denoiser", "[sample]") {
  const auto cond = [](const Tensor& x, const Eigen::Tensor<double, 1>&, Tensor& out) { out = x * 0.5; };
  const auto uncond = [](const Tensor& x, const Eigen::Tensor<double, 1>&, Tensor& out) { out = x * 0.4 + 0.1; };
  const auto by_hand = [&](const Tensor& x, const Eigen::Tensor<double, 1>&) {
    return x * 0.7 - 0.2;
  };  // u + 3 (c - u)
  auto guided = guided_model(cond, uncond, ClassifierFreeGuidance{3.0});
  CHECK_THAT(sample(UniPc{}, grid(8), Denoiser(std::ref(guided), ModelMeanType::epsilon), start()),
             AllClose(sample(UniPc{}, grid(8), Denoiser(by_hand, ModelMeanType::epsilon), start()), tolerance::sampler,
                      tolerance::sampler));

  // A step of CFG++ ends at alpha_to x_0 + sigma_to epsilon, with the guided x_0 and the
  // unconditional epsilon.
  Tensor x = start();
  const TimeGrid levels = grid(4);
  const Denoiser cond_denoiser(cond, ModelMeanType::epsilon);
  const Denoiser uncond_denoiser(uncond, ModelMeanType::epsilon);
  for (Index i = 0; i < 4; ++i) {
    const NoiseLevel& from = levels.levels()[static_cast<std::size_t>(i)];
    const auto c = cond_denoiser(x, from), u = uncond_denoiser(x, from);
    x = (u.x_start + (c.x_start - u.x_start) * 0.6) * levels.target(i).alpha + u.epsilon * levels.target(i).sigma;
  }
  CHECK_THAT(sample(Ddim{}, levels, cfg_plus_plus(cond_denoiser, uncond_denoiser, 0.6), start()),
             AllClose(x, tolerance::sampler, tolerance::sampler));
}

TEST_CASE("sample accepts an empty batch", "[sample]") {
  const Tensor none(0, 3);
  REQUIRE(sample(DpmSolverPP{}, grid(5), denoiser(), none).dimension(0) == 0);
  REQUIRE(sample(DpmSolverAdaptive{}, grid(5), denoiser(), none).dimension(0) == 0);
  DenoiserOptions options;
  options.threshold_quantile = 0.9;
  REQUIRE(sample(Ddim{}, grid(5), Denoiser(Model{}, ModelMeanType::start_x, options), none).dimension(0) == 0);
  // Its error is 0, as for data that is one point.
  std::vector<double> calls, expected;
  const auto point = [](std::vector<double>& seen) {
    return [&seen](const Tensor& x, const NoiseLevel& level, Prediction<Tensor>& out) {
      seen.push_back(level.sigma);
      out.x_start = x.constant(0.7);
      out.epsilon = (x - out.x_start * level.alpha) / level.sigma;
    };
  };
  (void)sample(DpmSolverAdaptive{}, grid(5), point(calls), none);
  (void)sample(DpmSolverAdaptive{}, grid(5), point(expected), start());
  REQUIRE(calls.size() == expected.size());
}

TEST_CASE("samplers that need timesteps throw for a grid without them before the denoiser is called", "[sample]") {
  const TimeGrid levels = diffusion::edm_grid(diffusion::karras_sigmas(8, 0.01, 10));
  int calls = 0;
  const auto point = [&calls](const Tensor& x, const NoiseLevel& level, Prediction<Tensor>& out) {
    ++calls;
    out.x_start = x.constant(0.7);
    out.epsilon = (x - out.x_start * level.alpha) / level.sigma;
  };
  const auto sample_error = [&](const auto& sampler) {
    return error_message([&] { (void)sample(sampler, levels, point, start(), PhiloxNoise(1)); });
  };
  REQUIRE_THAT(sample_error(Lcm{}), StartsWith("diffusion::Lcm: t = -0.") &&
                                        EndsWith("is not a timestep; this sampler needs a grid of timesteps"));
  REQUIRE_THAT(sample_error(Tcd{}), StartsWith("diffusion::Tcd: t = -0."));
  REQUIRE(calls == 0);
  // With these parameters the samplers do not use timesteps.
  const Tensor data = start().constant(0.7);
  CHECK_THAT(sample(Lcm{10, 0}, levels, point, start(), PhiloxNoise(1)),
             AllClose(data, tolerance::sampler, tolerance::sampler));
  CHECK_THAT(sample(Tcd{0}, levels, point, start()), AllClose(data, tolerance::sampler, tolerance::sampler));
}

TEST_CASE("Lcm applies the boundary condition of consistency models to x_0", "[sample]") {
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

TEST_CASE("the corrector of UniPc keeps what correct_x_t adds to x", "[sample]") {
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

TEST_CASE("correct_x_t is called last with the level at which the run ends", "[sample]") {
  for (const TimeGrid& levels : {grid(7), diffusion::diffusers_ddim_grid(process(), TimestepSpacing::trailing, 7)}) {
    NoiseLevel last{};
    Hooks<Tensor> hooks;
    hooks.correct_x_t = [&last](Tensor&, const NoiseLevel& level) { last = level; };
    (void)sample(Ddim{}, levels, denoiser(), start(), NoNoise(), hooks);
    REQUIRE(last.sigma == levels.target(6).sigma);
    REQUIRE(last.t == levels.target(6).t);
  }
}

TEST_CASE("sample throws for parameters of a sampler that are out of range", "[sample]") {
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
  const DpmSolverType heun = DpmSolverType::heun;
  const auto refuses = [&](const std::string& name, const auto& with_eta, const auto& with_s_noise) {
    for (const double value : {-0.5, nan, infinity}) {
      const auto refusal = [&](const char* parameter) {
        return "diffusion::" + name + ": " + parameter + " = " + detail::text(value) +
               " must be finite and not negative";
      };
      REQUIRE(error_message([&] { with_eta(value).check(); }) == refusal("eta"));
      REQUIRE(error_message([&] { with_s_noise(value).check(); }) == refusal("s_noise"));
    }
    REQUIRE_NOTHROW((with_eta(0.0).check(), with_s_noise(0.0).check()));
  };
  refuses(
      "EulerAncestral", [](double v) { return EulerAncestral{v}; },
      [](double v) {
        return EulerAncestral{1, v};
      });
  refuses(
      "Dpm2Ancestral", [](double v) { return Dpm2Ancestral{v}; },
      [](double v) {
        return Dpm2Ancestral{1, v};
      });
  refuses(
      "DpmSolverPP2SAncestral", [](double v) { return DpmSolverPP2SAncestral{v}; },
      [](double v) {
        return DpmSolverPP2SAncestral{1, v};
      });
  refuses(
      "DpmSolverPPSde", [](double v) { return DpmSolverPPSde{v}; },
      [](double v) {
        return DpmSolverPPSde{1, v};
      });
  refuses(
      "DpmSolverFast",
      [](double v) {
        return DpmSolverFast{12, v};
      },
      [](double v) {
        return DpmSolverFast{12, 1, v};
      });
  refuses(
      "DpmSolverPP",
      [&](double v) {
        return DpmSolverPP{2, heun, v};
      },
      [&](double v) {
        return DpmSolverPP{2, heun, 1, v};
      });
  refuses(
      "DpmSolver",
      [&](double v) {
        return DpmSolver{2, heun, v};
      },
      [&](double v) {
        return DpmSolver{2, heun, 1, v};
      });
  refuses(
      "DpmSolverSinglestep",
      [&](double v) {
        return DpmSolverSinglestep{2, heun, v};
      },
      [&](double v) {
        return DpmSolverSinglestep{2, heun, 1, v};
      });
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

TEST_CASE("sample throws std::invalid_argument if the sampler needs noise and none is passed", "[sample]") {
  REQUIRE(error_message([] { (void)sample(Ddim{0.5}, grid(5), denoiser(), start()); }) ==
          "diffusion::sample: this sampler needs noise: pass a noise source");
  REQUIRE_NOTHROW(sample(Ddim{}, grid(5), denoiser(), start()));
}

TEST_CASE("sample throws if a prediction or a hook has another shape than x", "[sample]") {
  const auto run = [](const auto& denoise, const Hooks<Tensor>& hooks) {
    return error_message<std::invalid_argument>(
        [&] { (void)sample(Ddim{}, grid(3), denoise, start(), NoNoise(), hooks); });
  };
  const auto forgets_epsilon = [](const Tensor& x, const NoiseLevel&, Prediction<Tensor>& out) { out.x_start = x; };
  const auto too_small = [](const Tensor& x, const NoiseLevel&) {
    Prediction<Tensor> out;
    out.epsilon = x;
    out.x_start = Tensor(1, 1);
    return out;
  };
  REQUIRE(run(forgets_epsilon, {}) ==
          "diffusion::sample: the denoiser's epsilon has shape [0, 0], but for x of shape [2, 3] it must have [2, 3]");
  REQUIRE(run(too_small, {}) ==
          "diffusion::sample: the denoiser's x_start has shape [1, 1], but for x of shape [2, 3] it must have [2, 3]");
  Hooks<Tensor> hooks;
  hooks.correct_x_start = [](Tensor& x_start, const NoiseLevel&) { x_start = Tensor(3, 2); };
  REQUIRE(run(denoiser(), hooks) ==
          "diffusion::sample: x_start after correct_x_start has shape [3, 2], but for x of shape [2, 3] it must have "
          "[2, 3]");
  hooks = {};
  hooks.correct_x_t = [](Tensor& x, const NoiseLevel&) { x = Tensor(3, 2); };
  REQUIRE(run(denoiser(), hooks) == "diffusion::sample: correct_x_t changed the shape of x from [2, 3] to [3, 2]");
}

TEST_CASE("sample throws std::domain_error for a model of epsilon at a level without signal", "[sample]") {
  const GaussianDiffusion<double> zero(rescale_zero_terminal_snr(scaled_linear_beta_schedule(1000)));
  REQUIRE_THROWS_AS(sample(Ddim{}, timestep_grid(zero, TimestepSpacing::trailing, 5), denoiser(), start()),
                    std::domain_error);
}

TEST_CASE("correct_x_t keeps a value fixed in a run that stop ends", "[sample]") {
  Hooks<Tensor> hooks;
  hooks.correct_x_t = [](Tensor& x, const NoiseLevel& level) { x(0, 0) = level.alpha * 0.25; };
  hooks.stop = [](const Step& step, const Tensor&) { return step.index == 3; };
  const TimeGrid levels = grid(10);
  const Tensor plan = sample(DpmSolverPP{}, levels, denoiser(), start(), hooks);
  REQUIRE(plan(0, 0) == levels.levels()[4].alpha * 0.25);
}

TEST_CASE("sample accepts hooks without noise", "[sample]") {
  Hooks<Tensor> hooks;
  hooks.correct_x_start = [](Tensor& x_start, const NoiseLevel&) { x_start.setConstant(0.25); };
  const Tensor expected = sample(Ddim{}, grid(5), denoiser(), start(), NoNoise(), hooks);
  REQUIRE_THAT(sample(Ddim{}, grid(5), denoiser(), start(), hooks), AllEqual(expected));
  REQUIRE_THAT(sample(Ddim{}, grid(5), denoiser(), start(), Hooks<Tensor>(hooks)), AllEqual(expected));
  REQUIRE_THAT(error_message([&] { (void)sample(Ddpm{}, grid(5), denoiser(), start(), hooks); }),
               StartsWith("diffusion::sample: this sampler needs noise"));
}

namespace {

/// Requires that a run from level `first` of the grid equals the rest of the whole run, if it
/// starts at the x that the whole run has at that level and draws the same noise.
template <class Sampler>
void check_part_of_run(const Sampler& sampler, const TimeGrid& whole, Index first) {
  Tensor there = start();
  std::uint64_t drawn = 0;
  PhiloxNoise noise(3);
  Hooks<Tensor> hooks;
  hooks.observer = [&](const Step& step, const Tensor& x) {
    if (step.index + 1 == first) there = x, drawn = noise.call();
  };
  const Tensor expected = sample(sampler, whole, denoiser(), start(), noise, hooks);
  std::vector<Index> indices;
  hooks.observer = [&](const Step& step, const Tensor&) {
    indices.push_back(step.index);
    REQUIRE(step.count == whole.num_steps());
    REQUIRE(step.first == (step.index == first));
  };
  const Tensor part = sample(sampler, whole.starting_at(first), denoiser(), there, PhiloxNoise(3, 0, drawn), hooks);
  REQUIRE_THAT(part, AllEqual(expected));
  REQUIRE(static_cast<Index>(indices.size()) == whole.num_steps() - first);
  REQUIRE(indices.front() == first);
}

}  // namespace

TEST_CASE("a run that starts part-way takes the same steps as the whole run from there on", "[sample]") {
  const TimeGrid whole = grid(12);
  for (const Index first : {3, 6}) {
    check_part_of_run(Ddim{0.5}, whole, first);
    check_part_of_run(Heun{{3.0}}, whole, first);
    check_part_of_run(DpmSolverSinglestep{3}, whole, first);
    check_part_of_run(DpmSolverSinglestep{3, DpmSolverType::midpoint, 1.0}, whole, first);
    check_part_of_run(RePaint<Tensor>{random_tensor<Tensor>({2, 3}, 9), start().constant(0.5), 3, 2}, whole, first);
  }
}

TEST_CASE("a restarted run of DpmSolverSinglestep that starts inside a block forgets the run before", "[sample]") {
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

TEST_CASE("the defaults of samplers are the documented ones", "[sample]") {
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

TEST_CASE("Ipndm, Pndm and Lms forget the predictions before the last four", "[sample]") {
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

TEST_CASE("an ancestral step whose noise is all new goes down to x_0 in one call", "[sample]") {
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

TEST_CASE("Dpm2Ancestral calls the model at the middle of a step that ends at sigma = 1", "[sample]") {
  std::vector<double> calls;
  (void)sample(Dpm2Ancestral{0}, edm_grid((Eigen::ArrayXd(2) << 4.0, 1.0).finished()), counted_curve(calls), start());
  REQUIRE(calls.size() == 2);
  REQUIRE_THAT(calls[1], WithinRel(2.0, tolerance::level));
}

TEST_CASE("correct_x_start keeps the model's epsilon at a level without noise", "[sample]") {
  const TimeGrid up = grid(2).reversed();
  Hooks<Tensor> hooks;
  hooks.correct_x_start = [](Tensor& x_start, const NoiseLevel&) { x_start.setConstant(0.25); };
  hooks.stop = [](const Step&, const Tensor&) { return true; };
  const auto model = [](const Tensor& x, const NoiseLevel&, Prediction<Tensor>& out) {
    out.x_start = x;
    out.epsilon = x.constant(0.5);
  };
  const NoiseLevel to = up.target(0);
  const Tensor expected = start().constant(0.25 * to.alpha + 0.5 * to.sigma);
  REQUIRE_THAT(sample(Ddim{}, up, model, start(), hooks), AllClose(expected, tolerance::sampler));
}

TEST_CASE("DpmSolverFast takes one call for a step that ends clean or starts without signal", "[sample]") {
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

TEST_CASE("add_noise throws for a level that is not one and for an output of another shape", "[sample]") {
  const Tensor data = start();
  Tensor out(2, 3);
  REQUIRE(
      error_message([&] {
        add_noise_into(out, data, {0, 0, 0}, PhiloxNoise(1));
      }) ==
      "diffusion::add_noise: level has alpha = 0 and sigma = 0; they must be finite, not negative and not both zero");
  REQUIRE_THAT(error_message([&] {
                 (void)add_noise(data, {0, -1, 1}, data);
               }),
               StartsWith("diffusion::add_noise: level has alpha = -1 and sigma = 1"));
}

TEST_CASE("the second half of 20 steps of DpmSolverPP has the same sum as in diffusers", "[sample]") {
  // diffusers 58eb52c: DPMSolverMultistepScheduler(beta_end=0.02, final_sigmas_type="sigma_min"),
  // 20 steps from the 10th on, with the sample, noise and model of its tests. lower_order_final
  // applies to runs of fewer than 15 steps only.
  using Batch = Eigen::Tensor<double, 4, Eigen::RowMajor, Index>;
  Batch x_0(4, 3, 8, 8), noise(4, 3, 8, 8);
  for (Index n = 0; n < 4; ++n) {
    for (Index i = 0; i < 192; ++i) {
      x_0.data()[n * 192 + i] = static_cast<double>(4 * i + n) / 768;
      noise.data()[n * 192 + i] = static_cast<double>(767 - (4 * i + n)) / 768;
    }
  }
  const auto model = [](const Batch& x, const Eigen::Tensor<double, 1>& t, Batch& out) {
    out = x * (t(0) / (t(0) + 1));
  };
  const GaussianDiffusion<double> linear(linear_beta_schedule(1000, 0.0001, 0.02));
  const TimeGrid half =
      timestep_grid(linear, dpm_solver_timesteps(1000, TimestepSpacing::linspace, 20), Ending::sigma_min)
          .starting_at(10);
  const Batch out = sample(DpmSolverPP{}, half, Denoiser(model, ModelMeanType::epsilon),
                           add_noise(x_0, half.levels().front(), noise));
  const Eigen::Tensor<double, 0, Eigen::RowMajor> sum = out.abs().sum();
  REQUIRE(std::abs(sum(0) - 272.5015) < 1e-3);
}
