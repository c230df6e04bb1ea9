// error: diffusion: the steps of respace must be a std::vector<Eigen::Index>
#include <diffusion/diffusion.hpp>
#include <vector>
int main() {
  const diffusion::GaussianDiffusion<float> process(diffusion::cosine_beta_schedule(1000));
  Eigen::Tensor<float, 1> x(2);
  x = diffusion::respace(process, std::vector<int>{0, 1}).q_sample(x, 1, x);
}
