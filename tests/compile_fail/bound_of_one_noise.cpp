// error: diffusion: calc_bpd_loop draws noise at every timestep: pass a noise source (RecordedNoise replays tensors)
#include <diffusion/diffusion.hpp>

int main() {
  const auto model = [](const Eigen::Tensor<float, 2>& x, const Eigen::Tensor<float, 1>&) { return x; };
  const diffusion::ReverseProcess reverse(diffusion::GaussianDiffusion<float>(diffusion::linear_beta_schedule(1000)),
                                          model);
  const Eigen::Tensor<float, 2> x(4, 3), noise(4, 3);
  diffusion::calc_bpd_loop(reverse, x, noise);
}
