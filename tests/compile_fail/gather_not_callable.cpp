// error: diffusion: gather must be a callable gather(const TimestepLosses&) that returns a range of TimestepLosses, those of all workers in the order of their rank
#include <diffusion/training/timestep_samplers.hpp>

int main() {
  diffusion::LossSecondMomentResampler sampler(1000);
  const Eigen::Tensor<float, 1> losses(4);
  sampler.update_with_local_losses(5, losses, 3);
}
