// A user's program: noises a batch, asks where it came from, and exits with 0 if the answers hold together.
#include <cmath>
#include <diffusion/diffusion.hpp>
#include <iostream>

int main() {
  const diffusion::GaussianDiffusion<float> process(diffusion::cosine_beta_schedule(1000));
  Eigen::Tensor<float, 4> x_start(2, 3, 8, 8), noise(2, 3, 8, 8);
  x_start.setConstant(0.5f);
  diffusion::PhiloxNoise(42)(noise);

  diffusion::Timesteps t(2);
  t.setValues({10, 500});
  const auto x_t = process.q_sample(x_start, t, noise);
  const auto posterior = process.q_posterior_mean_variance(x_start, x_t, t);
  const auto recovered = process.predict_xstart_from_eps(x_t, t, noise);

  const Eigen::Tensor<float, 0> error = (recovered - x_start).abs().maximum();
  std::cout << "diffusion " << DIFFUSION_VERSION_MAJOR << '.' << DIFFUSION_VERSION_MINOR << '.'
            << DIFFUSION_VERSION_PATCH << ": posterior variance " << posterior.variance(1, 0, 0, 0)
            << " at t = 500; x_0 recovered within " << error() << '\n';
  return error() < 1e-5f && posterior.variance(0, 0, 0, 0) < posterior.variance(1, 0, 0, 0) ? 0 : 1;
}
