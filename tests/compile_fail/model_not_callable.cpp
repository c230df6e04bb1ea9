// error: diffusion: the model (or cond_fn) must be callable as model(x, t), returning a tensor, or as model(x, t, out), writing one, where x is a tensor like the one sampled (the same scalar type, rank and layout) and t an Eigen::Tensor<Scalar, 1>
#include <diffusion/diffusion.hpp>

int main() {
  const diffusion::GaussianDiffusion<float> process(diffusion::linear_beta_schedule(1000));
  Eigen::Tensor<float, 2> x(4, 3);
  diffusion::ReverseProcess reverse(process, [](const Eigen::Tensor<float, 2>& x_t) { return x_t; });
  reverse.p_mean_variance(x, 5);
}
