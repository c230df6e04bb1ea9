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
#include <future>
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

/// A run with any sampler, and its name.
struct NamedRun {
  std::string name;
  diffusion::SamplingRun<diffusion::AnySampler<Values>, Values, diffusion::PhiloxNoise> run;
};

int main() {
  const auto grid = diffusion::timestep_grid(ddpm, diffusion::TimestepSpacing::trailing, 50);
  const diffusion::Denoiser denoiser(nullptr, diffusion::ModelMeanType::epsilon);
  Values x_T(1, 1000);
  diffusion::PhiloxNoise{1}(x_T);
  const diffusion::PhiloxNoise noise(2);
  std::vector<NamedRun> runs = {
      {"DDIM", {diffusion::Ddim{}, grid, x_T, noise}},
      {"Heun, two calls a step", {diffusion::Heun{}, grid, x_T, noise}},
      {"DPM-Solver++ SDE", {diffusion::DpmSolverPPSde{}, grid, x_T, noise}},
  };

  diffusion::Prediction<Values> prediction;
  int batches = 0;
  for (;; ++batches) {
    std::vector<decltype(NamedRun::run)*> alive;
    std::vector<Request> batch;
    for (auto& [name, run] : runs) {
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
  for (const auto& [name, run] : runs) {
    const Eigen::Map<const Eigen::ArrayXf> x(run.x().data(), 1000);
    std::printf("%-24s %8.3f %10.3f\n", name.c_str(), double(x.mean()),
                double(std::sqrt((x - x.mean()).square().mean())));
  }
  std::printf("%-24s %8.3f %10.3f\n", "the data", 2.0, 0.5);
}
