/// @file sampling_run.hpp
/// SamplingRun, a run of a sampler that asks for predictions.
#pragma once

#include <cstddef>     // std::size_t
#include <functional>  // std::function
#include <optional>
#include <stdexcept>    // std::invalid_argument, std::out_of_range
#include <type_traits>  // std::is_same_v, std::is_void_v
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>  // std::as_const, std::declval, std::move

#include "../detail/arguments.hpp"
#include "../detail/kernel/linear_combination.hpp"
#include "../noise/noise_source.hpp"
#include "detail/sampler_contract.hpp"
#include "steps.hpp"

namespace diffusion {

/// Callbacks of a run, each optional. Tensor is the plain tensor type of x. A hook must not change
/// the shape of a tensor.
///
/// @code{.cpp}
/// #include <diffusion/diffusion.hpp>
///
/// int main() {
///   using Plan = Eigen::Tensor<float, 2>;  // [batch, horizon]
///   const diffusion::GaussianDiffusion<float> process(diffusion::cosine_beta_schedule(100));
///   const auto spacing = diffusion::TimestepSpacing::trailing;
///   const auto grid = diffusion::timestep_grid(process, spacing, 10);
///   // Stands for a network that predicts x_0.
///   const auto network = [](const Plan& x, const auto&) { return x.constant(0.5f); };
///   const diffusion::Denoiser denoiser(network, diffusion::ModelMeanType::start_x);
///
///   diffusion::Hooks<Plan> hooks;
///   hooks.correct_x_t = [](Plan& x, const diffusion::NoiseLevel& level) {
///     x(0, 0) = static_cast<float>(level.alpha) * 2;  // the plan begins at 2
///   };
///   Plan x(1, 8);
///   diffusion::PhiloxNoise noise(1);
///   noise(x);
///   const Plan plan = diffusion::sample(diffusion::Ddim{}, grid, denoiser, x, hooks);
///   return plan(0, 0) == 2 && plan.dimension(1) == 8 ? 0 : 1;
/// }
/// @endcode
template <class Tensor>
struct Hooks {
  /// Changes x, for inpainting or a fixed prefix of a plan. It is called with the level of x before
  /// each step, and once more at the end of the run.
  std::function<void(Tensor& x, const NoiseLevel& level)> correct_x_t;
  /// Changes the prediction of x_0 after each call of the model. epsilon then becomes
  /// (x - alpha x_0) / sigma, unless sigma is 0.
  std::function<void(Tensor& x_start, const NoiseLevel& level)> correct_x_start;
  /// Is called with each prediction of x_0, after correct_x_start. Previews show it.
  std::function<void(const Step& step, const NoiseLevel& level, const Tensor& x_start)> observe_x_start;
  /// Is called with x after each step.
  std::function<void(const Step& step, const Tensor& x)> observer;
  /// Ends the run after a step if it returns true. It is called after observer; correct_x_t is
  /// called once more then.
  std::function<bool(const Step& step, const Tensor& x)> stop;
};

/// A run of a sampler that asks for predictions instead of calling a model. The model may run
/// anywhere: in an asynchronous engine, on another machine, in one batch with other runs.
///
/// @code{.cpp}
/// #include <diffusion/diffusion.hpp>
///
/// int main() {
///   using Image = Eigen::Tensor<float, 4, Eigen::RowMajor>;
///   const diffusion::GaussianDiffusion<float> process(diffusion::cosine_beta_schedule(1000));
///   const auto grid = diffusion::timestep_grid(process, diffusion::TimestepSpacing::trailing, 20);
///   const diffusion::Denoiser denoiser(nullptr, diffusion::ModelMeanType::start_x);
///   Image x(1, 3, 8, 8), output(1, 3, 8, 8);
///   diffusion::PhiloxNoise noise(42);
///   noise(x);
///
///   diffusion::Prediction<Image> prediction;
///   diffusion::SamplingRun run(diffusion::DpmSolverPP{}, grid, x, noise);
///   while (!run.done()) {
///     const Image input = denoiser.model_input(run.x(), run.level());
///     output.setConstant(0.5f);  // an engine computes this from input and model_time(level)
///     denoiser.prediction(output, run.x(), run.level(), prediction);
///     run.advance(prediction);
///   }
///   return run.x()(0, 0, 0, 0) == 0.5f ? 0 : 1;
/// }
/// @endcode
///
/// A run owns all of its memory: sampler, grid, x, noise source and hooks. A copy goes on where the
/// original stands, with the same noise, and so is a checkpoint. Runs are independent of one
/// another: any number of them may be interleaved, or run on threads of their own. A step allocates
/// only the memory that no earlier step needed, so a restarted run allocates nothing, unless the
/// noise or a hook does.
///
/// x must be at the first level, as in sample(). The constructor and advance() throw what sample()
/// throws. Pass the noise source as std::ref to share it with other code. The run copies its Eigen
/// device, but not the thread pool, which must outlive it. Copy or restart a run between calls of
/// advance(), not in its hooks. A run that was moved from may only be assigned to or destroyed.
template <class Sampler, class Tensor, class Noise = NoNoise, class Device = Eigen::DefaultDevice>
class SamplingRun {
  static constexpr bool complete = detail::is_complete_sampler<Sampler, Tensor>();
  static_assert(std::is_same_v<Tensor, PlainTensor<Tensor>>,
                "diffusion: a SamplingRun holds an Eigen::Tensor, or a type with TensorOperations");

 public:
  /// Begins a run at the first level of `grid`. `device` is the Eigen device of the samplers and of
  /// noise sources that can use one.
  SamplingRun(Sampler sampler, TimeGrid grid, Tensor x, Noise noise = {}, Hooks<Tensor> hooks = {}, Device device = {})
      : sampler_(std::move(sampler)),
        grid_(std::move(grid)),
        x_(std::move(x)),
        noise_(static_cast<Noise&&>(noise)),
        hooks_(std::move(hooks)),
        device_(std::move(device)),
        sizes_(detail::shape(x_)) {
    if constexpr (complete) {
      if constexpr (detail::has_check_v<const Sampler>) sampler_.check();
      begin_step();
    }
  }

  /// Begins a run with hooks and without noise.
  SamplingRun(Sampler sampler, TimeGrid grid, Tensor x, Hooks<Tensor> hooks)
      : SamplingRun(std::move(sampler), std::move(grid), std::move(x), Noise{}, std::move(hooks)) {}

  /// True if x is the result.
  bool done() const { return done_; }
  /// x where the model is asked, or the result.
  const Tensor& x() const& { return x_; }
  /// The result of a run that is done, moved out of it.
  Tensor x() && { return std::move(x_); }
  /// Level at which the model is asked, or that of the result.
  const NoiseLevel& level() const { return level_; }
  /// The current step, or the last one. It refers to this run and must not outlive it.
  Step step() const {
    return {grid_.levels()[static_cast<std::size_t>(index_)],
            grid_.target(index_),
            grid_.num_skipped_steps() + index_,
            grid_.num_skipped_steps() + grid_.num_steps(),
            grid_,
            index_ == 0,
            device_};
  }

  /// Takes the prediction for x() at level() and moves on to where the model is asked next.
  /// `prediction` then has tensors of the same shape with unspecified values. Throws
  /// std::out_of_range if the run is done, and std::invalid_argument if a tensor of `prediction`
  /// has another shape than x. A run that has thrown must be restarted.
  void advance(Prediction<Tensor>& prediction) {
    if (done_) {
      detail::fail<std::out_of_range>("SamplingRun::advance", "the run is done after ", index_ + 1,
                                      " steps; restart(x) begins another");
    }
    detail::check_result("SamplingRun::advance", "x", x_, x_, sizes_);  // false after an exception
    detail::check_result("sample", "the denoiser's x_start", prediction.x_start, x_, sizes_);
    detail::check_result("sample", "the denoiser's epsilon", prediction.epsilon, x_, sizes_);
    if (hooks_.correct_x_start) {
      hooks_.correct_x_start(prediction.x_start, level_);
      detail::check_result("sample", "x_start after correct_x_start", prediction.x_start, x_, sizes_);
      if (level_.sigma > 0.0) {
        combine<Tensor>(prediction.epsilon,
                        {{1.0 / level_.sigma, x_}, {-level_.alpha / level_.sigma, prediction.x_start}}, device_);
      }
    }
    const Step step = this->step();
    if (hooks_.observe_x_start) hooks_.observe_x_start(step, level_, prediction.x_start);

    if (const auto next = next_level(step, prediction)) {
      level_ = *next;
      ++call_;
      return;
    }
    level_ = step.to;
    if (hooks_.observer) hooks_.observer(step, x_);
    const bool stops = hooks_.stop && hooks_.stop(step, x_);
    if (stops || index_ + 1 == grid_.num_steps()) {
      correct_x_t();
      done_ = true;
    } else {
      ++index_;
      begin_step();
    }
  }

  /// Begins another run at the first level with the memory of this one; the noise source goes on.
  /// Allocates nothing if x has the shape of the run before.
  void restart(const Tensor& x) {
    x_ = x;
    sizes_ = detail::shape(x_);
    index_ = 0;
    done_ = false;
    begin_step();
  }

 private:
  void begin_step() {
    const Step step = this->step();
    level_ = step.from;
    call_ = 0;
    correct_x_t();
    if constexpr (detail::has_begin_v<const Sampler, Tensor>) {
      level_ = std::as_const(sampler_).begin(step, x_, detail::StepNoise<Tensor>(noise_, device_), state_);
    }
  }

  std::optional<NoiseLevel> next_level(const Step& step, Prediction<Tensor>& prediction) {
    const ModelCall call{level_, call_};
    const detail::StepNoise<Tensor> noise(noise_, device_);
    const Sampler& sampler = sampler_;
    if constexpr (std::is_void_v<detail::AdvanceResult<Sampler, Tensor>>) {
      sampler.advance(step, call, x_, prediction, noise, state_);
      return {};
    } else {
      return sampler.advance(step, call, x_, prediction, noise, state_);
    }
  }

  void correct_x_t() {
    if (!hooks_.correct_x_t) return;
    hooks_.correct_x_t(x_, level_);
    if (!detail::has_shape(x_, sizes_)) {
      detail::fail<std::invalid_argument>("sample", "correct_x_t changed the shape of x from ",
                                          detail::shape_text(sizes_), " to ", detail::shape_text(x_));
    }
  }

  Sampler sampler_;
  TimeGrid grid_;
  Tensor x_;
  Noise noise_;
  Hooks<Tensor> hooks_;
  Device device_;
  decltype(detail::shape(std::declval<const Tensor&>())) sizes_;
  typename Sampler::template State<Tensor> state_;
  NoiseLevel level_;
  Eigen::Index index_ = 0, call_ = 0;
  bool done_ = false;
};

/// @private The same for a run with hooks and without noise.
template <class Sampler, class X, class Tensor>
SamplingRun(Sampler, TimeGrid, const X&, Hooks<Tensor>) -> SamplingRun<Sampler, PlainTensor<X>, NoNoise>;
/// @private Makes the run of a map or an expression hold a plain tensor.
template <class Sampler, class X, class Noise = NoNoise, class Device = Eigen::DefaultDevice>
SamplingRun(Sampler, TimeGrid, const X&, Noise = {}, Hooks<PlainTensor<X>> = {}, Device = {})
    -> SamplingRun<Sampler, PlainTensor<X>, Noise, Device>;

}  // namespace diffusion
