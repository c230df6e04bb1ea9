// error: diffusion: `out` must have the tensors mean, variance and log_variance: a diffusion::MeanVariance
#include <diffusion/diffusion.hpp>

int main() {
  const diffusion::GaussianDiffusion<float> process(diffusion::linear_beta_schedule(1000));
  Eigen::Tensor<float, 2> x(4, 3), out(4, 3);
  process.q_mean_variance_into(out, x, 5);
}
