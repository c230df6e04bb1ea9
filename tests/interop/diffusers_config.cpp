// Tests of diffusion/interop/diffusers_config.hpp: whole runs compared with those of diffusers'
// schedulers, the configs of known models, and configs that are refused.
#include <diffusion/interop/diffusers_config.hpp>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
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
using Eigen::ArrayXd;
using Eigen::Index;
using nlohmann::json;
using namespace configs;

namespace {

/// A line of diffusers_cases.jsonl: a name, and the arguments of a scheduler and its functions.
std::vector<json> all_cases() {
  std::ifstream file(GOLDEN_DIR "/diffusers_cases.jsonl");
  std::vector<json> out;
  for (std::string line; std::getline(file, line);) out.push_back(json::parse(line));
  return out;
}

/// A sin(x) + B x + C cos(0.01 t). For learned variances, the second half of the channels is
/// sin(0.7 x) / 2 + 0.6 ("learned") or sin(0.7 x) ("learned_range").
struct Model {
  double a, b, c;
  std::string variance_type = "";

  template <class Times>
  void operator()(const Tensor& x, const Times& t, Tensor& out) const {
    const Index rest = x.dimension(2), channels = x.dimension(1);
    for (Index n = 0; n < x.dimension(0); ++n) {
      for (Index i = 0; i < channels * rest; ++i) {
        const double value = x(n, i / rest, i % rest), v = std::sin(0.7 * value);
        out(n, i / rest, i % rest) = a * std::sin(value) + b * value + c * std::cos(0.01 * t(0));
        if (variance_type == "learned") out(n, channels + i / rest, i % rest) = 0.5 * v + 0.6;
        if (variance_type == "learned_range") out(n, channels + i / rest, i % rest) = v;
      }
    }
  }
};

Model model_named(const std::string& name) {
  if (name == "sample") return {0.6, 0.2, 0.05};
  if (name == "v_prediction") return {0.3, -0.1, 0.05};
  if (name == "edm") return {0.3, 0.2, 0.05};
  if (name == "flow") return {0.3, 0.4, 0.05};
  return {0.1, 0.9, 0.05};
}

/// Replays the recorded noise.
std::function<void(Tensor&)> noise_of(const std::string& name) {
  const Golden& g = golden("diffusers_samplers.txt");
  if (!g.contains(name + "/noise")) return [](Tensor&) { throw std::logic_error("this run has no noise"); };
  const auto draws = std::make_shared<ArrayXd>(g.array(name + "/noise"));
  const auto at = std::make_shared<Index>(0);
  return [draws, at](Tensor& z) {
    for (Index i = 0; i < z.size(); ++i) z.data()[i] = static_cast<double>(static_cast<float>((*draws)[(*at)++]));
  };
}

json config_of(const json& c) {
  json config = c.at("init");
  config["_class_name"] = c.at("cls");
  return config;
}

Index steps_of(const json& c) {
  const json& n = c.at("set_timesteps").value("num_inference_steps", json());
  return n.is_null() ? 0 : n.get<Index>();
}

/// Runs a case and returns the sample at diffusers' scale.
Tensor run(const json& c, diffusion::DiffusersConfigOptions options) {
  const auto name = c.at("name").get<std::string>();
  const DiffusersConfig config = read_diffusers_config(config_of(c), options);
  const TimeGrid grid = config.grid(steps_of(c), c.at("set_timesteps"));
  Model model = model_named(c.at("model"));
  if (config.denoiser_options().learned_variance) model.variance_type = c.at("init").at("variance_type");
  const Denoiser denoiser(model, config.mean_type(), config.denoiser_options());
  const auto [first, last] = config.x_scale(grid);
  Tensor x = golden("diffusers_samplers.txt").tensor<double, 3>(name + "/x_init");
  x = x / first;
  const Tensor sample = diffusion::sample(config.sampler<Tensor>(c.at("step")), grid, denoiser, x, noise_of(name));
  return sample * last;
}

// ---- the published configs of known models ----

const json stable_diffusion = {
    {"_class_name", "PNDMScheduler"},   {"_diffusers_version", "0.6.0"}, {"beta_end", 0.012},
    {"beta_schedule", "scaled_linear"}, {"beta_start", 0.00085},         {"num_train_timesteps", 1000},
    {"set_alpha_to_one", false},        {"skip_prk_steps", true},        {"steps_offset", 1},
    {"trained_betas", nullptr},         {"clip_sample", false}};

const json stable_diffusion_2_1 = {{"_class_name", "DDIMScheduler"},
                                   {"_diffusers_version", "0.8.0"},
                                   {"beta_end", 0.012},
                                   {"beta_schedule", "scaled_linear"},
                                   {"beta_start", 0.00085},
                                   {"clip_sample", false},
                                   {"num_train_timesteps", 1000},
                                   {"prediction_type", "v_prediction"},
                                   {"set_alpha_to_one", false},
                                   {"skip_prk_steps", true},
                                   {"steps_offset", 1},
                                   {"trained_betas", nullptr}};

const json stable_video = {{"_class_name", "EulerDiscreteScheduler"},
                           {"beta_end", 0.012},
                           {"beta_schedule", "scaled_linear"},
                           {"beta_start", 0.00085},
                           {"interpolation_type", "linear"},
                           {"prediction_type", "v_prediction"},
                           {"sigma_max", 700.0},
                           {"sigma_min", 0.002},
                           {"steps_offset", 1},
                           {"timestep_spacing", "leading"},
                           {"timestep_type", "continuous"},
                           {"use_karras_sigmas", true}};

const json wan = {{"_class_name", "UniPCMultistepScheduler"},
                  {"_diffusers_version", "0.33.0.dev0"},
                  {"beta_end", 0.02},
                  {"beta_schedule", "linear"},
                  {"beta_start", 0.0001},
                  {"disable_corrector", json::array()},
                  {"dynamic_thresholding_ratio", 0.995},
                  {"final_sigmas_type", "zero"},
                  {"flow_shift", 3.0},
                  {"lower_order_final", true},
                  {"num_train_timesteps", 1000},
                  {"predict_x0", true},
                  {"prediction_type", "flow_prediction"},
                  {"rescale_betas_zero_snr", false},
                  {"sample_max_value", 1.0},
                  {"solver_order", 2},
                  {"solver_p", nullptr},
                  {"solver_type", "bh2"},
                  {"steps_offset", 0},
                  {"thresholding", false},
                  {"timestep_spacing", "linspace"},
                  {"trained_betas", nullptr},
                  {"use_beta_sigmas", false},
                  {"use_exponential_sigmas", false},
                  {"use_flow_sigmas", true},
                  {"use_karras_sigmas", false}};

const json cogvideox = {{"_class_name", "CogVideoXDDIMScheduler"},
                        {"_diffusers_version", "0.30.0.dev0"},
                        {"beta_end", 0.012},
                        {"beta_schedule", "scaled_linear"},
                        {"beta_start", 0.00085},
                        {"clip_sample", false},
                        {"clip_sample_range", 1.0},
                        {"num_train_timesteps", 1000},
                        {"prediction_type", "v_prediction"},
                        {"rescale_betas_zero_snr", true},
                        {"sample_max_value", 1.0},
                        {"set_alpha_to_one", true},
                        {"snr_shift_scale", 3.0},
                        {"steps_offset", 0},
                        {"timestep_spacing", "trailing"},
                        {"trained_betas", nullptr}};

const json stable_audio = {{"_class_name", "CosineDPMSolverMultistepScheduler"},
                           {"_diffusers_version", "0.30.0.dev0"},
                           {"euler_at_final", false},
                           {"final_sigmas_type", "zero"},
                           {"lower_order_final", true},
                           {"num_train_timesteps", 1000},
                           {"prediction_type", "v_prediction"},
                           {"rho", 7.0},
                           {"sigma_data", 1.0},
                           {"sigma_max", 500},
                           {"sigma_min", 0.3},
                           {"sigma_schedule", "exponential"},
                           {"solver_order", 2},
                           {"solver_type", "midpoint"}};

const json kandinsky = {{"_class_name", "DDPMScheduler"},
                        {"_diffusers_version", "0.17.0.dev0"},
                        {"beta_end", 0.012},
                        {"beta_schedule", "linear"},
                        {"beta_start", 0.00085},
                        {"clip_sample", false},
                        {"clip_sample_range", 1.0},
                        {"dynamic_thresholding_ratio", 0.995},
                        {"num_train_timesteps", 1000},
                        {"prediction_type", "epsilon"},
                        {"sample_max_value", 2.0},
                        {"thresholding", true},
                        {"trained_betas", nullptr},
                        {"variance_type", "learned_range"}};

const json lcm = {{"_class_name", "LCMScheduler"},
                  {"_diffusers_version", "0.22.0.dev0"},
                  {"beta_end", 0.012},
                  {"beta_schedule", "scaled_linear"},
                  {"beta_start", 0.00085},
                  {"clip_sample", false},
                  {"clip_sample_range", 1.0},
                  {"dynamic_thresholding_ratio", 0.995},
                  {"num_train_timesteps", 1000},
                  {"original_inference_steps", 50},
                  {"prediction_type", "epsilon"},
                  {"rescale_betas_zero_snr", false},
                  {"sample_max_value", 1.0},
                  {"set_alpha_to_one", true},
                  {"steps_offset", 1},
                  {"thresholding", false},
                  {"timestep_spacing", "leading"},
                  {"trained_betas", nullptr}};

/// The config of a file of the examples.
json example_config(const char* name) {
  std::ifstream file(std::string(EXAMPLE_DATA_DIR "/configs/") + name);
  return json::parse(file);
}

}  // namespace

TEST_CASE("every run of diffusers is reproduced from its JSON", "[diffusers_config]") {
  std::size_t runs = 0;
  for (const json& c : all_cases()) {
    const auto name = c.at("name").get<std::string>();
    INFO(name);
    const Tensor expected = golden("diffusers_samplers.txt").tensor<double, 3>(name + "/final");
    CHECK_THAT(run(c, {true}), AllClose(expected, tolerance::sampler, tolerance::sampler));
    ++runs;
  }
  REQUIRE(runs == 298);
}

TEST_CASE("runs differ from those of diffusers only by the errors that are mended", "[diffusers_config]") {
  const std::set<std::string> mended = {// noise in the last step, which ends clean
                                        "DDPM/fixed_small_epsilon_noclip_trailing", "DDPM/fixed_small_epsilon_offset1",
                                        "DDPM/fixed_large_uneven", "DDPM/trained_betas", "DDPM/learned_range",
                                        // steps to t - floor(T / n), or the middle of a step
                                        // rounded in two ways
                                        "PNDM/skip_prk1_alphaone", "PNDM/plms_linspace_v", "PNDM/prk_odd_stride",
                                        "DDIMInverse/uneven_trailing",
                                        // -1/2 instead of +1/2 in the weight of D2; k-diffusion has
                                        // +1/2
                                        "DPMSolverMultistep/sde-dpmsolver++_o3", "DPMSolverSinglestep/sde_o3_heun",
                                        // churn that loses signal
                                        "FlowMatchHeunDiscrete/shift1_churn", "FlowMatchHeunDiscrete/shift3_churn",
                                        // 0 for x_0 in the first step
                                        "IPNDM/n1", "IPNDM/n4", "IPNDM/n10",
                                        // given sigmas as a ramp, and a single step from sigma_min
                                        "EDMEuler/sigmas", "EDMEuler/exponential_n1",
                                        // sigma / alpha as sigma
                                        "DEISMultistep/flow_spread"};
  std::size_t differ = 0;
  for (const json& c : all_cases()) {
    const auto name = c.at("name").get<std::string>();
    INFO(name);
    const Tensor expected = golden("diffusers_samplers.txt").tensor<double, 3>(name + "/final"), sample = run(c, {});
    if (mended.count(name) == 0) {
      CHECK_THAT(sample, AllClose(expected, tolerance::sampler, tolerance::sampler));
    } else {
      CHECK_FALSE(AllClose(expected, tolerance::sampler, tolerance::sampler).match(sample));
      ++differ;
    }
  }
  REQUIRE(differ == mended.size());
}

TEMPLATE_TEST_CASE("a config's run equals that of the sampler that it names, in float and in ColMajor",
                   "[diffusers_config]", LAYOUTS) {
  using Image = typename TestType::template Tensor<4>;
  using Scalar = typename TestType::Scalar;
  const DiffusersConfig config = read_diffusers_config(example_config("stable_diffusion_xl.json"));
  const TimeGrid grid = config.grid(4);
  const auto network = [](const Image& x, const auto&) { return x * Scalar(0.5); };
  const Denoiser denoiser(network, config.mean_type(), config.denoiser_options());
  Image x(1, 1, 2, 2);
  x.setConstant(Scalar(1));
  const Image sample = diffusion::sample(config.sampler<Image>(), grid, denoiser, x);
  CHECK_THAT(sample, AllEqual(Image(diffusion::sample(diffusion::Euler{}, grid, denoiser, x))));
}

// ---- known models ----

TEST_CASE("the configs of known models give their timesteps and parameterisations", "[diffusers_config]") {
  const auto check_times = [](const TimeGrid& grid, const std::vector<double>& expected) {
    CHECK_THAT(ArrayXd(Eigen::Map<const ArrayXd>(times_of(grid).data(), grid.num_steps())),
               AllClose(ArrayXd(Eigen::Map<const ArrayXd>(expected.data(), static_cast<Index>(expected.size()))),
                        tolerance::sampler, tolerance::sampler));
  };
  const auto last_is_clean = [](const TimeGrid& grid) { return grid.levels().back().sigma == 0.0; };

  SECTION("Stable Diffusion 1.5") {
    const DiffusersConfig config = read_diffusers_config(stable_diffusion);
    const TimeGrid grid = config.grid(5);
    check_times(grid, {801, 601, 401, 201, 1});
    CHECK_FALSE(last_is_clean(grid));  // set_alpha_to_one is false: it ends at timestep 0
    CHECK(config.mean_type() == ModelMeanType::epsilon);
    CHECK(config.unknown_keys() == std::vector<std::string>{"clip_sample"});
    CHECK(config.initial_noise_scale(grid) == 1.0);
    CHECK(config.process()->num_timesteps() == 1000);
  }
  SECTION("Stable Diffusion 2.1") {
    const DiffusersConfig config = read_diffusers_config(stable_diffusion_2_1);
    check_times(config.grid(4), {751, 501, 251, 1});
    CHECK(config.mean_type() == ModelMeanType::velocity);
    CHECK(std::isinf(config.denoiser_options().clip_max));
  }
  SECTION("Stable Diffusion XL, and Lightning") {
    json sdxl = example_config("stable_diffusion_xl.json");
    const DiffusersConfig config = read_diffusers_config(sdxl);
    const TimeGrid grid = config.grid(4);
    check_times(grid, {751, 501, 251, 1});
    CHECK(last_is_clean(grid));
    // x of diffusers is at alpha = 1, and its first sigma is sqrt(sigma^2 + 1).
    CHECK(config.initial_noise_scale(grid) == 1.0);
    CHECK(config.x_scale(grid).first == 1.0 / grid.levels().front().alpha);
    CHECK(config.x_scale(grid).last == 1.0);

    sdxl["timestep_spacing"] = "trailing";
    const DiffusersConfig lightning = read_diffusers_config(sdxl);
    check_times(lightning.grid(4), {999, 749, 499, 249});
    CHECK(lightning.initial_noise_scale(lightning.grid(4)) == lightning.grid(4).levels().front().sigma);
  }
  SECTION("Stable Video Diffusion") {
    const DiffusersConfig config = read_diffusers_config(stable_video);
    const TimeGrid grid = config.grid(3);
    check_times(grid, {0.25 * std::log(700.0), 0.25 * std::log(sigmas_of(grid)[1]), 0.25 * std::log(0.002)});
    CHECK(config.mean_type() == ModelMeanType::velocity);
  }
  SECTION("Stable Diffusion 3") {
    const DiffusersConfig config =
        read_diffusers_config(with("FlowMatchEulerDiscreteScheduler", {{"num_train_timesteps", 1000}, {"shift", 3.0}}));
    const TimeGrid grid = config.grid(2);
    // The shift is applied to the least sigma twice.
    const double least = diffusion::shifted_sigma(diffusion::shifted_sigma(0.001, 3.0), 3.0);
    check_times(grid, {1000.0, 1000.0 * least});
    CHECK(config.mean_type() == ModelMeanType::flow_velocity);
    CHECK_FALSE(config.process().has_value());
  }
  SECTION("Flux") {
    const DiffusersConfig config = read_diffusers_config(example_config("flux.json"));
    // Its pipeline passes the sigmas 1, 1 - 1 / n, ..., 1 / n, and mu of the number of tokens.
    const TimeGrid grid = config.grid(4, {{"sigmas", {1.0, 0.75, 0.5, 0.25}}, {"image_seq_len", 4096}});
    const double shift = std::exp(1.15);
    check_times(grid, {1000.0, 1000.0 * diffusion::shifted_sigma(0.75, shift),
                       1000.0 * diffusion::shifted_sigma(0.5, shift), 1000.0 * diffusion::shifted_sigma(0.25, shift)});
    CHECK(times_of(config.grid(4, {{"mu", diffusion::dynamic_shift_mu(1024)}})) ==
          times_of(config.grid(4, {{"image_seq_len", 1024}})));
  }
  SECTION("Wan") {
    const DiffusersConfig config = read_diffusers_config(wan);
    check_times(config.grid(4), {999, 900, 750, 500});
    CHECK(config.mean_type() == ModelMeanType::flow_velocity);
    CHECK_FALSE(config.process().has_value());
    CHECK(config.unknown_keys().empty());
  }
  SECTION("CogVideoX") {
    const DiffusersConfig config = read_diffusers_config(cogvideox);
    const auto process = config.process();
    CHECK(process->alphas_cumprod()[999] == 0.0);
    // abar' = abar / (3 - 2 abar) at the first timestep, which rescale_betas_zero_snr keeps
    const double abar = 1.0 - 0.00085;
    CHECK(std::abs(process->alphas_cumprod()[0] - abar / (3.0 - 2.0 * abar)) < 1e-12);
    check_times(config.grid(4), {999, 749, 499, 249});
  }
  SECTION("Stable Audio") {
    const DiffusersConfig config = read_diffusers_config(stable_audio);
    const TimeGrid grid = config.grid(3);
    const auto time = [](double sigma) { return 2.0 / 3.14159265358979323846 * std::atan(sigma); };
    check_times(grid, {time(500.0), time(std::sqrt(500.0 * 0.3)), time(0.3)});
    CHECK(config.mean_type() == ModelMeanType::edm);
    CHECK(config.denoiser_options().output_scale == -1.0);
    CHECK_FALSE(config.denoiser_options().edm_time);
    CHECK(config.initial_noise_scale(grid) == std::hypot(500.0, 1.0));
  }
  SECTION("Kandinsky 2.2") {
    const DiffusersConfig config = read_diffusers_config(kandinsky);
    const auto options = config.denoiser_options();
    CHECK(options.learned_variance);
    CHECK(options.threshold_quantile == 0.995);
    CHECK(options.threshold_max == 2.0);
    check_times(config.grid(4), {750, 500, 250, 0});
  }
  SECTION("LCM") {
    const DiffusersConfig config = read_diffusers_config(lcm);
    check_times(config.grid(4), {999, 759, 499, 259});
    check_times(config.grid(2, {{"strength", 0.5}}), {499, 259});
  }
  SECTION("a robot's policy") {
    const DiffusersConfig config = read_diffusers_config(example_config("diffusion_policy.json"));
    check_times(config.grid(5), {80, 60, 40, 20, 0});
    CHECK(config.denoiser_options().clip_max == 1.0);
    CHECK_FALSE(config.denoiser_options().rederive_epsilon);
  }
}

TEST_CASE("a published model runs in five lines", "[diffusers_config]") {
  const auto network = [](const Tensor& x, const auto&) { return x * 0.1; };
  for (const json& config_json :
       {stable_diffusion, stable_diffusion_2_1, stable_video, wan, cogvideox, stable_audio, lcm,
        example_config("stable_diffusion_xl.json"), example_config("diffusion_policy.json")}) {
    INFO(config_json.at("_class_name"));
    const DiffusersConfig config = read_diffusers_config(config_json);
    const TimeGrid grid = config.grid(4);
    diffusion::PhiloxNoise noise{1};
    Tensor x(1, 2, 3);
    noise(x);
    x = x * config.initial_noise_scale(grid);
    const Tensor sample = diffusion::sample(config.sampler<Tensor>(), grid,
                                            Denoiser(network, config.mean_type(), config.denoiser_options()), x, noise);
    for (Index i = 0; i < sample.size(); ++i) CHECK(std::isfinite(sample.data()[i]));
  }
}

// ---- what has no recorded run ----

TEST_CASE("DDPM with learned variances takes the steps of ReverseProcess", "[diffusers_config]") {
  const auto network = [](const Tensor& x, const auto&) {
    Tensor output = (0.3 * x).concatenate(((x * 0.7).unaryExpr([](double v) { return std::sin(v); })).eval(), 1);
    return output;
  };
  const json config_json = with("DDPMScheduler", {{"num_train_timesteps", 20},
                                                  {"beta_start", 0.01},
                                                  {"beta_end", 0.3},
                                                  {"clip_sample", false},
                                                  {"variance_type", "learned_range"}});
  const DiffusersConfig config = read_diffusers_config(config_json);
  const TimeGrid grid = config.grid(20);
  const Denoiser denoiser(network, config.mean_type(), config.denoiser_options());
  Tensor x(1, 2, 4);
  diffusion::PhiloxNoise{1}(x);
  Tensor called = diffusion::sample(config.sampler<Tensor>(), grid, denoiser, x, diffusion::PhiloxNoise{2});

  const diffusion::ReverseOptions options{ModelMeanType::epsilon, diffusion::ModelVarType::learned_range, false};
  const diffusion::ReverseProcess reverse(*config.process(), network, options);
  diffusion::PhiloxNoise noise{2};
  Tensor expected = x, z(x.dimensions());
  for (Index t = 19; t >= 0; --t) {
    if (t > 0) noise(z);
    if (t == 0) z.setZero();
    expected = reverse.p_sample(expected, t, z).sample;
  }
  CHECK_THAT(called, AllClose(expected, tolerance::sampler, tolerance::sampler));

  // An engine that is asked gives the same.
  diffusion::SamplingRun asked(config.sampler<Tensor>(), grid, x, diffusion::PhiloxNoise{2});
  diffusion::Prediction<Tensor> prediction;
  while (!asked.done()) {
    const Tensor output = network(denoiser.model_input(asked.x(), asked.level()), 0.0);
    denoiser.prediction(output, asked.x(), asked.level(), prediction);
    asked.advance(prediction);
  }
  CHECK_THAT(asked.x(), AllEqual(called));
}

TEST_CASE("use_clipped_model_output takes the epsilon of the clipped x_0", "[diffusers_config]") {
  const DiffusersConfig config = read_diffusers_config(with("DDIMScheduler"));
  const TimeGrid grid = config.grid(5);
  const auto network = [](const Tensor& x, const auto&) { return x * 0.1; };
  auto options = config.denoiser_options();
  Tensor x(1, 2, 3);
  diffusion::PhiloxNoise{1}(x);
  const auto sampler = config.sampler<Tensor>({{"use_clipped_model_output", true}});
  const Tensor sample = diffusion::sample(sampler, grid, Denoiser(network, config.mean_type(), options), x);
  options.rederive_epsilon = true;
  const Denoiser rederiving(network, config.mean_type(), options);
  CHECK_THAT(sample, AllClose(Tensor(diffusion::sample(diffusion::Ddim{}, grid, rederiving, x)), tolerance::sampler,
                              tolerance::sampler));
}

TEST_CASE("inverted sigmas are the same run with model times from 0 and the opposite output", "[diffusers_config]") {
  const json plain_json = with("FlowMatchEulerDiscreteScheduler", {{"shift", 2.0}});
  json inverted_json = plain_json;
  inverted_json["invert_sigmas"] = true;
  const DiffusersConfig plain = read_diffusers_config(plain_json), inverted = read_diffusers_config(inverted_json);
  const TimeGrid grid = plain.grid(4), other = inverted.grid(4);
  const auto network = [](const Tensor& x, const Eigen::Tensor<double, 1>& t) {
    return Tensor(x * (0.2 + 1e-4 * t(0)));
  };
  const auto opposite = [&](const Tensor& x, const Eigen::Tensor<double, 1>& t) {
    Eigen::Tensor<double, 1> back = t.constant(1000.0) - t;
    return Tensor(-network(x, back));
  };
  Tensor x(1, 2, 3);
  diffusion::PhiloxNoise{1}(x);
  const Tensor a = diffusion::sample(plain.sampler<Tensor>(), grid,
                                     Denoiser(network, plain.mean_type(), plain.denoiser_options()), x);
  const Tensor b = diffusion::sample(inverted.sampler<Tensor>(), other,
                                     Denoiser(opposite, inverted.mean_type(), inverted.denoiser_options()), x);
  CHECK(times_of(other)[0] == 0.0);
  CHECK_THAT(b, AllClose(a, tolerance::sampler, tolerance::sampler));
}

TEST_CASE("strength is the last part of a run", "[diffusers_config]") {
  const DiffusersConfig config = read_diffusers_config(stable_diffusion_2_1);
  CHECK(times_of(config.grid(4, {{"strength", 0.5}})) == std::vector<double>{251, 1});
  CHECK(times_of(config.grid(4, {{"strength", 1.0}, {"num_inference_steps", 4}})) == times_of(config.grid(4)));
}

TEST_CASE("an argument that is missing has the default of the version of the config", "[diffusers_config]") {
  const auto ends_clean = [](const json& config) {
    return read_diffusers_config(config).grid(5).levels().back().sigma == 0.0;
  };
  for (const char* name : {"DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"}) {
    CHECK(ends_clean(with(name)));
    CHECK(ends_clean(with(name, {{"_diffusers_version", "0.26.0"}})));
    CHECK_FALSE(ends_clean(with(name, {{"_diffusers_version", "0.25.1"}})));
    CHECK(ends_clean(with(name, {{"_diffusers_version", "0.25.1"}, {"final_sigmas_type", "zero"}})));
  }
  CHECK_FALSE(ends_clean(with("UniPCMultistepScheduler", {{"_diffusers_version", "0.27.2"}})));
  CHECK(ends_clean(with("UniPCMultistepScheduler", {{"_diffusers_version", "0.28.0.dev0"}})));
  // Before prediction_type existed:
  const json old = with("DDPMScheduler", {{"_diffusers_version", "0.8.0"}, {"predict_epsilon", false}});
  CHECK(read_diffusers_config(old).mean_type() == ModelMeanType::start_x);
}

TEST_CASE("lower_order_final of the singlestep solver was true before 0.26.3", "[diffusers_config]") {
  const auto network = [](const Tensor& x, const auto& t) {
    return Tensor(x.unaryExpr([](double v) { return std::sin(v); }) * (0.5 + 1e-4 * t(0)));
  };
  const auto sample_of = [&](json arguments) {
    arguments["final_sigmas_type"] = "sigma_min";
    const DiffusersConfig config = read_diffusers_config(with("DPMSolverSinglestepScheduler", arguments));
    Tensor x(1, 2, 3);
    diffusion::PhiloxNoise{1}(x);
    return Tensor(diffusion::sample(config.sampler<Tensor>(), config.grid(4),
                                    Denoiser(network, config.mean_type(), config.denoiser_options()), x));
  };
  CHECK_THAT(sample_of({{"_diffusers_version", "0.26.2"}}), AllEqual(sample_of({{"lower_order_final", true}})));
  CHECK_THAT(sample_of({{"_diffusers_version", "0.26.3"}}), AllEqual(sample_of({{"lower_order_final", false}})));
  CHECK(distance(sample_of({{"lower_order_final", true}}), sample_of({{"lower_order_final", false}})) > 1e-6);
}

// ---- refusals ----

TEST_CASE("a config that cannot be honoured is refused by a sentence", "[diffusers_config]") {
  const auto refused = [](const char* name, json arguments) { return refusal(with(name, std::move(arguments))); };
  CHECK_THAT(refusal(json::array()), ContainsSubstring("a config is a JSON object, not a value of type array"));
  CHECK_THAT(refusal(json()), ContainsSubstring("not a value of type null"));
  CHECK_THAT(refusal(json::object()), ContainsSubstring("_class_name is missing; it names the scheduler"));
  CHECK_THAT(refusal({{"_class_name", 3}}), ContainsSubstring("_class_name must be a string, not 3"));
  CHECK_THAT(
      refusal({{"_class_name", "DDIMSheduler"}}),
      ContainsSubstring("there is no \"DDIMSheduler\"; the nearest name is \"DDIMScheduler\". Known names: DDPM"));
  CHECK_THAT(refused("DDIMScheduler", {{"_diffusers_version", 3}}),
             ContainsSubstring("_diffusers_version must be a string"));
  CHECK_THAT(refused("DDIMScheduler", {{"_diffusers_version", "new"}}), ContainsSubstring("\"new\" is not a version"));

  // wrong types
  CHECK_THAT(refused("DDIMScheduler", {{"beta_start", "0.1"}}),
             ContainsSubstring("DDIMScheduler: beta_start must be a number, not \"0.1\""));
  CHECK_THAT(refused("DDIMScheduler", {{"beta_start", nullptr}}), ContainsSubstring("not a value of type null"));
  CHECK_THAT(refused("DDIMScheduler", {{"clip_sample", 1}}),
             ContainsSubstring("clip_sample must be true or false, not 1"));
  CHECK_THAT(refused("DDIMScheduler", {{"beta_schedule", 2}}),
             ContainsSubstring("beta_schedule must be a string, not 2"));
  CHECK_THAT(refused("DDIMScheduler", {{"num_train_timesteps", 10.5}}),
             ContainsSubstring("num_train_timesteps = 10.5 must be a whole number"));
  CHECK_THAT(refused("DDIMScheduler", {{"trained_betas", 0.1}}),
             ContainsSubstring("trained_betas must be a list of numbers, not 0.1"));
  CHECK_THAT(refused("DDIMScheduler", {{"trained_betas", {0.1, "x"}}}),
             ContainsSubstring("trained_betas[1] must be a number, not \"x\""));
  CHECK_THAT(refused("DDIMScheduler", {{"trained_betas", {0.1, 0.2}}}),
             ContainsSubstring("trained_betas has 2 entries, but num_train_timesteps = 1000"));
  CHECK_THAT(refused("DDIMScheduler", {{"trained_betas", {{"a", 1}}}}),
             ContainsSubstring("not a value of type object"));

  // huge and impossible numbers
  CHECK_THAT(refused("DDIMScheduler", {{"num_train_timesteps", 2000000}}),
             ContainsSubstring("num_train_timesteps = 2000000 is outside [1, 1000000]"));
  CHECK_THAT(refused("DDIMScheduler", {{"num_train_timesteps", 1e300}}), ContainsSubstring("must be a whole number"));
  CHECK_THAT(refused("DDIMScheduler", {{"num_train_timesteps", 0}}), ContainsSubstring("is outside [1, "));
  CHECK_THAT(refused("DDIMScheduler", {{"beta_end", 1e308}}), ContainsSubstring("beta_end"));
  CHECK_THAT(refused("DDIMScheduler", {{"beta_end", std::nan("")}}), ContainsSubstring("beta_end = nan is not finite"));
  CHECK_THAT(refused("DDIMScheduler", {{"clip_sample_range", -1.0}}), ContainsSubstring("clip_sample_range = -1"));
  CHECK_THAT(refused("EDMEulerScheduler", {{"sigma_min", 0.0}}), ContainsSubstring("sigma_min = 0 must be positive"));
  CHECK_THAT(refused("DPMSolverMultistepScheduler", {{"solver_order", 4}}), ContainsSubstring("solver_order = 4"));

  // words that are not known
  CHECK_THAT(
      refused("DDIMInverseScheduler", {{"timestep_spacing", "linspace"}}),
      ContainsSubstring("timestep_spacing = \"linspace\" is not supported; it must be one of leading, trailing"));
  CHECK_THAT(refused("UnCLIPScheduler", {{"variance_type", "learned"}}),
             ContainsSubstring("it must be one of fixed_small_log, learned_range"));
  CHECK_THAT(refused("UnCLIPScheduler", {{"beta_schedule", "linear"}}), ContainsSubstring("squaredcos_cap_v2"));
  CHECK_THAT(refused("UnCLIPScheduler", {{"prediction_type", "v_prediction"}}), ContainsSubstring("epsilon, sample"));
  CHECK_THAT(refused("EDMDPMSolverMultistepScheduler", {{"algorithm_type", "dpmsolver"}}),
             ContainsSubstring("dpmsolver++, sde-dpmsolver++, deis"));
  CHECK_THAT(refused("DPMSolverSinglestepScheduler", {{"algorithm_type", "sde-dpmsolver"}}),
             ContainsSubstring("dpmsolver++, sde-dpmsolver++, dpmsolver, deis"));
  CHECK_THAT(refused("DEISMultistepScheduler", {{"algorithm_type", "sde-dpmsolver++"}}), ContainsSubstring("deis"));
  CHECK_THAT(refused("DDIMScheduler", {{"beta_schedule", "cubic"}}),
             ContainsSubstring("beta_schedule = \"cubic\" is not supported; it must be one of linear, scaled_linear"));
  CHECK_THAT(refused("DDIMScheduler", {{"timestep_spacing", "even"}}),
             ContainsSubstring("leading, trailing, linspace"));
  CHECK_THAT(refused("DDIMScheduler", {{"prediction_type", "noise"}}),
             ContainsSubstring("epsilon, sample, v_prediction"));
  CHECK_THAT(refused("EDMEulerScheduler", {{"prediction_type", "sample"}}), ContainsSubstring("epsilon, v_prediction"));
  CHECK_THAT(refused("DDPMScheduler", {{"variance_type", "tiny"}}), ContainsSubstring("fixed_small"));
  CHECK_THAT(refused("DPMSolverMultistepScheduler", {{"algorithm_type", "x"}}), ContainsSubstring("dpmsolver++"));
  CHECK_THAT(refused("DPMSolverMultistepScheduler", {{"solver_type", "x"}}), ContainsSubstring("midpoint, heun"));
  CHECK_THAT(refused("DPMSolverMultistepScheduler", {{"final_sigmas_type", "x"}}),
             ContainsSubstring("zero, sigma_min"));
  CHECK_THAT(refused("EulerDiscreteScheduler", {{"interpolation_type", "x"}}), ContainsSubstring("linear, log_linear"));
  CHECK_THAT(refused("EulerDiscreteScheduler", {{"timestep_type", "x"}}), ContainsSubstring("discrete, continuous"));
  CHECK_THAT(refused("EDMEulerScheduler", {{"sigma_schedule", "x"}}), ContainsSubstring("karras, exponential"));
  CHECK_THAT(refused("FlowMatchEulerDiscreteScheduler", {{"time_shift_type", "x"}}),
             ContainsSubstring("exponential, linear"));

  // values that do not go together, and what is not supported
  CHECK_THAT(refusal({{"_class_name", "StableDiffusionPipeline"}, {"scheduler", json::array()}}),
             ContainsSubstring("\"StableDiffusionPipeline\" is a pipeline (model_index.json); read scheduler/"));
  CHECK_THAT(refused("DPMSolverMultistepScheduler", {{"algorithm_type", "dpmsolver"}}),
             ContainsSubstring("algorithm_type = \"dpmsolver\" needs final_sigmas_type = \"sigma_min\""));
  CHECK_THAT(refused("EulerDiscreteScheduler", {{"use_karras_sigmas", true}, {"use_beta_sigmas", true}}),
             ContainsSubstring("only one of use_karras_sigmas, use_exponential_sigmas"));
  CHECK_THAT(refused("DPMSolverMultistepScheduler", {{"prediction_type", "flow_prediction"}}),
             ContainsSubstring("prediction_type = \"flow_prediction\" needs use_flow_sigmas = true"));
  CHECK_THAT(
      refused("UniPCMultistepScheduler", {{"use_flow_sigmas", true}, {"prediction_type", "v_prediction"}}),
      ContainsSubstring("prediction_type = \"v_prediction\" is not supported; it must be one of flow_prediction"));
  CHECK_THAT(refused("UniPCMultistepScheduler", {{"shift_terminal", 0.1}}), ContainsSubstring("needs use_flow_sigmas"));
  CHECK_THAT(refused("UniPCMultistepScheduler", {{"solver_p", {{"_class_name", "x"}}}}),
             ContainsSubstring("solver_p is not supported: its value is another scheduler"));
  CHECK_THAT(refused("DPMSolverSDEScheduler", {{"noise_sampler_seed", 3}}),
             ContainsSubstring("noise_sampler_seed = 3 is not supported: the noise is an argument of sample()"));
  CHECK_THAT(refused("FlowMatchLCMScheduler", {{"scale_factors", {0.5, 1.0}}}),
             ContainsSubstring("scale_factors is not supported"));
}

TEST_CASE("arguments of set_timesteps and step are checked", "[diffusers_config]") {
  const json ddim = with("DDIMScheduler"), euler = with("EulerDiscreteScheduler");
  CHECK_THAT(grid_refusal(ddim, 0, nullptr), ContainsSubstring("num_inference_steps = 0 is outside [1, 1000]"));
  CHECK_THAT(grid_refusal(ddim, 1001, nullptr), ContainsSubstring("num_inference_steps = 1001 is outside [1, 1000]"));
  CHECK_THAT(grid_refusal(with("EDMEulerScheduler"), 2000000, nullptr), ContainsSubstring("is outside [1, 1000000]"));
  CHECK_THAT(
      grid_refusal(ddim, 5, {{"timesteps", {3, 2}}}),
      ContainsSubstring("DiffusersConfig::grid: DDIMScheduler: there is no argument \"timesteps\"; its arguments "
                        "are num_inference_steps, strength"));
  CHECK_THAT(grid_refusal(ddim, 5, json::array()),
             ContainsSubstring("must be a JSON object, not a value of type array"));
  CHECK_THAT(grid_refusal(ddim, 5, {{"strength", 0.0}}), ContainsSubstring("strength = 0 is outside"));
  CHECK_THAT(grid_refusal(ddim, 5, {{"strength", "x"}}), ContainsSubstring("strength must be a number"));
  CHECK_THAT(grid_refusal(euler, 5, {{"timesteps", json::array()}}), ContainsSubstring("timesteps is empty"));
  CHECK_THAT(grid_refusal(euler, 5, {{"timesteps", {3, 2}}, {"sigmas", {3, 2}}}),
             ContainsSubstring("give timesteps or sigmas, not both"));
  CHECK_THAT(grid_refusal(euler, 5, {{"sigmas", {2, 3}}}), ContainsSubstring("sigmas[1] = 3 is not below"));
  CHECK_THROWS_AS(read_diffusers_config(euler).grid(5, {{"timesteps", {5000}}}), std::out_of_range);
  CHECK_THAT(grid_refusal(with("EulerDiscreteScheduler", {{"use_karras_sigmas", true}}), 5, {{"timesteps", {3, 2}}}),
             ContainsSubstring("timesteps cannot be given together with use_karras_sigmas"));
  CHECK_THAT(grid_refusal(with("FlowMatchEulerDiscreteScheduler", {{"use_dynamic_shifting", true}}), 5, nullptr),
             ContainsSubstring("mu or image_seq_len is needed, because of use_dynamic_shifting"));
  CHECK_THAT(grid_refusal(with("FlowMatchEulerDiscreteScheduler", {{"use_dynamic_shifting", true}}), 5, {{"mu", 1e6}}),
             ContainsSubstring("mu = 1e+06 gives a shift of inf"));
  CHECK_THAT(grid_refusal(with("FlowMatchEulerDiscreteScheduler"), 5, {{"sigmas", {2.0, 0.5}}}),
             ContainsSubstring("sigma 0 = 2 is outside (0, 1]"));
  CHECK_THAT(grid_refusal(with("LCMScheduler"), 60, nullptr),
             ContainsSubstring("60 is more than the 50 steps to choose from"));
  CHECK_THAT(grid_refusal(with("LCMScheduler"), 4, {{"original_inference_steps", 2000}}),
             ContainsSubstring("original_inference_steps = 2000 is outside [1, 1000]"));

  CHECK_THAT(step_refusal(euler, {{"eta", 0.5}}),
             ContainsSubstring("DiffusersConfig::sampler: EulerDiscreteScheduler: there is no argument \"eta\"; its "
                               "arguments are s_churn, s_noise, s_tmax, s_tmin"));
  for (const char* key : {"jump_length", "device"}) {
    CHECK_THAT(grid_refusal(ddim, 5, {{key, 3}}), ContainsSubstring(std::string(key) + " is not supported"));
  }
  CHECK_THAT(grid_refusal(ddim, 5, {{"num_inference_steps", 8}}),
             ContainsSubstring("num_inference_steps = 8 differs from 5, the argument of grid()"));
  CHECK_THAT(grid_refusal(with("FlowMatchEulerDiscreteScheduler"), 5, {{"mu", 1.0}, {"image_seq_len", 64}}),
             ContainsSubstring("give mu or image_seq_len, not both"));
  CHECK_THAT(
      grid_refusal(with("FlowMatchEulerDiscreteScheduler", {{"base_image_seq_len", 4096}}), 5, {{"image_seq_len", 64}}),
      ContainsSubstring("image_seq_len needs base_image_seq_len below max_image_seq_len"));
  CHECK_THAT(grid_refusal(with("DPMSolverMultistepScheduler"), 5, {{"mu", 1.0}}),
             ContainsSubstring("mu needs use_flow_sigmas"));
  CHECK_THAT(grid_refusal(with("HeunDiscreteScheduler"), 1, {{"num_train_timesteps", -5}}),
             ContainsSubstring("num_train_timesteps = -5 is outside [1, 1000]"));
  CHECK_THAT(grid_refusal(with("CMStochasticIterativeScheduler"), 50, nullptr),
             ContainsSubstring("num_inference_steps = 50 is outside [1, 40]"));
  CHECK_THAT(grid_refusal(with("LCMScheduler"), 0, {{"timesteps", {639}}, {"strength", 0.5}}),
             ContainsSubstring("strength = 0.5 leaves no step"));
  CHECK_THAT(grid_refusal(with("DDPMScheduler", {{"num_train_timesteps", 4}}), 0, {{"timesteps", {3, 2, 1, 0, 0}}}),
             ContainsSubstring("a list of 5 steps is longer than 4"));

  CHECK_THAT(step_refusal(with("CogVideoXDDIMScheduler"), {{"eta", 0.5}}),
             ContainsSubstring("eta and use_clipped_model_output are not supported: diffusers ignores them"));
  CHECK_THAT(step_refusal(ddim, {{"variance_noise", 3}}), ContainsSubstring("variance_noise is not supported"));
  CHECK_THAT(step_refusal(ddim, {{"eta", 2.0}}), ContainsSubstring("eta = 2 is outside [0, 1]"));
  CHECK_THAT(step_refusal(with("LMSDiscreteScheduler"), {{"order", 9}}), ContainsSubstring("order = 9"));
  CHECK_THAT(step_refusal(with("FlowMatchEulerDiscreteScheduler"), {{"s_churn", 1.0}}),
             ContainsSubstring("s_churn = 1 is not supported: FlowMatchEulerDiscreteScheduler ignores it"));
  CHECK_THAT(step_refusal(with("RePaintScheduler"), nullptr), ContainsSubstring("use RePaint<Tensor>{known, mask"));
  CHECK_THAT(step_refusal(with("UniPCMultistepScheduler", {{"disable_corrector", {-1}}}), nullptr),
             ContainsSubstring("disable_corrector has an entry -1"));
}

TEST_CASE("unknown keys are listed, and keys with an underscore are skipped", "[diffusers_config]") {
  const DiffusersConfig config = read_diffusers_config(with(
      "DDIMScheduler", {{"beta_strat", 0.1}, {"_note", "x"}, {"skip_prk_steps", json::array({1, {{"deep", 2}}})}}));
  CHECK(config.unknown_keys() == std::vector<std::string>{"beta_strat", "skip_prk_steps"});
  CHECK(config.class_name() == "DDIMScheduler");
}

// ---- files ----

TEST_CASE("a config is read from a file or from the folder of a model", "[diffusers_config]") {
  const std::filesystem::path folder = std::filesystem::temp_directory_path() / "diffusion_test_of_configs";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder / "scheduler");
  const std::filesystem::path file = folder / "scheduler" / "scheduler_config.json";
  const auto write = [&](const std::string& text) { std::ofstream(file) << text; };
  const auto refusal_of_file = [&] {
    return error_message<std::runtime_error>([&] { static_cast<void>(read_diffusers_config(file)); });
  };
  // Python writes numbers that JSON does not have.
  write(
      R"({"_class_name": "DPMSolverMultistepScheduler", "lambda_min_clipped": -Infinity, "x": NaN, "y": "a \" NaN"})");
  CHECK(read_diffusers_config(file).class_name() == "DPMSolverMultistepScheduler");
  CHECK(read_diffusers_config(folder.string()).class_name() == "DPMSolverMultistepScheduler");
  CHECK(read_diffusers_config((folder / "scheduler").c_str()).unknown_keys() == std::vector<std::string>{"x", "y"});

  write(R"({"_class_name": "DDIMScheduler", "beta_end": Infinity})");
  CHECK_THAT(
      error_message<std::invalid_argument>([&] { static_cast<void>(read_diffusers_config(file)); }),
      ContainsSubstring("beta_end must be a number, not \"Infinity\" (in ") && ContainsSubstring("config.json)"));
  write("{\"_class_name\": ");
  CHECK_THAT(refusal_of_file(), ContainsSubstring("scheduler_config.json is not JSON: "));
  write(std::string(100000, '['));
  CHECK_THAT(refusal_of_file(), ContainsSubstring("nests more than 32 deep"));
  write("");
  CHECK_THAT(refusal_of_file(), ContainsSubstring("is not JSON"));
  std::filesystem::remove_all(folder);
  CHECK_THAT(refusal_of_file(), ContainsSubstring("is not a file"));
}

TEST_CASE("any JSON gives a run or an exception that is documented", "[diffusers_config]") {
  const std::vector<json> hostile = {nullptr,
                                     true,
                                     0,
                                     -1,
                                     1e300,
                                     0.5,
                                     "",
                                     "zero",
                                     json::array(),
                                     json::object(),
                                     json::array({1.0, -1.0}),
                                     json::array({json::array()}),
                                     4,
                                     std::string(100000, 'x')};
  const auto network = [](const Tensor& x, const auto&) { return x * 0.1; };
  std::size_t runs = 0, refusals = 0;
  const auto attempt = [&](const json& config_json, const json& set_timesteps, const json& step) {
    try {
      const DiffusersConfig config = read_diffusers_config(config_json);
      const TimeGrid grid = config.grid(3, set_timesteps);
      const auto sampler = config.sampler<Tensor>(step);
      if (!config.denoiser_options().learned_variance && config.denoiser_options().threshold_quantile == 0.0) {
        const Denoiser denoiser(network, config.mean_type(), config.denoiser_options());
        Tensor x(1, 2, 3);
        x.setConstant(0.5);
        static_cast<void>(diffusion::sample(sampler, grid, denoiser, x, diffusion::PhiloxNoise{1}));
      }
      ++runs;
    } catch (const std::invalid_argument& e) {
      CHECK(std::string(e.what()).size() < 1200);
      ++refusals;
    } catch (const std::out_of_range&) {
      ++refusals;
    } catch (const std::domain_error&) {
      ++refusals;
    }
  };
  for (const auto& row : diffusion::detail::diffusers_classes()) {
    for (const json& value : hostile) {
      INFO(row.name << " " << value.type_name());
      for (const auto& argument : row.init.items()) {
        attempt(with(row.name.c_str(), {{argument.key(), value}}), nullptr, nullptr);
      }
      for (const auto& argument : row.set_timesteps.items()) {
        attempt(with(row.name.c_str()), {{argument.key(), value}}, nullptr);
      }
      for (const auto& argument : row.step.items()) {
        attempt(with(row.name.c_str()), nullptr, {{argument.key(), value}});
      }
    }
  }
  CHECK(runs > 500);
  CHECK(refusals > 1000);
}

TEST_CASE("the table of classes has the arguments and the defaults of diffusers", "[diffusers_config]") {
  std::ifstream file(GOLDEN_DIR "/diffusers_defaults.json");
  const json expected = json::parse(file);
  REQUIRE(expected.size() == diffusion::detail::diffusers_classes().size());
  // Refused by name, or an argument of grid() for every class (strength).
  const std::set<std::string> unsupported = {
      "jump_length",         "jump_n_sample", "variance_noise", "pred_original_sample",
      "per_token_timesteps", "prev_timestep", "strength"};
  const std::set<std::string> added = {"predict_epsilon", "set_alpha_to_zero", "image_seq_len"};
  for (const auto& row : diffusion::detail::diffusers_classes()) {
    for (const auto& [function, arguments] :
         {std::pair("init", row.init), {"set_timesteps", row.set_timesteps}, {"step", row.step}}) {
      INFO(row.name << " " << function);
      const json& defaults = expected.at(row.name).at(function);
      for (const auto& argument : defaults.items()) {
        INFO(argument.key());
        if (unsupported.count(argument.key()) == 0)
          CHECK(arguments.value(argument.key(), json("none")) == argument.value());
      }
      for (const auto& argument : arguments.items()) {
        INFO(argument.key());
        CHECK((defaults.contains(argument.key()) || added.count(argument.key()) == 1));
      }
    }
  }
}

TEST_CASE("learned variances need the channels that the denoiser keeps", "[diffusers_config]") {
  const DiffusersConfig config = read_diffusers_config(kandinsky);
  const auto network = [](const Tensor& x, const auto&) { return x * 0.1; };
  Tensor x(1, 2, 3);
  x.setConstant(0.5);
  CHECK_THAT(
      error_message<std::invalid_argument>([&] {
        static_cast<void>(diffusion::sample(config.sampler<Tensor>(), config.grid(3),
                                            Denoiser(network, config.mean_type()), x, diffusion::PhiloxNoise{1}));
      }),
      ContainsSubstring("learned_range needs a Denoiser with denoiser_options()"));
}
