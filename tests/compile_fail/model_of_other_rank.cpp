// error: diffusion: the model must be callable, as const, as model(x, t)
#include <diffusion/diffusion.hpp>
int main() {
  using Tensor = Eigen::Tensor<float, 2>;
  const auto model = [](const Eigen::Tensor<float, 3>& x, const Eigen::Tensor<float, 1>&,
                        Eigen::Tensor<float, 3>& out) { out = x; };
  const diffusion::Denoiser denoiser(model, diffusion::ModelMeanType::velocity);
  Tensor x(1, 4);
  x = diffusion::sample(diffusion::Ddim{}, diffusion::flow_matching_grid(4), denoiser, x);
}
