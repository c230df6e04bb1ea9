/// @file repaint.hpp
/// The RePaint sampler for inpainting.
#pragma once

#include <array>
#include <cmath>  // std::sqrt
#include <optional>
#include <type_traits>

#include "../../detail/arguments.hpp"
#include "../../detail/check.hpp"
#include "../../detail/kernel/elementwise.hpp"
#include "../../detail/kernel/linear_combination.hpp"
#include "../../detail/kernel/multiply_add.hpp"
#include "../steps.hpp"

namespace diffusion {

namespace detail {

/// Element function: mask (c_0 known + c_1 noise) + (1 - mask) x
struct PasteKnown {
  template <class C, class Real>
  Real operator()(const C& c, Real x, Real known, Real mask, Real noise) const {
    const Real noised = multiply_add(c[0], known, c[1] * noise);
    return multiply_add(mask, noised, multiply_add(-mask, x, x));
  }
};

/// Whether TensorOperations<Tensor> has paste.
template <class Tensor, class = void>
inline constexpr bool has_paste_v = false;
template <class Tensor>
inline constexpr bool has_paste_v<Tensor, std::void_t<decltype(&TensorOperations<Tensor>::paste)>> = true;

}  // namespace detail

/// RePaint, inpainting with resampling. Lugmayr et al. 2022, Algorithm 1 and Section 4.2. After
/// each step of Ddpm, x is replaced by the noised known picture where mask is 1:
///
///     x <- mask (alpha_to known + sigma_to noise) + (1 - mask) x
///
/// Every jump_length levels, the forward process takes x back up by jump_length levels, and x comes
/// down again, resamplings - 1 times at each of these levels. This makes the unknown part agree
/// with the known part. (Without resampling, Hooks::correct_x_t inpaints with any sampler.)
template <class Tensor>
struct RePaint {
  Tensor known,  ///< The known picture, in the shape of x; original_image in diffusers.
      mask;      ///< In the shape of x: 1 where the picture is known, 0 where it is not; values between blend.
  /// Number of levels of a jump back up, >= 1.
  Eigen::Index jump_length = 10;
  /// Number of passes through each jump_length levels, >= 1; 1 never jumps. jump_n_sample in
  /// diffusers.
  Eigen::Index resamplings = 10;

  /// Memory of a run.
  template <class>
  struct State {
    Tensor noise;            ///< Noise of one step.
    Eigen::Index level = 0,  ///< Index of the level from which x comes down.
        passes = 0;          ///< Number of passes through the levels of the jump.
  };

  /// Throws std::invalid_argument if a parameter is out of range or `known` and `mask` have
  /// different shapes.
  void check() const {
    detail::check_at_least<Eigen::Index>("RePaint", "jump_length", jump_length, 1);
    detail::check_at_least<Eigen::Index>("RePaint", "resamplings", resamplings, 1);
    detail::check_same_shape("RePaint", detail::argument("known", known), detail::argument("mask", mask));
  }

  /// Moves x to step.to, and back up and down again where the step ends a jump. Throws
  /// std::invalid_argument unless x has the shape of `known`.
  template <class Noise>
  std::optional<NoiseLevel> advance(const Step& step, const ModelCall& call, Tensor& x, Prediction<Tensor>& prediction,
                                    const Noise& noise, State<Tensor>& state) const {
    const auto level = [&](Eigen::Index i) { return step.grid.whole_level(i); };
    const Eigen::Index here = step.index + 1, top = here - jump_length;
    if (call.index == 0) {
      detail::check_same_shape("RePaint", detail::argument("x", x), detail::argument("known", known));
      descend(step, x, step.from, step.to, prediction, noise, state);
      const Eigen::Index above_last = step.count - 2 - step.index;  // 0 if x is at the last level with noise
      if (above_last < 0 || above_last % jump_length != 0 || above_last >= step.count - jump_length) return {};
      state.level = here;
      state.passes = 0;
    } else {
      descend(step, x, level(state.level), level(state.level + 1), prediction, noise, state);
      ++state.level;
    }
    if (state.level == here) {
      if (++state.passes == resamplings) return {};
      // x = (alpha / alpha_low) x_low + sqrt(sigma^2 - (alpha / alpha_low)^2 sigma_low^2) noise
      const double scale = level(top).alpha / level(here).alpha, below = scale * level(here).sigma;
      noise(state.noise, x);
      combine<Tensor>(x,
                      {{scale, x}, {std::sqrt((level(top).sigma - below) * (level(top).sigma + below)), state.noise}},
                      step.device);
      state.level = top;
    }
    return level(state.level);
  }

 private:
  template <class Noise>
  void descend(const Step& step, Tensor& x, const NoiseLevel& from, const NoiseLevel& to,
               const Prediction<Tensor>& prediction, const Noise& noise, State<Tensor>& state) const {
    const auto [down, up] = ancestral_step(from, to, 1.0);
    step_with_fixed_x_start(x, x, from, down, prediction.x_start, step.device);
    add_step_noise(x, up, noise, state.noise, step.device);
    noise(state.noise, x);
    if constexpr (detail::is_adapted_v<Tensor>) {
      static_assert(detail::has_paste_v<Tensor>, "diffusion: RePaint needs TensorOperations<Tensor>::paste");
      if constexpr (detail::has_paste_v<Tensor>) {
        TensorOperations<Tensor>::paste(x, known, mask, to.alpha, to.sigma, state.noise, step.device);
      }
    } else {
      detail::apply(step.device, x, detail::PasteKnown{}, std::array{to.alpha, to.sigma}, x, known, mask, state.noise);
    }
  }
};

}  // namespace diffusion
