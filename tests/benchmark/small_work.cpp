// Measures the cost of a call on little data, a robot's trajectory of 1x16x7 floats. Compares
// q_sample and a step of DDIM with the bare loop o = a x + b y over 112 values.
//
//     benchmark_small_work            times, medians of pairs that ran alternately
//     benchmark_small_work <calls>    <calls> calls of each, for benchmark_instructions
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <string>
#include <unsupported/Eigen/CXX11/Tensor>
#include <vector>

#include "diffusion/process/gaussian_diffusion.hpp"
#include "diffusion/process/schedules.hpp"
#include "diffusion/sampling/reverse_process.hpp"
#include "diffusion/sampling/samplers/ddim.hpp"
#include "diffusion/sampling/time_grid.hpp"
#include "pairs.hpp"

using diffusion::GaussianDiffusion;
using Eigen::Index;

/// A model that copies x to its output.
struct Copies {
  template <class Tensor, class T>
  void operator()(const Tensor& x, const T&, Tensor& out) const {
    std::copy_n(x.data(), x.size(), out.data());
  }
};

template <int Layout>
struct Trajectory {
  using Tensor = Eigen::Tensor<float, 3, Layout>;

  Trajectory() : x(1, 16, 7), y(1, 16, 7), out{x, x}, t(1) {
    for (Index i = 0; i < x.size(); ++i) {
      x.data()[i] = static_cast<float>(std::sin(static_cast<double>(i)));
      y.data()[i] = static_cast<float>(std::cos(static_cast<double>(i)));
    }
    t(0) = timestep;
    prediction.x_start = x;
    prediction.epsilon = y;
  }

  GaussianDiffusion<float> process{diffusion::linear_beta_schedule(1000)};
  diffusion::ReverseProcess<float, Copies> reverse{
      process, {}, {diffusion::ModelMeanType::epsilon, diffusion::ModelVarType::fixed_small, false}};
  diffusion::TimeGrid grid = diffusion::timestep_grid(process, diffusion::TimestepSpacing::trailing, 10);
  diffusion::Step step{grid.levels()[4], grid.levels()[5], 4, 10, grid};
  Tensor x, y;
  diffusion::ReverseStep<Tensor> out;
  diffusion::Timesteps t;
  Index timestep = 500;
  float a = 0.5f, b = 1.0f / 3.0f;
  typename diffusion::Ddim::State<Tensor> state;
  diffusion::Prediction<Tensor> prediction;
  diffusion::ReverseWorkspace<Tensor> workspace;
};

/// The measured functions. They are not inlined, so that a profiler finds them by name.
template <int Layout>
struct Calls {
  using Data = Trajectory<Layout>;
  [[gnu::noinline]] static void q_sample(Data& z) { z.process.q_sample_into(z.out.sample, z.x, z.t, z.y); }
  [[gnu::noinline]] static void q_sample_of_one_t(Data& z) {
    z.process.q_sample_into(z.out.sample, z.x, z.timestep, z.y);
  }
  [[gnu::noinline]] static void ddim_step(Data& z) {
    const auto no_noise = [](const auto&...) {};
    diffusion::Ddim{}.advance(z.step, {z.step.from, 0}, z.out.sample, z.prediction, no_noise, z.state);
  }
  [[gnu::noinline]] static void ddim_sample(Data& z) {
    z.reverse.ddim_sample_into(z.out, z.x, z.t, diffusion::NoNoise(), 0.0, z.workspace);
  }
  [[gnu::noinline]] static void flat(Data& z) {
    using Array = Eigen::Map<Eigen::ArrayXf>;
    const auto array = [](auto& tensor) { return Array(tensor.data(), tensor.size()); };
    array(z.out.sample) = z.a * array(z.x) + z.b * array(z.y);
  }
};

template <int Layout>
void add(std::vector<Pair>& pairs) {
  const auto z = std::make_shared<Trajectory<Layout>>();
  const auto row = [&](const char* name, void (*ours)(Trajectory<Layout>&), double aim) {
    const auto timed = [z](void (*work)(Trajectory<Layout>&)) { return [z, work] { work(*z); }; };
    pairs.push_back({std::string(name) + (Layout == Eigen::RowMajor ? ", RowMajor" : ", ColMajor"), timed(ours),
                     timed(Calls<Layout>::flat), aim});
  };
  row("q_sample_into", Calls<Layout>::q_sample, 1.5);
  row("q_sample_into, t an int", Calls<Layout>::q_sample_of_one_t, 1.5);
  row("Ddim::advance", Calls<Layout>::ddim_step, 2);
  row("ddim_sample_into of a model that copies", Calls<Layout>::ddim_sample, 0);
}

int main(int argc, char** argv) {
  std::vector<Pair> pairs;
  add<Eigen::RowMajor>(pairs);
  add<Eigen::ColMajor>(pairs);
  if (argc == 1) {
    print(pairs);
    return 0;
  }
  for (const Pair& pair : pairs) {
    for (int calls = std::atoi(argv[1]); calls > 0; --calls) pair.ours(), pair.flat();
  }
}
