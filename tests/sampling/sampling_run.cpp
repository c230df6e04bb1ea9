// Tests of diffusion/sampling/sampling_run.hpp.
#include "diffusion/sampling/sampling_run.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "allocations.hpp"
#include "layout.hpp"
#include "matchers.hpp"
#include "sampler_list.hpp"

namespace sampling_run_tests {

using diffusion::Denoiser;
using diffusion::GaussianDiffusion;
using diffusion::Hooks;
using diffusion::ModelMeanType;
using diffusion::NoiseLevel;
using diffusion::PhiloxNoise;
using diffusion::Prediction;
using diffusion::sample;
using diffusion::SamplingRun;
using diffusion::Step;
using diffusion::TimeGrid;
using diffusion::TimestepSpacing;
using Eigen::Index;

namespace {

using Tensor = Eigen::Tensor<double, 2, Eigen::RowMajor, Index>;

/// A grid that starts without signal and one that starts part-way.
std::vector<TimeGrid> special_grids() {
  const GaussianDiffusion<double> zero_snr(
      diffusion::rescale_zero_terminal_snr(diffusion::scaled_linear_beta_schedule(1000)));
  return {timestep_grid(zero_snr, TimestepSpacing::trailing, 5), trailing_grid(12).with_strength(0.5)};
}

template <class T>
T start(double offset = 0) {
  T x(3, 5);
  for (Index i = 0; i < 3; ++i) {
    for (Index j = 0; j < 5; ++j)
      x(i, j) = static_cast<typename T::Scalar>(
          std::cos(3.0 * static_cast<double>(i) + 1.3 * static_cast<double>(j) + offset));
  }
  return x;
}

template <class T>
ErasedNoise<T> noise() {
  return [source = PhiloxNoise(2)](T& z) mutable { source(z); };
}

/// The output of the network: a nonlinear velocity.
template <class T>
void network(const T& x, double t, T& out) {
  out.resize(x.dimensions());
  for (Index i = 0; i < x.size(); ++i) {
    const double v = static_cast<double>(x.data()[i]);
    out.data()[i] = static_cast<typename T::Scalar>(0.6 * std::sin(1.7 * v + 0.01 * t) - 0.3 * v);
  }
}

template <class T>
auto denoiser() {
  const auto model = [](const T& x, const Eigen::Tensor<typename T::Scalar, 1>& t, T& out) {
    network(x, static_cast<double>(t(0)), out);
  };
  diffusion::DenoiserOptions options;
  options.clip_min = -1.5;
  options.clip_max = 1.5;
  return Denoiser(model, ModelMeanType::velocity, options);
}

/// Answers one question of the run, as an engine that cannot be called back would.
template <class Run, class T>
void answer(Run& run, Prediction<T>& prediction) {
  static const auto interpreter = denoiser<T>();
  T output;
  const T input = interpreter.model_input(run.x(), run.level());
  network(input, static_cast<double>(static_cast<typename T::Scalar>(interpreter.model_time(run.level()))), output);
  interpreter.prediction(output, run.x(), run.level(), prediction);
  run.advance(prediction);
  REQUIRE(prediction.x_start.size() == run.x().size());
  REQUIRE(prediction.epsilon.size() == run.x().size());
}

template <class T, class Run>
T finish(Run& run) {
  Prediction<T> prediction;
  while (!run.done()) answer<Run, T>(run, prediction);
  return run.x();
}

}  // namespace

TEMPLATE_TEST_CASE("a run that is asked equals sample, for every sampler", "[sampling_run]", LAYOUTS) {
  using T = typename TestType::template Tensor<2>;
  std::vector<TimeGrid> grids = special_grids();
  grids.push_back(trailing_grid(7));
  for (const TimeGrid& levels : grids) {
    for (const auto& sampler : all_samplers<T>()) {
      INFO(sampler.name << ", " << levels.num_steps() << " steps");
      auto run = sampler.begin(levels, start<T>(), noise<T>(), {}, {});
      const T driven = sampler.run(levels, denoiser<T>(), start<T>(), noise<T>(), {});
      REQUIRE_THAT(finish<T>(run), AllEqual(driven));
    }
  }
}

/// A device that splits every range into three, and counts its calls.
struct SplittingDevice {
  template <class F>
  void parallelFor(Index size, const Eigen::TensorOpCost&, const F& f) const {
    ++*calls;
    const Index third = size / 3;
    f(third, size - third);
    f(size - third, size);
    f(0, third);
  }
  std::shared_ptr<Index> calls = std::make_shared<Index>(0);  // shared with copies
};

TEMPLATE_TEST_CASE("the bits of a run do not depend on its device, for every sampler", "[sampling_run]", LAYOUTS) {
  using T = typename TestType::template Tensor<2>;
  for (const auto& sampler : all_samplers<T>()) {
    INFO(sampler.name);
    const SplittingDevice device;
    auto run = sampler.begin(trailing_grid(5), start<T>(), noise<T>(), {}, device);
    REQUIRE_THAT(finish<T>(run), AllEqual(sampler.run(trailing_grid(5), denoiser<T>(), start<T>(), noise<T>(), {})));
    REQUIRE(*device.calls >= 5);  // the device is used in every step
  }
}

TEMPLATE_TEST_CASE("sample uses its device for the sampler, the noise and the denoiser", "[sampling_run]", LAYOUTS) {
  using T = typename TestType::template Tensor<2>;
  T x(16, 5000);
  PhiloxNoise{1}(x);
  diffusion::DenoiserOptions options;
  options.threshold_quantile = 0.9;
  const auto model = [](const T& in, const auto&) { return in * static_cast<typename T::Scalar>(0.5); };
  const Denoiser thresholds(model, ModelMeanType::epsilon, options);
  const T expected = sample(diffusion::Ddpm{}, trailing_grid(3), thresholds, x, PhiloxNoise(2));

  Eigen::ThreadPool threads(3);
  const Eigen::ThreadPoolDevice pool(&threads, 3);
  REQUIRE_THAT(sample(diffusion::Ddpm{}, trailing_grid(3), thresholds, x, PhiloxNoise(2), {}, pool),
               AllEqual(expected));

  // The denoiser thresholds, scales and adds on the device; the noise source draws on it.
  const SplittingDevice sampler_only, all;
  const auto undivided = [&](const T& in, const NoiseLevel& level, Prediction<T>& out) { thresholds(in, level, out); };
  const ErasedNoise<T> draws = noise<T>();
  REQUIRE_THAT(sample(diffusion::Ddpm{}, trailing_grid(3), undivided, x, draws, {}, sampler_only),
               AllEqual(sample(diffusion::Ddpm{}, trailing_grid(3), thresholds, x, PhiloxNoise(2), {}, all)));
  REQUIRE(*sampler_only.calls >= 3);
  REQUIRE(*all.calls >= *sampler_only.calls + 2 + 3 * 3);
}

TEST_CASE("DpmSolverAdaptive takes the same steps in both layouts", "[sampling_run]") {
  using ColMajor = Eigen::Tensor<double, 2, Eigen::ColMajor, Index>;
  const auto by_rows = sample(diffusion::DpmSolverAdaptive{}, trailing_grid(2), denoiser<Tensor>(), start<Tensor>());
  const auto by_columns =
      sample(diffusion::DpmSolverAdaptive{}, trailing_grid(2), denoiser<ColMajor>(), start<ColMajor>());
  REQUIRE_THAT(with_layout<Eigen::RowMajor>(by_columns), AllEqual(by_rows));
}

TEST_CASE("a copy made at any call goes on like its original", "[sampling_run]") {
  for (const auto& sampler : all_samplers<Tensor>()) {
    INFO(sampler.name);
    const Tensor expected = sampler.run(trailing_grid(4), denoiser<Tensor>(), start<Tensor>(), noise<Tensor>(), {});
    auto run = sampler.begin(trailing_grid(4), start<Tensor>(), noise<Tensor>(), {}, {});
    Prediction<Tensor> prediction;
    while (!run.done()) {
      auto copy = run;
      REQUIRE_THAT(finish<Tensor>(copy), AllEqual(expected));
      answer(run, prediction);
    }
    REQUIRE_THAT(run.x(), AllEqual(expected));
  }
}

TEST_CASE("runs advanced in any order equal the same runs alone", "[sampling_run]") {
  const auto samplers = all_samplers<Tensor>();
  std::vector<ListedRun<Tensor>> runs;
  for (std::size_t i = 0; i < samplers.size(); ++i) {
    runs.push_back(samplers[i].begin(trailing_grid(4 + static_cast<Index>(i % 3)),
                                     start<Tensor>(static_cast<double>(i)), noise<Tensor>(), {}, {}));
  }
  std::mt19937 engine(1);
  Prediction<Tensor> prediction;  // all runs may share it: a run keeps nothing in it
  for (std::size_t alive = runs.size(); alive > 0;) {
    auto& run = runs[std::uniform_int_distribution<std::size_t>(0, runs.size() - 1)(engine)];
    if (run.done()) continue;
    answer(run, prediction);
    if (run.done()) --alive;
  }
  for (std::size_t i = 0; i < samplers.size(); ++i) {
    INFO(samplers[i].name);
    const Tensor alone = samplers[i].run(trailing_grid(4 + static_cast<Index>(i % 3)), denoiser<Tensor>(),
                                         start<Tensor>(static_cast<double>(i)), noise<Tensor>(), {});
    REQUIRE_THAT(runs[i].x(), AllEqual(alone));
  }
}

TEST_CASE("runs on two threads share one const denoiser", "[sampling_run]") {
  const auto shared = denoiser<Tensor>();
  const auto on_thread = [&shared](double offset, Tensor& result) {
    SamplingRun run(diffusion::Heun{{10.0}}, trailing_grid(20), start<Tensor>(offset), PhiloxNoise(3));
    Prediction<Tensor> prediction;
    while (!run.done()) {
      shared(run.x(), run.level(), prediction);
      run.advance(prediction);
    }
    result = run.x();
  };
  Tensor first, second;
  std::thread other([&] { on_thread(1, second); });
  on_thread(0, first);
  other.join();
  const auto alone = [&](double offset) {
    return sample(diffusion::Heun{{10.0}}, trailing_grid(20), shared, start<Tensor>(offset), PhiloxNoise(3));
  };
  REQUIRE_THAT(first, AllEqual(alone(0)));
  REQUIRE_THAT(second, AllEqual(alone(1)));
}

TEST_CASE("a restarted run allocates nothing and equals a new run with the noise that follows", "[sampling_run]") {
  const auto calls_model = denoiser<Tensor>();
  for (const auto& sampler : all_samplers<Tensor>()) {
    INFO(sampler.name);
    PhiloxNoise source(5);
    Prediction<Tensor> prediction;
    auto run = sampler.begin(trailing_grid(8), start<Tensor>(), [&source](Tensor& z) { source(z); }, {}, {});
    const auto drive = [&] {
      while (!run.done()) {
        calls_model(run.x(), run.level(), prediction);
        run.advance(prediction);
      }
    };
    drive();
    PhiloxNoise following = source;
    const Tensor again = start<Tensor>(1);
    REQUIRE(count_allocations([&] {
              run.restart(again);
              drive();
            }) == 0);
    REQUIRE_THAT(run.x(), AllEqual(sampler.run(trailing_grid(8), calls_model, again,
                                               [&following](Tensor& z) { following(z); }, {})));
  }
}

TEST_CASE("a run restarted in the middle of a step equals a new run", "[sampling_run]") {
  for (const auto& sampler : all_samplers<Tensor>()) {
    INFO(sampler.name);
    const auto no_draws = [](Tensor& z) { z.setZero(); };
    auto run = sampler.begin(trailing_grid(5), start<Tensor>(), no_draws, {}, {});
    Prediction<Tensor> prediction;
    for (int call = 0; call < 4; ++call) answer(run, prediction);
    const Tensor again = start<Tensor>(1);
    run.restart(again);
    REQUIRE_THAT(finish<Tensor>(run), AllEqual(sampler.run(trailing_grid(5), denoiser<Tensor>(), again, no_draws, {})));
  }
}

TEST_CASE("RePaint's jumps can be asked, and copied at any call", "[sampling_run]") {
  Tensor known = start<Tensor>(2), mask(3, 5);
  mask.setZero();
  mask(0, 0) = mask(2, 4) = 1;
  const diffusion::RePaint<Tensor> sampler{known, mask, 2, 3};
  const Tensor expected = sample(sampler, trailing_grid(7), denoiser<Tensor>(), start<Tensor>(), PhiloxNoise(3));
  SamplingRun run(sampler, trailing_grid(7), start<Tensor>(), PhiloxNoise(3));
  Prediction<Tensor> prediction;
  Index calls = 0;
  for (; !run.done(); ++calls) {
    auto copy = run;
    REQUIRE_THAT(finish<Tensor>(copy), AllEqual(expected));
    answer(run, prediction);
  }
  REQUIRE(calls == 19);  // as the test of RePaint in sample.cpp counts
  REQUIRE_THAT(run.x(), AllEqual(expected));
}

TEST_CASE("a run says where it asks and how far it is", "[sampling_run]") {
  const TimeGrid levels = trailing_grid(3);
  SamplingRun run(diffusion::Heun{}, levels, start<Tensor>());
  Prediction<Tensor> prediction;
  std::vector<double> asked;
  std::vector<Index> steps;
  while (!run.done()) {
    asked.push_back(run.level().t);
    steps.push_back(run.step().index);
    REQUIRE(run.step().count == 3);
    answer(run, prediction);
  }
  REQUIRE(asked == std::vector<double>{999, 666, 666, 332, 332});
  REQUIRE(steps == std::vector<Index>{0, 0, 1, 1, 2});
  REQUIRE(run.level().sigma == 0);
  REQUIRE(run.step().index == 2);
}

TEST_CASE("observe_x_start is called with each prediction of x_0", "[sampling_run]") {
  std::vector<double> seen;
  Hooks<Tensor> hooks;
  hooks.correct_x_start = [](Tensor& x_start, const NoiseLevel&) { x_start(0, 0) = 0.25; };
  hooks.observe_x_start = [&](const Step& step, const NoiseLevel& level, const Tensor& x_start) {
    REQUIRE(x_start(0, 0) == 0.25);
    seen.push_back(static_cast<double>(step.index) + level.t / 1000);
  };
  (void)sample(diffusion::Heun{}, trailing_grid(2), denoiser<Tensor>(), start<Tensor>(), hooks);
  REQUIRE(seen == std::vector<double>{0.999, 0.499, 1.499});
}

TEST_CASE("a run takes a map for x and a noise source by std::ref", "[sampling_run]") {
  Tensor memory = start<Tensor>();
  PhiloxNoise source(4);
  SamplingRun run(diffusion::EulerAncestral{}, trailing_grid(4), Eigen::TensorMap<Tensor>(memory.data(), 3, 5),
                  std::ref(source));
  STATIC_REQUIRE((std::is_same_v<std::decay_t<decltype(run.x())>, Tensor>));
  memory.setZero();  // the run has a copy
  const Tensor result = finish<Tensor>(run);
  REQUIRE(source.call() == 3);
  REQUIRE_THAT(result, AllEqual(sample(diffusion::EulerAncestral{}, trailing_grid(4), denoiser<Tensor>(),
                                       start<Tensor>(), PhiloxNoise(4))));
}

namespace {

void zeros(Tensor& z) { z.setZero(); }

}  // namespace

TEST_CASE("a function is a noise source, and hooks do not need one", "[sampling_run]") {
  const auto with_zeros = [](Tensor& z) { z.setZero(); };
  const diffusion::EulerAncestral sampler;
  const Tensor expected = sample(sampler, trailing_grid(3), denoiser<Tensor>(), start<Tensor>(), with_zeros);
  REQUIRE_THAT(sample(sampler, trailing_grid(3), denoiser<Tensor>(), start<Tensor>(), zeros), AllEqual(expected));
  SamplingRun run(sampler, trailing_grid(3), start<Tensor>(), zeros);
  REQUIRE_THAT(finish<Tensor>(run), AllEqual(expected));

  Index steps = 0;
  Hooks<Tensor> hooks;
  hooks.observer = [&steps](const Step&, const Tensor&) { ++steps; };
  SamplingRun without_noise(diffusion::Ddim{}, trailing_grid(3), start<Tensor>(), hooks);
  finish<Tensor>(without_noise);
  REQUIRE(steps == 3);
}

TEST_CASE("a run refuses tensors whose shape a hook or the noise source has changed", "[sampling_run]") {
  Hooks<Tensor> hooks;
  hooks.correct_x_t = [](Tensor& x, const NoiseLevel& level) {
    if (level.t < 500) x = Tensor(4, 5);
  };
  SamplingRun run(diffusion::Ddim{}, trailing_grid(3), start<Tensor>(), hooks);
  REQUIRE_THAT(error_message([&] { finish<Tensor>(run); }),
               StartsWith("diffusion::sample: correct_x_t changed the shape of x from [3, 5] to [4, 5]"));
  Prediction<Tensor> prediction;
  prediction.x_start = prediction.epsilon = start<Tensor>();
  REQUIRE_THAT(error_message([&] { run.advance(prediction); }),
               StartsWith("diffusion::SamplingRun::advance: x has shape [4, 5]"));
  const auto shrinking = [](Tensor& z) { z = Tensor(1, 1); };
  REQUIRE_THAT(error_message([&] {
                 (void)sample(diffusion::EulerAncestral{}, trailing_grid(3), denoiser<Tensor>(), start<Tensor>(),
                              shrinking);
               }),
               StartsWith("diffusion::sample: the noise has shape [1, 1]"));
}

TEST_CASE("a run throws for a prediction of another shape and after its end", "[sampling_run]") {
  SamplingRun run(diffusion::Ddim{}, trailing_grid(2), start<Tensor>());
  Prediction<Tensor> prediction;
  prediction.x_start = Tensor(3, 4);
  prediction.epsilon = Tensor(3, 5);
  REQUIRE_THAT(error_message([&] { run.advance(prediction); }),
               StartsWith("diffusion::sample: the denoiser's x_start has shape [3, 4]"));
  finish<Tensor>(run);
  REQUIRE_THROWS_AS(run.advance(prediction), std::out_of_range);
  REQUIRE_THROWS_WITH(run.advance(prediction),
                      "diffusion::SamplingRun::advance: the run is done after 2 steps; restart(x) begins another");
  REQUIRE_THROWS_AS(SamplingRun(diffusion::Ddim{2.0}, trailing_grid(2), start<Tensor>()), std::invalid_argument);
  SamplingRun without_noise(diffusion::EulerAncestral{}, trailing_grid(2), start<Tensor>());
  REQUIRE_THAT(error_message([&] { finish<Tensor>(without_noise); }),
               StartsWith("diffusion::sample: this sampler needs noise"));
}

}  // namespace sampling_run_tests
