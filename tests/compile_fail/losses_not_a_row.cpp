// error: diffusion: losses must be an Eigen tensor of rank 1, one loss per timestep
#include <diffusion/training/timestep_samplers.hpp>

int main() {
  diffusion::LossSecondMomentResampler sampler(1000);
  const Eigen::Tensor<float, 2> losses(4, 3);
  sampler.update_with_all_losses(5, losses);
}
