// error: diffusion: the model must return a tensor, or an expression, of x_t's scalar type, rank and layout
#include <diffusion/diffusion.hpp>

int main() {
  const diffusion::GaussianDiffusion<float> process(diffusion::linear_beta_schedule(1000));
  Eigen::Tensor<float, 2> x(4, 3);
  diffusion::ReverseProcess reverse(process, [](const auto& x_t, const auto&) { return x_t.template cast<double>(); });
  reverse.p_sample(x, 5, x);
}
