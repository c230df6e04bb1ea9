// error: diffusion: a model (or cond_fn) must be callable as model(x, t), returning a tensor of x's scalar type, rank and layout
#include <diffusion/diffusion.hpp>

int main() {
  const auto model = [](const auto& x, const auto&) { return x; };
  auto guided = diffusion::guided_model(model, 0.5f, diffusion::ClassifierFreeGuidance{7.5});
  guided(Eigen::Tensor<float, 2>(4, 3), Eigen::Tensor<float, 1>(4));
}
