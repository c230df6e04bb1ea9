// error: diffusion: this argument must be an Eigen tensor: an Eigen::Tensor, TensorMap, TensorFixedSize or an expression of them; Denoiser, sample and add_noise also take a type with diffusion::TensorOperations
#include <diffusion/diffusion.hpp>

int main() {
  const diffusion::GaussianDiffusion<float> process(diffusion::linear_beta_schedule(1000));
  Eigen::Tensor<float, 2> x(4, 3), noise(4, 3);
  Eigen::MatrixXf out(4, 3);
  process.q_posterior_mean_variance(x, out, 5);
}
