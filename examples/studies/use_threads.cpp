/// @file use_threads.cpp
/// Samples on several cores: the denoiser, the sampler and the noise share an Eigen thread pool.
/// The result has the same bits for any number of threads.
#define EIGEN_USE_THREADS  // before any header of Eigen
#include <algorithm>       // std::equal, std::max
#include <chrono>
#include <cstdio>
#include <diffusion/diffusion.hpp>
#include <thread>

using Latents = Eigen::Tensor<float, 4, Eigen::RowMajor>;  // [N, C, H, W]

int main() {
  const diffusion::GaussianDiffusion<float> process(diffusion::scaled_linear_beta_schedule(1000));
  const auto grid = diffusion::timestep_grid(process, diffusion::TimestepSpacing::trailing, 10);
  Latents x_T(16, 4, 128, 128);
  diffusion::PhiloxNoise{1}(x_T);

  // Stands for a network that predicts epsilon. It writes its output, and may use threads too.
  const auto network = [](const Latents& x, const auto& /*t*/, Latents& out) { out = 0.9F * x; };
  diffusion::DenoiserOptions options;
  options.threshold_quantile = 0.995;
  const diffusion::Denoiser denoiser(network, diffusion::ModelMeanType::epsilon, options);

  const auto timed = [&](const auto& device) {
    const auto start = std::chrono::steady_clock::now();
    Latents x_0 = diffusion::sample(diffusion::Ddpm{}, grid, denoiser, x_T, diffusion::PhiloxNoise(2), {}, device);
    const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
    std::printf("%6.1f ms a step\n", time.count() / 10);
    return x_0;
  };
  std::printf("1 thread:  ");
  const Latents alone = timed(Eigen::DefaultDevice());

  const int threads = int((std::max)(2U, std::thread::hardware_concurrency()));
  Eigen::ThreadPool pool(threads);
  std::printf("%d threads: ", threads);
  const Latents shared = timed(Eigen::ThreadPoolDevice(&pool, threads));

  const bool same = std::equal(alone.data(), alone.data() + alone.size(), shared.data());
  std::printf("The results %s\n", same ? "have the same bits" : "differ");
  return same ? 0 : 1;
}
