/// @file sampling.hpp
/// Includes every header of sampling/.
#pragma once

/// @defgroup sampling Sampling: from x_T to x_0
/// Sampling from x_T to x_0: time grids, sample(), SamplingRun, the samplers, and the functions for
/// writing a new sampler. ReverseProcess offers guided-diffusion's DDPM and DDIM steps and loops.
///
/// ### Writing a sampler
///
/// A sampler is an aggregate of parameters that moves x from one noise level to the next. At a
/// level, x = alpha x_0 + sigma epsilon. It does not call the model: it is given the prediction of
/// x_0 and epsilon for x. Here is Euler's ancestral method in full, with one call of the model in a
/// step:
///
/// @code{.cpp}
/// #include <diffusion/diffusion.hpp>
///
/// struct MyAncestral {
///   double eta = 1;  // the parameters
///
///   template <class Tensor>
///   struct State {  // memory of a run
///     Tensor noise;
///   };
///
///   template <class Tensor, class Noise>
///   void advance(const diffusion::Step& step, const diffusion::ModelCall&, Tensor& x,
///                diffusion::Prediction<Tensor>& prediction, const Noise& noise,
///                State<Tensor>& state) const {
///     const auto [down, up] = diffusion::ancestral_step(step.from, step.to, eta);
///     diffusion::step_with_fixed_x_start(x, x, step.from, down, prediction.x_start, step.device);
///     diffusion::add_step_noise(x, up, noise, state.noise, step.device);
///   }
/// };
///
/// int main() {
///   using Image = Eigen::Tensor<float, 4>;
///   const diffusion::GaussianDiffusion<float> process(diffusion::cosine_beta_schedule(1000));
///   const auto grid = diffusion::timestep_grid(process, diffusion::TimestepSpacing::trailing, 10);
///   const auto model = [](const Image& x, const auto&) { return x.constant(0.5f); };  // x_0 = 0.5
///   const diffusion::Denoiser denoiser(model, diffusion::ModelMeanType::start_x);
///   Image x(1, 3, 8, 8);
///   diffusion::PhiloxNoise noise(1);
///   noise(x);
///   const Image image = diffusion::sample(MyAncestral{}, grid, denoiser, x, noise);
///   return image(0, 0, 0, 0) == 0.5f ? 0 : 1;
/// }
/// @endcode
///
/// A method with more calls in a step moves x to where it needs the next prediction, and returns
/// the level there. It returns std::nullopt when x is at step.to. Here is Heun's method:
///
/// @code{.cpp}
/// #include <diffusion/diffusion.hpp>
/// #include <optional>
///
/// struct MyHeun {
///   template <class Tensor>
///   struct State {
///     Tensor x, epsilon;  // of the first call
///   };
///
///   template <class Tensor, class Noise>
///   std::optional<diffusion::NoiseLevel> advance(const diffusion::Step& step,
///                                                const diffusion::ModelCall& call, Tensor& x,
///                                                diffusion::Prediction<Tensor>& prediction,
///                                                const Noise&, State<Tensor>& state) const {
///     const auto &from = step.from, &to = step.to;
///     if (diffusion::touches_clean_or_pure_noise(step)) {
///       diffusion::step_with_fixed_x_start(x, x, from, to, prediction.x_start, step.device);
///       return {};
///     }
///     if (call.index == 0) {
///       diffusion::store(state.x, x);
///       diffusion::store(state.epsilon, prediction.epsilon);
///       diffusion::step_with_fixed_x_start(x, state.x, from, to, prediction.x_start, step.device);
///       return to;
///     }
///     const double ratio = to.alpha / from.alpha, half = 0.5 * (to.sigma - from.sigma * ratio);
///     diffusion::combine<Tensor>(
///         x, {{ratio, state.x}, {half, state.epsilon}, {half, prediction.epsilon}}, step.device);
///     return {};
///   }
/// };
///
/// int main() {
///   using Image = Eigen::Tensor<float, 4>;
///   const diffusion::GaussianDiffusion<float> process(diffusion::cosine_beta_schedule(1000));
///   const auto grid = diffusion::timestep_grid(process, diffusion::TimestepSpacing::trailing, 10);
///   const auto model = [](const Image& x, const auto&) { return x.constant(0.5f); };  // x_0 = 0.5
///   const diffusion::Denoiser denoiser(model, diffusion::ModelMeanType::start_x);
///   Image x(1, 3, 8, 8);
///   diffusion::PhiloxNoise{1}(x);
///   const Image image = diffusion::sample(MyHeun{}, grid, denoiser, x);
///   return image(0, 0, 0, 0) == 0.5f ? 0 : 1;
/// }
/// @endcode
///
/// The members of a sampler; all of them are const:
///
///   - `State<Tensor>`: the memory of a run, which owns it and never resets it. NoiseState and
///     TwoCallState (steps.hpp) serve many samplers.
///   - `advance(step, call, x, prediction, noise, state)`: takes the prediction for x, which is at
///     call.level. `step` has the levels step.from and step.to and the place of the step in the run
///     (steps.hpp). call.index counts the calls in this step. `noise(z, x)` resizes z to the shape
///     of x and fills it with N(0, 1); it throws std::invalid_argument if the run has no noise.
///     Returns `std::optional<NoiseLevel>`, or void if it always needs one call. For a level
///     between `from` and `to` ask the path: step.grid.at(lambda), lambda = log(alpha / sigma).
///   - `begin(step, x, noise, state)`, optional: changes x before the first call of a step and
///     returns its NoiseLevel there, as churn does. Without it the first call is at step.from.
///   - `check()`, optional: throws std::invalid_argument if a parameter is out of range.
///
/// Pass step.device to every function that takes a device: it is the Eigen device of the run, and
/// results do not depend on it. A sampler moves x by linear combinations (combine()), and so works
/// on every type with TensorOperations, for example torch::Tensor.
///
/// A sampler sees noise levels, but neither the process nor the model. So it serves
/// variance-preserving, variance-exploding and straight paths alike. Rules for every sampler:
///
///   - Forget any earlier run if step.first is true. (step.index is not 0 there if the run starts
///     part-way.)
///   - sigma / alpha is 0 at a clean end, and infinite at a start without signal. Test
///     touches_clean_or_pure_noise() before you divide or take a logarithm, and take
///     step_with_fixed_x_start() there. A reversed grid may also start at sigma = 0
///     (check_has_noise() refuses that) and end at alpha = 0 (touches_infinite_lambda()).
///   - A sampler that adds noise calls check_goes_down() first, unless its method also holds for a
///     step to a higher noise level (Lcm, Tcd). It adds the noise with add_step_noise(), which
///     draws nothing for a deviation of 0, and adds none in a step of zero length
///     (is_zero_length()). ancestral_step() takes care of both.
///   - Keep all memory in the State, so that later steps allocate nothing. To keep x or a tensor of
///     the prediction, swap it into the State: store(), or History for several steps. Its values
///     are unspecified then, so write x again before you return.
///
/// samplers/euler_ancestral.hpp and samplers/heun.hpp are short samplers to begin with;
/// samplers/dpm_solver_fast.hpp has three calls in a step. To measure the order of a method, give
/// sample() an exact denoiser of Gaussian data as denoiser(x, level, prediction).
///
/// A new sampler of the library is also added to sampling.hpp, to examples/guide/functions.md, to
/// tests/all_samplers.hpp, which gives it to the tests of this contract, and to
/// examples/studies/compare_samplers.cpp.

#include "sampling/any_sampler.hpp"
#include "sampling/churn.hpp"
#include "sampling/exponential.hpp"
#include "sampling/history.hpp"
#include "sampling/reverse_process.hpp"
#include "sampling/reverse_step.hpp"
#include "sampling/sample.hpp"
#include "sampling/samplers/ddim.hpp"
#include "sampling/samplers/ddpm.hpp"
#include "sampling/samplers/deis.hpp"
#include "sampling/samplers/dpm2.hpp"
#include "sampling/samplers/dpm2_ancestral.hpp"
#include "sampling/samplers/dpm_solver.hpp"
#include "sampling/samplers/dpm_solver_adaptive.hpp"
#include "sampling/samplers/dpm_solver_fast.hpp"
#include "sampling/samplers/dpm_solver_pp.hpp"
#include "sampling/samplers/dpm_solver_pp_2s.hpp"
#include "sampling/samplers/dpm_solver_pp_sde.hpp"
#include "sampling/samplers/dpm_solver_singlestep.hpp"
#include "sampling/samplers/euler.hpp"
#include "sampling/samplers/euler_ancestral.hpp"
#include "sampling/samplers/flow_heun.hpp"
#include "sampling/samplers/heun.hpp"
#include "sampling/samplers/ipndm.hpp"
#include "sampling/samplers/lcm.hpp"
#include "sampling/samplers/lms.hpp"
#include "sampling/samplers/pndm.hpp"
#include "sampling/samplers/repaint.hpp"
#include "sampling/samplers/tcd.hpp"
#include "sampling/samplers/uni_pc.hpp"
#include "sampling/sampling_run.hpp"
#include "sampling/sigmas.hpp"
#include "sampling/steps.hpp"
#include "sampling/time_grid.hpp"
#include "sampling/timesteps.hpp"
