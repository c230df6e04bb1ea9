// error: diffusion: timesteps must be an Eigen::Tensor<Eigen::Index, 1> (diffusion::Timesteps), a std::vector<Eigen::Index>, or one integer for the whole batch
#include <diffusion/diffusion.hpp>

void program(const Eigen::Tensor<float, 2>& x) {
  const diffusion::GaussianDiffusion<float> process(diffusion::linear_beta_schedule(1000));
  process.q_sample(x, true, x);
}
