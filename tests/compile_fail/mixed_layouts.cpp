// error: diffusion: the tensors mix RowMajor and ColMajor; convert one with swap_layout() and shuffle()
#include <diffusion/diffusion.hpp>

int main() {
  const diffusion::GaussianDiffusion<float> process(diffusion::linear_beta_schedule(1000));
  Eigen::Tensor<float, 2> x(4, 3), noise(4, 3);
  Eigen::Tensor<float, 2, Eigen::RowMajor> x_start(4, 3);
  process.q_posterior_mean_variance(x_start, x, 5);
}
