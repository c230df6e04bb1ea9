// error: diffusion: all tensors must have the same scalar type, that of the process if there is one; convert with x.cast<Scalar>()
#include <diffusion/diffusion.hpp>

int main() {
  const diffusion::GaussianDiffusion<float> process(diffusion::linear_beta_schedule(1000));
  Eigen::Tensor<float, 2> x(4, 3), noise(4, 3);
  Eigen::Tensor<double, 2> x_start(4, 3);
  process.q_sample(x_start, 5, noise);
}
