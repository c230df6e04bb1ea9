// error: diffusion: `out` must be an Eigen::Tensor, TensorMap or TensorFixedSize that is not const (to write to a part of a tensor, pass a TensorMap of it)
#include <diffusion/diffusion.hpp>

int main() {
  const diffusion::GaussianDiffusion<float> process(diffusion::linear_beta_schedule(1000));
  Eigen::Tensor<float, 2> x(2, 3), out(4, 3);
  process.q_sample_into(out.slice(Eigen::array<int, 2>{0, 0}, Eigen::array<int, 2>{2, 3}), x, 5, x);
}
