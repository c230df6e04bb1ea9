/// @file 02_training_step.cpp
/// How is a training step made: timesteps, noised data, target and weighted loss?
#include <cstdio>
#include <diffusion/diffusion.hpp>
#include <random>

int main() {
  using Batch = Eigen::Tensor<double, 2>;  // [samples, values]
  const diffusion::GaussianDiffusion<double> process(diffusion::cosine_beta_schedule(1000));
  Batch x_0(64, 8), noise(64, 8), target(64, 8);
  x_0.setConstant(0.5);

  double weight = 0.0;  // the network: its output is this number, for every x_t and t
  std::mt19937 engine(1);
  diffusion::PhiloxNoise source(1);
  diffusion::LossSecondMomentResampler timesteps(process.num_timesteps());
  for (int step = 0; step <= 20; ++step) {
    const auto [t, weights] = timesteps.sample(64, engine);  // harder timesteps more often, with less weight
    source(noise);
    const Batch x_t = process.q_sample(x_0, t, noise);
    // For a model that predicts x_0 the target is x_0; for others it depends on noise and t.
    diffusion::training_target_into(target, process, diffusion::ModelMeanType::start_x, x_0, x_t, noise, t);

    const Batch error = target.constant(weight) - target;
    const Eigen::Tensor<double, 1> losses = error.square().mean(Eigen::array<int, 1>{1});
    const Eigen::Tensor<double, 0> loss = (losses * weights).mean(), gradient = error.mean();
    weight -= 0.2 * gradient();
    timesteps.update_with_all_losses(t, losses);
    if (step % 10 == 0) std::printf("step %2d: loss %.4f, output %.3f\n", step, loss(), weight);
  }
}

// Output:
// step  0: loss 0.2500, output 0.100
// step 10: loss 0.0029, output 0.457
// step 20: loss 0.0000, output 0.495
