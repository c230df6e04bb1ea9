// error: diffusion: the scalar type of torch's noise must be float, double, Eigen::half or Eigen::bfloat16; torch has no long double
#include <diffusion/noise/torch_noise.hpp>

int main() {
  Eigen::Tensor<long double, 2> x(4, 3);
  diffusion::TorchCpuNoise noise(1);
  noise(x);
}
