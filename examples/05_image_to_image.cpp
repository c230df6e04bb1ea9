/// @file 05_image_to_image.cpp
/// How is a picture changed, but not lost?
#include <cmath>
#include <cstdio>
#include <diffusion/diffusion.hpp>

int main() {
  using Image = Eigen::Tensor<double, 4>;
  const diffusion::GaussianDiffusion<double> process(diffusion::cosine_beta_schedule(1000));
  const auto grid = diffusion::timestep_grid(process, diffusion::TimestepSpacing::trailing, 50);

  // Stands for a network: the mean of x_0 for data of mean 0 and standard deviation 1.
  const auto network = [&](const Image& x, const Eigen::Tensor<double, 1>& t, Image& x_0) {
    x_0 = x * grid.at_time(t(0)).alpha;
  };
  const diffusion::Denoiser denoiser(network, diffusion::ModelMeanType::start_x);

  Image picture(1, 3, 32, 32);
  diffusion::PhiloxNoise{7}(picture);
  for (const double strength : {0.2, 0.5, 0.8}) {
    const diffusion::TimeGrid part = grid.with_strength(strength);
    diffusion::PhiloxNoise noise(1);
    const Image start = diffusion::add_noise(picture, part.levels().front(), noise);
    const Image changed = diffusion::sample(diffusion::DpmSolverPP{}, part, denoiser, start);
    const Eigen::Tensor<double, 0> dot = (changed * picture).sum(), a = changed.square().sum(),
                                   b = picture.square().sum();
    std::printf("strength %.1f: %2d steps, correlation with the picture %.2f\n", strength, int(part.num_steps()),
                dot() / std::sqrt(a() * b()));
  }
}

// Output:
// strength 0.2: 10 steps, correlation with the picture 0.95
// strength 0.5: 25 steps, correlation with the picture 0.72
// strength 0.8: 40 steps, correlation with the picture 0.32
