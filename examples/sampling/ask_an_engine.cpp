/// @file ask_an_engine.cpp
/// Samples with an engine that cannot be called back: it takes a batch of requests, works on a
/// thread of its own and answers later. Three runs with different samplers ask it for their
/// predictions, and share its batches although they are at different noise levels.
///
/// The engine holds the exact model of Gaussian data, N(m, s^2), at x = alpha x_0 + sigma epsilon:
///
///     E[epsilon | x] = sigma (x - alpha m) / (alpha^2 s^2 + sigma^2)
#include <cmath>    // std::sqrt
#include <cstddef>  // std::size_t
#include <cstdio>
#include <diffusion/diffusion.hpp>
#include <functional>
#include <future>
#include <memory>  // std::make_shared
#include <string>
#include <utility>  // std::move
#include <vector>

using Values = Eigen::Tensor<float, 2, Eigen::RowMajor>;  // [1, values]
using Eigen::Index;

const diffusion::GaussianDiffusion<float> ddpm(diffusion::scaled_linear_beta_schedule(1000));

/// The network: epsilon for each x of a batch, which is at the timestep t of its own.
Values network(const Values& x, double t) {
  const auto alpha = float(ddpm.sqrt_alphas_cumprod()[Index(t)]);
  const auto sigma = float(ddpm.sqrt_one_minus_alphas_cumprod()[Index(t)]);
  return (x - x.constant(2.0F * alpha)) * (sigma / (0.25F * alpha * alpha + sigma * sigma));
}

/// A request to the engine: the input of the network and its time.
struct Request {
  Values input;
  double t;
};

/// Starts the engine on a batch and returns at once; the answer is ready later.
std::future<std::vector<Values>> start_engine(std::vector<Request> batch) {
  return std::async(std::launch::async, [batch = std::move(batch)] {
    std::vector<Values> outputs;
    for (const Request& request : batch) outputs.push_back(network(request.input, request.t));
    return outputs;
  });
}

/// A run whose sampler is forgotten, so that runs with different samplers can stand in one list.
struct AnyRun {
  template <class Run>
  AnyRun(std::string the_name, Run run) : name(std::move(the_name)) {
    const auto shared = std::make_shared<Run>(std::move(run));
    done = [shared] { return shared->done(); };
    x = [shared]() -> const Values& { return shared->x(); };
    level = [shared] { return shared->level(); };
    advance = [shared](diffusion::Prediction<Values>& prediction) { shared->advance(prediction); };
  }

  std::string name;
  std::function<bool()> done;
  std::function<const Values&()> x;
  std::function<diffusion::NoiseLevel()> level;
  std::function<void(diffusion::Prediction<Values>&)> advance;
};

int main() {
  const auto grid = diffusion::timestep_grid(ddpm, diffusion::TimestepSpacing::trailing, 50);
  const diffusion::Denoiser denoiser(nullptr, diffusion::ModelMeanType::epsilon);
  Values x_T(1, 1000);
  diffusion::PhiloxNoise{1}(x_T);
  std::vector<AnyRun> runs;
  runs.emplace_back("DDIM", diffusion::SamplingRun(diffusion::Ddim{}, grid, x_T));
  runs.emplace_back("Heun, two calls a step", diffusion::SamplingRun(diffusion::Heun{}, grid, x_T));
  runs.emplace_back("DPM-Solver++ SDE",
                    diffusion::SamplingRun(diffusion::DpmSolverPPSde{}, grid, x_T, diffusion::PhiloxNoise(2)));

  diffusion::Prediction<Values> prediction;
  int batches = 0;
  for (;; ++batches) {
    std::vector<AnyRun*> alive;
    std::vector<Request> batch;
    for (AnyRun& run : runs) {
      if (run.done()) continue;
      alive.push_back(&run);
      batch.push_back({denoiser.model_input(run.x(), run.level()), denoiser.model_time(run.level())});
    }
    if (alive.empty()) break;
    auto answer = start_engine(std::move(batch));  // the program may do other work here
    const std::vector<Values> outputs = answer.get();
    for (std::size_t i = 0; i < alive.size(); ++i) {
      denoiser.prediction(outputs[i], alive[i]->x(), alive[i]->level(), prediction);
      alive[i]->advance(prediction);
    }
  }
  std::printf("%d batches of up to %zu requests\n", batches, runs.size());
  std::printf("%-24s %8s %10s\n", "1000 values", "mean", "deviation");
  for (const AnyRun& run : runs) {
    const Eigen::Map<const Eigen::ArrayXf> x(run.x().data(), 1000);
    std::printf("%-24s %8.3f %10.3f\n", run.name.c_str(), double(x.mean()),
                double(std::sqrt((x - x.mean()).square().mean())));
  }
  std::printf("%-24s %8.3f %10.3f\n", "the data", 2.0, 0.5);
}
