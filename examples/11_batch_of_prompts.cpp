/// @file 11_batch_of_prompts.cpp
/// How are many prompts sampled in one batch, with the same pictures as one by one?
#include <cstdint>
#include <cstdio>
#include <diffusion/diffusion.hpp>
#include <functional>

using Image = Eigen::Tensor<float, 4, Eigen::RowMajor>;
using Prompts = Eigen::ArrayXf;  // of a text encoder; here one number each

/// Samples one picture for each prompt. Picture n draws its noise from stream first + n.
Image pictures(const Prompts& prompts, std::uint64_t first) {
  const diffusion::GaussianDiffusion<float> process(diffusion::cosine_beta_schedule(1000));
  const auto grid = diffusion::timestep_grid(process, diffusion::TimestepSpacing::trailing, 20);
  // Stands for a network that predicts x_0. The second half of the doubled batch has no prompt.
  const auto network = [&](const Image& x, const auto&, Image& x_0) {
    for (Eigen::Index n = 0; n < x.dimension(0); ++n)
      x_0.chip(n, 0) = x.chip(n, 0) * 0.1f + (n < prompts.size() ? prompts(n) : 0.0f);
  };
  auto guided = diffusion::guided_model_of_doubled_batch(network, diffusion::ClassifierFreeGuidance{2.0});
  const diffusion::Denoiser denoiser(std::ref(guided), diffusion::ModelMeanType::start_x);
  diffusion::PhiloxNoise noise(1, first);
  Image x(prompts.size(), 1, 8, 8);
  noise(x);
  return diffusion::sample(diffusion::EulerAncestral{}, grid, denoiser, x, noise);
}

int main() {
  const Prompts prompts = Prompts::LinSpaced(3, -0.25f, 0.25f);
  const Image all = pictures(prompts, 0);
  for (Eigen::Index n = 0; n < 3; ++n) {
    const double batch = all(n, 0, 0, 0), alone = pictures(prompts.segment(n, 1), std::uint64_t(n))(0, 0, 0, 0);
    std::printf("prompt %5.2f: %.4f in the batch, %.4f alone\n", double(prompts(n)), batch, alone);
  }
}

// Output:
// prompt -0.25: -0.5620 in the batch, -0.5620 alone
// prompt  0.00: -0.0025 in the batch, -0.0025 alone
// prompt  0.25: 0.5511 in the batch, 0.5511 alone
