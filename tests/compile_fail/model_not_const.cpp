// error: diffusion: the model (or cond_fn) must be callable as model(x, t), returning a tensor, or as model(x, t, out), writing one, where x is a tensor like the one sampled (the same scalar type, rank and layout) and t an Eigen::Tensor<Scalar, 1>; a Denoiser and a ReverseProcess call it as const: pass std::ref(model) for a model with a non-const call
#include <diffusion/diffusion.hpp>

int main() {
  const diffusion::GaussianDiffusion<float> process(diffusion::linear_beta_schedule(1000));
  Eigen::Tensor<float, 2> x(4, 3);
  int calls = 0;
  diffusion::ReverseProcess reverse(process, [calls](const auto& x_t, const auto&) mutable { return ++calls, x_t; });
  reverse.ddim_sample_loop(x);
}
