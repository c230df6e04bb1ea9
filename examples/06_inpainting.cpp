/// @file 06_inpainting.cpp
/// How is a part of a picture kept while the rest is drawn?
#include <cstdio>
#include <diffusion/diffusion.hpp>

int main() {
  using Row = Eigen::Tensor<double, 2>;  // one row of pixels
  const diffusion::GaussianDiffusion<double> process(diffusion::cosine_beta_schedule(1000));
  const auto grid = diffusion::timestep_grid(process, diffusion::TimestepSpacing::trailing, 25);

  // Stands for a network that knows rows of one grey value: it predicts their mean.
  const auto network = [&](const Row& x, const Eigen::Tensor<double, 1>& t, Row& x_0) {
    const Eigen::Tensor<double, 0> mean = x.mean();
    x_0 = x.constant(mean() / (grid.at_time(t(0)).alpha + 1e-3));
  };
  const diffusion::Denoiser denoiser(network, diffusion::ModelMeanType::start_x, {-1.0, 1.0});

  // The first four pixels are known. Before each step, and after the last, they are replaced by
  // their noised values; at sigma = 0 these are exact.
  diffusion::PhiloxNoise noise(1), of_known(2);
  diffusion::Hooks<Row> hooks;
  Row z(1, 8);
  hooks.correct_x_t = [&](Row& x, const diffusion::NoiseLevel& level) {
    of_known(z);
    for (int i = 0; i < 4; ++i) x(0, i) = level.alpha * 0.75 + level.sigma * z(0, i);
  };
  Row x(1, 8);
  noise(x);
  const Row row = diffusion::sample(diffusion::Ddim{1.0}, grid, denoiser, x, noise, hooks);
  for (int i = 0; i < 8; ++i) std::printf("%s%.2f", i == 0 ? "known " : i == 4 ? " | drawn " : " ", row(0, i));
  std::printf("\n");
}

// Output:
// known 0.75 0.75 0.75 0.75 | drawn 0.68 0.68 0.68 0.68
