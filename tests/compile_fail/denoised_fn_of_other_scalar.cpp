// error: diffusion: denoised_fn must have a const call f(x_start), where x_start is a tensor like the one sampled; it must return a tensor
#include <diffusion/diffusion.hpp>

int main() {
  const diffusion::GaussianDiffusion<float> process(diffusion::linear_beta_schedule(1000));
  Eigen::Tensor<float, 2> x(4, 3);
  const auto model = [](const auto& x_t, const auto&) { return x_t; };
  const auto denoised_fn = [](const Eigen::Tensor<double, 2>& x_start) { return x_start; };
  diffusion::ReverseProcess(process, model).with_denoised_fn(denoised_fn).p_sample(x, 5, x);
}
