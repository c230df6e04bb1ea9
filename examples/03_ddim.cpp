/// @file 03_ddim.cpp
/// How is a network that predicts the noise sampled in a few steps?
#include <cmath>
#include <cstdio>
#include <diffusion/diffusion.hpp>

int main() {
  using Image = Eigen::Tensor<float, 4>;
  const diffusion::GaussianDiffusion<float> process(diffusion::cosine_beta_schedule(1000));
  const auto grid = diffusion::timestep_grid(process, diffusion::TimestepSpacing::trailing, 10);

  // Stands for a network. It is exact for data of mean 0.25 and standard deviation 0.5.
  const auto network = [&](const Image& x, const Eigen::Tensor<float, 1>& t, Image& epsilon) {
    const auto [time, alpha, sigma] = grid.at_time(t(0));
    const double gain = sigma / (0.25 * alpha * alpha + sigma * sigma);
    epsilon = (x - float(alpha * 0.25)) * float(gain);
  };
  const diffusion::Denoiser denoiser(network, diffusion::ModelMeanType::epsilon);

  Image x(16, 3, 8, 8);
  diffusion::PhiloxNoise noise(1);
  noise(x);
  for (const double eta : {0.0, 1.0}) {
    const Image images = diffusion::sample(diffusion::Ddim{eta}, grid, denoiser, x, noise);
    const Eigen::Tensor<float, 0> mean = images.mean(), variance = (images - mean()).square().mean();
    std::printf("eta = %.0f: mean %.2f, standard deviation %.2f\n", eta, mean(), std::sqrt(variance()));
  }
}

// Output:
// eta = 0: mean 0.26, standard deviation 0.42
// eta = 1: mean 0.26, standard deviation 0.39
