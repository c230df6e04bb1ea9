/// @file 10_asked_by_an_engine.cpp
/// How is a sampler driven by an engine that owns the loop?
#include <cstdio>
#include <diffusion/diffusion.hpp>

int main() {
  using Image = Eigen::Tensor<float, 4, Eigen::RowMajor>;
  const diffusion::GaussianDiffusion<float> process(diffusion::cosine_beta_schedule(1000));
  const auto grid = diffusion::timestep_grid(process, diffusion::TimestepSpacing::trailing, 10);
  const auto network = [](const Image& x, float /*t*/) { return Image(x * 0.5f); };  // stands for the engine

  // The denoiser has no model: it says what to pass to the engine, and reads its answer.
  const diffusion::Denoiser denoiser(nullptr, diffusion::ModelMeanType::velocity);
  Image x(2, 3, 8, 8);
  diffusion::PhiloxNoise{1}(x);
  diffusion::SamplingRun run(diffusion::Heun{}, grid, x);
  diffusion::Prediction<Image> prediction;
  int calls = 0;
  while (!run.done()) {
    const Image input = denoiser.model_input(run.x(), run.level());
    const Image output = network(input, float(denoiser.model_time(run.level())));
    denoiser.prediction(output, run.x(), run.level(), prediction);
    run.advance(prediction);
    ++calls;
  }

  // The same bits as those of a run that calls the network.
  const auto model = [&](const Image& in, const Eigen::Tensor<float, 1>& t, Image& out) { out = network(in, t(0)); };
  const diffusion::Denoiser calling(model, diffusion::ModelMeanType::velocity);
  const Image driven = diffusion::sample(diffusion::Heun{}, grid, calling, x);
  const Eigen::Tensor<float, 0, Eigen::RowMajor> difference = (run.x() - driven).abs().maximum();
  std::printf("%d calls for 10 steps; difference from a driven run: %g\n", calls, double(difference()));
}

// Output:
// 19 calls for 10 steps; difference from a driven run: 0
