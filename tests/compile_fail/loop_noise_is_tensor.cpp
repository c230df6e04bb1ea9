// error: diffusion: a sampling loop draws noise at every step: pass a noise source (RecordedNoise replays tensors)
#include <diffusion/diffusion.hpp>

int main() {
  const diffusion::GaussianDiffusion<float> process(diffusion::linear_beta_schedule(1000));
  Eigen::Tensor<float, 2> x(4, 3), noise(4, 3);
  diffusion::ReverseProcess reverse(process, [](const auto& x_t, const auto&) { return x_t; });
  reverse.p_sample_loop(x, noise);
}
