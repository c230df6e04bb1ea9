// error: diffusion: Denoiser(model, mean_type) needs the quantity that the model predicts, for example diffusion::ModelMeanType::epsilon
#include <diffusion/diffusion.hpp>

int main() {
  const auto network = [](const Eigen::Tensor<float, 2>& x, const Eigen::Tensor<float, 1>&) { return x; };
  const diffusion::Denoiser denoiser(network);
  return sizeof(denoiser) > 0 ? 0 : 1;
}
