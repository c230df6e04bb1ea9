// error: diffusion: the hooks must be diffusion::Hooks<Tensor> for the plain tensor type of x
#include <diffusion/diffusion.hpp>
int main() {
  using Tensor = Eigen::Tensor<float, 2>;
  const auto model = [](const Tensor& x, const Eigen::Tensor<float, 1>&, Tensor& out) { out = x; };
  const diffusion::Denoiser denoiser(model, diffusion::ModelMeanType::velocity);
  const auto grid = diffusion::flow_matching_grid(4);
  const diffusion::Hooks<Eigen::Tensor<double, 2>> hooks;
  Tensor x(1, 4);
  x = diffusion::sample(diffusion::Ddpm{}, grid, denoiser, x, diffusion::PhiloxNoise(1), hooks);
}
