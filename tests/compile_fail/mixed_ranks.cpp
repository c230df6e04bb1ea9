// error: diffusion: the tensors differ in rank
#include <diffusion/diffusion.hpp>

int main() {
  const diffusion::GaussianDiffusion<float> process(diffusion::linear_beta_schedule(1000));
  Eigen::Tensor<float, 2> x(4, 3), noise(4, 3);
  Eigen::Tensor<float, 3> eps(4, 3, 1);
  process.predict_xstart_from_eps(x, 5, eps);
}
