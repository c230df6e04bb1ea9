// error: diffusion: betas must be an Eigen::ArrayXd: of double, whatever Scalar is
#include <diffusion/diffusion.hpp>

int main() { const diffusion::GaussianDiffusion<float> process(Eigen::ArrayXf::Constant(10, 0.02f)); }
