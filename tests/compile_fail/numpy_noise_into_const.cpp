// error: diffusion: a noise source needs a writable tensor: a non-const Eigen::Tensor, TensorMap or TensorFixedSize
#include <diffusion/noise/numpy_noise.hpp>

int main() {
  const Eigen::Tensor<double, 2> x(4, 3);
  diffusion::NumpyNoise noise(1);
  noise(x);
}
