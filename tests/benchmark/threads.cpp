// Measures how much faster a step is on two threads than on one: a step of DPM-Solver++ 2M with
// its Denoiser on 16x4x128x128 floats and more. The flat loop o = a x + b y over arrays of the same
// size, evaluated by Eigen, shows what the memory allows. Both need idle cores.
//
//     benchmark_threads
#define EIGEN_USE_THREADS  // before any header of Eigen

#include <unsupported/Eigen/CXX11/Tensor>

#include <cstdio>
#include <string>

#include "diffusion/model/denoiser.hpp"
#include "diffusion/noise/philox_noise.hpp"
#include "diffusion/process/gaussian_diffusion.hpp"
#include "diffusion/process/schedules.hpp"
#include "diffusion/sampling/samplers/dpm_solver_pp.hpp"
#include "diffusion/sampling/sampling_run.hpp"
#include "diffusion/sampling/time_grid.hpp"
#include "pairs.hpp"

using Eigen::Index;
using Latents = Eigen::Tensor<float, 4, Eigen::RowMajor>;

/// A run whose steps are measured one by one. It begins again when it is done.
template <class Device>
class Steps {
 public:
  Steps(const diffusion::DenoiserOptions& options, const Latents& x, const Device& device)
      : denoiser_(nullptr, diffusion::ModelMeanType::epsilon, options),
        device_(device),
        x_(x),
        output_(x),
        run_(diffusion::DpmSolverPP{}, grid(), x, diffusion::NoNoise(), {}, device) {}

  void operator()() {
    denoiser_.prediction(output_, run_.x(), run_.level(), prediction_, device_);
    run_.advance(prediction_);
    if (run_.done()) run_.restart(x_);
  }

 private:
  static diffusion::TimeGrid grid() {
    const diffusion::GaussianDiffusion<float> process(diffusion::scaled_linear_beta_schedule(1000));
    return timestep_grid(process, diffusion::TimestepSpacing::trailing, 50);
  }

  diffusion::Denoiser<std::nullptr_t> denoiser_;
  Device device_;
  Latents x_, output_;
  diffusion::SamplingRun<diffusion::DpmSolverPP, Latents, diffusion::NoNoise, Device> run_;
  diffusion::Prediction<Latents> prediction_;
};

int main() {
  Eigen::ThreadPool threads(2);
  const Eigen::ThreadPoolDevice two(&threads, 2);
  const Eigen::DefaultDevice one;
  std::printf("%-66s %11s %11s %7s\n", "", "1 thread", "2 threads", "ratio");
  const auto row = [](const std::string& name, const Work& on_one, const Work& on_two) {
    print({name, on_one, on_two});
  };
  for (const Index batch : {16, 64}) {
    Latents x(batch, 4, 128, 128);
    diffusion::PhiloxNoise{1}(x);
    const std::string size = std::to_string(batch) + "x4x128x128";
    Latents o = x, y = x;
    row(
        "flat loop, " + size, [&] { o.device(one) = 0.3F * x + 0.7F * y; },
        [&] { o.device(two) = 0.3F * x + 0.7F * y; });
    diffusion::DenoiserOptions plain, thresholds;
    thresholds.threshold_quantile = 0.995;
    row("step of DpmSolverPP with its Denoiser, " + size, Steps<Eigen::DefaultDevice>(plain, x, one),
        Steps<Eigen::ThreadPoolDevice>(plain, x, two));
    row("the same with dynamic thresholding, " + size, Steps<Eigen::DefaultDevice>(thresholds, x, one),
        Steps<Eigen::ThreadPoolDevice>(thresholds, x, two));
  }
}
