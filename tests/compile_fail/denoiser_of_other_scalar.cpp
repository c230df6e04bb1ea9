// error: diffusion: the model (or cond_fn) must return a tensor, or an expression, of x's scalar type, rank and layout
#include <diffusion/model/denoiser.hpp>

void program(const diffusion::NoiseLevel& level, const Eigen::Tensor<float, 2>& x) {
  const auto model = [](const Eigen::Tensor<float, 2>& at, const Eigen::Tensor<float, 1>&) {
    return at.cast<double>();
  };
  diffusion::Denoiser(model, diffusion::ModelMeanType::epsilon)(x, level);
}
