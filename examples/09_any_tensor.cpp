/// @file 09_any_tensor.cpp
/// How is a tensor noised and sampled that is not one of Eigen's?
#include <array>
#include <cstdio>
#include <diffusion/diffusion.hpp>
#include <random>
#include <vector>

using Tensor = std::vector<double>;

// Two functions are enough: the shape, and linear combinations. `out` may be one of the terms.
template <>
struct diffusion::TensorOperations<Tensor> {
  static std::array<std::size_t, 1> shape(const Tensor& x) { return {x.size()}; }
  static void combine(Tensor& out, const LinearCombination<Tensor>& sum, const DeviceRef&) {
    for (std::size_t i = 0; i < out.size(); ++i) {
      double value = 0.0;
      for (const auto& [coefficient, x] : sum) value += coefficient * (*x)[i];
      out[i] = value;
    }
  }
};

int main() {
  const diffusion::GaussianDiffusion<double> process(diffusion::cosine_beta_schedule(1000));
  const auto grid = diffusion::timestep_grid(process, diffusion::TimestepSpacing::trailing, 20);
  std::mt19937 engine(1);
  const auto noise = [&](Tensor& z) {  // a noise source is any callable
    for (double& value : z) value = std::normal_distribution<>()(engine);
  };
  // Stands for a network that predicts x_0. Without a type of model times, they are doubles.
  const auto network = [](const Tensor&, double /*t*/) { return Tensor{0.25, 0.5, 0.75}; };
  const diffusion::Denoiser denoiser(network, diffusion::ModelMeanType::start_x);
  const Tensor x = diffusion::add_noise(Tensor{0.0, 0.0, 0.0}, grid.levels().front(), noise);
  const Tensor sample = diffusion::sample(diffusion::Ddim{1.0}, grid, denoiser, x, noise);
  std::printf("%.2f %.2f %.2f\n", sample[0], sample[1], sample[2]);
}

// Output:
// 0.25 0.50 0.75
