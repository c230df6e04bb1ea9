// error: diffusion: noise must be a tensor of x's shape or a noise source that is not const, a callable noise(x) that fills the tensor x; for a sampler that draws none, pass {}
#include <diffusion/diffusion.hpp>

int main() {
  const diffusion::GaussianDiffusion<float> process(diffusion::linear_beta_schedule(1000));
  Eigen::Tensor<float, 2> x(4, 3), noise(4, 3);
  process.q_sample(x, 5, 42u);
}
