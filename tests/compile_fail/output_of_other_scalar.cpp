// error: diffusion: the model's output must have x's scalar type, rank and layout
#include <diffusion/model/denoiser.hpp>

void program(const diffusion::NoiseLevel& level, const Eigen::Tensor<float, 2>& x,
             const Eigen::Tensor<double, 2>& output) {
  const auto model = [](const Eigen::Tensor<float, 2>& at, const Eigen::Tensor<float, 1>&) { return at; };
  diffusion::Denoiser(model, diffusion::ModelMeanType::epsilon).prediction(output, x, level);
}
