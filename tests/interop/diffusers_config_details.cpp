// Tests of diffusion/interop/diffusers_config.hpp: the ends of ranges, and what no recorded run
// shows.
#include <diffusion/interop/diffusers_config.hpp>

#include <cmath>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <diffusion/diffusion.hpp>

#include "diffusers_configs.hpp"
#include "matchers.hpp"

using Catch::Matchers::ContainsSubstring;
using diffusion::Denoiser;
using diffusion::DiffusersConfig;
using diffusion::ModelMeanType;
using diffusion::NoiseLevel;
using diffusion::read_diffusers_config;
using diffusion::TimeGrid;
using Eigen::Index;
using nlohmann::json;
using namespace configs;

namespace {

/// The run of a config with a network, from noise of deviation `size`.
Tensor network_sample(const DiffusersConfig& config, const TimeGrid& grid, const json& step = nullptr,
                      double size = 1.0) {
  const auto network = [](const Tensor& x, const auto& t) {
    return Tensor(x.unaryExpr([](double v) { return std::sin(v); }) * (0.5 + 1e-4 * t(0)));
  };
  Tensor x(1, 2, 3);
  diffusion::PhiloxNoise{1}(x);
  x = x * size;
  return diffusion::sample(config.sampler<Tensor>(step), grid,
                           Denoiser(network, config.mean_type(), config.denoiser_options()), x,
                           diffusion::PhiloxNoise{2});
}
/// The run of another sampler on this grid, with the same network.
template <class Sampler>
Tensor sample_by(const Sampler& sampler, const DiffusersConfig& config, const TimeGrid& grid) {
  const auto network = [](const Tensor& x, const auto& t) {
    return Tensor(x.unaryExpr([](double v) { return std::sin(v); }) * (0.5 + 1e-4 * t(0)));
  };
  Tensor x(1, 2, 3);
  diffusion::PhiloxNoise{1}(x);
  return diffusion::sample(sampler, grid, Denoiser(network, config.mean_type(), config.denoiser_options()), x,
                           diffusion::PhiloxNoise{2});
}
std::string refused(const char* name, json arguments) { return refusal(with(name, std::move(arguments))); }

/// The grid of n steps of a class with these arguments.
TimeGrid grid_of(const char* name, const json& arguments, Index n, const json& set = nullptr, bool compatible = false) {
  return read_diffusers_config(with(name, arguments), {compatible}).grid(n, set);
}

}  // namespace

TEST_CASE("a zero signal-to-noise ratio keeps abar = 2^-24, or half of its predecessor", "[diffusers_config]") {
  for (const char* name : {"EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "DPMSolverMultistepScheduler",
                           "UniPCMultistepScheduler"}) {
    const auto linear =
        read_diffusers_config(with(name, {{"rescale_betas_zero_snr", true}})).process()->alphas_cumprod();
    CHECK_THAT(linear[999], WithinRel(0.5 * linear[998], tolerance::level));
    CHECK_THAT(sigmas_of(grid_of(name, {{"rescale_betas_zero_snr", true}, {"timestep_spacing", "trailing"}}, 4))[0],
               WithinRel(std::sqrt(0x1p24 - 1.0), tolerance::level));
    const DiffusersConfig config = read_diffusers_config(with(
        name,
        {{"rescale_betas_zero_snr", true}, {"beta_schedule", "squaredcos_cap_v2"}, {"timestep_spacing", "trailing"}}));
    const auto cosine = config.process()->alphas_cumprod();
    CHECK_THAT(cosine[999], WithinRel(0x1p-24, tolerance::level));
    CHECK_THAT(sigmas_of(config.grid(4))[0], WithinRel(std::sqrt(0x1p24 - 1.0), tolerance::level));
  }
  const DiffusersConfig config =
      read_diffusers_config(with("EulerDiscreteScheduler", {{"rescale_betas_zero_snr", true}}));
  CHECK_THAT(sigmas_of(config.grid(1, {{"timesteps", {998}}}))[0],
             WithinRel(config.process()->sqrt_recipm1_alphas_cumprod()[998], tolerance::level));
}

TEST_CASE("the sigmas of EulerDiscrete include the end of the run", "[diffusers_config]") {
  CHECK(grid_of("EulerDiscreteScheduler", {{"num_train_timesteps", 4}}, 0, {{"sigmas", {0.2, 0.1, 0.05, 0.02, 0.0}}})
            .num_steps() == 4);
  CHECK(grid_of("EulerDiscreteScheduler", {{"num_train_timesteps", 1}}, 0, {{"sigmas", {0.2, 0.0}}}).num_steps() == 1);
  CHECK_THAT(grid_refusal(with("EulerDiscreteScheduler"), 0, {{"sigmas", {3.0}}}),
             ContainsSubstring("sigmas has size 1"));
}

TEST_CASE("PNDM steps to the next timestep of the list by default", "[diffusers_config]") {
  const DiffusersConfig config = read_diffusers_config(with("PNDMScheduler", {{"timestep_spacing", "linspace"}}));
  const TimeGrid grid = config.grid(10);
  for (Index i = 0; i < grid.num_steps(); ++i)
    CHECK(grid.target(i).sigma == grid.levels()[static_cast<std::size_t>(i) + 1].sigma);
  const TimeGrid of_diffusers = grid_of("PNDMScheduler", {{"timestep_spacing", "linspace"}}, 10, nullptr, true);
  CHECK(of_diffusers.target(0).sigma != of_diffusers.levels()[1].sigma);
}

TEST_CASE("a sigma of the process has its timestep", "[diffusers_config]") {
  const DiffusersConfig config = read_diffusers_config(with("EulerDiscreteScheduler"));
  CHECK(times_of(config.grid(0, {{"sigmas", {1e4, 1.0, 0.0}}}))[0] == 999.0);
  CHECK(times_of(config.grid(0, {{"sigmas", {1.0, 1e-4, 0.0}}}))[1] == 0.0);
  const auto table = config.process()->sqrt_recipm1_alphas_cumprod();
  for (Index t = 1; t < 999; ++t)
    CHECK(times_of(config.grid(0, {{"sigmas", {table[t], 0.0}}}))[0] == static_cast<double>(t));
}

TEST_CASE("the last level of a run has model time 0", "[diffusers_config]") {
  CHECK(grid_of("EulerDiscreteScheduler", {}, 4).levels().back().t == 0.0);
  CHECK(grid_of("EulerDiscreteScheduler", {}, 0, {{"sigmas", {5.0, 2.0}}}).levels().back().t == 0.0);
  CHECK(grid_of("DPMSolverMultistepScheduler", {{"final_sigmas_type", "sigma_min"}}, 4).levels().back().t == 0.0);
  CHECK(grid_of("DPMSolverMultistepScheduler",
                {{"final_sigmas_type", "sigma_min"}, {"use_flow_sigmas", true}, {"prediction_type", "flow_prediction"}},
                4)
            .levels()
            .back()
            .t == 0.0);
  CHECK(grid_of("CosineDPMSolverMultistepScheduler", {}, 4).levels().back().t == 0.0);
  CHECK(
      grid_of("FlowMatchLCMScheduler", {}, 4, {{"sigmas", {1.0, 0.5}}, {"timesteps", {900, 400}}}).levels().back().t ==
      0.0);
}

TEST_CASE("UnCLIP takes one and two steps", "[diffusers_config]") {
  CHECK(times_of(grid_of("UnCLIPScheduler", {}, 1)) == std::vector<double>{0});
  CHECK(times_of(grid_of("UnCLIPScheduler", {}, 2)) == std::vector<double>{999, 0});
}

TEST_CASE("set_alpha_to_zero is an older name of set_alpha_to_one, and timesteps are in range", "[diffusers_config]") {
  const auto starts_clean = [](json arguments) {
    return grid_of("DDIMInverseScheduler", arguments, 5).levels().front().sigma == 0.0;
  };
  CHECK_FALSE(starts_clean({{"set_alpha_to_zero", false}}));
  CHECK(starts_clean({{"set_alpha_to_zero", true}, {"set_alpha_to_one", false}}));
  CHECK(starts_clean({{"set_alpha_to_zero", nullptr}}));
  CHECK_THROWS_WITH(grid_of("DDIMInverseScheduler", {{"steps_offset", 300}}, 5),
                    ContainsSubstring("timesteps[0] = 1100"));
  CHECK_THROWS_AS(grid_of("CMStochasticIterativeScheduler", {}, 1, {{"timesteps", {40}}}), std::out_of_range);
}

TEST_CASE("LCM takes from one step to all original_inference_steps", "[diffusers_config]") {
  CHECK(times_of(grid_of("LCMScheduler", {}, 1, {{"original_inference_steps", 1}})) == std::vector<double>{999});
  CHECK(grid_of("LCMScheduler", {}, 4, {{"original_inference_steps", 1000}}).num_steps() == 4);
  CHECK(grid_of("LCMScheduler", {}, 50).num_steps() == 50);
  CHECK_THAT(grid_refusal(with("LCMScheduler"), 4, {{"original_inference_steps", 0}}),
             ContainsSubstring("original_inference_steps = 0 is outside [1, 1000]"));
  CHECK_THAT(grid_refusal(with("LCMScheduler"), 4, {{"strength", 1.2}}),
             ContainsSubstring("strength = 1.2 is outside ["));
}

TEST_CASE("trailing timesteps start below lambda_min_clipped, at the distance T / n", "[diffusers_config]") {
  const json cosine = {
      {"beta_schedule", "squaredcos_cap_v2"}, {"timestep_spacing", "trailing"}, {"lambda_min_clipped", -5.1}};
  CHECK(times_of(grid_of("DPMSolverMultistepScheduler", cosine, 7)) ==
        std::vector<double>{995, 852, 709, 566, 424, 281, 138});
  CHECK(times_of(grid_of("DPMSolverMultistepScheduler", cosine, 223)).back() == 4);  // -1 is left out
  CHECK(times_of(grid_of("DPMSolverMultistepScheduler", cosine, 182)).back() == 0);
}

TEST_CASE("lists and mu of DPM-Solver and UniPC are checked", "[diffusers_config]") {
  const json karras = {{"use_karras_sigmas", true}},
             flow = {{"use_flow_sigmas", true}, {"prediction_type", "flow_prediction"}};
  const json both = {{"use_flow_sigmas", true}, {"prediction_type", "flow_prediction"}, {"use_karras_sigmas", true}};
  const json dynamic = {
      {"use_flow_sigmas", true}, {"prediction_type", "flow_prediction"}, {"use_dynamic_shifting", true}};
  const char *dpm = "DPMSolverMultistepScheduler", *unipc = "UniPCMultistepScheduler";
  CHECK_THAT(grid_refusal(with(dpm, karras), 5, {{"timesteps", {3, 2}}}),
             ContainsSubstring("timesteps cannot be given together with use_karras_sigmas"));
  CHECK_THAT(grid_refusal(with(dpm, both), 5, {{"timesteps", {3, 2}}}),
             ContainsSubstring("timesteps cannot be given together with use_karras_sigmas"));
  CHECK_THAT(grid_refusal(with(unipc, both), 5, {{"sigmas", {0.5, 0.2}}}),
             ContainsSubstring("sigmas cannot be given together with use_karras_sigmas"));
  CHECK_THAT(grid_refusal(with(unipc), 5, {{"sigmas", {3, 2}}}), ContainsSubstring("sigmas needs use_flow_sigmas"));
  CHECK_THAT(grid_refusal(with(dpm, flow), 5, {{"timesteps", {3, 2}}}),
             ContainsSubstring("timesteps cannot be given together with use_flow_sigmas"));
  CHECK_THAT(grid_refusal(with(dpm), 5, {{"timesteps", {5, 5}}}),
             ContainsSubstring("timestep 5 follows 5; use fewer steps"));
  CHECK_THAT(grid_refusal(with(dpm), 5, {{"timesteps", {5, 7}}}), ContainsSubstring("timestep 7 follows 5"));
  CHECK_THAT(grid_refusal(with(dpm, flow), 5, {{"mu", 1.0}}), ContainsSubstring("mu needs use_dynamic_shifting"));
  CHECK_THAT(grid_refusal(with(unipc, dynamic), 5, nullptr),
             ContainsSubstring("mu is needed, because of use_dynamic_shifting"));
  CHECK_THAT(grid_refusal(with(unipc, dynamic), 5, {{"image_seq_len", 64}}),
             ContainsSubstring("there is no argument \"image_seq_len\""));
  CHECK_THAT(grid_refusal(with(unipc, flow), 5, {{"sigmas", {1.2, 0.5}}}), ContainsSubstring("is outside [0, 1]"));
  CHECK(sigmas_of(grid_of(unipc, flow, 4, {{"mu", 1.0}})) == sigmas_of(grid_of(unipc, flow, 4)));
  CHECK(sigmas_of(grid_of(dpm, dynamic, 4)) == sigmas_of(grid_of(dpm, flow, 4)));
}

TEST_CASE("DPMSolverMultistep rounds model times down for the cosine schedule", "[diffusers_config]") {
  const json karras = {{"use_karras_sigmas", true}, {"beta_schedule", "squaredcos_cap_v2"}};
  const auto down = times_of(grid_of("DPMSolverMultistepScheduler", karras, 20)),
             nearest = times_of(grid_of("DPMSolverSinglestepScheduler", karras, 20));
  CHECK(down != nearest);
  for (std::size_t i = 0; i < down.size(); ++i) CHECK((down[i] == nearest[i] || down[i] == nearest[i] - 1.0));
  CHECK(times_of(grid_of("DPMSolverMultistepScheduler", {{"use_karras_sigmas", true}}, 20)) ==
        times_of(grid_of("DPMSolverSinglestepScheduler", {{"use_karras_sigmas", true}}, 20)));
}

TEST_CASE("Karras and other sigmas of flow matching are sigma / (1 + sigma), except where diffusers errs",
          "[diffusers_config]") {
  const auto first = [](const char* key, bool compatible, double beta_end) {
    return grid_of("UniPCMultistepScheduler",
                   {{"num_train_timesteps", 50},
                    {"beta_end", beta_end},
                    {"use_flow_sigmas", true},
                    {"prediction_type", "flow_prediction"},
                    {key, true}},
                   3, nullptr, compatible)
        .levels()[0]
        .sigma;
  };
  for (const double beta_end : {0.02, 0.036, 0.06}) {
    const double s =
        read_diffusers_config(with("UniPCMultistepScheduler", {{"num_train_timesteps", 50}, {"beta_end", beta_end}}))
            .process()
            ->sqrt_recipm1_alphas_cumprod()[49];
    INFO(s);
    CHECK_THAT(first("use_exponential_sigmas", true, beta_end),
               WithinRel(s < 1.0 ? s : s / (1.0 + s), tolerance::level));
    CHECK_THAT(first("use_exponential_sigmas", false, beta_end), WithinRel(s / (1.0 + s), tolerance::level));
    CHECK_THAT(first("use_karras_sigmas", true, beta_end), WithinRel(s / (1.0 + s), tolerance::level));
  }
}

TEST_CASE("Karras sigmas with log_linear interpolation take the whole range", "[diffusers_config]") {
  const DiffusersConfig config = read_diffusers_config(
      with("EulerDiscreteScheduler",
           {{"interpolation_type", "log_linear"}, {"use_karras_sigmas", true}, {"timestep_spacing", "leading"}}));
  const auto table = config.process()->sqrt_recipm1_alphas_cumprod();
  const auto sigmas = sigmas_of(config.grid(4));
  CHECK_THAT(sigmas[0], WithinRel(table[999], tolerance::level));
  CHECK_THAT(sigmas[3], WithinRel(table[0], tolerance::level));
  CHECK_THAT(sigmas_of(grid_of("EulerDiscreteScheduler", {{"use_karras_sigmas", true}, {"sigma_max", 5.0}}, 1))[0],
             WithinRel(5.0, tolerance::level));
}

TEST_CASE("sigmas of EDM and consistency models, given and computed", "[diffusers_config]") {
  CHECK(sigmas_of(grid_of("EDMEulerScheduler", {}, 0, {{"sigmas", {10.0, 3.0, 1.0, 0.0}}})) ==
        std::vector<double>{10.0, 3.0, 1.0, 0.0});
  CHECK(sigmas_of(grid_of("EDMEulerScheduler", {}, 0, {{"sigmas", {10.0, 3.0}}})) ==
        std::vector<double>{10.0, 3.0, 0.0});
  CHECK(sigmas_of(grid_of("EDMEulerScheduler", {{"sigma_schedule", "exponential"}}, 0, {{"sigmas", {10.0, 3.0}}},
                          true)) == sigmas_of(grid_of("EDMEulerScheduler", {{"sigma_schedule", "exponential"}}, 2)));
  CHECK_THAT(grid_refusal(with("EDMEulerScheduler"), 0, {{"sigmas", {0.0}}}),
             ContainsSubstring("sigmas has no positive entry"));
  CHECK_THAT(grid_refusal(with("FlowMatchEulerDiscreteScheduler"), 0, {{"sigmas", {0.0}}}),
             ContainsSubstring("sigmas has no positive entry"));
  CHECK_THAT(
      sigmas_of(grid_of("EDMEulerScheduler", {{"final_sigmas_type", "sigma_min"}}, 0, {{"sigmas", {10.0, 3.0}}}))[2],
      WithinRel(3.0, tolerance::no_length));
  CHECK_THAT(times_of(grid_of("EDMEulerScheduler", {}, 3))[0], WithinRel(0.25 * std::log(80.0), tolerance::level));
  CHECK_THAT(sigmas_of(grid_of("CMStochasticIterativeScheduler", {{"num_train_timesteps", 1}}, 1))[0],
             WithinRel(80.0, tolerance::level));
  CHECK_THAT(sigmas_of(grid_of("CMStochasticIterativeScheduler", {{"num_train_timesteps", 2}}, 2))[1],
             WithinRel(0.002, tolerance::level));
  CHECK(read_diffusers_config(with("CMStochasticIterativeScheduler"))
            .initial_noise_scale(grid_of("CMStochasticIterativeScheduler", {}, 2)) == 80.0);
}

TEST_CASE("levels lie on the path of their grid", "[diffusers_config]") {
  const std::vector<json> configs = {
      with("CosineDPMSolverMultistepScheduler"),
      with("CMStochasticIterativeScheduler"),
      with("IPNDMScheduler"),
      with("FlowMatchEulerDiscreteScheduler", {{"invert_sigmas", true}}),
      with("FlowMatchEulerDiscreteScheduler"),
      with("UniPCMultistepScheduler", {{"use_flow_sigmas", true}, {"prediction_type", "flow_prediction"}})};
  for (const json& config : configs) {
    INFO(config);
    const TimeGrid grid = read_diffusers_config(config).grid(5);
    const bool whole = config.at("_class_name") == "UniPCMultistepScheduler";  // its times are rounded down
    for (const NoiseLevel& level : grid.levels()) {
      if (level.alpha == 0.0 || level.sigma == 0.0) continue;
      for (const NoiseLevel& other :
           {grid.at(std::log(level.alpha / level.sigma)), whole ? level : grid.at_time(level.t)}) {
        CHECK_THAT(other.alpha, WithinRel(level.alpha, tolerance::level));
        // Times of the cosine scheduler are atan(sigma), which loses digits where sigma is large.
        CHECK_THAT(other.sigma, WithinRel(level.sigma, tolerance::level * (1.0 + level.sigma)));
        if (!whole) CHECK_THAT(other.t, WithinRel(level.t, tolerance::level) || WithinAbs(level.t, tolerance::level));
      }
    }
  }
}

TEST_CASE("trained_betas of IPNDM are checked", "[diffusers_config]") {
  CHECK_THAT(grid_refusal(with("IPNDMScheduler", {{"trained_betas", {0.9, 0.0}}}), 3, nullptr),
             ContainsSubstring("trained_betas has 2 entries, but a run of 3 steps needs 4"));
  CHECK_THAT(grid_refusal(with("IPNDMScheduler", {{"trained_betas", {1.2, 0.0}}}), 1, nullptr),
             ContainsSubstring("trained_betas must be in [0, 1]"));
  CHECK_THAT(grid_refusal(with("IPNDMScheduler", {{"trained_betas", {0.5, -0.1}}}), 1, nullptr),
             ContainsSubstring("trained_betas must be in [0, 1]"));
}

TEST_CASE("lists and shifts of flow matching are checked", "[diffusers_config]") {
  const char* euler = "FlowMatchEulerDiscreteScheduler";
  CHECK(times_of(grid_of(euler, {}, 0, {{"timesteps", {800, 400}}})) == std::vector<double>{800, 400});
  CHECK_THAT(
      grid_refusal(with(euler, {{"use_dynamic_shifting", true}, {"time_shift_type", "linear"}}), 5, {{"mu", 0.0}}),
      ContainsSubstring("mu = 0 gives a shift of 0"));
  CHECK_THAT(grid_refusal(with(euler), 5, {{"sigmas", {1.0, 0.0, 0.5}}}),
             ContainsSubstring("sigma 1 = 0 is outside (0, 1]"));
  CHECK_THAT(grid_refusal(with(euler), 5, {{"sigmas", {1.2, 0.5}}}),
             ContainsSubstring("sigma 0 = 1.2 is outside (0, 1]"));
  CHECK_THAT(grid_refusal(with("FlowMatchLCMScheduler"), 5, {{"sigmas", {1.0, 0.5}}, {"timesteps", {900}}}),
             ContainsSubstring("timesteps and sigmas must have the same length"));
  for (int i = 1; i < 400; ++i)
    CHECK_NOTHROW(grid_of(euler, {{"shift", 0.037 * i}, {"use_karras_sigmas", i % 2 == 0}}, 3));
  CHECK(sigmas_of(grid_of("FlowMatchEulerDiscreteScheduler", {}, 3, {{"sigmas", {1.0, 0.5, 0.0}}})).size() == 3);
}

TEST_CASE("parameters of samplers are checked", "[diffusers_config]") {
  CHECK_THAT(step_refusal(with("DDIMScheduler"), {{"eta", 2.0}, {"use_clipped_model_output", true}}),
             ContainsSubstring("eta = 2"));
  CHECK_THAT(step_refusal(with("EulerDiscreteScheduler"), {{"s_churn", -1.0}}), ContainsSubstring("s_churn = -1"));
  CHECK_THAT(step_refusal(with("FlowMatchHeunDiscreteScheduler"), {{"s_churn", -1.0}}, true),
             ContainsSubstring("s_churn = -1"));
}

TEST_CASE("CogVideoXDPM takes order 1 in a step beyond timestep 0 only", "[diffusers_config]") {
  const DiffusersConfig late =
      read_diffusers_config(with("CogVideoXDPMScheduler", {{"steps_offset", 333}, {"clip_sample", false}}));
  const TimeGrid grid = late.grid(3);
  CHECK_THAT(network_sample(late, grid),
             AllClose(sample_by(diffusion::DpmSolverPP{2, diffusion::DpmSolverType::midpoint, 1.0, 1.0, false, false},
                                late, grid),
                      1e-12, 1e-12));
  const DiffusersConfig trailing = read_diffusers_config(
      with("CogVideoXDPMScheduler", {{"timestep_spacing", "trailing"}, {"set_alpha_to_one", false}}));
  CHECK_THAT(network_sample(trailing, trailing.grid(4)),
             AllClose(sample_by(diffusion::DpmSolverPP{2, diffusion::DpmSolverType::midpoint, 1.0, 1.0, false, true},
                                trailing, trailing.grid(4)),
                      1e-12, 1e-12));
}

TEST_CASE("PNDM of diffusers calls the model once more in its first step, or 12 times in three", "[diffusers_config]") {
  const auto calls = [](json arguments, Index n) {
    const DiffusersConfig config = read_diffusers_config(with("PNDMScheduler", arguments), {true});
    int count = 0;
    const auto network = [&count](const Tensor& x, const auto&) {
      ++count;
      return Tensor(x * 0.1);
    };
    Tensor x(1, 2, 3);
    diffusion::PhiloxNoise{1}(x);
    static_cast<void>(diffusion::sample(config.sampler<Tensor>(), config.grid(n),
                                        Denoiser(network, config.mean_type(), config.denoiser_options()), x));
    return count;
  };
  CHECK(calls({{"skip_prk_steps", true}}, 1) == 1);
  CHECK(calls({{"skip_prk_steps", true}}, 2) == 3);
  CHECK(calls({{"skip_prk_steps", false}}, 4) == 13);
  CHECK_THAT(error_message<std::invalid_argument>([&] {
               calls({{"skip_prk_steps", false}}, 3);
             }),
             ContainsSubstring("PNDMScheduler needs at least 4 steps unless skip_prk_steps is set"));
}

TEST_CASE("a restarted run of PNDM and IPNDM of diffusers is the same", "[diffusers_config]") {
  for (const json& config_json :
       {with("PNDMScheduler"), with("PNDMScheduler", {{"skip_prk_steps", true}}), with("IPNDMScheduler")}) {
    const DiffusersConfig config = read_diffusers_config(config_json, {true});
    const auto network = [](const Tensor& x, const auto&) {
      return Tensor(x.unaryExpr([](double v) { return std::sin(v); }) * 0.5);
    };
    const Denoiser denoiser(network, config.mean_type(), config.denoiser_options());
    Tensor x(1, 2, 3);
    diffusion::PhiloxNoise{1}(x);
    diffusion::SamplingRun run(config.sampler<Tensor>(), config.grid(5), x, diffusion::PhiloxNoise{2});
    diffusion::Prediction<Tensor> prediction;
    const auto finish = [&] {
      while (!run.done()) {
        const Tensor output = network(denoiser.model_input(run.x(), run.level()), 0.0);
        denoiser.prediction(output, run.x(), run.level(), prediction);
        run.advance(prediction);
      }
      return Tensor(run.x());
    };
    const Tensor first = finish();
    run.restart(x);
    CHECK_THAT(finish(), AllEqual(first));
  }
}

TEST_CASE("churn of log_linear interpolation counts one more step", "[diffusers_config]") {
  const DiffusersConfig config =
      read_diffusers_config(with("EulerDiscreteScheduler", {{"interpolation_type", "log_linear"}}));
  const auto expected = [&](const TimeGrid& grid, double s_churn) {
    diffusion::Churn churn;
    churn.s_churn = s_churn;
    return sample_by(diffusion::detail::EulerOfDiffusers{churn, config.mean_type(), 0.5, 0}, config, grid);
  };
  const TimeGrid grid = config.grid(3), given = config.grid(0, {{"sigmas", {5.0, 2.0, 0.0}}});
  CHECK_THAT(network_sample(config, grid, {{"s_churn", 0.4}}), AllClose(expected(grid, 0.3), 1e-12, 1e-12));
  CHECK_THAT(network_sample(config, given, {{"s_churn", 0.4}}), AllClose(expected(given, 0.4), 1e-12, 1e-12));
}

TEST_CASE("churn of FlowMatchHeun has limits", "[diffusers_config]") {
  const DiffusersConfig config = read_diffusers_config(with("FlowMatchHeunDiscreteScheduler"), {true});
  const TimeGrid grid = config.grid(4);
  CHECK_THAT(network_sample(config, grid, {{"s_churn", 5.0}}),
             AllEqual(network_sample(config, grid, {{"s_churn", 50.0}})));
  CHECK(distance(network_sample(config, grid, {{"s_churn", 1.0}, {"s_tmin", 1.0}, {"s_tmax", 1.0}}),
                 network_sample(config, grid)) > 1e-3);
}

TEST_CASE("a consistency model clips x_0 and draws no noise in its last step", "[diffusers_config]") {
  const DiffusersConfig config = read_diffusers_config(with("CMStochasticIterativeScheduler"));
  const auto network = [](const Tensor& x, const auto&) { return Tensor(x); };
  for (const Index n : {1, 3}) {
    Index draws = 0;
    const auto noise = [&](Tensor& z) {
      ++draws;
      z.setConstant(1.0);
    };
    Tensor x(1, 2, 3);
    x.setConstant(1000.0);
    x(0, 0, 0) = -1000.0;
    const Tensor sample = diffusion::sample(config.sampler<Tensor>(), config.grid(n),
                                            Denoiser(network, config.mean_type(), config.denoiser_options()), x, noise);
    CHECK(draws == n - 1);
    if (n == 1) CHECK(sample(0, 0, 0) == -1.0);
    if (n == 1) CHECK(sample(0, 0, 1) == 1.0);
  }
}

TEST_CASE("options of the denoiser follow the class and its arguments", "[diffusers_config]") {
  const auto options = [](const char* name, json arguments) {
    return read_diffusers_config(with(name, std::move(arguments))).denoiser_options();
  };
  CHECK_FALSE(
      options("DPMSolverMultistepScheduler", {{"use_flow_sigmas", true}, {"prediction_type", "epsilon"}}).scale_input);
  CHECK(options("DPMSolverMultistepScheduler", {}).scale_input);
  CHECK(options("UniPCMultistepScheduler", {{"thresholding", true}, {"predict_x0", false}}).threshold_quantile == 0.0);
  CHECK(options("UniPCMultistepScheduler", {{"thresholding", true}}).threshold_quantile == 0.995);
  for (const char* name : {"TCDScheduler", "CogVideoXDDIMScheduler", "CogVideoXDPMScheduler"})
    CHECK(std::isinf(options(name, {{"clip_sample", true}}).clip_max));
  CHECK(options("TCDScheduler", {{"thresholding", true}}).threshold_quantile == 0.0);
  CHECK(options("DDPMScheduler", {{"thresholding", true}, {"sample_max_value", 0.5}}).threshold_min == 0.5);
  CHECK(options("DDPMScheduler", {{"thresholding", true}, {"sample_max_value", 2.0}}).threshold_min == 1.0);
  CHECK(options("RePaintScheduler", {}).clip_max == 1.0);
  CHECK(read_diffusers_config(with("DDPMScheduler", {{"predict_epsilon", true}})).mean_type() ==
        ModelMeanType::epsilon);
}

TEST_CASE("values at the ends of their ranges are refused or accepted", "[diffusers_config]") {
  CHECK_THAT(refused("DDPMScheduler", {{"sample_max_value", 0.0}}),
             ContainsSubstring("sample_max_value = 0 must be positive"));
  CHECK_THAT(refused("DDPMScheduler", {{"dynamic_thresholding_ratio", 1.2}}),
             ContainsSubstring("dynamic_thresholding_ratio = 1.2 is outside [0, 1]"));
  CHECK_THAT(refused("CogVideoXDDIMScheduler", {{"snr_shift_scale", 0.0}}),
             ContainsSubstring("snr_shift_scale = 0 must be positive"));
  CHECK_THAT(refused("FlowMatchEulerDiscreteScheduler", {{"shift", 0.0}}),
             ContainsSubstring("shift = 0 must be positive"));
  CHECK_THAT(refused("DPMSolverMultistepScheduler", {{"flow_shift", 0.0}}),
             ContainsSubstring("flow_shift = 0 must be positive"));
  CHECK_THAT(refused("DPMSolverMultistepScheduler", {{"solver_order", 0}}),
             ContainsSubstring("solver_order = 0 is outside [1, 3]"));
  for (const char* key : {"sigma_min", "sigma_max", "sigma_data", "rho"})
    CHECK_THAT(refused("EDMEulerScheduler", {{key, 0.0}}),
               ContainsSubstring(std::string(key) + " = 0 must be positive"));
  CHECK_THAT(refused("EulerDiscreteScheduler", {{"use_exponential_sigmas", true}, {"use_beta_sigmas", true}}),
             ContainsSubstring("only one of"));
  CHECK_THAT(refused("DPMSolverMultistepScheduler", {{"use_lu_lambdas", true}, {"use_beta_sigmas", true}}),
             ContainsSubstring("only one of"));
  CHECK_NOTHROW(read_diffusers_config(with("UnCLIPScheduler", {{"variance_type", "fixed_small_log"}})));
  for (const char* type : {"flow_prediction", "epsilon", "sample"})
    CHECK_NOTHROW(
        read_diffusers_config(with("UniPCMultistepScheduler", {{"use_flow_sigmas", true}, {"prediction_type", type}})));
  CHECK_NOTHROW(grid_of("EulerDiscreteScheduler", {{"sigma_min", 0.0}}, 4));
  const DiffusersConfig deis = read_diffusers_config(with("DPMSolverMultistepScheduler", {{"algorithm_type", "deis"}})),
                        pp = read_diffusers_config(with("DPMSolverMultistepScheduler"));
  CHECK_THAT(network_sample(deis, deis.grid(5)), AllEqual(network_sample(pp, pp.grid(5))));
}

TEST_CASE("versions of two and three numbers are read", "[diffusers_config]") {
  const auto ends_clean = [](const char* version) {
    return grid_of("DPMSolverMultistepScheduler", {{"_diffusers_version", version}}, 5).levels().back().sigma == 0.0;
  };
  CHECK(ends_clean("0.26"));
  CHECK_FALSE(ends_clean("0.25"));
  CHECK(ends_clean("1.0.0"));
  CHECK_THAT(refused("DDIMScheduler", {{"_diffusers_version", "1"}}), ContainsSubstring("is not a version"));
}

TEST_CASE("samplers follow the arguments of the class and of step", "[diffusers_config]") {
  const auto sample_of = [](const char* name, json arguments, Index n, json step = nullptr, double size = 1.0) {
    const DiffusersConfig config = read_diffusers_config(with(name, std::move(arguments)));
    return network_sample(config, config.grid(n), step, size);
  };
  CHECK(distance(sample_of("DDIMScheduler", {}, 5, nullptr, 3.0),
                 sample_of("DDIMScheduler", {}, 5, {{"use_clipped_model_output", true}}, 3.0)) > 1e-3);
  CHECK(distance(sample_of("DDIMScheduler", {}, 5, nullptr, 3.0),
                 sample_of("DDIMScheduler", {{"clip_sample", false}}, 5, nullptr, 3.0)) > 1e-3);
  const char* single = "DPMSolverSinglestepScheduler";
  for (const int order : {2, 3})
    for (const Index n : {4, 5, 6, 7, 8, 9})
      CHECK_THAT(sample_of(single, {{"solver_order", order}}, n),
                 AllEqual(sample_of(single, {{"solver_order", order}, {"lower_order_final", true}}, n)));
  const DiffusersConfig at_final = read_diffusers_config(
      with("DPMSolverMultistepScheduler",
           {{"euler_at_final", true}, {"lower_order_final", false}, {"final_sigmas_type", "sigma_min"}}));
  CHECK_THAT(network_sample(at_final, at_final.grid(5)),
             AllEqual(sample_by(diffusion::DpmSolverPP{2, diffusion::DpmSolverType::midpoint, 0.0, 1.0, false, true},
                                at_final, at_final.grid(5))));
  CHECK_THAT(step_refusal(with("UniPCMultistepScheduler", {{"disable_corrector", {1.2e9}}}), nullptr),
             ContainsSubstring("disable_corrector has an entry"));
  for (const json& arguments :
       {json{{"interpolation_type", "log_linear"}, {"use_karras_sigmas", true}, {"final_sigmas_type", "sigma_min"}},
        json{{"final_sigmas_type", "sigma_min"}}}) {
    const DiffusersConfig config = read_diffusers_config(with("EulerDiscreteScheduler", arguments));
    diffusion::Churn churn;
    churn.s_churn = 0.4;
    CHECK_THAT(network_sample(config, config.grid(3), {{"s_churn", 0.4}}),
               AllClose(sample_by(diffusion::detail::EulerOfDiffusers{churn, config.mean_type(), 0.5, 0}, config,
                                  config.grid(3)),
                        1e-12, 1e-12));
  }
  const DiffusersConfig edm = read_diffusers_config(with("EDMEulerScheduler", {{"sigma_data", 1.0}}));
  diffusion::Churn churn;
  churn.s_churn = 1.0;
  CHECK_THAT(
      network_sample(edm, edm.grid(3), {{"s_churn", 1.0}}),
      AllClose(sample_by(diffusion::detail::EulerOfDiffusers{churn, ModelMeanType::edm, 1.0, 0}, edm, edm.grid(3)),
               1e-12, 1e-12));
}

TEST_CASE("files are limited in size and depth", "[diffusers_config]") {
  CHECK(diffusion::detail::strict_json(R"({"a":NaN,"b": NaN,"c":[NaN, -Infinity,Infinity],"d":"NaN","dd":"NaN"})") ==
        R"({"a":"NaN","b": "NaN","c":["NaN", "-Infinity","Infinity"],"d":"NaN","dd":"NaN"})");
  const std::filesystem::path file = std::filesystem::temp_directory_path() / "diffusion_test_of_a_config.json";
  const auto refusal_of = [&] {
    return error_message<std::runtime_error>([&] { static_cast<void>(read_diffusers_config(file)); });
  };
  const auto nested = [&](std::size_t depth) {
    std::ofstream(file) << R"({"_class_name": "DDIMScheduler", "deep": )" << std::string(depth, '[')
                        << std::string(depth, ']') << "}";
  };
  nested(32);
  CHECK(read_diffusers_config(file).unknown_keys() == std::vector<std::string>{"deep"});
  nested(33);
  CHECK_THAT(refusal_of(), ContainsSubstring("nests more than 32 deep"));
  std::filesystem::resize_file(file, 32000001);  // sparse
  CHECK_THAT(refusal_of(), ContainsSubstring("has more than 32 MB"));
  std::filesystem::remove(file);
}

TEST_CASE("types and ranges of arguments are checked", "[diffusers_config]") {
  CHECK_THAT(step_refusal(with("DDPMScheduler"), {{"eta", 1.0}}), ContainsSubstring("its arguments are none"));
  CHECK_THAT(refused("DDIMScheduler", {{"beta_start", true}}), ContainsSubstring("must be a number, not true"));
  CHECK_THAT(refused("DDIMScheduler", {{"beta_start", false}}), ContainsSubstring("must be a number, not false"));
  CHECK(read_diffusers_config(with("DDIMScheduler", {{"__x", 1}, {std::string(70, 'x'), 1}})).unknown_keys() ==
        std::vector<std::string>{std::string(64, 'x')});
  CHECK_NOTHROW(read_diffusers_config(
      with("FlowMatchEulerDiscreteScheduler", {{"base_shift", nullptr}, {"max_shift", nullptr}})));
  CHECK(
      std::isinf(read_diffusers_config(with("DDIMScheduler", {{"clip_sample", nullptr}})).denoiser_options().clip_max));
  CHECK_THAT(grid_refusal(with("HeunDiscreteScheduler"), 5, {{"num_train_timesteps", 10.5}}),
             ContainsSubstring("num_train_timesteps = 10.5 must be a whole number"));
  CHECK_THAT(grid_refusal(with("LCMScheduler"), 5, {{"original_inference_steps", 10.5}}),
             ContainsSubstring("original_inference_steps = 10.5 must be a whole number"));
  CHECK_THAT(grid_refusal(with("FlowMatchEulerDiscreteScheduler"), 5, {{"image_seq_len", 10.5}}),
             ContainsSubstring("image_seq_len = 10.5 must be a whole number"));
  CHECK_NOTHROW(read_diffusers_config(with("DDIMScheduler", {{"steps_offset", 1e9}})));
  CHECK_THAT(refused("DDIMScheduler", {{"steps_offset", 1.2e9}}), ContainsSubstring("must be a whole number between"));
  CHECK_THAT(refused("DDIMScheduler", {{"trained_betas", std::vector<double>(1000000, 0.1)}}),
             ContainsSubstring("trained_betas has 1000000 entries, but"));
  CHECK_THAT(refused("DDIMScheduler", {{"trained_betas", std::vector<double>(1000001, 0.1)}}),
             ContainsSubstring("trained_betas has more than 10^6 entries"));
  CHECK_THAT(refused("DDIMScheduler", {{"trained_betas", {std::nan("")}}}),
             ContainsSubstring("trained_betas[0] = nan is not finite"));
}
