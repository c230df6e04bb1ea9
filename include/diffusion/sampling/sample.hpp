/// @file sample.hpp
/// The one loop of sampling, and the contract of the samplers that it drives (samplers/).
///
/// A sampler is a struct of parameters, an aggregate, that moves x from one level of noise to the next:
///
///     struct MySampler {
///       double parameter = 1;
///       template <class Tensor>
///       struct State {                     // what one run remembers: workspaces, earlier predictions
///         Prediction<Tensor> prediction;
///       };
///       template <class Tensor, class Denoise, class Noise>
///       void step(const Step& step, Tensor& x, const Denoise& denoise, const Noise& noise, State<Tensor>& state) const {
///         denoise(x, step.from, state.prediction);        // x_start and epsilon at a level; as often as it likes
///         ...                                             // noise(z) fills z with N(0, 1); noise(z, x) in x's shape
///       }
///       void check() const;                // optional: throws std::invalid_argument for parameters out of range
///     };
///
/// It sees levels only, never tables or the loop, and so serves variance-preserving,
/// variance-exploding and straight paths alike. Rules for every sampler, with the helpers of
/// steps.hpp, churn.hpp, history.hpp and exponential.hpp:
///
///   - Reset the State when step.index == 0: it may have served another run.
///   - sigma / alpha is 0 at a clean end and infinite at a start without signal: test
///     touches_clean_or_pure_noise(), and step with step_with_fixed_x_start().
///   - A sampler that adds noise calls check_goes_down(), adds it by add_step_noise(), which draws
///     none for a deviation of 0, and adds none in a step of zero length (is_zero_length()).
///   - Keep all memory in the State; it may be swapped with that of the Prediction, as History
///     does.
///
/// samplers/euler_ancestral.hpp is a short one to begin with. A sampler of the library is named in
/// sampling.hpp, in the README, in tests/sampler_list.hpp, whose tests hold it to all of this, and
/// in examples/sampling/compare_samplers.cpp.
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

/// Callbacks of a run, each optional. Tensor is the plain tensor type of x.
template <class Tensor>
struct Hooks {
  /// May change x: called with every level before its step, and once more at the end. Inpainting, a fixed prefix of a plan.
  std::function<void(Tensor& x, const NoiseLevel& level)> correct_x_t;
  /// May change x_0 as predicted, at every call of the model; epsilon then follows it.
  std::function<void(Tensor& x_start, const NoiseLevel& level)> correct_x_start;
  /// Sees x after every step.
  std::function<void(const Step& step, const Tensor& x)> observer;
  /// Ends the run after a step if it returns true; correct_x_t is called once more then.
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
                  "denoiser(x, level, prediction), writing one; Denoiser makes one of a model");
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

/// The `noise` that samplers receive.
template <class Noise>
class StepNoise {
 public:
  explicit StepNoise(Noise& noise) : noise_(noise) {}

  /// z takes the shape of x and is filled.
  template <class Tensor>
  void operator()(Tensor& z, const Tensor& x) const {
    resize(z, shape(x));
    (*this)(z);
  }
  template <class Tensor>
  void operator()(Tensor& z) const {
    static_assert(!is_tensor_v<Noise>,
                  "diffusion: a run takes noise at many steps: give it a noise source (RecordedNoise replays tensors)");
    if constexpr (std::is_same_v<std::decay_t<Noise>, NoNoise>) {
      fail<std::invalid_argument>("sample", "this sampler needs noise, and none is given");
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

/// Whether hooks for a Tensor serve a run that starts at an X; if not, one sentence says so.
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
/// shares the levels (ReverseProcess takes a timestep for each sample).
///
/// x must be distributed as the first level: for a run from pure noise, N(0, 1) times hypot(alpha,
/// sigma) of that level, which is 1 on a variance-preserving path (k-diffusion, and diffusers'
/// Euler and LMS for linspace and trailing, take sigma alone); for a run that starts part-way, the
/// result of add_noise(). `denoiser` is a Denoiser or any callable of its forms. `noise` is a noise
/// source, which deterministic samplers never call. Allocates in the first step, and again in the
/// first step that needs other buffers (after a start without signal, or where churn begins); no
/// other step allocates, unless the model, the noise or a hook does.
///
/// Throws std::invalid_argument if a parameter of the sampler is out of range, if it needs noise
/// and none is given, and for a prediction, or an x changed by a hook, of another shape;
/// std::domain_error if the sampler cannot start without noise; and what the denoiser throws.
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

/// The same without noise, with hooks.
template <class Sampler, class Denoiser, class X, class Tensor>
[[nodiscard]] PlainTensor<X> sample(const Sampler& sampler, const TimeGrid& grid, Denoiser&& denoiser, const X& x,
                                    const Hooks<Tensor>& hooks) {
  if constexpr (detail::are_hooks_of<Tensor, X>()) return sample(sampler, grid, denoiser, x, NoNoise(), hooks);
  return {};
}

/// Rejects hooks for another tensor type with one sentence.
template <class Sampler, class Denoiser, class X, class Noise, class Tensor,
          std::enable_if_t<!std::is_same_v<Tensor, PlainTensor<X>>, int> = 0>
[[nodiscard]] PlainTensor<X> sample(const Sampler&, const TimeGrid&, Denoiser&&, const X&, Noise&&,
                                    const Hooks<Tensor>&) {
  detail::are_hooks_of<Tensor, X>();
  return {};
}

/// The same in place, with the memory of an earlier run in `state`: a control loop that plans again
/// and again allocates nothing.
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
      detail::fail<std::invalid_argument>("sample", "correct_x_t made x of shape ", detail::shape_text(sizes),
                                          " one of shape ", detail::shape_text(x));
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

/// Returns alpha x_0 + sigma noise, the start of a run from this level. `noise` is a tensor or a
/// noise source. Throws std::invalid_argument unless all share one shape and alpha and sigma are
/// finite, not negative and not both zero.
template <class X, class Noise>
[[nodiscard]] PlainTensor<X> add_noise(const X& x_start, const NoiseLevel& level, Noise&& noise) {
  return detail::returned(x_start, [&](auto& out, const auto& x) { add_noise_into(out, x, level, noise); });
}

/// The same into `out`, which may be x_start or the noise. (Allocates only if `out` is x_start and
/// the noise must be drawn.)
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
