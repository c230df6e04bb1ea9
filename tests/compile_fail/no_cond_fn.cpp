// error: diffusion: this ReverseProcess has no cond_fn; with_cond_fn(g) returns a copy that has one
#include <diffusion/diffusion.hpp>

int main() {
  const diffusion::GaussianDiffusion<float> process(diffusion::linear_beta_schedule(1000));
  Eigen::Tensor<float, 2> x(4, 3);
  diffusion::ReverseProcess reverse(process, [](const auto& x_t, const auto&) { return x_t; });
  reverse.condition_mean(reverse.p_mean_variance(x, 5), x, 5);
}
