// error: diffusion: betas must be an Eigen::ArrayXd; convert a std::vector<double> v with Eigen::Map<const Eigen::ArrayXd>(v.data(), v.size())
#include <diffusion/diffusion.hpp>
#include <vector>

int main() {
  const std::vector<double> betas(10, 0.1);
  const diffusion::GaussianDiffusion<float> process(betas);
}
