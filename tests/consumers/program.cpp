// A user's program: adds noise to a batch and recovers it, trains a model and samples with it. It
// exits with 0 if the results are consistent.
#include <cmath>
#include <diffusion/diffusion.hpp>
#include <iostream>
#include <random>

namespace {

using Batch = Eigen::Tensor<float, 4>;

/// A network with one weight. It predicts v = weight x_t.
struct Model {
  float weight = 0.0f;
  void operator()(const Batch& x_t, const Eigen::Tensor<float, 1>&, Batch& out) const { out = x_t * weight; }
};

/// Takes one step of gradient descent on the weight and returns the mean loss over the batch.
float train(Model& model, const diffusion::GaussianDiffusion<float>& process, const Batch& x_start,
            diffusion::LossSecondMomentResampler& sampler, std::mt19937& engine, diffusion::PhiloxNoise& noise) {
  const diffusion::ReverseProcess reverse(process, model, {diffusion::ModelMeanType::velocity});
  const auto drawn = sampler.sample(x_start.dimension(0), engine);
  Batch epsilon(x_start.dimensions());
  noise(epsilon);
  const Batch x_t = process.q_sample(x_start, drawn.timesteps, epsilon);
  const Batch output = reverse.model_output(x_t, drawn.timesteps);
  const auto losses = diffusion::training_losses_from_output(reverse, output, x_start, x_t, drawn.timesteps, epsilon,
                                                             diffusion::LossType::mse);
  sampler.update_with_all_losses(drawn.timesteps, losses.loss);
  const Batch gradient = diffusion::training_losses_gradient(reverse, output, x_start, x_t, drawn.timesteps, epsilon,
                                                             diffusion::LossType::mse);
  const Eigen::Tensor<float, 0> by_weight = (gradient * x_t).sum(), loss = losses.loss.mean();
  model.weight -= 0.5f * by_weight() / static_cast<float>(x_start.dimension(0));
  return loss();
}

}  // namespace

int main() {
  const diffusion::GaussianDiffusion<float> process(diffusion::cosine_beta_schedule(1000));
  Batch x_start(2, 3, 8, 8), noise(2, 3, 8, 8);
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
  const bool forward = error() < 1e-5f && posterior.variance(0, 0, 0, 0) < posterior.variance(1, 0, 0, 0);

  Model model;
  diffusion::LossSecondMomentResampler sampler(process.num_timesteps());
  std::mt19937 engine(1);
  diffusion::PhiloxNoise source(1);
  Batch data(64, 3, 8, 8);
  data.setConstant(0.5f);
  const float first = train(model, process, data, sampler, engine, source);
  float last = first;
  for (int step = 1; step < 20; ++step) last = train(model, process, data, sampler, engine, source);

  const auto fifty = diffusion::respace(process, diffusion::space_timesteps(process.num_timesteps(), "50"));
  const diffusion::ReverseProcess reverse(fifty, model, {diffusion::ModelMeanType::velocity});
  int steps = 0;
  const Batch sample = reverse.p_sample_loop(noise, source, [&](Eigen::Index, Eigen::Index, const auto&) { ++steps; });
  const Eigen::Tensor<float, 0> largest = sample.abs().maximum();
  std::cout << "the loss fell from " << first << " to " << last << "; after " << steps
            << " steps of sampling the largest value is " << largest() << '\n';
  return forward && last < 0.9f * first && steps == 50 && largest() < 10.0f ? 0 : 1;
}
