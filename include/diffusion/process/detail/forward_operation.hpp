/// @file forward_operation.hpp
/// Checks and kernel calls that the operations of GaussianDiffusion share.
#pragma once

#include <Eigen/Core>
#include <array>
#include <stdexcept>  // std::domain_error, std::out_of_range
#include <type_traits>

#include "../../detail/arguments.hpp"
#include "../../detail/error.hpp"
#include "../../detail/kernel/elementwise.hpp"
#include "../../detail/shape.hpp"
#include "../../noise/noise_source.hpp"
#include "../../tensor.hpp"
#include "tables.hpp"

namespace diffusion {
namespace detail {

/// The jump of one sample from timestep s to timestep t.
struct StepRange {
  Index s, t;
};
/// The jumps of a batch, one per sample; passed to by_step() in place of a TimestepsView.
struct StepRanges {
  TimestepsView s, t;
  bool uniform() const { return s.uniform() && t.uniform(); }
  StepRange operator[](Index n) const { return {s[n], t[n]}; }
};

/// An operation of a process: its name, for messages, and the tables it reads.
template <class Scalar>
struct ForwardOperation {
  const char* where;
  const Tables& tables;

  /// Throws std::invalid_argument unless t has one entry per sample, std::out_of_range unless
  /// 0 <= t[n] < T.
  void check_steps(const TimestepsView& t, Index batch) const {
    check_timesteps(where, "t", t, batch, 0, tables.betas.size());
  }
  /// Checks s and t likewise. Throws std::out_of_range unless -1 <= s[n] < t[n], and
  /// std::domain_error if abar_s = 0.
  void check_steps(const StepRanges& steps, Index batch) const {
    check_steps(steps.t, batch);
    check_timesteps(where, "s", steps.s, batch, -1, tables.betas.size());
    for (Index n = 0; n < (steps.uniform() ? 1 : batch); ++n) {
      const auto [s, t] = steps[n];
      if (s >= t) fail<std::out_of_range>(where, "s = ", s, " must be less than t = ", t, " (sample ", n, ")");
      if (s >= 0 && tables.alphas_cumprod[s] == 0.0) {
        fail<std::domain_error>(where, "alphas_cumprod[", s, "] = 0: a step cannot start at s = ", s,
                                ", where no signal is left (sample ", n, ")");
      }
    }
  }

  /// Throws std::domain_error if table[t[n]] = 0 for some n. Called by operations that divide by
  /// the table. Ignores timesteps out of range, which check_steps rejects.
  void check_positive(const char* name, const Eigen::ArrayXd& table, TimestepsView t) const {
    for (Index n = 0; n < (t.uniform() ? 1 : t.size()); ++n) {
      if (t[n] >= 0 && t[n] < tables.betas.size() && table[t[n]] == 0.0) {
        fail<std::domain_error>(where, name, "[", t[n], "] = 0: x_0 cannot be recovered from x_t (sample ", n, ")");
      }
    }
  }

  /// Checks shapes and timesteps of an operation on x and `more`. After this check only a noise
  /// source can throw.
  template <class Out, class Steps, class X, class... More>
  void check(const Out& out, const Steps& steps, const Argument<X>& x, const Argument<More>&... more) const {
    const Index batch = batch_size(where, x);
    (check_same_shape(where, x, more), ...);
    check_same_shape(where, x, argument("out", out));
    check_steps(steps, batch);
  }

  /// Checks the arguments and computes out[n] = sum_k coefficients(steps[n])[k] x_k[n].
  template <class Device, class Out, class Steps, class Coefficients, class... X>
  void combine(const Device& device, Out& out, const Steps& steps, const Coefficients& coefficients,
               const Argument<X>&... x) const {
    if constexpr (can_be_results<Out>() && tensors_agree<Scalar, Out, X...>()) {
      check(out, steps, x...);
      affine(device, out, by_step(steps, coefficients), x.tensor...);
    }
  }

  /// As combine, for x and `noise`, which is a tensor or a noise source. A source writes its values
  /// to `out` first, or to a temporary tensor if `out` is x.
  template <class Device, class Out, class Steps, class Coefficients, class X, class Noise>
  void combine_with_noise(const Device& device, Out& out, const Steps& steps, const Coefficients& coefficients,
                          const Argument<X>& x, Noise& noise) const {
    if constexpr (is_tensor_v<Noise>) {
      combine(device, out, steps, coefficients, x, argument("noise", noise));
    } else if constexpr (can_be_results<Out>() && tensors_agree<Scalar, Out, X>()) {
      check(out, steps, x);
      if (out.data() == x.tensor.data()) {
        auto drawn = like(x.tensor);
        draw(noise, drawn, device);
        combine(device, out, steps, coefficients, x, argument("noise", drawn));
      } else {
        draw(noise, out, device);
        combine(device, out, steps, coefficients, x, argument("noise", out));
      }
    }
  }

  /// Writes the moments of a Gaussian whose mean is a linear combination of x and `more`, and whose
  /// variance depends on t only.
  template <class Device, class Moments, class Mean, class X, class... More>
  void moments(const Device& device, Moments& out, TimestepsView t, const Mean& mean, const Eigen::ArrayXd& variance,
               const Eigen::ArrayXd& log_variance, const Argument<X>& x, const Argument<More>&... more) const {
    if constexpr (!are_moments<std::decay_t<Moments>>()) {
    } else if constexpr (can_be_results<decltype(out.mean), decltype(out.variance), decltype(out.log_variance)>() &&
                         tensors_agree<Scalar, decltype(out.variance), decltype(out.log_variance), X>()) {
      check_same_shape(where, x, argument("out.mean", out.mean));
      check_same_shape(where, x, argument("out.variance", out.variance));
      check_same_shape(where, x, argument("out.log_variance", out.log_variance));
      combine(device, out.mean, t, mean, x, more...);
      affine(device, out.variance, by_step(t, [&](Index i) { return std::array{variance.coeff(i)}; }));
      affine(device, out.log_variance, by_step(t, [&](Index i) { return std::array{log_variance.coeff(i)}; }));
    }
  }

  /// Returns table[t[n]] per sample, or a single entry if t is one integer for the whole batch.
  Eigen::Tensor<Scalar, 1> of_each_step(const Eigen::ArrayXd& table, TimestepsView t) const {
    const Index size = t.uniform() ? 1 : t.size();
    check_steps(t, size);
    Eigen::Tensor<Scalar, 1> out(size);
    for (Index n = 0; n < size; ++n) out(n) = static_cast<Scalar>(static_cast<Arithmetic<Scalar>>(table[t[n]]));
    return out;
  }
};

}  // namespace detail
}  // namespace diffusion
