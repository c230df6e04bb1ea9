// error: diffusion: betas must be an Eigen::ArrayXd; they are double for every Scalar of the process. Convert with betas.cast<double>()
#include <diffusion/diffusion.hpp>

int main() { const diffusion::GaussianDiffusion<float> process(Eigen::ArrayXf::Constant(10, 0.02f)); }
