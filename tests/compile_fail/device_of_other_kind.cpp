// error: diffusion: the device must be an Eigen::DefaultDevice or an Eigen::ThreadPoolDevice
#include <diffusion/diffusion.hpp>

int main() {
  const diffusion::GaussianDiffusion<float> process(diffusion::linear_beta_schedule(1000));
  Eigen::Tensor<float, 2> x(4, 3), out(4, 3);
  const int threads = 2;
  process.q_sample_into(out, x, 5, x, threads);
}
