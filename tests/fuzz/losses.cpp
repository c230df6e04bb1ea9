// Fuzzes losses, their gradients and the samplers of timesteps. A sample's loss must not depend on
// the rest of its batch; a sampler that is restored from its state must equal the saved one.
#include <diffusion/diffusion.hpp>
#include <random>

#include "fuzz.hpp"

using namespace diffusion;
using namespace fuzz;

namespace {

template <class Scalar>
void losses(Input& in) {
  using Tensor = Eigen::Tensor<Scalar, 3, Eigen::RowMajor, Index>;
  static const GaussianDiffusion<Scalar> process(linear_beta_schedule(20));
  const ModelMeanType means[] = {ModelMeanType::epsilon, ModelMeanType::start_x, ModelMeanType::velocity,
                                 ModelMeanType::previous_x};
  const ModelVarType variances[] = {ModelVarType::fixed_small, ModelVarType::fixed_large, ModelVarType::learned,
                                    ModelVarType::learned_range};
  const LossType types[] = {LossType::mse, LossType::rescaled_mse, LossType::kl, LossType::rescaled_kl};
  ReverseOptions options{means[index(in, 0, 3)]};
  options.var_type = variances[index(in, 0, 3)];
  const LossType type = types[index(in, 0, 3)];
  const Likelihood likelihood = in.ConsumeBool() ? Likelihood::approximate : Likelihood::exact;
  const ReverseProcess reverse(
      process, [](const Tensor& x, const auto&) { return x; }, options);
  const Index N = index(in, 0, 3), channels = index(in, 0, 2);
  const bool learned = index(in, 0, 7) == 0 ? in.ConsumeBool()
                                            : options.var_type == ModelVarType::learned ||
                                                  options.var_type == ModelVarType::learned_range;
  const bool any = in.ConsumeBool();
  const typename Tensor::Dimensions sizes(N, channels, 2);
  const typename Tensor::Dimensions output_sizes(N, learned ? 2 * channels : channels, 2);
  Timesteps t(N);
  for (Index n = 0; n < N; ++n) t(n) = index(in, 0, 19);
  const Tensor x_0 = tensor<Tensor>(in, sizes, any), noise = tensor<Tensor>(in, sizes),
               output = tensor<Tensor>(in, output_sizes, any);
  const Tensor x_t = process.q_sample(x_0, t, noise);
  const auto all = training_losses_from_output(reverse, output, x_0, x_t, t, noise, type, likelihood);
  const Tensor gradient = training_losses_gradient(reverse, output, x_0, x_t, t, noise, type, likelihood);
  require(all.loss.size() == N && gradient.dimensions() == output.dimensions(), "a result has another shape");
  for (Index n = 0; n < N; ++n) {
    Timesteps t_n(1);
    t_n(0) = t(n);
    const auto of = [&](const Tensor& x) { return sample_of(x, n); };
    const auto alone =
        training_losses_from_output(reverse, of(output), of(x_0), of(x_t), t_n, of(noise), type, likelihood);
    require(std::memcmp(&alone.loss(0), &all.loss(n), sizeof(Scalar)) == 0, "a loss depends on the batch");
    require(any || channels == 0 || std::isfinite(static_cast<double>(all.loss(n))),
            "ordinary input gave a loss that is not finite");
  }
}

void timestep_samplers(Input& in) {
  LossSecondMomentResampler::State state;
  state.uniform_prob = index(in, 0, 3) == 0 ? hostile(in) : 0.01;
  const Index T = index(in, 0, 4), history = index(in, 0, 3);
  state.loss_history.setZero(T, history);
  state.loss_counts.setZero(index(in, 0, 7) == 0 ? index(in, 0, 5) : T);
  for (Index t = 0; t < T; ++t) {
    for (Index k = 0; k < history; ++k) state.loss_history(t, k) = in.ConsumeBool() ? hostile(in) : moderate(in);
  }
  for (Index& count : state.loss_counts)
    count = index(in, 0, 15) == 0 ? in.ConsumeIntegral<Index>() : index(in, 0, history);
  LossSecondMomentResampler sampler(state);
  for (Index i = 0; i < 4; ++i) {
    LossSecondMomentResampler restored(sampler.state());
    std::mt19937 engine(7), same_engine(7);
    const Index batch = index(in, 0, 5);
    const auto drawn = sampler.sample(batch, engine), again = restored.sample(batch, same_engine);
    for (Index n = 0; n < batch; ++n) {
      require(drawn.timesteps(n) == again.timesteps(n) && drawn.timesteps(n) >= 0 && drawn.timesteps(n) < T,
              "a restored sampler draws another timestep");
      require(drawn.weights(n) > 0.0 && std::isfinite(drawn.weights(n)), "a weight is not positive and finite");
    }
    Eigen::Tensor<double, 1> values(batch);
    for (Index n = 0; n < batch; ++n) values(n) = index(in, 0, 5) == 0 ? hostile(in) : moderate(in);
    sampler.update_with_all_losses(drawn.timesteps, values);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input in(data, size);
  documented([&] { one_of(in, losses<float>, losses<double>, timestep_samplers); });
  return 0;
}
