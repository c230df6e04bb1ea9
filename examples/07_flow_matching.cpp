/// @file 07_flow_matching.cpp
/// Which sigmas do Stable Diffusion 3 and Flux visit, and how is a step taken?
#include <cmath>
#include <cstdio>
#include <diffusion/diffusion.hpp>

int main() {
  using Latent = Eigen::Tensor<double, 4>;
  // Stable Diffusion 3: a shift of 3. Its scheduler in diffusers has shifted the least sigma once
  // before all are shifted.
  Eigen::ArrayXd sd3 = diffusion::flow_matching_sigmas(4, diffusion::shifted_sigma(1e-3, 3.0));
  for (double& sigma : sd3) sigma = diffusion::shifted_sigma(sigma, 3.0);
  // Flux: sigmas 1, 1 - 1 / n, ..., 1 / n, and a shift that depends on the number of tokens.
  Eigen::ArrayXd flux = diffusion::flow_matching_sigmas(4, 0.25);
  for (double& sigma : flux) sigma = diffusion::shifted_sigma(sigma, std::exp(diffusion::dynamic_shift_mu(4096)));

  // Stands for a transformer that predicts epsilon - x_0; it is exact for x_0 = 0.5.
  const auto network = [](const Latent& x, const Eigen::Tensor<double, 1>& t, Latent& v) {
    v = (x - 0.5) * (1000.0 / t(0));
  };
  const diffusion::Denoiser denoiser(network, diffusion::ModelMeanType::flow_velocity);
  for (const auto& [name, sigmas] : {std::pair("SD3 ", sd3), {"Flux", flux}}) {
    const auto grid = diffusion::flow_matching_grid(sigmas);  // model times are 1000 sigma
    Latent x(1, 4, 8, 8);
    diffusion::PhiloxNoise{1}(x);
    const Latent latent = diffusion::sample(diffusion::Euler{}, grid, denoiser, x);
    std::printf("%s sigmas %.5f %.5f %.5f %.5f %.0f, x_0 = %.3f\n", name, sigmas[0], sigmas[1], sigmas[2], sigmas[3],
                sigmas[4], latent(0, 0, 0, 0));
  }
}

// Output:
// SD3  sigmas 1.00000 0.85769 0.60215 0.00893 0, x_0 = 0.500
// Flux sigmas 1.00000 0.90453 0.75951 0.51284 0, x_0 = 0.500
