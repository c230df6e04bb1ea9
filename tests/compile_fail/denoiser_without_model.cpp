// error: diffusion: this Denoiser or ReverseProcess has no model (nullptr) to call; use a SamplingRun, which asks for each prediction
#include <diffusion/diffusion.hpp>

int main() {
  const diffusion::GaussianDiffusion<float> process(diffusion::cosine_beta_schedule(10));
  const auto grid = diffusion::timestep_grid(process, diffusion::TimestepSpacing::trailing, 4);
  Eigen::Tensor<float, 2> x(1, 4);
  x.setZero();
  const diffusion::Denoiser denoiser(nullptr, diffusion::ModelMeanType::epsilon);
  return static_cast<int>(diffusion::sample(diffusion::Ddim{}, grid, denoiser, x)(0, 0));
}
