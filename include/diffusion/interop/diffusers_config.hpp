/// @file diffusers_config.hpp
/// Sampling as the scheduler_config.json of a published model says. It needs nlohmann_json
/// (https://github.com/nlohmann/json, 3.9 or later) and is not part of diffusion.hpp.
#pragma once

#include <Eigen/Core>
#include <algorithm>  // std::min
#include <cmath>      // std::floor, std::hypot
#include <cstdio>     // std::sscanf
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>  // std::invalid_argument
#include <string>
#include <string_view>
#include <system_error>  // std::error_code
#include <tuple>
#include <type_traits>
#include <utility>  // std::move
#include <vector>

#include "../detail/error.hpp"
#include "../model/denoiser.hpp"
#include "../process/gaussian_diffusion.hpp"
#include "../sampling/any_sampler.hpp"
#include "../sampling/samplers/deis.hpp"
#include "../sampling/samplers/dpm2.hpp"
#include "../sampling/samplers/dpm2_ancestral.hpp"
#include "../sampling/samplers/dpm_solver.hpp"
#include "../sampling/samplers/dpm_solver_pp.hpp"
#include "../sampling/samplers/dpm_solver_pp_sde.hpp"
#include "../sampling/samplers/dpm_solver_singlestep.hpp"
#include "../sampling/samplers/euler.hpp"
#include "../sampling/samplers/euler_ancestral.hpp"
#include "../sampling/samplers/flow_heun.hpp"
#include "../sampling/samplers/heun.hpp"
#include "../sampling/samplers/ipndm.hpp"
#include "../sampling/samplers/lcm.hpp"
#include "../sampling/samplers/lms.hpp"
#include "../sampling/samplers/tcd.hpp"
#include "../sampling/samplers/uni_pc.hpp"
#include "../sampling/time_grid.hpp"
#include "detail/diffusers_arguments.hpp"
#include "detail/diffusers_classes.hpp"
#include "detail/diffusers_json.hpp"
#include "detail/diffusers_levels.hpp"
#include "detail/diffusers_process.hpp"
#include "detail/diffusers_samplers.hpp"
#include "detail/name_lookup.hpp"

namespace diffusion {

/// How a config of diffusers is read.
struct DiffusersConfigOptions {
  /// Reproduces these errors of diffusers, which are corrected by default:
  ///
  ///   - DDPM adds noise in the last step, unless that starts at timestep 0.
  ///   - PNDM steps to t - floor(T / n) instead of the next timestep, if the spacing is not
  ///     leading, and rounds the middle of a Runge-Kutta step in two ways.
  ///   - DDIMInverse takes the same strides, if n does not divide T.
  ///   - IPNDM takes 0 for x_0 in its first step.
  ///   - The third-order SDE solvers of DPM-Solver have a wrong sign in the weight of D2.
  ///   - FlowMatchHeun loses signal to churn.
  ///   - EDMEuler takes a given list of sigmas for the ramp between sigma_max and sigma_min, and a
  ///     run of one step with sigma_schedule = "exponential" starts at sigma_min.
  ///   - FlowMatchEuler ignores churn, CogVideoXDDIM and CogVideoXDPM ignore eta and
  ///     use_clipped_model_output. Without `compatible` they are refused.
  ///   - DPM-Solver, DEIS and UniPC take sigma / alpha for sigma if use_flow_sigmas meets
  ///     use_karras_sigmas or its kin.
  ///
  /// Corrected in any case are NaN (UniPC "bh1" that ends at 0, DDPM "fixed_large_log", sigma /
  /// alpha above 1 with use_flow_sigmas), a timestep -1 with trailing spacing, noise that LCM
  /// leaves in the result if both timesteps and strength are given, LMS that starts part-way with
  /// too high an order, and stochastic steps with invert_sigmas.
  bool compatible = false;
};

/// Factor from x on this library's grid to x in diffusers.
struct DiffusersScale {
  double first,  ///< At the first level, where a run starts.
      last;      ///< At the last level, where it ends.
};

/// The process, the quantity that the network predicts, the noise levels and the sampler that a
/// scheduler_config.json describes. Results equal those of diffusers, except for the errors that
/// are corrected by default; see DiffusersConfigOptions.
///
/// @code{.cpp}
/// #include <diffusion/diffusion.hpp>
/// #include <diffusion/interop/diffusers_config.hpp>
///
/// int main() {
///   using Image = Eigen::Tensor<float, 4, Eigen::RowMajor>;
///   const auto network = [](const Image& x, const auto&) { return 0.5f * x; };
///   // A path is taken as well: read_diffusers_config("stable-diffusion-xl/scheduler")
///   const auto config = diffusion::read_diffusers_config(nlohmann::json::parse(R"({
///       "_class_name": "EulerDiscreteScheduler", "beta_schedule": "scaled_linear",
///       "beta_start": 0.00085, "beta_end": 0.012, "timestep_spacing": "leading",
///       "steps_offset": 1})"));
///
///   const diffusion::TimeGrid grid = config.grid(20);
///   const diffusion::Denoiser denoiser(network, config.mean_type(), config.denoiser_options());
///   Image x(1, 4, 8, 8);
///   diffusion::PhiloxNoise noise{1};
///   noise(x);
///   x = x * static_cast<float>(config.initial_noise_scale(grid));
///   const Image image = diffusion::sample(config.sampler<Image>(), grid, denoiser, x, noise);
///   return image.dimension(1) == 4 ? 0 : 1;
/// }
/// @endcode
///
/// It knows these classes of diffusers:
///
///   - of timesteps: DDPM, DDIM (and their Parallel forms), DDIMInverse, CogVideoXDDIM,
///     CogVideoXDPM, UnCLIP, PNDM, LCM, TCD; RePaint without its sampler
///   - DPMSolverMultistep, DPMSolverSinglestep, DPMSolverSDE, UniPCMultistep, DEISMultistep
///   - of sigmas: EulerDiscrete, EulerAncestralDiscrete, HeunDiscrete, KDPM2Discrete,
///     KDPM2AncestralDiscrete, LMSDiscrete
///   - EDMEuler, EDMDPMSolverMultistep, CosineDPMSolverMultistep, CMStochasticIterative, IPNDM
///   - FlowMatchEulerDiscrete, FlowMatchHeunDiscrete, FlowMatchLCM
///
/// Differences that remain: noise is drawn only where it is used, so that a noise source in another
/// order is needed to reproduce a run of diffusers with noise bit for bit (CogVideoXDPM draws
/// twice in a step); and model times that diffusers rounds down may be one larger where
/// diffusers' rounding errors put them just below an integer.
class DiffusersConfig {
 public:
  using Json = nlohmann::json;  ///< type of JSON values

  /// Reads a config; see read_diffusers_config.
  explicit DiffusersConfig(const Json& config, DiffusersConfigOptions options = {})
      : class_(&find_class(config)),
        options_(options),
        arguments_(reader, class_->name, defaults_of(*class_, config), config, &unknown_keys_) {
    check();
    if (has_betas()) process_.emplace(detail::diffusers_process(arguments_));
  }

  /// The class of diffusers, such as "DDIMScheduler".
  const std::string& class_name() const { return class_->name; }
  /// Keys of the config that the class does not have, in alphabetical order. diffusers ignores them
  /// with a warning. Configs often have some that are meant for other classes; check the list for
  /// misspelt names. Keys that begin with an underscore are not in it.
  const std::vector<std::string>& unknown_keys() const { return unknown_keys_; }

  /// The process on which the model was trained; nothing for flow matching, EDM, consistency models
  /// and IPNDM.
  const std::optional<GaussianDiffusion<double>>& process() const {
    static const std::optional<GaussianDiffusion<double>> none;
    return arguments_.flag("use_flow_sigmas") ? none : process_;
  }
  /// The quantity that the network predicts, for a Denoiser.
  ModelMeanType mean_type() const {
    using Family = detail::DiffusersFamily;
    if (is_edm()) return ModelMeanType::edm;
    if (class_->family == Family::flow) return ModelMeanType::flow_velocity;
    if (class_->family == Family::ipndm) return ModelMeanType::velocity;
    const std::string type = prediction_type();
    return type == "epsilon"        ? ModelMeanType::epsilon
           : type == "v_prediction" ? ModelMeanType::velocity
           : type == "sample"       ? ModelMeanType::start_x
                                    : ModelMeanType::flow_velocity;
  }
  /// Options for a Denoiser: clipping, dynamic thresholding, learned variances (variance_type), and
  /// for EDM sigma_data, the model time and the sign. Some pipelines remove the variance channels
  /// before the scheduler; if the network still returns twice the channels, set learned_variance.
  DenoiserOptions denoiser_options() const {
    using Family = detail::DiffusersFamily;
    const auto& a = arguments_;
    DenoiserOptions out;
    const bool epsilon_of_unipc = a.has("predict_x0") && !a.flag("predict_x0");  // it is not corrected
    const bool corrects = !is("TCDScheduler") && !is("CogVideoXDDIMScheduler") && !is("CogVideoXDPMScheduler");
    if (a.flag("thresholding") && corrects && !epsilon_of_unipc) {
      out.threshold_quantile = a.number("dynamic_thresholding_ratio");
      out.threshold_max = a.number("sample_max_value");
      out.threshold_min = (std::min)(1.0, out.threshold_max);
    } else if (a.flag("clip_sample") && corrects) {
      out.clip_max = a.number("clip_sample_range", 1.0);
      out.clip_min = -out.clip_max;
    }
    out.rederive_epsilon = class_->family != Family::ddim && class_->family != Family::ddim_inverse;
    out.learned_variance = a.text("variance_type").rfind("learned", 0) == 0;
    out.sigma_data = a.number("sigma_data", out.sigma_data);
    out.edm_time = !is("CosineDPMSolverMultistepScheduler") && class_->family != Family::consistency;
    if (a.flag("invert_sigmas") || (is_edm() && a.text("prediction_type") == "v_prediction")) out.output_scale = -1.0;
    out.scale_input = !a.flag("use_flow_sigmas");
    return out;
  }

  /// The noise levels of a run. `set_timesteps` has the arguments of set_timesteps that the class
  /// takes: timesteps or sigmas (lists; then n is not used), mu, original_inference_steps,
  /// num_train_timesteps. Two more are those of pipelines:
  ///
  ///   - strength, in (0, 1]: the last part of the run, for image to image
  ///     (TimeGrid::with_strength; an argument of set_timesteps in LCM and TCD). Such a run starts
  ///     from add_noise(image, grid.levels().front(), noise).
  ///   - image_seq_len: the number of tokens of a picture, from which mu is computed with the
  ///     base_shift, max_shift, base_image_seq_len and max_image_seq_len of the config. It is not
  ///     used without use_dynamic_shifting.
  ///
  /// Throws std::invalid_argument for an argument that the class does not take or cannot use, and
  /// what timestep_grid, sigma_grid and flow_matching_grid throw.
  [[nodiscard]] TimeGrid grid(Eigen::Index num_inference_steps, const Json& set_timesteps = nullptr) const {
    const detail::DiffusersArguments arguments(
        "DiffusersConfig::grid", class_->name,
        detail::merged({class_->set_timesteps, {{"num_inference_steps", nullptr}, {"strength", 1.0}}}), set_timesteps);
    arguments.check_range("strength", std::numeric_limits<double>::min(), 1.0);
    const detail::DiffusersLevels levels(arguments_, arguments, class_->family, process_ ? &*process_ : nullptr,
                                         options_.compatible, num_inference_steps);
    const double strength = arguments.number("strength");
    const bool of_timesteps = class_->family == detail::DiffusersFamily::lcm;
    return strength == 1.0 || of_timesteps ? levels.grid() : levels.grid().with_strength(strength);
  }

  /// The sampler. `step` has the arguments of step that the class takes: eta and
  /// use_clipped_model_output (DDIM), eta (TCD), order (LMS), s_noise (DPMSolverSDE), and s_churn,
  /// s_tmin, s_tmax and s_noise (Euler, EDMEuler, FlowMatchHeun). With churn, EulerDiscrete and
  /// EDMEuler of diffusers call the model before they add the noise, and so does this sampler;
  /// Euler{} calls it after, as Karras et al. 2022 do.
  ///
  /// All samplers are compiled for Tensor; named_sampler says how to do that once. Throws
  /// std::invalid_argument for an argument that the class does not take, and for RePaint, which
  /// needs a picture and a mask.
  template <class Tensor>
  [[nodiscard]] AnySampler<Tensor> sampler(const Json& step = nullptr) const;

  /// The scale of x in diffusers, relative to x on this grid: Euler and the other schedulers that
  /// work with sigma hold x at alpha = 1, so it is 1 / alpha for them. For the others it is 1.
  DiffusersScale x_scale(const TimeGrid& grid) const {
    if (class_->family != detail::DiffusersFamily::sigma) return {1.0, 1.0};
    return {1.0 / grid.levels().front().alpha, 1.0 / grid.levels().back().alpha};
  }
  /// The standard deviation of x at the first level of the whole grid, for a run from pure noise:
  ///
  ///     x = initial_noise_scale(grid) noise
  ///
  /// It is init_noise_sigma of diffusers, at the scale of our grid.
  double initial_noise_scale(const TimeGrid& grid) const {
    using Family = detail::DiffusersFamily;
    const NoiseLevel first = grid.whole_level(0);
    const double high = arguments_.number("sigma_max");
    if (class_->family == Family::edm) return std::hypot(high, 1.0);
    if (class_->family == Family::consistency) return high;
    const bool leading = arguments_.text("timestep_spacing") == "leading";
    return class_->family == Family::sigma && !leading ? first.sigma : 1.0;
  }

 private:
  static constexpr const char* reader = "read_diffusers_config";

  bool is(const char* name) const { return class_->name == name; }
  bool is_edm() const {
    return class_->family == detail::DiffusersFamily::edm || class_->family == detail::DiffusersFamily::consistency;
  }
  bool has_betas() const { return arguments_.has("beta_schedule"); }

  std::string prediction_type() const {
    const std::string type = arguments_.text("prediction_type", "epsilon");
    // Before prediction_type existed, predict_epsilon = false meant x_0.
    const bool of_x_start = arguments_.given("predict_epsilon") && !arguments_.flag("predict_epsilon");
    return type == "original_sample" || (type == "epsilon" && of_x_start) ? "sample" : type;
  }

  /// Returns the row of the class, without copying the config.
  static const detail::DiffusersClass& find_class(const Json& config) {
    using std::invalid_argument;
    if (!config.is_object())
      detail::fail<invalid_argument>(reader, "a config is a JSON object, not ", detail::shown(config));
    const auto name = config.find("_class_name");
    if (name == config.end()) detail::fail<invalid_argument>(reader, "_class_name is missing; it names the scheduler");
    if (!name->is_string()) {
      detail::fail<invalid_argument>(reader, "_class_name must be a string, not ", detail::shown(*name));
    }
    const auto& class_name = name->get_ref<const std::string&>();
    if (class_name.size() >= 8 && class_name.compare(class_name.size() - 8, 8, "Pipeline") == 0) {
      detail::fail<invalid_argument>(reader, detail::in_quotes(class_name),
                                     " is a pipeline (model_index.json); read scheduler/scheduler_config.json");
    }
    std::vector<std::string> known;
    for (const detail::DiffusersClass& row : detail::diffusers_classes()) {
      if (row.name == class_name) return row;
      known.push_back(row.name);
    }
    detail::fail_unknown_name(reader, class_name, known);
  }

  /// Returns the defaults that the class had in the _diffusers_version of the config.
  static Json defaults_of(const detail::DiffusersClass& row, const Json& config) {
    Json defaults = row.init;
    const auto version = config.find("_diffusers_version");
    if (version == config.end() || version->is_null()) return defaults;
    if (!version->is_string()) {
      detail::fail<std::invalid_argument>(reader, "_diffusers_version must be a string, not ", detail::shown(*version));
    }
    int number[3] = {0, 0, 0};
    if (std::sscanf(version->get_ref<const std::string&>().c_str(), "%9d.%9d.%9d", &number[0], &number[1], &number[2]) <
        2) {
      detail::fail<std::invalid_argument>(reader, "_diffusers_version = ", detail::shown(*version),
                                          " is not a version, such as 0.27.0");
    }
    for (const detail::DiffusersFormerDefault& former : detail::diffusers_former_defaults()) {
      if (row.name == former.scheduler &&
          std::tie(number[0], number[1], number[2]) < std::tie(former.until[0], former.until[1], former.until[2])) {
        defaults[former.key] = former.value;
      }
    }
    return defaults;
  }

  /// Throws std::invalid_argument for values that the class does not have, out of range, or
  /// together.
  void check() const {
    const auto& a = arguments_;
    a.check_count("num_train_timesteps", 1000000);
    a.check_choice("beta_schedule", is("UnCLIPScheduler")
                                        ? std::vector<std::string>{"squaredcos_cap_v2"}
                                        : std::vector<std::string>{"linear", "scaled_linear", "squaredcos_cap_v2",
                                                                   "sigmoid", "laplace", "exp"});
    if (is("DDIMInverseScheduler")) a.check_choice("timestep_spacing", {"leading", "trailing"});
    a.check_choice("timestep_spacing", {"leading", "trailing", "linspace"});
    if (is("UnCLIPScheduler")) a.check_choice("variance_type", {"fixed_small_log", "learned_range"});
    a.check_choice("variance_type",
                   {"fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log", "learned", "learned_range"});
    if (is("DEISMultistepScheduler")) a.check_choice("algorithm_type", {"deis", "dpmsolver", "dpmsolver++"});
    if (is_edm()) a.check_choice("algorithm_type", {"dpmsolver++", "sde-dpmsolver++", "deis"});
    if (is("DPMSolverSinglestepScheduler")) {
      a.check_choice("algorithm_type", {"dpmsolver++", "sde-dpmsolver++", "dpmsolver", "deis"});
    }
    a.check_choice("algorithm_type", {"dpmsolver++", "sde-dpmsolver++", "dpmsolver", "sde-dpmsolver", "deis"});
    if (a.text("final_sigmas_type") == "zero" &&
        (a.text("algorithm_type") == "dpmsolver" || a.text("algorithm_type") == "sde-dpmsolver")) {
      a.refuse("algorithm_type = ", detail::in_quotes(a.text("algorithm_type")),
               " needs final_sigmas_type = \"sigma_min\"");
    }
    a.check_choice("solver_type", {"midpoint", "heun", "bh1", "bh2", "logrho"});
    a.check_choice("final_sigmas_type", {"zero", "sigma_min"});
    a.check_choice("interpolation_type", {"linear", "log_linear"});
    a.check_choice("timestep_type", {"discrete", "continuous"});
    a.check_choice("sigma_schedule", {"karras", "exponential"});
    a.check_choice("time_shift_type", {"exponential", "linear"});
    if (is("UnCLIPScheduler")) a.check_choice("prediction_type", {"epsilon", "sample"});
    const bool flow_sigmas = a.flag("use_flow_sigmas");
    if (is_edm()) {
      a.check_choice("prediction_type", {"epsilon", "v_prediction"});
    } else if (flow_sigmas) {
      a.check_choice("prediction_type", {"flow_prediction", "epsilon", "sample"});
    } else if (a.text("prediction_type") == "flow_prediction") {
      a.refuse("prediction_type = \"flow_prediction\" needs use_flow_sigmas = true");
    } else {
      a.check_choice("prediction_type", {"epsilon", "sample", "v_prediction", "original_sample"});
    }
    if (a.spreads() > 1) {
      a.refuse("only one of use_karras_sigmas, use_exponential_sigmas, use_beta_sigmas and use_lu_lambdas may be true");
    }
    if (a.given("noise_sampler_seed")) {
      a.refuse("noise_sampler_seed = ", a.number("noise_sampler_seed"),
               " is not supported: the noise is an argument of sample()");
    }
    if (a.given("scale_factors")) a.refuse("scale_factors is not supported: the size of x would change during the run");
    if (a.given("shift_terminal") && a.has("use_flow_sigmas") && !flow_sigmas) {
      a.refuse("shift_terminal needs use_flow_sigmas = true");
    }
    if (is_edm()) a.check_positive({"sigma_min", "sigma_max", "sigma_data", "rho"});
    a.check_positive({"clip_sample_range", "sample_max_value", "snr_shift_scale", "shift", "flow_shift"});
    a.check_range("dynamic_thresholding_ratio", 0.0, 1.0);
    a.check_range("solver_order", 1, 3);
  }

  const detail::DiffusersClass* class_;
  DiffusersConfigOptions options_;
  std::vector<std::string> unknown_keys_;
  detail::DiffusersArguments arguments_;
  std::optional<GaussianDiffusion<double>> process_;
};

template <class Tensor>
AnySampler<Tensor> DiffusersConfig::sampler(const Json& step) const {
  using Family = detail::DiffusersFamily;
  const auto& a = arguments_;
  const detail::DiffusersArguments s("DiffusersConfig::sampler", class_->name, class_->step, step);
  const bool compatible = options_.compatible;

  Churn churn;
  churn.s_churn = s.number("s_churn");
  churn.s_tmin = s.number("s_tmin");
  churn.s_tmax = s.number("s_tmax", churn.s_tmax);
  churn.s_noise = s.number("s_noise", 1.0);

  const std::string algorithm = a.text("algorithm_type"), solver = a.text("solver_type");
  const int order = static_cast<int>(a.integer("solver_order"));
  const bool data = algorithm == "deis" || algorithm.find("++") != std::string::npos,
             lower = a.flag("lower_order_final");
  const double eta = algorithm.rfind("sde", 0) == 0 || is("CosineDPMSolverMultistepScheduler") ? 1.0 : 0.0;
  const DpmSolverType type = solver == "heun" ? DpmSolverType::heun : DpmSolverType::midpoint;

  switch (class_->family) {
    case Family::ddpm:
    case Family::unclip: {
      const std::string variance = a.text("variance_type");
      if (variance.rfind("learned", 0) == 0) {
        return detail::DdpmOfLearnedVariance{variance == "learned_range", compatible};
      }
      const Ddpm ddpm{variance.rfind("fixed_large", 0) == 0 ? Ddpm::Variance::fixed_large
                                                            : Ddpm::Variance::fixed_small};
      if (compatible) return detail::DdpmWithLastNoise{ddpm};
      return ddpm;
    }
    case Family::ddim: {
      if (class_->name.rfind("CogVideoX", 0) == 0 && !compatible &&
          (s.number("eta") != 0.0 || s.flag("use_clipped_model_output"))) {
        s.refuse("eta and use_clipped_model_output are not supported: diffusers ignores them");
      }
      if (is("CogVideoXDPMScheduler")) return detail::CogVideoXDpm{a.integer("num_train_timesteps")};
      const Ddim ddim{is("CogVideoXDDIMScheduler") ? 0.0 : s.number("eta")};
      if (s.flag("use_clipped_model_output")) return detail::DdimOfClippedOutput{ddim};
      return ddim;
    }
    case Family::ddim_inverse:
      if (compatible) return detail::DdimUpToModelTime{};
      return Ddim{};
    case Family::pndm: {
      const bool velocity = prediction_type() == "v_prediction", skip = a.flag("skip_prk_steps");
      if (compatible) return detail::PndmOfDiffusers{skip, velocity, a.integer("num_train_timesteps")};
      return Pndm{skip, velocity};
    }
    case Family::repaint:
      a.refuse(
          "the sampler needs a picture and a mask: use RePaint<Tensor>{known, mask, jump_length, jump_n_sample}, "
          "whose steps are those of eta = 1");
    case Family::lcm:
      if (is("TCDScheduler")) return Tcd{s.number("eta")};
      return Lcm{a.number("timestep_scaling")};
    case Family::dpm:
      if (is("UniPCMultistepScheduler")) {
        UniPc sampler;
        sampler.order = order;
        sampler.b = solver == "bh1" ? UniPc::B::bh1 : UniPc::B::bh2;
        sampler.predict_x0 = a.flag("predict_x0");
        sampler.lower_order_final = lower;
        for (const double i : a.list("disable_corrector")) {
          if (!(i >= 0.0 && i <= 1e9 && i == std::floor(i))) {
            s.refuse("disable_corrector has an entry ", i, ", which is no step");
          }
          sampler.disable_corrector.push_back(static_cast<Eigen::Index>(i));
        }
        return sampler;
      }
      if (is("DEISMultistepScheduler")) return Deis{order, lower};
      if (is("DPMSolverSinglestepScheduler")) {
        const bool lower_at_end = lower || a.text("final_sigmas_type") == "zero";
        const DpmSolverSinglestep sampler{order, type, eta, 1.0, data, lower_at_end};
        if (compatible && eta == 1.0) return detail::SinglestepSdeOfDiffusers{sampler};
        return sampler;
      }
      [[fallthrough]];
    case Family::edm: {
      if (is("EDMEulerScheduler")) break;
      const bool first_at_end = a.flag("euler_at_final"), multistep_data = data || !a.has("algorithm_type");
      if (compatible && multistep_data && eta == 1.0 && order == 3) {
        return detail::ThirdOrderSdeOfDiffusers{{true, 1.0, 3, type, eta, 1.0, lower, first_at_end}};
      }
      if (multistep_data) return DpmSolverPP{order, type, eta, 1.0, lower, first_at_end};
      return DpmSolver{order, type, eta, 1.0, lower, first_at_end};
    }
    case Family::sigma:
      if (is("EulerAncestralDiscreteScheduler")) return EulerAncestral{};
      if (is("HeunDiscreteScheduler")) return Heun{};
      if (is("KDPM2DiscreteScheduler")) return Dpm2{};
      if (is("KDPM2AncestralDiscreteScheduler")) return Dpm2Ancestral{};
      if (is("LMSDiscreteScheduler")) return Lms{static_cast<int>(s.integer("order"))};
      if (is("DPMSolverSDEScheduler")) return DpmSolverPPSde{1.0, s.number("s_noise")};
      break;
    case Family::consistency:
      return detail::ConsistencyOfDiffusers{a.number("sigma_min"), a.number("sigma_data"), a.number("s_noise"),
                                            a.flag("clip_denoised")};
    case Family::ipndm:
      if (compatible) return detail::IpndmOfDiffusers{};
      return Ipndm{};
    case Family::flow:
      if (is("FlowMatchHeunDiscreteScheduler")) {
        if (compatible) return detail::FlowHeunOfDiffusers{churn};
        return FlowHeun{churn};
      }
      if (churn.s_churn != 0.0 && !compatible) {
        s.refuse("s_churn = ", churn.s_churn, " is not supported: FlowMatchEulerDiscreteScheduler ignores it");
      }
      if (is("FlowMatchLCMScheduler") || a.flag("stochastic_sampling")) return Lcm{10.0, 0.0};
      return Euler{};
  }
  if (churn.s_churn == 0.0) return Euler{};
  const bool one_more = a.text("interpolation_type") == "log_linear" && a.spreads() == 0;
  return detail::EulerOfDiffusers{churn, mean_type(), a.number("sigma_data", 0.5), one_more ? 1 : 0};
}

/// Reads the config of a scheduler of diffusers, the content of a scheduler_config.json. Every
/// argument of the class is honoured, or refused by name. An argument that is missing has the
/// default that it had in the `_diffusers_version` of the config, if there is one.
///
/// Throws std::invalid_argument, with the class, the argument and its value, if there is no
/// `_class_name` or it is not known (the message lists the known ones and the nearest), for a value
/// of a wrong type or out of range, and for values that cannot be used together. unknown_keys()
/// lists keys that the class does not have.
[[nodiscard]] inline DiffusersConfig read_diffusers_config(const nlohmann::json& config,
                                                           DiffusersConfigOptions options = {}) {
  return DiffusersConfig(config, options);
}

/// Reads the config in this file, or in this folder of a model (scheduler_config.json or
/// scheduler/scheduler_config.json). Infinity, which Python writes into JSON, is understood. The
/// path is a string of any type or a std::filesystem::path.
///
/// Throws std::runtime_error with the path if the file cannot be read, has more than 32 MB, is not
/// JSON or nests more than 32 deep, and what the function above throws.
template <class Path, std::enable_if_t<std::is_convertible_v<const Path&, std::string_view> ||
                                           std::is_same_v<Path, std::filesystem::path>,
                                       int> = 0>
[[nodiscard]] DiffusersConfig read_diffusers_config(const Path& path, DiffusersConfigOptions options = {}) {
  constexpr const char* where = "read_diffusers_config";
  std::filesystem::path file(path);
  std::error_code error;
  if (std::filesystem::is_directory(file, error)) {
    const std::filesystem::path folder = file;
    file = folder / "scheduler_config.json";
    if (!std::filesystem::exists(file, error)) file = folder / "scheduler" / "scheduler_config.json";
  }
  try {
    return DiffusersConfig(detail::read_json(where, file), options);
  } catch (const std::invalid_argument& e) {
    throw std::invalid_argument(std::string(e.what()) + " (in " + file.string() + ")");
  }
}

}  // namespace diffusion
