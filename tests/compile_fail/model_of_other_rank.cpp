// error: diffusion: the model (or cond_fn) must be callable as model(x, t), returning a tensor, or as model(x, t, out), writing one
#include <diffusion/diffusion.hpp>
int main() {
  using Tensor = Eigen::Tensor<float, 2>;
  const auto model = [](const Eigen::Tensor<float, 3>& x, const Eigen::Tensor<float, 1>&,
                        Eigen::Tensor<float, 3>& out) { out = x; };
  const diffusion::Denoiser denoiser(model, diffusion::ModelMeanType::velocity);
  Tensor x(1, 4);
  x = diffusion::sample(diffusion::Ddim{}, diffusion::flow_matching_grid(4), denoiser, x);
}
