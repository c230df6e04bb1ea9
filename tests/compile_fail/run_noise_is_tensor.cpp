// error: diffusion: a sampler may draw noise at every step: pass a noise source (RecordedNoise replays tensors)
#include <diffusion/sampling/samplers/ddpm.hpp>

void program(const diffusion::TimeGrid& grid, const Eigen::Tensor<float, 2>& x) {
  const auto denoiser = [](const auto&, const diffusion::NoiseLevel&, auto&) {};
  diffusion::sample(diffusion::Ddpm{}, grid, denoiser, x, x);
}
