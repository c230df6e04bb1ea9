// Fuzzes all samplers with any parameters, on any grid, with hostile models. A run that is asked
// must give the bits of a run that is driven, and so must copies, restarted runs and runs in
// batches.
#include <diffusion/diffusion.hpp>

#include "fuzz.hpp"

using namespace diffusion;
using namespace fuzz;
using Tensor = Eigen::Tensor<double, 2, Eigen::RowMajor, Index>;

namespace {

/// A parameter: ordinary three times out of four.
double parameter(Input& in) {
  return index(in, 0, 3) == 0 ? hostile(in) : in.ConsumeFloatingPointInRange<double>(0.0, 2.0);
}

AnySampler<Tensor> sampler(Input& in) {
  const auto order = [&] { return static_cast<int>(index(in, 0, 12) == 0 ? index(in, -1, 9) : index(in, 1, 4)); };
  const auto flag = [&] { return in.ConsumeBool(); };
  const auto type = [&] { return flag() ? DpmSolverType::midpoint : DpmSolverType::heun; };
  const auto churn = [&] { return Churn{parameter(in), parameter(in), parameter(in), parameter(in)}; };
  switch (index(in, 0, 20)) {
    case 0:
      return Ddim{parameter(in)};
    case 1:
      return Ddpm{flag() ? Ddpm::Variance::fixed_small : Ddpm::Variance::fixed_large};
    case 2:
      return Deis{order(), flag()};
    case 3:
      return Dpm2{churn()};
    case 4:
      return Dpm2Ancestral{parameter(in), parameter(in)};
    case 5:
      return DpmSolver{order(), type(), parameter(in), parameter(in), flag(), flag()};
    case 6:
      return DpmSolverPP{order(), type(), parameter(in), parameter(in), flag(), flag()};
    case 7:
      return DpmSolverPP2SAncestral{parameter(in), parameter(in)};
    case 8:
      return DpmSolverPPSde{parameter(in), parameter(in), parameter(in)};
    case 9:
      return DpmSolverSinglestep{order(), type(), parameter(in), parameter(in), flag(), flag()};
    case 10:
      return Euler{churn()};
    case 11:
      return EulerAncestral{parameter(in), parameter(in)};
    case 12:
      return FlowHeun{churn()};
    case 13:
      return Heun{churn()};
    case 14:
      return Ipndm{order(), flag()};
    case 15:
      return Lcm{parameter(in), parameter(in)};
    case 16:
      return Lms{order()};
    case 17:
      return Pndm{flag(), flag()};
    case 18:
      return Tcd{parameter(in)};
    case 19:
      return DpmSolverFast{index(in, 0, 12), parameter(in), parameter(in)};
    default:
      return UniPc{order(), flag() ? UniPc::B::bh1 : UniPc::B::bh2, flag(), {}, flag(), flag()};
  }
}

TimeGrid grid(Input& in) {
  static const GaussianDiffusion<double> process(scaled_linear_beta_schedule(1000));
  static const GaussianDiffusion<double> to_noise(rescale_zero_terminal_snr(linear_beta_schedule(100)));
  const GaussianDiffusion<double>& p = in.ConsumeBool() ? process : to_noise;
  const Ending ending = in.ConsumeBool() ? Ending::clean : Ending::sigma_min;
  const Index n = index(in, 1, 8);
  const auto sigmas = [&] {
    Eigen::ArrayXd out(n + 1);
    double sigma = index(in, 0, 3) == 0 ? hostile(in) : in.ConsumeFloatingPointInRange<double>(0.1, 80.0);
    for (double& s : out)
      s = sigma, sigma *= index(in, 0, 7) == 0 ? hostile(in) : in.ConsumeFloatingPointInRange<double>(0.0, 1.0);
    return out;
  };
  TimeGrid out = [&] {
    switch (index(in, 0, 4)) {
      case 0:
        return timestep_grid(p, in.ConsumeBool() ? TimestepSpacing::leading : TimestepSpacing::trailing, n,
                             index(in, 0, 1), ending);
      case 1:
        return sigma_grid(p, sigmas());
      case 2:
        return edm_grid(sigmas());
      case 3:
        return flow_matching_grid(n, parameter(in));
      default:
        return diffusers_ddim_grid(p, TimestepSpacing::leading, n, 0, ending);
    }
  }();
  if (index(in, 0, 5) == 0) out = out.with_strength(parameter(in));
  return index(in, 0, 7) == 0 ? out.reversed() : out;
}

using Run = SamplingRun<AnySampler<Tensor>, Tensor, PhiloxNoise>;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input in(data, size);
  documented([&] {
    const AnySampler<Tensor> any = sampler(in);
    const TimeGrid levels = grid(in);
    const double slope = hostile(in), offset = hostile(in);
    const auto model = [&](const Tensor& x, const Eigen::Tensor<double, 1>&, Tensor& out) { out = x * slope + offset; };
    const ModelMeanType means[] = {ModelMeanType::epsilon, ModelMeanType::start_x, ModelMeanType::velocity,
                                   ModelMeanType::flow_velocity};
    DenoiserOptions options;
    if (in.ConsumeBool()) options.clip_min = -1.0, options.clip_max = 1.0;
    const Denoiser denoiser(model, means[index(in, 0, 3)], options);
    const Index N = index(in, 1, 3);
    Tensor x(N, 2);
    PhiloxNoise{7}(x);
    const PhiloxNoise noise(1);

    PhiloxNoise of_driven = noise;
    const Tensor driven = sample(any, levels, denoiser, x, of_driven);

    // Asked, with a copy that goes on where the original was left, and a restart.
    Run run(any, levels, x, noise);
    Prediction<Tensor> prediction;
    const Index copied_after = index(in, 0, 10);
    Run copy = run;
    for (Index i = 0; !run.done(); ++i) {
      if (i == copied_after) copy = run;
      denoiser(run.x(), run.level(), prediction);
      run.advance(prediction);
    }
    require(same_bits(run.x(), driven), "a run that is asked differs from one that is driven");
    for (; !copy.done(); copy.advance(prediction)) denoiser(copy.x(), copy.level(), prediction);
    require(same_bits(copy.x(), driven), "a copy of a run ends elsewhere");
    // A restarted run goes on with its noise, so this noise is always the same.
    const auto same_noise = [](Tensor& z) { z.setConstant(0.3); };
    SamplingRun restarted(any, levels, driven, same_noise);
    restarted.restart(x);
    for (; !restarted.done(); restarted.advance(prediction)) denoiser(restarted.x(), restarted.level(), prediction);
    require(same_bits(restarted.x(), sample(any, levels, denoiser, x, same_noise)),
            "a run that is restarted differs from a new one");
    restarted.restart(x);
    const std::size_t before = allocations();
    for (; !restarted.done(); restarted.advance(prediction)) denoiser(restarted.x(), restarted.level(), prediction);
    require(allocations() == before, "a step of a restarted run allocates");

    for (Index n = 0; n < N; ++n) {
      PhiloxNoise of_sample(1, static_cast<std::uint64_t>(n));
      require(same_bits(sample(any, levels, denoiser, sample_of(x, n), of_sample), sample_of(driven, n)),
              "a sample depends on its batch");
    }
  });
  return 0;
}
