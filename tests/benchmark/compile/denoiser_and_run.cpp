// One Denoiser and one run of one sampler.
#include <diffusion/diffusion.hpp>

int main() {
  using Batch = Eigen::Tensor<float, 4, Eigen::RowMajor>;
  const diffusion::GaussianDiffusion<float> process(diffusion::cosine_beta_schedule(1000));
  const auto model = [](const Batch& x, const Eigen::Tensor<float, 1>&, Batch& out) { out = x; };
  const diffusion::Denoiser denoiser(model, diffusion::ModelMeanType::velocity);
  const auto grid = diffusion::timestep_grid(process, diffusion::TimestepSpacing::trailing, 20);
  Batch x(2, 3, 8, 8);
  diffusion::PhiloxNoise{1}(x);
  x = diffusion::sample(diffusion::DpmSolverPP{}, grid, denoiser, x);
  return x(0, 0, 0, 0) > 0 ? 0 : 1;
}
