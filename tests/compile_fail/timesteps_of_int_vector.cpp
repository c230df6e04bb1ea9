// error: diffusion: timesteps must be an Eigen::Tensor<Eigen::Index, 1> (diffusion::Timesteps), a std::vector<Eigen::Index>, or one integer for the whole batch
#include <diffusion/diffusion.hpp>
#include <vector>

int main() {
  const diffusion::GaussianDiffusion<float> process(diffusion::linear_beta_schedule(1000));
  Eigen::Tensor<float, 2> x(4, 3);
  const std::vector<int> t(4);
  process.q_sample(x, t, x);
}
