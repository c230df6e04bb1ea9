// error: diffusion: `out` of a guided model must be an Eigen::Tensor of x's scalar type, rank and layout
#include <diffusion/diffusion.hpp>

int main() {
  const auto model = [](const auto& x, const auto&) { return x; };
  auto guided = diffusion::guided_model(model, model, diffusion::ClassifierFreeGuidance{7.5});
  Eigen::Tensor<float, 2> x(4, 3);
  Eigen::TensorMap<Eigen::Tensor<float, 2>> out(x.data(), 4, 3);
  guided(x, Eigen::Tensor<float, 1>(4), out);
}
