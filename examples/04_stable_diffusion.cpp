/// @file 04_stable_diffusion.cpp
/// How does Stable Diffusion XL sample, with a prompt and guidance?
#include <cstdio>
#include <diffusion/diffusion.hpp>
#include <functional>

int main() {
  using Latent = Eigen::Tensor<float, 4, Eigen::RowMajor>;
  using Times = Eigen::Tensor<float, 1>;
  using Context = Eigen::Tensor<float, 1>;  // of a text encoder; here one number

  // Stands for the UNet, which predicts the noise in x from x, the time and the context.
  const auto unet = [](const Latent& x, const Times& t, const Context& context, Latent& epsilon) {
    epsilon = x * (0.9f + 1e-4f * t(0)) - 0.1f * context(0);
  };
  Context prompt(1), empty(1);
  prompt.setConstant(1.0f);
  empty.setZero();
  const auto cond = [&](const Latent& x, const Times& t, Latent& out) { unet(x, t, prompt, out); };
  const auto uncond = [&](const Latent& x, const Times& t, Latent& out) { unet(x, t, empty, out); };
  auto guided = diffusion::guided_model(cond, uncond, diffusion::ClassifierFreeGuidance{7.5});
  const diffusion::Denoiser denoiser(std::ref(guided), diffusion::ModelMeanType::epsilon);

  const diffusion::GaussianDiffusion<float> process(diffusion::scaled_linear_beta_schedule(1000, 0.00085, 0.012));
  const auto grid = diffusion::timestep_grid(process, diffusion::TimestepSpacing::leading, 25, 1);
  Latent x(1, 4, 16, 16);
  diffusion::PhiloxNoise noise(42);
  noise(x);
  const Latent latent = diffusion::sample(diffusion::Euler{}, grid, denoiser, x);

  const Eigen::Tensor<float, 0, Eigen::RowMajor> mean = latent.mean();
  std::printf("25 steps from timestep %.0f to %.0f; mean of the latent %.3f\n", grid.levels()[0].t, grid.levels()[24].t,
              mean());
}

// Output:
// 25 steps from timestep 961 to 1; mean of the latent 1.525
