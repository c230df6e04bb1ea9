// error: diffusion: the denoiser must be callable as denoiser(x, level), returning a Prediction, or as denoiser(x, level, prediction), writing one; wrap a model in a diffusion::Denoiser
#include <diffusion/sampling/samplers/ddim.hpp>

void program(const diffusion::TimeGrid& grid, const Eigen::Tensor<float, 2>& x) {
  const auto model = [](const Eigen::Tensor<float, 2>& at, const Eigen::Tensor<float, 1>&) { return at; };
  diffusion::sample(diffusion::Ddim{}, grid, model, x);
}
