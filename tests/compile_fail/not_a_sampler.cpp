// error: diffusion: the first argument must be a sampler, such as diffusion::Ddim{}: a struct with a State<Tensor> and an advance
#include <diffusion/sampling/sample.hpp>

void program(const diffusion::TimeGrid& grid, const Eigen::Tensor<float, 2>& x) {
  const auto denoiser = [](const auto&, const diffusion::NoiseLevel&, auto&) {};
  diffusion::sample("ddim", grid, denoiser, x);
}
