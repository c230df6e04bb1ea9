// Uses of the library in one object file, which is compiled for several instruction sets. PART is
// the name of its function.
#include <array>
#include <random>
#include <vector>

#include "diffusion/diffusion.hpp"

namespace {

using Eigen::Index;

template <class X>
void append(std::vector<double>& values, const X& x) {
  for (Index i = 0; i < static_cast<Index>(x.size()); ++i) values.push_back(static_cast<double>(x.data()[i]));
}

/// Runs every noise source, operations with one timestep per sample and one for the whole batch,
/// and a sampler.
template <class Scalar, int Layout>
void run(std::vector<double>& values) {
  using Tensor = Eigen::Tensor<Scalar, 3, Layout, Index>;
  Eigen::ThreadPool pool(2);
  const Eigen::ThreadPoolDevice threads(&pool, 2);
  Tensor x(19, 3, 37), z(19, 3, 37);
  const auto fill = [&](auto noise) {
    noise(z);
    append(values, z);
  };
  fill(diffusion::PhiloxNoise(1));
  diffusion::PhiloxNoise(2)(x, threads);
  append(values, x);
  fill(diffusion::EngineNoise{std::mt19937(1)});
  fill(diffusion::NumpyNoise(1));
  fill(diffusion::RecordedNoise(std::vector<Tensor>{x}));
  if constexpr (!std::is_same_v<Scalar, long double>) {
    fill(diffusion::TorchCpuNoise(1));
    fill(diffusion::TorchCudaNoise(1, 2));
  }
  if constexpr (std::is_same_v<Scalar, float> || std::is_same_v<Scalar, double>) fill(diffusion::JaxNoise(1));

  const diffusion::GaussianDiffusion<Scalar> process(diffusion::cosine_beta_schedule(100));
  diffusion::Timesteps t(19);
  for (Index n = 0; n < 19; ++n) t(n) = 5 * n;
  append(values, process.q_sample(x, t, z));
  append(values, process.q_sample(x, 50, diffusion::PhiloxNoise(3)));
  process.q_sample_into(z, x, t, diffusion::PhiloxNoise(3), threads);
  append(values, z);
  const auto posterior = process.q_posterior_mean_variance(x, z, t);
  append(values, posterior.mean);
  append(values, posterior.variance);
  const auto model = [](const Tensor& in, const Eigen::Tensor<Scalar, 1>&, Tensor& out) { out = in; };
  diffusion::DenoiserOptions options;
  options.clip_min = -2, options.clip_max = 2;
  const diffusion::Denoiser denoiser(model, diffusion::ModelMeanType::velocity, options);
  const auto grid = diffusion::timestep_grid(process, diffusion::TimestepSpacing::trailing, 5);
  append(values, diffusion::sample(diffusion::DpmSolverPP{2, diffusion::DpmSolverType::midpoint, 1.0}, grid, denoiser,
                                   x, diffusion::PhiloxNoise(4)));
}

}  // namespace

std::vector<double> PART() {
  std::vector<double> values;
  run<float, Eigen::RowMajor>(values);
  run<double, Eigen::ColMajor>(values);
  run<Eigen::bfloat16, Eigen::RowMajor>(values);
  return values;
}
