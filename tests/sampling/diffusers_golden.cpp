// Tests of diffusion/sampling/samplers/*.hpp, time_grid.hpp and model/denoiser.hpp: whole runs
// compared with those of diffusers' schedulers.
#include <cmath>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <diffusion/diffusion.hpp>

#include "matchers.hpp"

using diffusion::Denoiser;
using diffusion::DenoiserOptions;
using diffusion::Ending;
using diffusion::GaussianDiffusion;
using diffusion::ModelMeanType;
using diffusion::NoiseLevel;
using diffusion::TimeGrid;
using diffusion::TimestepSpacing;
using Eigen::ArrayXd;
using Eigen::Index;

namespace {

using Tensor = Eigen::Tensor<double, 3, Eigen::RowMajor, Index>;
using Prediction = diffusion::Prediction<Tensor>;
using ErasedDenoiser = std::function<void(const Tensor&, const NoiseLevel&, Prediction&)>;

/// A line of diffusers_cases.txt: the name, and the settings that differ from the scheduler's
/// defaults.
class Recording {
 public:
  explicit Recording(const std::string& line) {
    std::istringstream words(line);
    words >> name_;
    for (std::string word; words >> word;) {
      const std::size_t at = word.find('=');
      values_[word.substr(0, at)] = word.substr(at + 1);
    }
    scheduler_ = name_.substr(0, name_.find('/'));
  }
  const std::string& name() const { return name_; }
  const std::string& scheduler() const { return scheduler_; }
  std::string text(const std::string& key, const std::string& otherwise) const {
    const auto found = values_.find(key);
    return found == values_.end() ? otherwise : found->second;
  }
  double number(const std::string& key, double otherwise) const {
    const auto found = values_.find(key);
    return found == values_.end() ? otherwise : std::stod(found->second);
  }
  bool flag(const std::string& key, bool otherwise = false) const { return number(key, otherwise ? 1 : 0) != 0; }
  std::vector<double> list(const std::string& key) const {
    std::vector<double> out;
    std::istringstream items(text(key, ""));
    for (std::string item; std::getline(items, item, ',');) out.push_back(std::stod(item));
    return out;
  }
  Index steps() const { return static_cast<Index>(number("n", 0)); }
  ArrayXd record(const std::string& key) const { return golden("diffusers_samplers.txt").array(name_ + "/" + key); }
  bool has(const std::string& key) const { return golden("diffusers_samplers.txt").contains(name_ + "/" + key); }

 private:
  std::string name_, scheduler_;
  std::map<std::string, std::string> values_;
};

std::vector<Recording> all_recordings() {
  std::ifstream file(GOLDEN_DIR "/diffusers_cases.txt");
  std::vector<Recording> out;
  for (std::string line; std::getline(file, line);) out.emplace_back(line);
  return out;
}

GaussianDiffusion<double> process_of(const Recording& c) {
  const auto T = static_cast<Index>(c.number("num_train_timesteps", 1000));
  const std::string schedule = c.text("betas", "") == "sd" ? "sd" : c.text("beta_schedule", "linear");
  const double first = c.number("beta_start", 0.0001), last = c.number("beta_end", 0.02);
  ArrayXd betas = schedule == "sd"                  ? diffusion::scaled_linear_beta_schedule(T)
                  : schedule == "squaredcos_cap_v2" ? diffusion::cosine_beta_schedule(T)
                  : schedule == "sigmoid"           ? diffusion::sigmoid_beta_schedule(T, first, last)
                                                    : diffusion::linear_beta_schedule(T, first, last);
  if (c.flag("rescale_betas_zero_snr")) {
    betas = diffusion::rescale_zero_terminal_snr(betas);
    if (c.scheduler() != "DDIM") {  // the others keep a little signal
      ArrayXd alphas_cumprod = GaussianDiffusion<double>(betas).alphas_cumprod();
      alphas_cumprod[T - 1] = std::exp2(-24);
      betas = diffusion::betas_from_alphas_cumprod(alphas_cumprod);
    }
  }
  return GaussianDiffusion<double>(betas);
}

TimestepSpacing spacing_named(const std::string& name) {
  return name == "leading"    ? TimestepSpacing::leading
         : name == "trailing" ? TimestepSpacing::trailing
                              : TimestepSpacing::linspace;
}

TimestepSpacing spacing_of(const Recording& c, const char* otherwise) {
  return spacing_named(c.text("timestep_spacing", otherwise));
}

Ending ending_of(const Recording& c) {
  const bool clean = c.text("final_sigmas_type", "zero") == "zero" && c.scheduler() != "DEISMultistep" &&
                     c.flag("set_alpha_to_one", c.scheduler() != "PNDM");
  return clean ? Ending::clean : Ending::sigma_min;
}

/// The n sigmas that the flags select, from sigma_max to sigma_min; empty if no flag is set.
ArrayXd flagged_sigmas(const Recording& c, Index n, double sigma_min, double sigma_max) {
  if (c.flag("use_karras_sigmas")) return diffusion::karras_sigmas(n, sigma_min, sigma_max).head(n);
  if (c.flag("use_exponential_sigmas")) return diffusion::exponential_sigmas(n, sigma_min, sigma_max).head(n);
  if (c.flag("use_lu_lambdas")) return diffusion::lu_sigmas(n, sigma_min, sigma_max).head(n);
  if (c.flag("use_beta_sigmas")) return diffusion::beta_sigmas(n, sigma_min, sigma_max).head(n);
  return {};
}

void append(ArrayXd& x, double value) {
  x.conservativeResize(x.size() + 1);
  x[x.size() - 1] = value;
}

/// Levels of the variance-preserving path with these values of sigma / alpha and model times. The
/// last sigma ends the run and may be 0. A repeated last sigma makes no step.
TimeGrid grid_of(const GaussianDiffusion<double>& process, const ArrayXd& sigmas, const std::vector<double>& times) {
  std::vector<NoiseLevel> levels;
  for (Index i = 0; i < sigmas.size(); ++i) {
    const double t = static_cast<std::size_t>(i) < times.size() ? times[static_cast<std::size_t>(i)] : 0.0;
    if (i > 0 && sigmas[i] == sigmas[i - 1]) break;
    levels.push_back(diffusion::variance_preserving_level(t, sigmas[i]));
  }
  return {levels, diffusion::detail::InterpolatedProcess(process)};
}

/// The model times at the start of each step. Schedulers that call the model twice per step also
/// list the times of the second calls, which are left out.
std::vector<double> model_times(const Recording& c) {
  const bool two_calls = c.scheduler() == "HeunDiscrete" || c.scheduler().rfind("KDPM2", 0) == 0;
  const ArrayXd times = c.record("timesteps");
  std::vector<double> out;
  for (Index i = 0; i < times.size(); i += two_calls ? 2 : 1) out.push_back(times[i]);
  return out;
}

/// The grids of DPM-Solver, UniPC and DEIS.
TimeGrid dpm_grid(const Recording& c, const GaussianDiffusion<double>& process) {
  const Index n = c.steps(), T = process.num_timesteps();
  const ArrayXd& sigma = process.sqrt_recipm1_alphas_cumprod();
  const std::vector<double> recorded_times = model_times(c);
  if (c.flag("use_flow_sigmas")) {
    // DPM-Solver's sigmas run from 1 - 1 / T to 0. UniPC's start at 1, and their last, 1 / T, is
    // replaced by 0.
    ArrayXd sigmas = diffusion::detail::linspace(1.0, 1.0 / static_cast<double>(T), n + 1);
    if (c.scheduler() != "UniPCMultistep") sigmas = (1.0 - sigmas).reverse().eval();
    for (double& s : sigmas) s = diffusion::shifted_sigma(s, c.number("flow_shift", 1.0));
    sigmas[n] = 0.0;
    const ArrayXd recorded = c.record("sigmas");
    std::vector<NoiseLevel> levels;
    for (Index i = 0; i <= n; ++i) {
      if (i > 0 || recorded[0] != 0.999999)
        REQUIRE_THAT(ArrayXd(ArrayXd::Constant(1, sigmas[i])),
                     AllClose(ArrayXd(ArrayXd::Constant(1, recorded[i])), 1e-12));
      levels.push_back({i < n ? recorded_times[static_cast<std::size_t>(i)] : 0.0, 1.0 - recorded[i], recorded[i]});
    }
    return {levels, diffusion::detail::InterpolatedProcess(process)};
  }
  ArrayXd sigmas = flagged_sigmas(c, n, sigma[0], sigma[T - 1]);
  if (sigmas.size() > 0) {
    append(sigmas, ending_of(c) == Ending::clean ? 0.0 : sigma[0]);
    REQUIRE_THAT(sigmas, AllClose(c.record("sigmas"), 1e-12));
    return grid_of(process, sigmas, recorded_times);
  }
  const Index above = diffusion::num_timesteps_above(process, c.number("lambda_min_clipped", -1e9));
  const auto offset = static_cast<Index>(c.number("steps_offset", 0));
  const std::vector<double> times = diffusion::dpm_solver_timesteps(above, spacing_of(c, "linspace"), n, offset);
  REQUIRE(times == recorded_times);
  return timestep_grid(process, times, ending_of(c));
}

/// The grids of the schedulers that work in sigma / alpha: Euler, Heun, LMS, KDPM2.
TimeGrid sigma_scheduler_grid(const Recording& c, const GaussianDiffusion<double>& process) {
  const Index n = c.steps(), T = process.num_timesteps();
  const ArrayXd& table = process.sqrt_recipm1_alphas_cumprod();
  std::vector<double> recorded_times = model_times(c);
  std::vector<double> times;
  const TimestepSpacing spacing = spacing_of(c, "linspace");
  if (spacing == TimestepSpacing::linspace) {
    const ArrayXd even = diffusion::detail::linspace(0.0, static_cast<double>(T - 1), n).reverse();
    times.assign(even.begin(), even.end());
  } else {
    times = diffusion::spaced_timesteps(T, spacing, n, static_cast<Index>(c.number("steps_offset", 0)));
  }
  // Between whole timesteps diffusers interpolates sigma, not its logarithm.
  ArrayXd sigmas(n);
  for (Index i = 0; i < n; ++i) {
    const auto below = static_cast<Index>(times[static_cast<std::size_t>(i)]);
    const double weight = times[static_cast<std::size_t>(i)] - static_cast<double>(below);
    sigmas[i] = weight == 0.0 ? table[below] : (1.0 - weight) * table[below] + weight * table[below + 1];
  }
  const double sigma_min = c.number("sigma_min", sigmas[n - 1]), sigma_max = c.number("sigma_max", sigmas[0]);
  const ArrayXd flagged = flagged_sigmas(c, n, sigma_min, sigma_max);
  if (c.text("interpolation_type", "linear") == "log_linear") {
    sigmas = diffusion::exponential_sigmas(n + 1, table[0], table[T - 1]).head(n + 1);
  } else {
    if (flagged.size() > 0) {
      sigmas = flagged;
    } else {
      REQUIRE(times == recorded_times);
    }
    append(sigmas, c.text("final_sigmas_type", "zero") == "zero" ? 0.0 : table[0]);
  }
  if (recorded_times.size() == static_cast<std::size_t>(c.record("timesteps").size())) {
    const ArrayXd recorded = c.record("sigmas").head(sigmas.size());
    REQUIRE_THAT(sigmas, AllClose(recorded, 1e-12));
  }
  if (flagged.size() > 0 && c.scheduler().rfind("KDPM2", 0) != 0 && c.text("timestep_type", "discrete") == "discrete") {
    const TimeGrid grid = diffusion::sigma_grid(process, sigmas);
    for (std::size_t i = 0; i < recorded_times.size(); ++i) {
      INFO("level " << i);
      REQUIRE(std::abs(grid.levels()[i].t - recorded_times[i]) <= 1e-9);
    }
    return grid;
  }
  return grid_of(process, sigmas, recorded_times);
}

TimeGrid edm_scheduler_grid(const Recording& c) {
  const bool karras = c.text("sigma_schedule", "karras") == "karras";
  ArrayXd sigmas =
      karras ? diffusion::karras_sigmas(c.steps(), 0.002, 80.0) : diffusion::exponential_sigmas(c.steps(), 0.002, 80.0);
  if (c.text("final_sigmas_type", "zero") != "zero") sigmas.conservativeResize(c.steps());
  REQUIRE_THAT(sigmas, AllClose(ArrayXd(c.record("sigmas").head(sigmas.size())), 1e-12));
  return diffusion::edm_grid(sigmas);
}

TimeGrid flow_scheduler_grid(const Recording& c) {
  const double shift = c.number("shift", 1.0);
  const bool dynamic = c.flag("use_dynamic_shifting");
  const auto shifted = [&](ArrayXd sigmas) {
    const double mu = c.number("mu", 0.0);
    for (double& s : sigmas) {
      s = diffusion::shifted_sigma(s, !dynamic                                               ? shift
                                      : c.text("time_shift_type", "exponential") == "linear" ? mu
                                                                                             : std::exp(mu));
    }
    return sigmas;
  };
  ArrayXd sigmas;
  if (c.list("custom_sigmas").empty()) {
    // diffusers shifts sigma_min twice: in the constructor, and here with all sigmas.
    const double sigma_min = dynamic ? 0.001 : diffusion::shifted_sigma(0.001, shift);
    sigmas = shifted(diffusion::flow_matching_sigmas(c.steps(), sigma_min));
  } else {
    const std::vector<double> given = c.list("custom_sigmas");
    sigmas = Eigen::Map<const ArrayXd>(given.data(), static_cast<Index>(given.size()));
    sigmas = shifted(sigmas);
    append(sigmas, 0.0);
  }
  if (c.has("sigmas") && c.number("shift_terminal", 0.0) > 0.0) {
    sigmas = diffusion::stretched_to_terminal(sigmas, c.number("shift_terminal", 0.0));
  }
  const Index n = sigmas.size() - 1;
  const ArrayXd flagged = flagged_sigmas(c, n, sigmas[n - 1], sigmas[0]);
  if (flagged.size() > 0) sigmas.head(n) = flagged;
  // A sigma that rounding has put above 1 becomes 1, the level without signal.
  REQUIRE_THAT(sigmas, AllClose(c.record("sigmas"), 1e-12, 1e-15));
  sigmas = sigmas.min(1.0);
  return diffusion::flow_matching_grid(sigmas);
}

TimeGrid grid_of(const Recording& c, const GaussianDiffusion<double>& process) {
  const std::string& s = c.scheduler();
  const Index n = c.steps(), T = process.num_timesteps(), offset = static_cast<Index>(c.number("steps_offset", 0));
  if (s == "DDPM") {
    const std::vector<double> custom = c.list("custom_timesteps");
    const std::vector<double> times =
        custom.empty() ? diffusion::spaced_timesteps(T, spacing_of(c, "leading"), n, offset) : custom;
    REQUIRE(times == model_times(c));
    return timestep_grid(process, times);
  }
  if (s == "DDIM" || (s == "PNDM" && spacing_of(c, "leading") == TimestepSpacing::leading))
    return diffusers_ddim_grid(process, spacing_of(c, "leading"), n, offset, ending_of(c));
  if (s == "PNDM") return timestep_grid(process, spacing_of(c, "leading"), n, offset);
  if (s == "LCM") {
    const auto original = static_cast<Index>(c.number("original_inference_steps", 50));
    const std::vector<double> times = diffusion::lcm_timesteps(T, original, n);
    REQUIRE(times == model_times(c));
    return timestep_grid(process, times);
  }
  if (s == "FlowMatchEulerDiscrete") return flow_scheduler_grid(c);
  if (s.rfind("EDM", 0) == 0) return edm_scheduler_grid(c);
  if (s.rfind("DPMSolver", 0) == 0 || s == "UniPCMultistep" || s == "DEISMultistep") return dpm_grid(c, process);
  return sigma_scheduler_grid(c, process);
}

/// A sin(x) + B x + C cos(0.01 t)
struct Model {
  double a, b, c;
  void operator()(const Tensor& x, const Eigen::Tensor<double, 1>& t, Tensor& out) const {
    for (Index i = 0; i < x.size(); ++i) {
      out.data()[i] = a * std::sin(x.data()[i]) + b * x.data()[i] + c * std::cos(0.01 * t(0));
    }
  }
};

ErasedDenoiser denoiser_of(const Recording& c) {
  const std::string kind = c.text("model", "epsilon");
  const bool negative = c.scheduler().rfind("EDM", 0) == 0 && c.text("prediction_type", "epsilon") == "v_prediction";
  const double sign = negative ? -1.0 : 1.0;
  const auto weights = [&](double a, double b, double d) { return Model{sign * a, sign * b, sign * d}; };
  Model model = weights(0.1, 0.9, 0.05);
  ModelMeanType type = ModelMeanType::epsilon;
  if (kind == "sample") model = weights(0.6, 0.2, 0.05), type = ModelMeanType::start_x;
  if (kind == "v_prediction") model = weights(0.3, -0.1, 0.05), type = ModelMeanType::velocity;
  if (kind == "edm") model = weights(0.3, 0.2, 0.05), type = ModelMeanType::edm;
  if (kind == "flow") model = weights(0.3, 0.4, 0.05), type = ModelMeanType::flow_velocity;
  DenoiserOptions options;
  options.sigma_data = c.number("sigma_data", 0.5);
  options.rederive_epsilon = c.scheduler() != "DDIM" || c.flag("use_clipped_model_output");
  const bool clips_by_default = c.scheduler() == "DDPM" || c.scheduler() == "DDIM";
  if (c.flag("thresholding")) {
    options.threshold_quantile = c.number("dynamic_thresholding_ratio", 0.995);
    options.threshold_max = c.number("sample_max_value", 1.0);
  } else if (c.flag("clip_sample", clips_by_default)) {
    options.clip_min = -c.number("clip_sample_range", 1.0);
    options.clip_max = -options.clip_min;
  }
  return Denoiser(model, type, options);
}

/// Replays the recorded noise.
std::function<void(Tensor&)> noise_of(const Recording& c) {
  if (!c.has("noise")) return [](Tensor&) { throw std::logic_error("this run has no noise"); };
  const auto draws = std::make_shared<ArrayXd>(c.record("noise").cast<float>().cast<double>());
  const auto at = std::make_shared<Index>(0);
  return [draws, at](Tensor& z) {
    for (Index i = 0; i < z.size(); ++i) z.data()[i] = (*draws)[(*at)++];
  };
}

/// Runs the sampler on x, which is at the scale of the grid.
template <class Sampler>
Tensor run(const Recording& c, const Sampler& sampler, const TimeGrid& grid, const Tensor& x,
           diffusion::Hooks<Tensor> hooks = {}, ErasedDenoiser denoiser = nullptr) {
  if (!denoiser) denoiser = denoiser_of(c);
  return diffusion::sample(sampler, grid, denoiser, x, noise_of(c), hooks);
}

/// Churn as in diffusers: the model is called before the noise is added, and its output is used as
/// the output for the noisier x.
Tensor run_churned(const Recording& c, const TimeGrid& grid, const Tensor& x) {
  diffusion::Euler sampler;
  sampler.churn = {c.number("s_churn", 0), c.number("s_tmin", 0), c.number("s_tmax", HUGE_VAL), c.number("s_noise", 1)};
  const ErasedDenoiser model = denoiser_of(c);
  const bool edm = c.text("model", "epsilon") == "edm";
  Prediction before;
  NoiseLevel level{};
  Tensor x_before;
  diffusion::Hooks<Tensor> hooks;
  hooks.correct_x_t = [&](Tensor& at, const NoiseLevel& from) {
    if (from.sigma == 0.0) return;
    x_before = at;
    level = from;
    model(at, from, before);
  };
  const ErasedDenoiser denoiser = [&](const Tensor& noisy, const NoiseLevel& up, Prediction& out) {
    out = before;
    if (edm) {
      const auto path_at = [](const NoiseLevel& where) {
        return diffusion::detail::parameterization(ModelMeanType::edm, where.alpha, where.sigma, 1.0, 0.5);
      };
      const auto at = path_at(level), now = path_at(up);
      const Tensor output = (before.x_start - x_before * at.x_start().x) / at.x_start().output;
      out.x_start = noisy * now.x_start().x + output * now.x_start().output;
      out.epsilon = noisy * now.epsilon().x + output * now.epsilon().output;
    } else {
      out.x_start = (noisy - before.epsilon * up.sigma) / up.alpha;
    }
  };
  return run(c, sampler, grid, x, hooks, denoiser);
}

/// DpmSolverPP{3} for the SDE, with diffusers' weight of D2: -(phi_2(-g) + 1/2) instead of
/// 1/2 - phi_2(-g).
struct ThirdOrderSdeOfDiffusers {
  template <class T>
  using State = diffusion::MultistepState<T>;

  template <class T, class Noise>
  void advance(const diffusion::Step& step, const diffusion::ModelCall&, T& x, diffusion::Prediction<T>& prediction,
               const Noise& noise, State<T>& state) const {
    const double phi_2 = diffusion::detail::phi(2, -2.0 * diffusion::half_log_snr_rise(step.from, step.to));
    const double wrong = -(phi_2 + 0.5) / (0.5 - phi_2);
    diffusion::multistep_step({true, wrong, 3, diffusion::DpmSolverType::midpoint, 1.0, 1.0, true, false}, step, x,
                              prediction, noise, state);
  }
};

Tensor result(const Recording& c, const TimeGrid& grid, const Tensor& x) {
  const std::string& s = c.scheduler();
  const int order = static_cast<int>(c.number("solver_order", 2));
  const std::string algorithm = c.text("algorithm_type", "dpmsolver++");
  const auto type =
      c.text("solver_type", "midpoint") == "heun" ? diffusion::DpmSolverType::heun : diffusion::DpmSolverType::midpoint;
  const double eta = algorithm.rfind("sde", 0) == 0 ? 1.0 : 0.0;
  const bool data = algorithm.find("++") != std::string::npos;
  if (s == "DDPM") {
    using diffusion::Ddpm;
    const bool large = c.text("variance_type", "fixed_small") == "fixed_large";
    return run(c, Ddpm{large ? Ddpm::Variance::fixed_large : Ddpm::Variance::fixed_small}, grid, x);
  }
  if (s == "DDIM") return run(c, diffusion::Ddim{c.number("eta", 0)}, grid, x);
  if (s == "PNDM")
    return run(c, diffusion::Pndm{c.flag("skip_prk_steps"), c.text("prediction_type", "epsilon") == "v_prediction"},
               grid, x);
  if (s == "DPMSolverMultistep" || s == "EDMDPMSolverMultistep") {
    const bool lower = c.flag("lower_order_final", true), euler = c.flag("euler_at_final");
    if (data) return run(c, diffusion::DpmSolverPP{order, type, eta, 1.0, lower, euler}, grid, x);
    return run(c, diffusion::DpmSolver{order, type, eta, 1.0, lower, euler}, grid, x);
  }
  if (s == "DPMSolverSinglestep") {
    return run(c, diffusion::DpmSolverSinglestep{order, type, eta, 1.0, data, c.flag("lower_order_final")}, grid, x);
  }
  if (s == "UniPCMultistep") {
    diffusion::UniPc sampler;
    sampler.order = order;
    sampler.b = c.text("solver_type", "bh2") == "bh1" ? diffusion::UniPc::B::bh1 : diffusion::UniPc::B::bh2;
    sampler.predict_x0 = c.flag("predict_x0", true);
    sampler.lower_order_final = c.flag("lower_order_final", true);
    for (const double step : c.list("disable_corrector")) sampler.disable_corrector.push_back(static_cast<Index>(step));
    return run(c, sampler, grid, x);
  }
  if (s == "DEISMultistep") return run(c, diffusion::Deis{order, c.flag("lower_order_final", true)}, grid, x);
  if (s == "EulerDiscrete" || s == "EDMEuler") {
    return c.number("s_churn", 0) > 0 ? run_churned(c, grid, x) : run(c, diffusion::Euler{}, grid, x);
  }
  if (s == "EulerAncestralDiscrete") return run(c, diffusion::EulerAncestral{}, grid, x);
  if (s == "HeunDiscrete") return run(c, diffusion::Heun{}, grid, x);
  if (s == "LMSDiscrete") return run(c, diffusion::Lms{static_cast<int>(c.number("order", 4))}, grid, x);
  if (s == "KDPM2Discrete") return run(c, diffusion::Dpm2{}, grid, x);
  if (s == "KDPM2AncestralDiscrete") return run(c, diffusion::Dpm2Ancestral{}, grid, x);
  if (s == "LCM") return run(c, diffusion::Lcm{}, grid, x);
  if (s == "FlowMatchEulerDiscrete") {
    return c.flag("stochastic_sampling") ? run(c, diffusion::Lcm{10.0, 0.0}, grid, x)
                                         : run(c, diffusion::Euler{}, grid, x);
  }
  throw std::logic_error("no sampler is known for " + s);
}

/// True if a scheduler keeps x at the scale alpha = 1.
bool counts_in_sigma(const std::string& s) {
  return s == "EulerDiscrete" || s == "EulerAncestralDiscrete" || s == "HeunDiscrete" || s == "LMSDiscrete" ||
         s.rfind("KDPM2", 0) == 0;
}

}  // namespace

TEST_CASE("every run of diffusers is reproduced, except for known errors of diffusers", "[samplers]") {
  // Runs of diffusers that are wrong: the largest distance of our run, and the reason.
  const std::map<std::string, double> mended = {
      {"DDPM/fixed_small_epsilon_noclip_trailing",
       1e-9},                                      // the last step, which ends clean, adds noise of deviation 1e-10
      {"DDPM/fixed_small_epsilon_offset1", 1e-9},  // as above
      {"PNDM/skip_prk1_alphaone", 5e-2},           // steps to t - floor(1000 / 7) and calls the model at other times
      {"DPMSolverMultistep/sde-dpmsolver++_o3",
       1.0}};  // -1/2 instead of +1/2 in the weight of D2; k-diffusion has +1/2
  std::size_t runs = 0;
  for (const Recording& c : all_recordings()) {
    INFO(c.name());
    const auto& g = golden("diffusers_samplers.txt");
    const auto process = process_of(c);
    const TimeGrid grid = grid_of(c, process);
    Tensor x = g.tensor<float, 3>(c.name() + "/x_init").cast<double>();
    Tensor expected = g.tensor<double, 3>(c.name() + "/final");
    if (counts_in_sigma(c.scheduler())) {
      x = x * grid.levels().front().alpha;
      expected = expected * grid.levels().back().alpha;
    }
    const Tensor sample = result(c, grid, x);
    const auto wrong = mended.find(c.name());
    if (wrong == mended.end()) {
      CHECK_THAT(sample, AllClose(expected, tolerance::sampler, tolerance::sampler));
    } else {
      CHECK_FALSE(AllClose(expected, tolerance::sampler, tolerance::sampler).match(sample));
      CHECK_THAT(sample, AllClose(expected, wrong->second, wrong->second));
      // The sign is the only difference.
      if (c.name() == "DPMSolverMultistep/sde-dpmsolver++_o3") {
        CHECK_THAT(run(c, ThirdOrderSdeOfDiffusers{}, grid, x),
                   AllClose(expected, tolerance::sampler, tolerance::sampler));
      }
    }
    ++runs;
  }
  REQUIRE(runs == 168);
}

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
