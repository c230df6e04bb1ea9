// Tests of diffusion/sampling/timesteps.hpp and time_grid.hpp, and of the forward process: lists of
// timesteps and noised samples of diffusers. tests/interop/diffusers_config.cpp compares whole
// runs.
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include <diffusion/diffusion.hpp>

#include "matchers.hpp"

namespace diffusers_golden_tests {

using diffusion::GaussianDiffusion;
using diffusion::NoiseLevel;
using diffusion::TimeGrid;
using diffusion::TimestepSpacing;
using Eigen::ArrayXd;
using Eigen::Index;

namespace {

using Tensor = Eigen::Tensor<double, 3, Eigen::RowMajor, Index>;

TimestepSpacing spacing_named(const std::string& name) {
  return name == "leading"    ? TimestepSpacing::leading
         : name == "trailing" ? TimestepSpacing::trailing
                              : TimestepSpacing::linspace;
}

}  // namespace

TEST_CASE("timesteps equal those of diffusers' schedulers for every spacing and number of steps", "[time_grid]") {
  std::size_t lists = 0;
  for (const std::string& name : golden("diffusers_schedulers.txt").names()) {
    if (name.rfind("set_timesteps/", 0) != 0) continue;
    INFO(name);
    std::vector<std::string> parts;  // set_timesteps, the scheduler, the spacing, n<N>
    std::istringstream words(name);
    for (std::string part; std::getline(words, part, '/');) parts.push_back(part);
    const Index n = std::stoll(parts[3].substr(1));
    const TimestepSpacing spacing = spacing_named(parts[2]);
    const bool dpm = parts[1] == "DPMSolverMultistep" || parts[1] == "UniPCMultistep";
    std::vector<double> times =
        dpm ? diffusion::dpm_solver_timesteps(1000, spacing, n) : diffusion::spaced_timesteps(1000, spacing, n);
    if (parts[1] == "EulerDiscrete" && spacing == TimestepSpacing::linspace) {  // diffusers does not round them
      const ArrayXd even = diffusion::detail::linspace(0.0, 999.0, n).reverse();
      times.assign(even.begin(), even.end());
    }
    if (parts[1] == "PNDM") {  // lists the Runge-Kutta calls of the first three steps: t_i, the middle twice, t_{i+1}
      std::vector<double> calls;
      for (std::size_t k = 0; k < 3; ++k) {
        const double middle = times[k + 1] + static_cast<double>(1000 / n / 2);
        calls.insert(calls.end(), {times[k], middle, middle, times[k + 1]});
      }
      calls.insert(calls.end(), times.begin() + 3, times.end());
      times = calls;
    }
    REQUIRE_THAT(ArrayXd(Eigen::Map<const ArrayXd>(times.data(), static_cast<Index>(times.size()))),
                 AllEqual(golden("diffusers_schedulers.txt").array(name)));
    ++lists;
  }
  REQUIRE(lists == 117);
}

TEST_CASE("q_sample, velocity and add_noise equal diffusers' for a batch with different timesteps", "[samplers]") {
  const Golden& g = golden("diffusers_schedulers.txt");
  const auto zero_snr = [](const ArrayXd& betas) { return diffusion::rescale_zero_terminal_snr(betas); };
  const ArrayXd sd = diffusion::scaled_linear_beta_schedule(1000);
  const std::map<std::string, ArrayXd> schedules = {
      {"sd", sd}, {"sd_zsnr", zero_snr(sd)}, {"cosine", diffusion::cosine_beta_schedule(1000)}};
  const Tensor x_start = g.tensor<double, 3>("add_noise/alphas/x0"),
               noise = g.tensor<double, 3>("add_noise/alphas/noise");
  const auto t = g.timesteps("add_noise/alphas/t");
  for (const auto& [name, betas] : schedules) {
    INFO(name);
    const GaussianDiffusion<double> process(betas);
    const std::string record = "add_noise/alphas/" + name + "/";
    CHECK_THAT(process.q_sample(x_start, t, noise),
               AllClose(g.tensor<double, 3>(record + "add_noise"), tolerance::sampler, tolerance::sampler));
    CHECK_THAT(process.velocity(x_start, t, noise),
               AllClose(g.tensor<double, 3>(record + "get_velocity"), tolerance::sampler, tolerance::sampler));
  }

  // The schedulers that work in sigma / alpha add noise at the level of a step.
  const GaussianDiffusion<double> process(sd);
  for (const std::string name :
       {"EulerDiscrete", "DPMSolverMultistep", "DPMSolverMultistep_karras", "EDMEuler", "FlowMatchEulerDiscrete"}) {
    INFO(name);
    const std::string record = "add_noise/" + name + "/";
    const ArrayXd sigmas = g.array(record + "sigmas");
    const TimeGrid grid = name == "EDMEuler"                 ? diffusion::edm_grid(sigmas)
                          : name == "FlowMatchEulerDiscrete" ? diffusion::flow_matching_grid(sigmas)
                                                             : diffusion::sigma_grid(process, sigmas);
    const auto steps = g.timesteps(record + "step_indices");
    const Tensor expected = g.tensor<double, 3>(record + "out");
    for (Index n = 0; n < steps.size(); ++n) {
      const Eigen::array<Index, 3> from{n, 0, 0}, size{1, x_start.dimension(1), x_start.dimension(2)};
      const NoiseLevel level = grid.levels()[static_cast<std::size_t>(steps(n))];
      const double scale = name == "EulerDiscrete" ? 1 / level.alpha : 1;  // it keeps x at the scale alpha = 1
      const Tensor noised = diffusion::add_noise(g.tensor<double, 3>(record + "x0").slice(from, size), level,
                                                 g.tensor<double, 3>(record + "noise").slice(from, size)) *
                            scale;
      CHECK_THAT(noised, AllClose(Tensor(expected.slice(from, size)), tolerance::sampler, tolerance::sampler));
    }
  }
}

}  // namespace diffusers_golden_tests
