// error: diffusion: `out` must be an Eigen::Tensor, TensorMap or TensorFixedSize that is not const (to write to a part of a tensor, pass a TensorMap of it)
#include <diffusion/diffusion.hpp>

int main() {
  const diffusion::GaussianDiffusion<float> process(diffusion::linear_beta_schedule(1000));
  const Eigen::Tensor<float, 2> x(4, 3), out(4, 3);
  process.q_sample_into(out, x, 5, x);
}
