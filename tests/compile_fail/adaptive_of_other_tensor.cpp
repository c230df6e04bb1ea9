// error: diffusion: DpmSolverAdaptive needs TensorOperations<Tensor>::error_norm
#include <diffusion/sampling/sample.hpp>
#include <diffusion/sampling/samplers/dpm_solver_adaptive.hpp>

#include "../molecule.hpp"

void program(const diffusion::TimeGrid& grid, const Molecule& x) {
  const auto denoiser = [](const auto&, const diffusion::NoiseLevel&, auto&) {};
  (void)diffusion::sample(diffusion::DpmSolverAdaptive{}, grid, denoiser, x);
}
