// Tests of diffusion/sampling/sample.hpp: the loop, its hooks and its errors.
#include "diffusion/sampling/sample.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <vector>

#include "diffusion/diffusion.hpp"
#include "diffusion/model/denoiser.hpp"
#include "diffusion/sampling/steps.hpp"
#include "matchers.hpp"
#include "sampling_problem.hpp"

namespace sample_tests {

using namespace diffusion;
using namespace sampling_problem;
using Eigen::Index;

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

}  // namespace sample_tests
