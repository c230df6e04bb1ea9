/// @file 11_batch_of_prompts.cpp
/// How are many prompts sampled in one batch, with the same pictures as one by one?
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <diffusion/diffusion.hpp>
#include <functional>
#include <vector>

using Image = Eigen::Tensor<float, 4, Eigen::RowMajor>;
using Times = Eigen::Tensor<float, 1>;

/// Samples one picture for each prompt. Picture n draws its noise from stream first + n.
Image pictures(const std::vector<float>& prompts, std::uint64_t first) {
  const diffusion::GaussianDiffusion<float> process(diffusion::cosine_beta_schedule(1000));
  const auto grid = diffusion::timestep_grid(process, diffusion::TimestepSpacing::trailing, 20);
  const auto count = Eigen::Index(prompts.size());
  // Stands for a network that predicts x_0. The second half of the doubled batch has no prompt.
  const auto network = [&](const Image& x, const Times&, Image& x_0) {
    for (Eigen::Index n = 0; n < x.dimension(0); ++n) {
      x_0.chip(n, 0) = x.chip(n, 0) * 0.1f + (n < count ? prompts[std::size_t(n)] : 0.0f);
    }
  };
  auto guided = diffusion::guided_model_of_doubled_batch(network, diffusion::ClassifierFreeGuidance{2.0});
  const diffusion::Denoiser denoiser(std::ref(guided), diffusion::ModelMeanType::start_x);
  diffusion::PhiloxNoise noise(1, first);
  Image x(count, 1, 8, 8);
  noise(x);
  return diffusion::sample(diffusion::EulerAncestral{}, grid, denoiser, x, noise);
}

int main() {
  const std::vector<float> prompts = {-0.25f, 0.0f, 0.25f};
  const Image all = pictures(prompts, 0);
  for (std::size_t n = 0; n < prompts.size(); ++n) {
    const float batch = all(Eigen::Index(n), 0, 0, 0), alone = pictures({prompts[n]}, n)(0, 0, 0, 0);
    std::printf("prompt %5.2f: %.4f in the batch, %.4f alone\n", double(prompts[n]), double(batch), double(alone));
  }
}
