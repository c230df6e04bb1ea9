// error: diffusion: the scalar type of JaxNoise must be float or double; JAX draws its 16-bit types from other random bits
#include <diffusion/noise/jax_noise.hpp>

int main() {
  Eigen::Tensor<Eigen::half, 2> x(4, 3);
  diffusion::JaxNoise noise(1);
  noise(x);
}
