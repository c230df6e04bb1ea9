// error: diffusion: pass a list of timesteps as a std::vector<Eigen::Index>
#include <diffusion/diffusion.hpp>
#include <vector>
int main() {
  const diffusion::GaussianDiffusion<float> process(diffusion::cosine_beta_schedule(1000));
  Eigen::Tensor<float, 1> x(2);
  x = process.q_sample(x, {10, 900}, x);
}
