// error: diffusion: the model (or cond_fn) must return a tensor, or an expression, of x's scalar type, rank and layout
#include <diffusion/diffusion.hpp>

int main() {
  const diffusion::GaussianDiffusion<float> process(diffusion::linear_beta_schedule(1000));
  Eigen::Tensor<float, 2> x(4, 3);
  diffusion::ReverseProcess reverse(process, [](const auto& x_t, const auto&) { return x_t.template cast<double>(); });
  reverse.p_sample(x, 5, x);
}
