// error: diffusion: this argument must be an Eigen tensor: an Eigen::Tensor, TensorMap, TensorFixedSize or an expression of them; Denoiser, sample and add_noise also take a type with diffusion::TensorOperations
#include <diffusion/diffusion.hpp>
#include <vector>

int main() {
  const diffusion::GaussianDiffusion<float> process(diffusion::linear_beta_schedule(1000));
  Eigen::Tensor<float, 2> x(4, 3), noise(4, 3);
  std::vector<float> x_start(12);
  process.q_sample(x_start, 5, noise);
}
