// error: diffusion: a noise source needs a writable tensor: a non-const Eigen::Tensor, TensorMap or TensorFixedSize
#include <diffusion/diffusion.hpp>

int main() {
  const Eigen::Tensor<float, 2> x(4, 3);
  diffusion::PhiloxNoise noise(1);
  noise(x);
}
