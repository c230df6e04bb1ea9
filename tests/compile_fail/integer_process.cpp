// error: diffusion: Scalar must be float, double, long double, Eigen::half or Eigen::bfloat16
#include <diffusion/diffusion.hpp>

int main() { diffusion::GaussianDiffusion<int> process(diffusion::linear_beta_schedule(1000)); }
