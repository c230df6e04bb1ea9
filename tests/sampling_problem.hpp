/// @file sampling_problem.hpp
/// A run for the tests of sampling: the process of Stable Diffusion, a simple model of epsilon, and
/// where the run starts.
#pragma once

#include <cmath>
#include <diffusion/diffusion.hpp>

#include "matchers.hpp"

namespace sampling_problem {

using Tensor = Eigen::Tensor<double, 2, Eigen::RowMajor, Eigen::Index>;

inline const diffusion::GaussianDiffusion<double>& process() {
  static const diffusion::GaussianDiffusion<double> process(diffusion::scaled_linear_beta_schedule(1000));
  return process;
}

inline diffusion::TimeGrid grid(Eigen::Index n, diffusion::Ending ending = diffusion::Ending::clean) {
  return timestep_grid(process(), diffusion::TimestepSpacing::trailing, n, 0, ending);
}

/// epsilon = x / 2 + cos(t / 100) / 10
struct Model {
  void operator()(const Tensor& x, const Eigen::Tensor<double, 1>& t, Tensor& out) const {
    for (Eigen::Index i = 0; i < x.size(); ++i) out.data()[i] = 0.5 * x.data()[i] + 0.1 * std::cos(t(0) / 100);
  }
};
inline const diffusion::Denoiser<Model>& denoiser() {
  static const diffusion::Denoiser denoiser(Model{}, diffusion::ModelMeanType::epsilon);
  return denoiser;
}

inline Tensor start() { return random_tensor<Tensor>({2, 3}, 1); }

}  // namespace sampling_problem
