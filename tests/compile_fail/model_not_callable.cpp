// error: diffusion: the model must be callable, as const, as model(x_t, t), returning a tensor, or as model(x_t, t, out), writing one
#include <diffusion/diffusion.hpp>

int main() {
  const diffusion::GaussianDiffusion<float> process(diffusion::linear_beta_schedule(1000));
  Eigen::Tensor<float, 2> x(4, 3);
  diffusion::ReverseProcess reverse(process, [](const Eigen::Tensor<float, 2>& x_t) { return x_t; });
  reverse.p_mean_variance(x, 5);
}
