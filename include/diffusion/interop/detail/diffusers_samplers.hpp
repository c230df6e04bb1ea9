/// @file diffusers_samplers.hpp
/// Samplers that step exactly as a scheduler of diffusers does, where a sampler of the library does
/// not.
#pragma once

#include <Eigen/Core>
#include <algorithm>  // std::max, std::min
#include <array>
#include <cmath>    // std::exp, std::hypot, std::log, std::sqrt
#include <cstddef>  // std::size_t
#include <limits>
#include <optional>
#include <stdexcept>  // std::invalid_argument
#include <unsupported/Eigen/CXX11/Tensor>

#include "../../detail/check.hpp"
#include "../../detail/error.hpp"
#include "../../detail/kernel/linear_combination.hpp"
#include "../../detail/math/phi.hpp"
#include "../../model/detail/call.hpp"
#include "../../model/detail/prediction_operations.hpp"
#include "../../model/parameterization.hpp"
#include "../../sampling/churn.hpp"
#include "../../sampling/detail/adams_bashforth.hpp"
#include "../../sampling/exponential.hpp"
#include "../../sampling/samplers/ddim.hpp"
#include "../../sampling/samplers/ddpm.hpp"
#include "../../sampling/samplers/dpm_solver_singlestep.hpp"
#include "../../sampling/samplers/pndm.hpp"
#include "../../sampling/steps.hpp"

namespace diffusion {
namespace detail {

/// DDIMScheduler with use_clipped_model_output: epsilon is that of the clipped x_0.
struct DdimOfClippedOutput {
  Ddim ddim;

  template <class Tensor>
  using State = NoiseState<Tensor>;

  void check() const { ddim.check(); }
  template <class Tensor, class Noise>
  void advance(const Step& step, const ModelCall& call, Tensor& x, Prediction<Tensor>& prediction, const Noise& noise,
               State<Tensor>& state) const {
    const NoiseLevel& from = step.from;
    if (from.sigma > 0.0) {
      combine<Tensor>(prediction.epsilon, {{1.0 / from.sigma, x}, {-from.alpha / from.sigma, prediction.x_start}},
                      step.device);
    }
    ddim.advance(step, call, x, prediction, noise, state);
  }
};

/// DDIMInverseScheduler: a step goes up to the timestep for which its model was called. The next
/// level of the grid is another one if n does not divide T.
struct DdimUpToModelTime {
  template <class>
  struct State {};

  template <class Tensor, class Noise>
  void advance(const Step& step, const ModelCall&, Tensor& x, Prediction<Tensor>& prediction, const Noise&,
               State<Tensor>&) const {
    const NoiseLevel to = step.grid.at_time(step.from.t);
    combine<Tensor>(x, {{to.alpha, prediction.x_start}, {to.sigma, prediction.epsilon}}, step.device);
  }
};

/// DDPMScheduler, which also adds noise in the last step, unless that starts at timestep 0.
struct DdpmWithLastNoise {
  Ddpm ddpm;

  template <class Tensor>
  using State = NoiseState<Tensor>;

  template <class Tensor, class Noise>
  void advance(const Step& step, const ModelCall& call, Tensor& x, Prediction<Tensor>& prediction, const Noise& noise,
               State<Tensor>& state) const {
    ddpm.advance(step, call, x, prediction, noise, state);
    if (step.to.sigma > 0.0 || step.from.t == 0.0) return;
    // The least variance is 1e-20.
    add_step_noise(x, ddpm.variance == Ddpm::Variance::fixed_small ? 1e-10 : step.from.sigma, noise, state.noise,
                   step.device);
  }
};

/// DDPMScheduler with variance_type "learned" or "learned_range". v is the second half of the
/// model's channels:
///
///     learned         variance = v
///     learned_range   log variance = f log(beta) + (1 - f) log(posterior variance)
///                     f = (v + 1) / 2
///
/// Noise is added in the last step only if last_noise is set and the step starts above timestep 0.
struct DdpmOfLearnedVariance {
  bool range, last_noise;

  template <class Tensor>
  struct State {
    Tensor noise,  ///< Noise of one step.
        values;    ///< v.
  };

  template <class Tensor, class Noise>
  void advance(const Step& step, const ModelCall&, Tensor& x, Prediction<Tensor>& prediction, const Noise& noise,
               State<Tensor>& state) const {
    const NoiseLevel &from = step.from, &to = step.to;
    const double s = noise_to_signal(from), r = noise_to_signal(to) / s, rest = (1.0 - r) * (1.0 + r);
    combine<Tensor>(x, {{to.sigma / from.sigma * r, x}, {to.alpha * rest, prediction.x_start}}, step.device);
    if (to.sigma == 0.0 && !(last_noise && from.t > 0.0)) return;
    if constexpr (is_adapted_v<Tensor>) {
      fail<std::invalid_argument>("DiffusersConfig::sampler", "variance_type ", range ? "learned_range" : "learned",
                                  " needs an Eigen tensor");
    } else {
      if (prediction.memory.channels.size() != 2 * x.size()) {
        fail<std::invalid_argument>(
            "DiffusersConfig::sampler", "variance_type ", range ? "learned_range" : "learned",
            " needs a Denoiser with denoiser_options(), whose model has twice the channels of x");
      }
      noise(state.noise, x);
      using Scalar = typename Traits<Tensor>::Scalar;
      resize_like(state.values, x);
      take_channels(prediction.memory.channels, 1, state.values);
      const double beta = 1.0 - (from.alpha / to.alpha) * (from.alpha / to.alpha);
      const double low = std::log((std::max)(to.sigma * to.sigma * rest, 1e-20)), high = std::log(beta);
      if (range) {
        const auto half = static_cast<Scalar>(0.25 * (high - low)), mean = static_cast<Scalar>(0.25 * (high + low));
        x += (state.values * half + mean).exp() * state.noise;
      } else {
        x += state.values.sqrt() * state.noise;
      }
    }
  }
};

/// CogVideoXDPMScheduler: DpmSolverPP of order 2 for the SDE, of order 1 in the step from the last
/// timestep that is below floor(T / n). A step that starts without signal replaces x:
///
///     x_to = alpha_to x_0 + sigma_to noise
///
struct CogVideoXDpm {
  Eigen::Index num_timesteps;

  template <class Tensor>
  using State = MultistepState<Tensor>;

  template <class Tensor, class Noise>
  void advance(const Step& step, const ModelCall&, Tensor& x, Prediction<Tensor>& prediction, const Noise& noise,
               State<Tensor>& state) const {
    const bool last = step.from.t < static_cast<double>(num_timesteps / step.count);
    if (step.from.alpha == 0.0) {
      noise(state.noise, x);
      combine<Tensor>(x, {{step.from.sigma, state.noise}}, step.device);
    }
    multistep_step({true, 1.0, 2, DpmSolverType::midpoint, 1.0, 1.0, false, last}, step, x, prediction, noise, state);
  }
};

/// PNDMScheduler: a step goes to t - floor(T / n), but the model is called at the timesteps of the
/// list; and half of floor(T / n) is rounded down for x and up for the model.
struct PndmOfDiffusers {
  bool skip_prk_steps, velocity;
  Eigen::Index num_timesteps;

  template <class Tensor>
  struct State {
    History<Tensor, 4> slopes;  ///< Last outputs of the model; their places are not used.
    Tensor x,                   ///< x in the first call of a step.
        mean;                   ///< Mean of the slopes of one step.
    int steps = 0;              ///< Number of finished steps of this run.
  };

  template <class Tensor, class Noise>
  std::optional<NoiseLevel> advance(const Step& step, const ModelCall& call, Tensor& x, Prediction<Tensor>& prediction,
                                    const Noise&, State<Tensor>& state) const {
    if (step.first && call.index == 0) {
      state.slopes.clear();
      state.steps = 0;
      if (!skip_prk_steps && step.count < 4) {
        fail<std::invalid_argument>("sample", "PNDMScheduler needs at least 4 steps unless skip_prk_steps is set");
      }
    }
    const double stride = static_cast<double>(num_timesteps / step.count), half = std::floor(0.5 * stride);
    const double t = step.from.t, next = step.grid.whole_level(step.index + 1).t;
    const bool runge_kutta = !skip_prk_steps && state.steps < 3;
    Tensor& slope = pndm_slope(velocity, step, call.level, prediction);
    const auto move = [&](Tensor& out, const Tensor& from_x, double from, double to, const Tensor& along) {
      const auto [of_x, of_slope] = pndm_coefficients(velocity, at(step, from), at(step, to));
      combine<Tensor>(out, {{of_x, from_x}, {of_slope, along}}, step.device);
    };
    const auto call_again = [&](double time) { return std::optional<NoiseLevel>(at(step, time)); };

    if (call.index == 0 && (runge_kutta || (state.steps == 0 && step.count > 1))) {
      combine<Tensor>(state.mean, {{runge_kutta ? 1.0 / 6.0 : 0.5, slope}}, step.device);
      store(state.x, x);
      move(x, state.x, t, t - (runge_kutta ? half : stride), slope);
      state.slopes.push(slope, 0.0);
      return call_again(runge_kutta ? next + half : next);
    }
    if (call.index > 0 && runge_kutta) {
      const bool last = call.index == 3;
      combine<Tensor>(state.mean, {{1.0, state.mean}, {last ? 1.0 / 6.0 : 1.0 / 3.0, slope}}, step.device);
      move(x, state.x, t, call.index == 1 ? next + half : next, last ? state.mean : slope);
      if (!last) return call_again(call.index == 1 ? next + half : next);
    } else if (call.index > 0) {
      combine<Tensor>(state.mean, {{1.0, state.mean}, {0.5, slope}}, step.device);
      move(x, state.x, next + stride, next, state.mean);
    } else {
      state.slopes.push(slope, 0.0);
      const auto [of_x, along] = pndm_coefficients(velocity, at(step, t), at(step, t - stride));
      adams_bashforth_step(x, x, of_x, along, state.slopes, 4, step.device);
    }
    ++state.steps;
    return {};
  }

 private:
  /// The level of timestep t; the last level of the grid below timestep 0.
  static NoiseLevel at(const Step& step, double t) {
    return t < 0.0 ? step.grid.whole_level(step.count) : step.grid.at_time(t);
  }
};

/// IPNDMScheduler, which takes 0 for x_0 in a step that starts without signal.
struct IpndmOfDiffusers {
  template <class Tensor>
  struct State {
    History<Tensor, 4> epsilons;  ///< Last epsilons; their places are not used.
  };

  template <class Tensor, class Noise>
  void advance(const Step& step, const ModelCall&, Tensor& x, Prediction<Tensor>& prediction, const Noise&,
               State<Tensor>& state) const {
    if (step.first) state.epsilons.clear();
    state.epsilons.push(prediction.epsilon, 0.0);
    const bool no_signal = step.from.alpha == 0.0;
    const double ratio = no_signal ? 0.0 : step.to.alpha / step.from.alpha;
    adams_bashforth_step(x, x, ratio, step.to.sigma - step.from.sigma * ratio, state.epsilons, 4, step.device);
  }
};

/// The factor of D2 in steps of order 3 for the SDE, relative to the right one: diffusers has the
/// weight -(phi_2(-g) + 1 / 2) instead of 1 / 2 - phi_2(-g).
inline double sde_curvature_of_diffusers(const NoiseLevel& from, const NoiseLevel& to) {
  const double phi_2 = phi(2, -2.0 * half_log_snr_rise(from, to));
  return -(phi_2 + 0.5) / (0.5 - phi_2);
}

/// DPMSolverMultistepScheduler for the SDE with order 3.
struct ThirdOrderSdeOfDiffusers {
  MultistepOptions options;

  template <class Tensor>
  using State = MultistepState<Tensor>;

  void check() const { options.check("DiffusersConfig::sampler"); }
  template <class Tensor, class Noise>
  void advance(const Step& step, const ModelCall&, Tensor& x, Prediction<Tensor>& prediction, const Noise& noise,
               State<Tensor>& state) const {
    MultistepOptions now = options;
    if (!touches_infinite_lambda(step)) now.curvature = sde_curvature_of_diffusers(step.from, step.to);
    multistep_step(now, step, x, prediction, noise, state);
  }
};

/// DPMSolverSinglestepScheduler for the SDE with order 3 and solver_type "heun".
struct SinglestepSdeOfDiffusers {
  DpmSolverSinglestep solver;

  template <class Tensor>
  using State = DpmSolverSinglestep::State<Tensor>;

  void check() const { solver.check(); }
  template <class Tensor, class Noise>
  void advance(const Step& step, const ModelCall&, Tensor& x, Prediction<Tensor>& prediction, const Noise& noise,
               State<Tensor>& state) const {
    const bool uses_block = !step.first && state.predictions.size() == 2 && !touches_infinite_lambda(step);
    const double curvature = uses_block ? 2.0 * sde_curvature_of_diffusers(state.from, step.to) : 2.0;
    singlestep_step(solver, curvature, step, x, prediction, noise, state);
  }
};

/// Churn as in EulerDiscreteScheduler and EDMEulerScheduler. The model is called before the noise
/// is added, and its output is taken for that of the noisier x. For velocity the coefficients are
/// those of the level before, too.
struct EulerOfDiffusers {
  Churn churn;
  ModelMeanType mean_type;
  double sigma_data;
  /// Number of sigmas that diffusers counts as steps but does not visit, in a run that does not end
  /// at 0.
  int unused_sigmas;

  template <class Tensor>
  struct State {
    Tensor noise,  ///< Noise of one step.
        x;         ///< x before the noise.
  };

  void check() const { churn.check("DiffusersConfig::sampler"); }
  template <class Tensor, class Noise>
  void advance(const Step& step, const ModelCall&, Tensor& x, Prediction<Tensor>& prediction, const Noise& noise,
               State<Tensor>& state) const {
    const NoiseLevel& from = step.from;
    combine<Tensor>(state.x, {{1.0, x}}, step.device);
    Churn per_step = churn;
    const bool has_unused = step.grid.whole_level(step.count).sigma > 0.0;
    const auto steps = static_cast<double>(step.count);
    per_step.s_churn *= steps / (steps + (has_unused ? unused_sigmas : 0));
    const NoiseLevel up = per_step.apply(step, x, noise, state.noise);
    if (up.sigma != from.sigma) {
      const auto x_start_at = [this](const NoiseLevel& level) {
        return parameterization(mean_type, level.alpha, level.sigma, std::hypot(level.alpha, level.sigma), sigma_data)
            .x_start();
      };
      // x_0 = before.x x + before.output output, and then the same output with the noisier x.
      const bool stays = mean_type == ModelMeanType::velocity;
      const Pair before = x_start_at(from), after = x_start_at(stays ? from : up);
      const double scale = stays ? from.alpha / up.alpha : 1.0, ratio = after.output / before.output;
      combine<Tensor>(prediction.x_start,
                      {{after.x * scale, x}, {ratio, prediction.x_start}, {-ratio * before.x, state.x}}, step.device);
    }
    step_with_fixed_x_start(x, x, up, step.to, prediction.x_start, step.device);
  }
};

/// Churn as in FlowMatchHeunDiscreteScheduler. The model is called before the noise is added, x
/// keeps its signal, and the slope is scaled by sigma / sigma_hat. n steps count as 2 n - 1, and
/// the second call draws noise that is not used.
struct FlowHeunOfDiffusers {
  Churn churn;

  template <class Tensor>
  struct State {
    Tensor noise,   ///< Noise of one step.
        x,          ///< x of the first call, with its noise.
        slope;      ///< Slope of the first call.
    double raised,  ///< sigma_hat.
        gamma;      ///< Relative rise of sigma.
  };

  void check() const { churn.check("DiffusersConfig::sampler"); }
  template <class Tensor, class Noise>
  std::optional<NoiseLevel> advance(const Step& step, const ModelCall& call, Tensor& x, Prediction<Tensor>& prediction,
                                    const Noise& noise, State<Tensor>& state) const {
    const double sigma = step.from.sigma;
    if (call.index == 0) {
      const double limit = std::sqrt(2.0) - 1.0, calls = static_cast<double>(2 * step.count - 1);
      const bool churns = sigma >= churn.s_tmin && sigma <= churn.s_tmax;
      state.gamma = churns ? (std::min)(churn.s_churn / calls, limit) : 0.0;
      state.raised = sigma * (1.0 + state.gamma);
      const double risen = std::sqrt((state.raised - sigma) * (state.raised + sigma));
      if (state.gamma > 0.0) noise(state.noise, x);
      combine<Tensor>(state.x, {{1.0, x}, {state.gamma > 0.0 ? churn.s_noise * risen : 0.0, state.noise}}, step.device);
      const double scale = sigma / state.raised, along = step.to.sigma - state.raised;
      combine<Tensor>(state.slope, {{scale, prediction.epsilon}, {-scale, prediction.x_start}}, step.device);
      combine<Tensor>(x, {{1.0, state.x}, {along, state.slope}}, step.device);
      if (step.to.sigma == 0.0) return {};
      return step.to;
    }
    if (state.gamma > 0.0) noise(state.noise, x);
    const double half = 0.5 * (step.to.sigma - state.raised);
    combine<Tensor>(x, {{1.0, state.x}, {half, state.slope}, {half, prediction.epsilon}, {-half, prediction.x_start}},
                    step.device);
    return {};
  }
};

/// CMStochasticIterativeScheduler, multistep sampling of a consistency model; Song et al. 2023,
/// Algorithm 1. The output F of the model gives x_0, which is x at sigma_min:
///
///     x_0  = sigma_data^2 / ((sigma - sigma_min)^2 + sigma_data^2) x
///            + (sigma - sigma_min) sigma_data / sqrt(sigma^2 + sigma_data^2) F
///     x_to = x_0 + s_noise sqrt(sigma_to^2 - sigma_min^2) noise
struct ConsistencyOfDiffusers {
  double sigma_min, sigma_data, s_noise;
  bool clip;

  template <class Tensor>
  using State = NoiseState<Tensor>;

  void check() const { check_not_negative("DiffusersConfig::sampler", "s_noise", s_noise); }

  template <class Tensor, class Noise>
  void advance(const Step& step, const ModelCall&, Tensor& x, Prediction<Tensor>& prediction, const Noise& noise,
               State<Tensor>& state) const {
    const double sigma = step.from.sigma, over = sigma - sigma_min;
    const Pair edm = parameterization(ModelMeanType::edm, 1.0, sigma, std::hypot(1.0, sigma), sigma_data).x_start();
    const double c_skip = sigma_data * sigma_data / (over * over + sigma_data * sigma_data);
    const double ratio = over / sigma;  // of c_out to that of edm
    combine<Tensor>(x, {{c_skip - ratio * edm.x, x}, {ratio, prediction.x_start}}, step.device);
    if (clip) detail::clip(step.device, x, -1.0, 1.0);
    const double to = step.to.sigma, rest = (to - sigma_min) * (to + sigma_min);
    if (rest > 0.0) add_step_noise(x, s_noise * std::sqrt(rest), noise, state.noise, step.device);
  }
};

}  // namespace detail
}  // namespace diffusion
