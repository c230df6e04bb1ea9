// error: diffusion: RePaint needs TensorOperations<Tensor>::paste
#include <diffusion/sampling/sample.hpp>
#include <diffusion/sampling/samplers/repaint.hpp>

#include "../molecule.hpp"

void program(const diffusion::TimeGrid& grid, const Molecule& x) {
  const auto denoiser = [](const auto&, const diffusion::NoiseLevel&, auto&) {};
  (void)diffusion::sample(diffusion::RePaint<Molecule>{}, grid, denoiser, x, [](Molecule&) {});
}
