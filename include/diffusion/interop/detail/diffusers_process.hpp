/// @file diffusers_process.hpp
/// The forward process of the schedulers of diffusers.
#pragma once

#include <Eigen/Core>
#include <algorithm>  // std::min
#include <cmath>      // std::abs, std::copysign, std::exp, std::log, std::sqrt
#include <string>
#include <vector>

#include "../../process/gaussian_diffusion.hpp"
#include "../../process/schedules.hpp"
#include "diffusers_arguments.hpp"

namespace diffusion {
namespace detail {

using Eigen::ArrayXd;

/// Returns the betas of these arguments, before they are rescaled.
inline ArrayXd diffusers_betas(const DiffusersArguments& config) {
  const Eigen::Index T = config.integer("num_train_timesteps");
  if (config.given("trained_betas")) {
    const std::vector<double> betas = config.list("trained_betas");
    if (static_cast<Eigen::Index>(betas.size()) != T) {
      config.refuse("trained_betas has ", static_cast<Eigen::Index>(betas.size()),
                    " entries, but num_train_timesteps = ", T);
    }
    return Eigen::Map<const ArrayXd>(betas.data(), T);
  }
  const double first = config.number("beta_start"), last = config.number("beta_end");
  const std::string schedule = config.text("beta_schedule");
  if (schedule == "linear") return linear_beta_schedule(T, first, last);
  if (schedule == "scaled_linear") return scaled_linear_beta_schedule(T, first, last);
  if (schedule == "sigmoid") return sigmoid_beta_schedule(T, first, last);
  if (schedule == "exp") return betas_for_alpha_bar(T, [](double u) { return std::exp(-12.0 * u); });
  if (schedule == "laplace") {
    return betas_for_alpha_bar(T, [](double u) {
      const double log_snr = -0.5 * std::copysign(1.0, 0.5 - u) * std::log(1.0 - 2.0 * std::abs(0.5 - u) + 1e-6);
      return std::sqrt(1.0 / (1.0 + std::exp(-log_snr)));
    });
  }
  return cosine_beta_schedule(T);
}

/// Whether a scheduler sets the last abar to 2^-24 with rescale_betas_zero_snr, because it divides
/// by sqrt(abar). The others set it to 0.
inline bool keeps_signal(const DiffusersArguments& config) {
  for (const char* name : {"EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "DPMSolverMultistepScheduler",
                           "UniPCMultistepScheduler"}) {
    if (config.function() == name) return config.flag("rescale_betas_zero_snr");
  }
  return false;
}

/// Returns the process of these arguments. Its abar falls: if the abar before the last is below
/// 2^-24, as that of the default schedule is then, the last is half of it.
inline GaussianDiffusion<double> diffusers_process(const DiffusersArguments& config) {
  ArrayXd betas = diffusers_betas(config);
  const double c = config.number("snr_shift_scale", 1.0);
  if (c != 1.0) {  // CogVideoX divides the signal-to-noise ratio by c
    const ArrayXd alphas_cumprod = GaussianDiffusion<double>(betas).alphas_cumprod();
    betas = betas_from_alphas_cumprod(alphas_cumprod / (c + (1.0 - c) * alphas_cumprod));
  }
  if (config.flag("rescale_betas_zero_snr")) {
    betas = rescale_zero_terminal_snr(betas);
    if (keeps_signal(config)) {
      ArrayXd alphas_cumprod = GaussianDiffusion<double>(betas).alphas_cumprod();
      const Eigen::Index last = alphas_cumprod.size() - 1;
      alphas_cumprod[last] = (std::min)(0x1p-24, 0.5 * alphas_cumprod[last - 1]);
      betas = betas_from_alphas_cumprod(alphas_cumprod);
    }
  }
  return GaussianDiffusion<double>(betas);
}

}  // namespace detail
}  // namespace diffusion
