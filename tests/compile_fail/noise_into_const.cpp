// error: diffusion: a noise source fills a tensor that can be written to: an Eigen::Tensor, TensorMap or TensorFixedSize that is not const
#include <diffusion/diffusion.hpp>

int main() {
  const Eigen::Tensor<float, 2> x(4, 3);
  diffusion::PhiloxNoise noise(1);
  noise(x);
}
