// error: diffusion: the model (or cond_fn) must be callable as model(x, t), returning a tensor, or as model(x, t, out), writing one, where x is a tensor like the one sampled (the same scalar type, rank and layout) and t an Eigen::Tensor<Scalar, 1>
#include <diffusion/diffusion.hpp>

int main() {
  const auto model = [](const auto& x, const auto&) { return x; };
  auto guided = diffusion::guided_model(model, 0.5f, diffusion::ClassifierFreeGuidance{7.5});
  guided(Eigen::Tensor<float, 2>(4, 3), Eigen::Tensor<float, 1>(4));
}
