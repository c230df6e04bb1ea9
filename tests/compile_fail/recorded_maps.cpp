// error: diffusion: RecordedNoise must be constructed from a std::vector of Eigen::Tensor, or from one Eigen::Tensor whose first axis is the call
#include <diffusion/diffusion.hpp>
#include <vector>

int main() {
  std::vector<Eigen::TensorMap<Eigen::Tensor<float, 2>>> maps;
  diffusion::RecordedNoise noise(maps);
}
