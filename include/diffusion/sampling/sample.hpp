/// @file sample.hpp
/// sample(), the loop of sampling with a model that can be called, and add_noise() for runs that
/// start part-way.
#pragma once

#include <array>
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>  // std::move

#include "../detail/arguments.hpp"
#include "../detail/kernel/elementwise.hpp"
#include "../noise/noise_source.hpp"
#include "detail/sampler_contract.hpp"
#include "sampling_run.hpp"
#include "steps.hpp"

namespace diffusion {

namespace detail {

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

/// Writes the prediction of the denoiser: denoiser(x, level, prediction), with the device as a last
/// argument if it takes one, or denoiser(x, level).
template <class Denoiser, class Tensor, class Device>
void predict(Denoiser& denoiser, const Tensor& x, const NoiseLevel& level, Prediction<Tensor>& out,
             [[maybe_unused]] const Device& device) {
  constexpr bool on_device =
      !std::is_same_v<Device, Eigen::DefaultDevice> &&
      std::is_invocable_v<Denoiser&, const Tensor&, const NoiseLevel&, Prediction<Tensor>&, const Device&>;
  constexpr bool writes = std::is_invocable_v<Denoiser&, const Tensor&, const NoiseLevel&, Prediction<Tensor>&>;
  constexpr bool returns = std::is_invocable_r_v<Prediction<Tensor>, Denoiser&, const Tensor&, const NoiseLevel&>;
  static_assert(writes || returns,
                "diffusion: the denoiser must be callable as denoiser(x, level), returning a Prediction, or as "
                "denoiser(x, level, prediction), writing one; wrap a model in a diffusion::Denoiser");
  if constexpr (on_device) {
    denoiser(x, level, out, device);
  } else if constexpr (writes) {
    denoiser(x, level, out);
  } else if constexpr (returns) {
    out = denoiser(x, level);
  }
}

}  // namespace detail

/// Runs `sampler` from the first to the last level of `grid` and returns x there. The whole batch
/// shares the levels; ReverseProcess has one timestep per sample instead.
///
/// x must be at the first level. For a run from pure noise, x is N(0, 1) times hypot(alpha, sigma),
/// which is 1 on a variance-preserving path. (k-diffusion, and diffusers' Euler and LMS with
/// linspace or trailing timesteps, multiply by sigma alone.) For a run that starts part-way, x is
/// the result of add_noise(). `denoiser` is a Denoiser, or is called like one:
/// denoiser(x, level) returns a Prediction, or denoiser(x, level, prediction) writes one. `noise`
/// is a noise source, which is used itself, not a copy; deterministic samplers never call it.
/// `device` is an Eigen device for the sampler, the noise source and the denoiser, as far as they
/// can use one; the bits of the result do not depend on it.
///
/// sample() is a loop around a SamplingRun. Use a SamplingRun itself if the model cannot be called
/// from here, or to reuse the memory of a run. The first step allocates, and again the first step
/// that needs other buffers (after a start without signal, or where churn begins). No other step
/// allocates, unless the model, the noise or a hook does.
///
/// Throws std::invalid_argument if a parameter of the sampler is out of range, if the sampler needs
/// noise and none is passed, if a prediction has another shape than x, and if a hook changes a
/// shape. Throws std::domain_error if the run starts at sigma = 0 and the sampler cannot start
/// there. Throws what the denoiser throws.
template <class Sampler, class Denoiser, class X, class Noise = NoNoise, class Device = Eigen::DefaultDevice,
          std::enable_if_t<!detail::is_hooks_v<Noise>, int> = 0>
[[nodiscard]] PlainTensor<X> sample(const Sampler& sampler, const TimeGrid& grid, Denoiser&& denoiser, const X& x,
                                    Noise&& noise = Noise(), const Hooks<PlainTensor<X>>& hooks = {},
                                    const Device& device = Device()) {
  constexpr bool is_sampler = detail::is_complete_sampler<Sampler, PlainTensor<X>>();
  if constexpr (is_sampler) {
    // A run refers to the noise source, but holds a function by its pointer.
    using Source = std::conditional_t<std::is_function_v<std::remove_reference_t<Noise>>, std::decay_t<Noise>, Noise&>;
    SamplingRun<Sampler, PlainTensor<X>, Source, Device> run(sampler, grid, x, noise, hooks, device);
    Prediction<PlainTensor<X>> prediction;
    while (!run.done()) {
      detail::predict(denoiser, run.x(), run.level(), prediction, device);
      run.advance(prediction);
    }
    return std::move(run).x();
  }
  return {};
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

/// @private Rejects a grid of another type with one readable static_assert.
template <class Sampler, class Grid, class Denoiser, class X, class... More,
          std::enable_if_t<!std::is_convertible_v<const Grid&, const TimeGrid&>, int> = 0>
[[nodiscard]] PlainTensor<X> sample(const Sampler&, const Grid&, Denoiser&&, const X&, More&&...) {
  static_assert(!std::is_same_v<Grid, Grid>,
                "diffusion: the grid of sample must be a diffusion::TimeGrid, for example timestep_grid(process, "
                "diffusion::TimestepSpacing::trailing, 20)");
  return {};
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
  if constexpr (detail::is_adapted_v<X>) {
    detail::check_level("add_noise", level);
    const auto mix = [&](const X& z) {
      detail::check_same_shape("add_noise", detail::argument("x_start", x_start), detail::argument("noise", z));
      combine<X>(out, {{level.alpha, x_start}, {level.sigma, z}});
    };
    if constexpr (std::is_same_v<std::decay_t<Noise>, X>) {
      mix(noise);
    } else {
      X drawn = x_start;
      detail::draw(noise, drawn, Eigen::DefaultDevice());
      mix(drawn);
    }
  } else if constexpr (detail::tensors_agree<typename detail::Traits<Out>::Scalar, Out, X>()) {
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
