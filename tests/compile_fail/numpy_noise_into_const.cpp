// error: diffusion: a noise source fills a tensor that can be written to: an Eigen::Tensor, TensorMap or TensorFixedSize that is not const
#include <diffusion/noise/numpy_noise.hpp>

int main() {
  const Eigen::Tensor<double, 2> x(4, 3);
  diffusion::NumpyNoise noise(1);
  noise(x);
}
