/// @file sample.hpp
/// sample(), the one loop of sampling, and the contract of the samplers that it drives (samplers/).
///
/// A sampler is an aggregate of parameters that moves x from one noise level to the next. It has a
/// State and a step. Here is Euler's ancestral method in full:
///
///     struct MySampler {
///       double eta = 1;  // the parameters
///
///       template <class Tensor>
///       struct State {  // memory of a run: predictions, workspaces, earlier steps
///         Prediction<Tensor> prediction;
///         Tensor noise;
///       };
///
///       void check() const;  // optional; throws std::invalid_argument if eta is out of range
///
///       template <class Tensor, class Denoise, class Noise>
///       void step(const Step& step, Tensor& x, const Denoise& denoise, const Noise& noise,
///                 State<Tensor>& state) const {
///         denoise(x, step.from, state.prediction);
///         const auto [down, up] = ancestral_step(step.from, step.to, eta);
///         step_with_fixed_x_start(x, x, step.from, down, state.prediction.x_start);
///         add_step_noise(x, up, noise, state.noise);
///       }
///     };
///
/// sample() calls check() once, and step() once for each step of the grid. The arguments of step():
///
///   - `step`: the levels step.from and step.to, and the place of the step in the run (steps.hpp).
///     At a level, x = alpha x_0 + sigma epsilon.
///   - `x`: the batch. It is at step.from on entry; step() must leave it at step.to.
///   - `denoise(y, level, prediction)`: calls the model and writes prediction.x_start and
///     prediction.epsilon for a tensor y at any level, as often as the method needs. y must not be
///     a tensor of `prediction`. `denoise(y, level)` returns a new Prediction instead.
///   - `noise(z, x)`: resizes z to the shape of x and fills it with N(0, 1). `noise(z)` fills z in
///     its own shape. Both throw std::invalid_argument if no noise was passed to sample().
///   - `state`: the State of this run. It may have served another run before.
///
/// A sampler sees levels only, not the process, the model or the loop. So it serves
/// variance-preserving, variance-exploding and straight paths alike. Rules for every sampler, with
/// the helpers in steps.hpp, churn.hpp, history.hpp and exponential.hpp:
///
///   - Forget any earlier run if step.first is true. (step.index is not 0 there if the run starts
///     part-way.)
///   - sigma / alpha is 0 at a clean end, and infinite at a start without signal. Test
///     touches_clean_or_pure_noise() before you divide or take a logarithm, and take
///     step_with_fixed_x_start() there.
///   - A sampler that adds noise calls check_goes_down() first, unless its method also holds for a
///     step to a higher noise level (Lcm, Tcd). It adds the noise with add_step_noise(), which
///     draws nothing for a deviation of 0, and adds none in a step of zero length
///     (is_zero_length()). ancestral_step() takes care of both.
///   - Keep all memory in the State, so that steps allocate nothing. A tensor of the State may be
///     swapped with one of the Prediction, as History does.
///
/// samplers/euler_ancestral.hpp is a short sampler to begin with. A new sampler of the library is
/// also added to sampling.hpp, to the README, to tests/sampler_list.hpp, so that the tests check
/// this contract for it, and to examples/sampling/compare_samplers.cpp.
#pragma once

#include <array>
#include <cstddef>     // std::size_t
#include <functional>  // std::function
#include <stdexcept>   // std::invalid_argument
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>

#include "../detail/arguments.hpp"
#include "../detail/kernel/elementwise.hpp"
#include "../detail/kernel/linear_combination.hpp"
#include "../noise/noise_source.hpp"
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
  /// Is called with x after each step.
  std::function<void(const Step& step, const Tensor& x)> observer;
  /// Ends the run after a step if it returns true. It is called after observer; correct_x_t is
  /// called once more then.
  std::function<bool(const Step& step, const Tensor& x)> stop;
};

namespace detail {

/// The `denoise` that samplers receive: the user's denoiser, followed by Hooks::correct_x_start.
template <class Denoiser, class Tensor>
class HookedDenoiser {
 public:
  HookedDenoiser(Denoiser& denoiser, const Hooks<Tensor>& hooks) : denoiser_(denoiser), hooks_(hooks) {}

  void operator()(const Tensor& x, const NoiseLevel& level, Prediction<Tensor>& out) const {
    constexpr bool writes = std::is_invocable_v<Denoiser&, const Tensor&, const NoiseLevel&, Prediction<Tensor>&>;
    constexpr bool returns = std::is_invocable_r_v<Prediction<Tensor>, Denoiser&, const Tensor&, const NoiseLevel&>;
    static_assert(writes || returns,
                  "diffusion: the denoiser must be callable as denoiser(x, level), returning a Prediction, or as "
                  "denoiser(x, level, prediction), writing one; wrap a model in a diffusion::Denoiser");
    if constexpr (writes) {
      denoiser_(x, level, out);
    } else if constexpr (returns) {
      out = denoiser_(x, level);
    }
    check_result("sample", "the denoiser's x_start", out.x_start, x, shape(x));
    check_result("sample", "the denoiser's epsilon", out.epsilon, x, shape(x));
    if (hooks_.correct_x_start) {
      hooks_.correct_x_start(out.x_start, level);
      check_result("sample", "x_start after correct_x_start", out.x_start, x, shape(x));
      if (level.sigma > 0.0) {
        combine<Tensor>(out.epsilon, {{1.0 / level.sigma, x}, {-level.alpha / level.sigma, out.x_start}});
      }
    }
  }
  Prediction<Tensor> operator()(const Tensor& x, const NoiseLevel& level) const {
    Prediction<Tensor> out;
    (*this)(x, level, out);
    return out;
  }

 private:
  Denoiser& denoiser_;
  const Hooks<Tensor>& hooks_;
};

/// The `noise` that samplers receive: the user's noise source.
template <class Noise>
class StepNoise {
 public:
  explicit StepNoise(Noise& noise) : noise_(noise) {}

  /// Resizes z to the shape of x and fills it.
  template <class Tensor>
  void operator()(Tensor& z, const Tensor& x) const {
    resize(z, shape(x));
    (*this)(z);
  }
  /// Fills z.
  template <class Tensor>
  void operator()(Tensor& z) const {
    static_assert(
        !is_tensor_v<Noise>,
        "diffusion: a sampler may draw noise at every step: pass a noise source (RecordedNoise replays tensors)");
    if constexpr (std::is_same_v<std::decay_t<Noise>, NoNoise>) {
      fail<std::invalid_argument>("sample", "this sampler needs noise: pass a noise source");
    } else if constexpr (!is_tensor_v<Noise>) {
      detail::draw(noise_, z, Eigen::DefaultDevice());
    }
  }

 private:
  Noise& noise_;
};

template <class Sampler, class Tensor, class = void>
inline constexpr bool is_sampler_v = false;

template <class Sampler, class Tensor>
inline constexpr bool is_sampler_v<Sampler, Tensor, std::void_t<typename Sampler::template State<Tensor>>> = true;

template <class T>
inline constexpr bool is_hooks_v = false;

template <class T>
inline constexpr bool is_hooks_v<T&> = is_hooks_v<T>;

template <class T>
inline constexpr bool is_hooks_v<const T> = is_hooks_v<T>;

template <class Tensor>
inline constexpr bool is_hooks_v<Hooks<Tensor>> = true;

/// True if hooks for a Tensor serve a run that starts at an X; otherwise one static_assert says why
/// not.
template <class Tensor, class X>
constexpr bool are_hooks_of() {
  constexpr bool same = std::is_same_v<Tensor, PlainTensor<X>>;
  static_assert(same, "diffusion: the hooks must be diffusion::Hooks<Tensor> for the plain tensor type of x");
  return same;
}

template <class Sampler>
auto check_sampler(const Sampler& sampler, int) -> decltype(sampler.check()) {
  sampler.check();
}

template <class Sampler>
void check_sampler(const Sampler&, long) {}

}  // namespace detail

/// Runs `sampler` from the first to the last level of `grid` and returns x there. The whole batch
/// shares the levels; ReverseProcess has one timestep per sample instead.
///
/// x must be at the first level. For a run from pure noise, x is N(0, 1) times hypot(alpha, sigma),
/// which is 1 on a variance-preserving path. (k-diffusion, and diffusers' Euler and LMS with
/// linspace or trailing timesteps, multiply by sigma alone.) For a run that starts part-way, x is
/// the result of add_noise(). `denoiser` is a Denoiser, or is called like one:
/// denoiser(x, level) returns a Prediction, or denoiser(x, level, prediction) writes one. `noise`
/// is a noise source; deterministic samplers never call it.
///
/// sample_into does the same in place: x is the start and becomes the result. `state` is the memory
/// of the sampler. A control loop that passes the `state` of an earlier run allocates nothing.
/// Otherwise the first step allocates, and again the first step that needs other buffers (after a
/// start without signal, or where churn begins). No other step allocates, unless the model, the
/// noise or a hook does.
///
/// Throws std::invalid_argument if a parameter of the sampler is out of range, if the sampler needs
/// noise and none is passed, if a prediction has another shape than x, and if a hook changes a
/// shape. Throws std::domain_error if the run starts at sigma = 0 and the sampler cannot start
/// there. Throws what the denoiser throws.
template <class Sampler, class Denoiser, class X, class Noise = NoNoise,
          std::enable_if_t<!detail::is_hooks_v<Noise>, int> = 0>
[[nodiscard]] PlainTensor<X> sample(const Sampler& sampler, const TimeGrid& grid, Denoiser&& denoiser, const X& x,
                                    Noise&& noise = Noise(), const Hooks<PlainTensor<X>>& hooks = {}) {
  constexpr bool is_sampler = detail::is_sampler_v<Sampler, PlainTensor<X>>;
  static_assert(
      is_sampler,
      "diffusion: the first argument must be a sampler, such as diffusion::Ddim{}: a struct with a State<Tensor> "
      "and a step");
  PlainTensor<X> out = x;
  if constexpr (is_sampler) {
    typename Sampler::template State<PlainTensor<X>> state;
    sample_into(out, sampler, grid, denoiser, noise, hooks, state);
  }
  return out;
}

/// Runs `sampler` with hooks and without noise, as above.
template <class Sampler, class Denoiser, class X, class Tensor>
[[nodiscard]] PlainTensor<X> sample(const Sampler& sampler, const TimeGrid& grid, Denoiser&& denoiser, const X& x,
                                    const Hooks<Tensor>& hooks) {
  if constexpr (detail::are_hooks_of<Tensor, X>()) return sample(sampler, grid, denoiser, x, NoNoise(), hooks);
  return {};
}

/// @private Rejects hooks for another tensor type with one readable static_assert.
template <class Sampler, class Denoiser, class X, class Noise, class Tensor,
          std::enable_if_t<!std::is_same_v<Tensor, PlainTensor<X>>, int> = 0>
[[nodiscard]] PlainTensor<X> sample(const Sampler&, const TimeGrid&, Denoiser&&, const X&, Noise&&,
                                    const Hooks<Tensor>&) {
  detail::are_hooks_of<Tensor, X>();
  return {};
}

/// @copydoc sample()
template <class Tensor, class Sampler, class Denoiser, class Noise>
void sample_into(Tensor& x, const Sampler& sampler, const TimeGrid& grid, Denoiser&& denoiser, Noise&& noise,
                 const Hooks<Tensor>& hooks, typename Sampler::template State<Tensor>& state) {
  detail::check_sampler(sampler, 0);
  const detail::HookedDenoiser<std::remove_reference_t<Denoiser>, Tensor> denoise(denoiser, hooks);
  const detail::StepNoise<std::remove_reference_t<Noise>> draw(noise);
  const auto correct_x_t = [&hooks, &x, sizes = detail::shape(x)](const NoiseLevel& level) {
    if (!hooks.correct_x_t) return;
    hooks.correct_x_t(x, level);
    if (!detail::has_shape(x, sizes)) {
      detail::fail<std::invalid_argument>("sample", "correct_x_t changed the shape of x from ",
                                          detail::shape_text(sizes), " to ", detail::shape_text(x));
    }
  };
  NoiseLevel reached = grid.levels().front();
  const Eigen::Index skipped = grid.num_skipped_steps(), count = skipped + grid.num_steps();
  for (Eigen::Index i = 0; i < grid.num_steps(); ++i) {
    const Step step{grid.levels()[static_cast<std::size_t>(i)], grid.target(i), skipped + i, count, grid, i == 0};
    correct_x_t(step.from);
    sampler.step(step, x, denoise, draw, state);
    reached = step.to;
    if (hooks.observer) hooks.observer(step, x);
    if (hooks.stop && hooks.stop(step, x)) break;
  }
  correct_x_t(reached);
}

/// Returns x_start with the noise of `level`, the start of a run from this level:
///
///     x = alpha x_0 + sigma noise
///
/// `noise` is a tensor of x_start's shape or a noise source. In add_noise_into, `out` may be
/// x_start or the noise; the function allocates only if `out` is x_start and `noise` is a source.
/// Throws std::invalid_argument unless all tensors share one shape and alpha and sigma are finite,
/// not negative and not both zero.
template <class X, class Noise>
[[nodiscard]] PlainTensor<X> add_noise(const X& x_start, const NoiseLevel& level, Noise&& noise) {
  return detail::returned(x_start, [&](auto& out, const auto& x) { add_noise_into(out, x, level, noise); });
}

/// @copydoc add_noise()
template <class Out, class X, class Noise>
void add_noise_into(Out&& out, const X& x_start, const NoiseLevel& level, Noise&& noise) {
  if constexpr (detail::tensors_agree<typename detail::Traits<Out>::Scalar, Out, X>()) {
    const auto x = detail::argument("x_start", x_start);
    detail::check_level("add_noise", level);
    detail::check_same_shape("add_noise", x, detail::argument("out", out));
    const auto mix = [&](const auto& z) {
      if constexpr (detail::tensors_agree<typename detail::Traits<Out>::Scalar, Out, decltype(z.tensor)>()) {
        detail::check_same_shape("add_noise", x, z);
        detail::affine(Eigen::DefaultDevice(), out, std::array{level.alpha, level.sigma}, x.tensor, z.tensor);
      }
    };
    if constexpr (detail::is_tensor_v<Noise>) {
      mix(detail::argument("noise", noise));
    } else if (out.data() == x.tensor.data()) {
      auto drawn = detail::like(x.tensor);
      detail::draw(noise, drawn, Eigen::DefaultDevice());
      mix(detail::argument("noise", drawn));
    } else {
      detail::draw(noise, out, Eigen::DefaultDevice());
      mix(detail::argument("noise", out));
    }
  }
}

}  // namespace diffusion
