// error: diffusion: section_counts must be a std::vector<Eigen::Index>
#include <diffusion/diffusion.hpp>
#include <vector>
int main() {
  const diffusion::GaussianDiffusion<float> process(diffusion::cosine_beta_schedule(1000));
  Eigen::Tensor<float, 1> x(2);
  x(0) = static_cast<float>(diffusion::space_timesteps(10, std::vector<int>{5})[0]);
}
