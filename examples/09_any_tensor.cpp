/// @file 09_any_tensor.cpp
/// How is a tensor sampled that is not one of Eigen's?
#include <array>
#include <cstddef>
#include <cstdio>
#include <diffusion/diffusion.hpp>
#include <vector>

struct Tensor {
  std::vector<double> values;
};

// Two functions are enough: the shape, and linear combinations.
template <>
struct diffusion::TensorOperations<Tensor> {
  static std::array<std::size_t, 1> shape(const Tensor& x) { return {x.values.size()}; }
  static void combine(Tensor& out, const LinearCombination<Tensor>& sum, const DeviceRef&) {
    for (std::size_t i = 0; i < out.values.size(); ++i) {
      double value = 0.0;
      for (const auto& [coefficient, x] : sum) value += coefficient * x->values[i];
      out.values[i] = value;
    }
  }
};

int main() {
  const diffusion::GaussianDiffusion<double> process(diffusion::cosine_beta_schedule(1000));
  const auto grid = diffusion::timestep_grid(process, diffusion::TimestepSpacing::trailing, 20);
  // Stands for a network that predicts x_0. Without a type of model times, it is called with a
  // double.
  const auto network = [](const Tensor&, double) { return Tensor{{0.25, 0.5, 0.75}}; };
  const diffusion::Denoiser denoiser(network, diffusion::ModelMeanType::start_x);

  const Tensor noise{{1.2, -0.3, 0.4}};
  const Tensor sample = diffusion::sample(diffusion::UniPc{}, grid, denoiser, noise);
  std::printf("%.2f %.2f %.2f\n", sample.values[0], sample.values[1], sample.values[2]);
}

// Output:
// 0.25 0.50 0.75
