// error: diffusion: the grid of sample must be a diffusion::TimeGrid, for example timestep_grid(process, diffusion::TimestepSpacing::trailing, 20)
#include <diffusion/diffusion.hpp>

int main() {
  const auto network = [](const Eigen::Tensor<float, 2>& x, const Eigen::Tensor<float, 1>&) { return x; };
  const diffusion::Denoiser denoiser(network, diffusion::ModelMeanType::epsilon);
  Eigen::Tensor<float, 2> x(1, 4);
  x.setZero();
  return static_cast<int>(diffusion::sample(diffusion::Ddim{}, 10, denoiser, x)(0, 0));
}
