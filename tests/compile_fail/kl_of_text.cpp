// error: diffusion: this argument must be a number or an Eigen tensor: an Eigen::Tensor, TensorMap, TensorFixedSize or an expression of them
#include <diffusion/training/likelihood.hpp>

int main() {
  const Eigen::Tensor<float, 2> x(4, 3);
  diffusion::normal_kl(x, "0", x, 0);
}
