// Tests of diffusion/sampling/any_sampler.hpp. sampling_run.cpp compares every sampler as an
// AnySampler with the sampler itself, also copied and restarted.
#include <diffusion/sampling/any_sampler.hpp>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include <diffusion/diffusion.hpp>

#include "matchers.hpp"
#include "sampler_list.hpp"

namespace any_sampler_tests {

using diffusion::AnySampler;
using diffusion::SamplingRun;
using diffusion::TimeGrid;
using Eigen::Index;

namespace {

using Tensor = Eigen::Tensor<double, 2, Eigen::RowMajor, Index>;

const auto model = [](const Tensor& x, const auto&) { return x * 0.3; };
const diffusion::Denoiser denoiser(model, diffusion::ModelMeanType::epsilon);
Tensor start() { return random_tensor<Tensor>({2, 3}, 1); }

/// Counts its copies and how many exist.
struct Counted {
  Counted() { ++alive(); }
  Counted(const Counted&) { ++alive(), ++copies(); }
  ~Counted() { --alive(); }
  static int& alive() {
    static int count = 0;
    return count;
  }
  static int& copies() {
    static int count = 0;
    return count;
  }
};

/// A sampler with a Counted in itself and in its state.
struct CountedSampler {
  Counted counted{};
  template <class T>
  struct State {
    Counted counted{};
    int steps = 0;
  };
  template <class T, class Noise>
  void advance(const diffusion::Step& step, const diffusion::ModelCall&, T& x, diffusion::Prediction<T>& prediction,
               const Noise&, State<T>& state) const {
    ++state.steps;
    REQUIRE(state.steps == step.index + 1);
    diffusion::step_with_fixed_x_start(x, x, step.from, step.to, prediction.x_start, step.device);
  }
};

TEST_CASE("an AnySampler is a sampler for sample and SamplingRun, with the same bits", "[any_sampler]") {
  const AnySampler<Tensor> any = diffusion::Heun{{10.0}};
  const Tensor expected =
      sample(diffusion::Heun{{10.0}}, trailing_grid(5), denoiser, start(), diffusion::PhiloxNoise(3));
  REQUIRE_THAT(sample(any, trailing_grid(5), denoiser, start(), diffusion::PhiloxNoise(3)), AllEqual(expected));
  const AnySampler<Tensor> nested = any;
  REQUIRE_THAT(sample(nested, trailing_grid(5), denoiser, start(), diffusion::PhiloxNoise(3)), AllEqual(expected));
}

TEST_CASE("an AnySampler can be assigned another sampler", "[any_sampler]") {
  AnySampler<Tensor> any = diffusion::Ddim{};
  any = diffusion::DpmSolverPP{};
  REQUIRE_THAT(sample(any, trailing_grid(5), denoiser, start()),
               AllEqual(sample(diffusion::DpmSolverPP{}, trailing_grid(5), denoiser, start())));
}

TEST_CASE("copies of an AnySampler share the sampler, and runs have states of their own", "[any_sampler]") {
  {
    const AnySampler<Tensor> any = CountedSampler{};
    Counted::copies() = 0;
    REQUIRE(Counted::alive() == 1);
    const std::vector<AnySampler<Tensor>> copies(5, any);
    REQUIRE(Counted::alive() == 1);
    SamplingRun run(any, trailing_grid(4), start());
    REQUIRE(Counted::alive() == 1);  // the state is made at the first step
    diffusion::Prediction<Tensor> prediction;
    denoiser(run.x(), run.level(), prediction);
    run.advance(prediction);
    REQUIRE(Counted::alive() == 2);
    auto copy = run;
    REQUIRE(Counted::alive() == 3);
    for (auto* each : {&run, &copy}) {
      while (!each->done()) {
        denoiser(each->x(), each->level(), prediction);
        each->advance(prediction);
      }
    }
    REQUIRE_THAT(copy.x(), AllEqual(run.x()));
  }
  REQUIRE(Counted::alive() == 0);
}

TEST_CASE("an AnySampler that was moved from still holds its sampler", "[any_sampler]") {
  AnySampler<Tensor> any = diffusion::Ddim{};
  const AnySampler<Tensor> moved = std::move(any);
  REQUIRE_THAT(sample(any, trailing_grid(5), denoiser, start()),
               AllEqual(sample(moved, trailing_grid(5), denoiser, start())));
}

TEST_CASE("an AnySampler refuses the state of another sampler", "[any_sampler]") {
  const auto grid = trailing_grid(3);
  const diffusion::Step step{grid.levels()[0], grid.levels()[1], 0, 3, grid, true, {}};
  diffusion::Prediction<Tensor> prediction{start(), start(), {}};
  diffusion::NoNoise none;
  const Eigen::DefaultDevice device;
  const diffusion::detail::StepNoise<Tensor> noise(none, device);
  AnySampler<Tensor>::State<Tensor> state;
  Tensor x = start();
  AnySampler<Tensor>(diffusion::Ipndm{}).advance(step, {step.from, 0}, x, prediction, noise, state);
  REQUIRE_THAT(error_message([&] {
                 AnySampler<Tensor>(diffusion::Heun{}).advance(step, {step.from, 0}, x, prediction, noise, state);
               }),
               ContainsSubstring("the state belongs to another sampler"));
}

TEST_CASE("only samplers convert to an AnySampler", "[any_sampler]") {
  STATIC_REQUIRE(std::is_convertible_v<diffusion::Heun, AnySampler<Tensor>>);
  STATIC_REQUIRE(!std::is_convertible_v<int, AnySampler<Tensor>>);
}

TEST_CASE("an AnySampler refuses parameters out of range when it is made", "[any_sampler]") {
  REQUIRE_THAT(error_message([] { AnySampler<Tensor>(diffusion::Lms{0}); }), ContainsSubstring("Lms: order = 0"));
}

TEST_CASE("an AnySampler takes the noise of the run, or says that it needs some", "[any_sampler]") {
  const AnySampler<Tensor> any = diffusion::Ddpm{};
  REQUIRE_THAT(error_message([&] { (void)sample(any, trailing_grid(5), denoiser, start()); }),
               ContainsSubstring("needs noise"));
}

}  // namespace

}  // namespace any_sampler_tests
