/// @file diffusers_classes.hpp
/// The schedulers of diffusers: their arguments and the defaults of these.
#pragma once

#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace diffusion {
namespace detail {

/// Schedulers with the same levels.
enum class DiffusersFamily {
  ddpm,          ///< timesteps, each step to the next one
  unclip,        ///< as ddpm, with evenly spaced timesteps
  ddim,          ///< timesteps, each step over floor(T / n) timesteps
  ddim_inverse,  ///< as ddim, from data to noise
  pndm,          ///< as ddim
  repaint,       ///< as ddpm
  lcm,           ///< timesteps of a distillation
  dpm,           ///< DPM-Solver, UniPC, DEIS
  sigma,         ///< Euler, Heun, LMS and others that hold x at alpha = 1
  edm,           ///< levels of EDM
  consistency,   ///< levels of EDM, down to sigma_min
  ipndm,         ///< sigma = sin(pi t / 2)^2
  flow           ///< flow matching
};

/// A scheduler and the arguments of its functions, with the defaults of diffusers 0.37. An argument
/// whose default is null may be left out.
struct DiffusersClass {
  std::string name;
  DiffusersFamily family;
  nlohmann::json init,  ///< Arguments of the constructor.
      set_timesteps,    ///< Arguments of set_timesteps.
      step;             ///< Arguments of step.
};

/// Returns objects merged into one; a later value replaces an earlier one.
inline nlohmann::json merged(std::initializer_list<nlohmann::json> objects) {
  nlohmann::json out = nlohmann::json::object();
  for (const nlohmann::json& object : objects) out.update(object);
  return out;
}

/// Returns the table of schedulers. A new scheduler is a new row.
inline std::vector<DiffusersClass> make_diffusers_classes() {
  using nlohmann::json;
  const auto object = [](const char* text) { return json::parse(text); };
  const json none = json::object();

  // Arguments that several constructors share.
  const json betas = object(
      R"({"num_train_timesteps": 1000, "beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear",
          "trained_betas": null, "prediction_type": "epsilon"})");
  const json latent_betas = merged({betas, object(R"({"beta_start": 0.00085, "beta_end": 0.012})")});
  const json scaled_betas = merged({latent_betas, object(R"({"beta_schedule": "scaled_linear"})")});
  json repaint = betas;
  repaint.erase("prediction_type");
  const json clip = object(R"({"clip_sample": true, "clip_sample_range": 1.0})");
  const json threshold =
      object(R"({"thresholding": false, "dynamic_thresholding_ratio": 0.995, "sample_max_value": 1.0})");
  const json leading = object(R"({"timestep_spacing": "leading", "steps_offset": 0})");
  const json linspace = object(R"({"timestep_spacing": "linspace", "steps_offset": 0})");
  const json zero_snr = object(R"({"rescale_betas_zero_snr": false})");
  const json to_one = object(R"({"set_alpha_to_one": true})");
  const json not_to_one = object(R"({"set_alpha_to_one": false})");
  const json spread =
      object(R"({"use_karras_sigmas": false, "use_exponential_sigmas": false, "use_beta_sigmas": false})");
  const json final_sigma = object(R"({"final_sigmas_type": "zero"})");
  const json flow_sigmas = object(R"({"use_flow_sigmas": false, "flow_shift": 1.0, "use_dynamic_shifting": false,
                                      "time_shift_type": "exponential"})");
  const json solver = object(R"({"solver_order": 2, "solver_type": "midpoint", "lower_order_final": true})");
  const json dpm =
      merged({betas, threshold, solver, spread, flow_sigmas, final_sigma,
              object(R"({"algorithm_type": "dpmsolver++", "lambda_min_clipped": null, "variance_type": null})")});
  const json edm = object(R"({"sigma_min": 0.002, "sigma_max": 80.0, "sigma_data": 0.5, "sigma_schedule": "karras",
                              "num_train_timesteps": 1000, "prediction_type": "epsilon", "rho": 7.0})");
  const json flow = object(R"({"num_train_timesteps": 1000, "shift": 1.0})");
  const json dynamic_flow =
      merged({flow, spread,
              object(R"({"use_dynamic_shifting": false, "base_shift": 0.5, "max_shift": 1.15, "base_image_seq_len": 256,
                         "max_image_seq_len": 4096, "invert_sigmas": false, "shift_terminal": null,
                         "time_shift_type": "exponential"})")});
  const json cogvideox = merged(
      {scaled_betas, clip, leading, zero_snr, to_one, object(R"({"sample_max_value": 1.0, "snr_shift_scale": 3.0})")});
  const json ddpm = merged({betas, clip, threshold, leading, zero_snr,
                            object(R"({"variance_type": "fixed_small", "predict_epsilon": null})")});
  const json ddim = merged({betas, clip, threshold, leading, zero_snr, to_one});
  const json lcm =
      merged({scaled_betas, clip, threshold, leading, zero_snr, to_one,
              object(R"({"clip_sample": false, "original_inference_steps": 50, "timestep_scaling": 10.0})")});

  // Arguments of set_timesteps and step.
  const json timesteps = object(R"({"timesteps": null})"), sigmas = object(R"({"sigmas": null})");
  const json mu = object(R"({"mu": null})"), tokens = object(R"({"image_seq_len": null})"),
             of_train = object(R"({"num_train_timesteps": null})");
  const json original = object(R"({"original_inference_steps": null})");
  const json eta = object(R"({"eta": 0.0, "use_clipped_model_output": false})");
  const json churn = object(R"({"s_churn": 0.0, "s_tmin": 0.0, "s_tmax": null, "s_noise": 1.0})");

  using Family = DiffusersFamily;
  return {
      {"DDPMScheduler", Family::ddpm, ddpm, timesteps, none},
      {"DDPMParallelScheduler", Family::ddpm, ddpm, timesteps, none},
      {"UnCLIPScheduler", Family::unclip,
       merged({clip, object(R"({"num_train_timesteps": 1000, "variance_type": "fixed_small_log",
                                "prediction_type": "epsilon", "beta_schedule": "squaredcos_cap_v2"})")}),
       none, none},
      {"DDIMScheduler", Family::ddim, ddim, none, eta},
      {"DDIMParallelScheduler", Family::ddim, ddim, none, eta},
      {"DDIMInverseScheduler", Family::ddim_inverse,
       merged({betas, clip, leading, zero_snr, to_one, object(R"({"set_alpha_to_zero": null})")}), none, none},
      {"CogVideoXDDIMScheduler", Family::ddim, cogvideox, none, eta},
      {"CogVideoXDPMScheduler", Family::ddim, cogvideox, none, eta},
      {"PNDMScheduler", Family::pndm, merged({betas, leading, not_to_one, object(R"({"skip_prk_steps": false})")}),
       none, none},
      {"RePaintScheduler", Family::repaint, merged({repaint, object(R"({"eta": 0.0, "clip_sample": true})")}), none,
       none},
      {"LCMScheduler", Family::lcm, lcm, merged({timesteps, original}), none},
      {"TCDScheduler", Family::lcm, lcm, merged({timesteps, original}), object(R"({"eta": 0.3})")},
      {"DPMSolverMultistepScheduler", Family::dpm,
       merged({dpm, linspace, zero_snr,
               object(R"({"euler_at_final": false, "use_lu_lambdas": false, "predict_epsilon": null})")}),
       merged({timesteps, mu}), none},
      {"DPMSolverSinglestepScheduler", Family::dpm, merged({dpm, object(R"({"lower_order_final": false})")}),
       merged({timesteps, mu}), none},
      {"UniPCMultistepScheduler", Family::dpm,
       merged({betas, threshold, solver, spread, flow_sigmas, final_sigma, linspace, zero_snr,
               object(R"({"solver_type": "bh2", "predict_x0": true, "disable_corrector": [], "solver_p": null,
                          "sigma_min": null, "sigma_max": null, "shift_terminal": null})")}),
       merged({sigmas, mu}), none},
      {"DEISMultistepScheduler", Family::dpm,
       merged({betas, threshold, solver, spread, flow_sigmas, linspace,
               object(R"({"algorithm_type": "deis", "solver_type": "logrho"})")}),
       mu, none},
      {"EulerDiscreteScheduler", Family::sigma,
       merged({betas, spread, linspace, zero_snr, final_sigma,
               object(R"({"interpolation_type": "linear", "sigma_min": null, "sigma_max": null,
                          "timestep_type": "discrete"})")}),
       merged({timesteps, sigmas}), churn},
      {"EulerAncestralDiscreteScheduler", Family::sigma, merged({betas, linspace, zero_snr}), none, none},
      {"HeunDiscreteScheduler", Family::sigma,
       merged({latent_betas, spread, linspace, clip, object(R"({"clip_sample": false})")}),
       merged({timesteps, of_train}), none},
      {"KDPM2DiscreteScheduler", Family::sigma, merged({latent_betas, spread, linspace}), of_train, none},
      {"KDPM2AncestralDiscreteScheduler", Family::sigma, merged({latent_betas, spread, linspace}), of_train, none},
      {"LMSDiscreteScheduler", Family::sigma, merged({betas, spread, linspace}), none, object(R"({"order": 4})")},
      {"DPMSolverSDEScheduler", Family::sigma,
       merged({latent_betas, spread, linspace, object(R"({"noise_sampler_seed": null})")}), of_train,
       object(R"({"s_noise": 1.0})")},
      {"EDMEulerScheduler", Family::edm, merged({edm, final_sigma}), sigmas, churn},
      {"EDMDPMSolverMultistepScheduler", Family::edm,
       merged({edm, threshold, solver, final_sigma,
               object(R"({"algorithm_type": "dpmsolver++", "euler_at_final": false})")}),
       none, none},
      {"CosineDPMSolverMultistepScheduler", Family::edm,
       merged({edm, solver, final_sigma,
               object(R"({"sigma_min": 0.3, "sigma_max": 500.0, "sigma_data": 1.0, "sigma_schedule": "exponential",
                          "prediction_type": "v_prediction", "euler_at_final": false})")}),
       none, none},
      {"CMStochasticIterativeScheduler", Family::consistency,
       object(R"({"num_train_timesteps": 40, "sigma_min": 0.002, "sigma_max": 80.0, "sigma_data": 0.5, "s_noise": 1.0,
                  "rho": 7.0, "clip_denoised": true})"),
       timesteps, none},
      {"IPNDMScheduler", Family::ipndm, object(R"({"num_train_timesteps": 1000, "trained_betas": null})"), none, none},
      {"FlowMatchEulerDiscreteScheduler", Family::flow,
       merged({dynamic_flow, object(R"({"stochastic_sampling": false})")}), merged({sigmas, mu, tokens, timesteps}),
       churn},
      {"FlowMatchHeunDiscreteScheduler", Family::flow, flow, none, churn},
      {"FlowMatchLCMScheduler", Family::flow,
       merged({dynamic_flow, object(R"({"scale_factors": null, "upscale_mode": "bicubic"})")}),
       merged({sigmas, mu, tokens, timesteps}), none},
  };
}

/// The table of schedulers.
inline const std::vector<DiffusersClass>& diffusers_classes() {
  static const std::vector<DiffusersClass> table = make_diffusers_classes();
  return table;
}

/// A default that an earlier version of diffusers had. Configs of versions before `until` that do
/// not have the key mean this value.
struct DiffusersFormerDefault {
  const char* scheduler;
  const char* key;
  nlohmann::json value;
  int until[3];
};

/// The table of former defaults. Before final_sigmas_type existed, runs ended at sigma_min.
inline const std::vector<DiffusersFormerDefault>& diffusers_former_defaults() {
  static const std::vector<DiffusersFormerDefault> table = {
      {"DPMSolverMultistepScheduler", "final_sigmas_type", "sigma_min", {0, 26, 0}},
      {"DPMSolverSinglestepScheduler", "final_sigmas_type", "sigma_min", {0, 26, 0}},
      {"DPMSolverSinglestepScheduler", "lower_order_final", true, {0, 26, 3}},
      {"UniPCMultistepScheduler", "final_sigmas_type", "sigma_min", {0, 28, 0}},
  };
  return table;
}

}  // namespace detail
}  // namespace diffusion
