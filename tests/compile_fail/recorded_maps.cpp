// error: diffusion: RecordedNoise replays a std::vector of Eigen::Tensors, or one Eigen::Tensor whose first axis is the call
#include <diffusion/diffusion.hpp>
#include <vector>

int main() {
  std::vector<Eigen::TensorMap<Eigen::Tensor<float, 2>>> maps;
  diffusion::RecordedNoise noise(maps);
}
