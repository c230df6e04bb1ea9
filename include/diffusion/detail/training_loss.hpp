/// @file training_loss.hpp
/// One sample's training loss, value by value and in double, and its derivatives with respect to the model's output.
#pragma once

#include <array>

#include "../gaussian_diffusion.hpp"
#include "../reverse_types.hpp"
#include "../tensor.hpp"
#include "bound_term.hpp"
#include "multiply_add.hpp"
#include "operands.hpp"

namespace diffusion {
namespace detail {

/// What a model of `mean_type` should put out at one t.
struct Target {
  ModelMeanType mean_type = ModelMeanType::epsilon;
  double x_start = 0.0, x_t = 0.0, noise = 0.0;  // what each is multiplied by

  double value(double x_0, double x, double z) const {
    switch (mean_type) {
      case ModelMeanType::previous_x:
        return multiply_add(x_start, x_0, x_t * x);
      case ModelMeanType::start_x:
        return x_0;
      case ModelMeanType::epsilon:
        return z;
      case ModelMeanType::velocity:
        return multiply_add(x_start, x_0, noise * z);
      default:  // refused before
        return 0.0;
    }
  }
};

template <class Scalar>
Target target(const GaussianDiffusion<Scalar>& process, ModelMeanType mean_type, Eigen::Index t) {
  switch (mean_type) {
    case ModelMeanType::previous_x:
      return {mean_type, process.posterior_mean_coef1()[t], process.posterior_mean_coef2()[t], 0.0};
    case ModelMeanType::velocity:
      return {mean_type, -process.sqrt_one_minus_alphas_cumprod()[t], 0.0, process.sqrt_alphas_cumprod()[t]};
    default:
      return {mean_type, 0.0, 0.0, 0.0};
  }
}

/// loss = mse + vb for one sample; each part is there or not.
struct LossTerm {
  bool has_mse = false, has_vb = false;
  double vb_scale = 0.0;  // bits in a nat, times what the loss multiplies the bound with
  Target target;
  BoundTerm bound;

  /// A value's part of {mse, vb / vb_scale}.
  std::array<double, 2> value(const OutputValue& output, double x_start, double x_t, double noise) const {
    std::array<double, 2> out{};
    if (has_mse) {
      const double error = output.mean_half - target.value(x_start, x_t, noise);
      out[0] = error * error;
    }
    if (has_vb) out[1] = bound.value(output, x_start, x_t);
    return out;
  }

  /// Where there is a mean squared error, the bound does not reach the first half of the output.
  OutputValue gradient(const OutputValue& output, double x_start, double x_t, double noise) const {
    OutputValue out{};
    if (has_vb) {
      const OutputValue by = bound.gradient(output, x_start, x_t);
      out = {vb_scale * by.mean_half, vb_scale * by.variance_half};
    }
    if (has_mse) out.mean_half = 2.0 * (output.mean_half - target.value(x_start, x_t, noise));
    return out;
  }
};

struct LossKind {
  bool mse;       // a mean squared error, with the bound for learned variances; or the bound alone
  bool rescaled;  // the bound times T / 1000 beside a mean squared error, times T alone
  bool exact;     // the likelihood of a bin
};

/// The tensors that a training loss is made of, in memory and checked.
template <class Scalar>
struct LossInputs {
  const GaussianDiffusion<Scalar>& process;
  const ReverseOptions& options;
  LossKind kind;
  OutputHalves<const Scalar> output;
  const Scalar *x_start, *x_t, *noise;
  TimestepsView t;

  bool has_vb() const { return !kind.mse || learns_variance(options.var_type); }

  double vb_scale() const {
    const auto steps = static_cast<double>(process.num_timesteps());
    return bits(!kind.rescaled ? 1.0 : kind.mse ? steps / 1000.0 : steps);
  }

  /// The loss of sample n.
  LossTerm term(Index n) const {
    LossTerm out;
    out.has_mse = kind.mse;
    out.has_vb = has_vb();
    out.vb_scale = vb_scale();
    out.target = target(process, options.mean_type, t[n]);
    if (out.has_vb) out.bound = bound_term(process, options, false, kind.exact, t[n]);
    return out;
  }

  /// f(output, x_start, x_t, noise) of value i.
  template <class F>
  auto at(Index i, const F& f) const {
    return f(output[i], static_cast<double>(x_start[i]), static_cast<double>(x_t[i]), static_cast<double>(noise[i]));
  }
};

/// f(where, x_start, inputs) when all tensors are in memory and checked.
template <class Scalar, class O, class X, class Y, class Z, class F>
void with_loss_inputs(const char* where, const GaussianDiffusion<Scalar>& process, const ReverseOptions& options,
                      LossKind kind, const O& output, const X& x_start, const Y& x_t, TimestepsView t, const Z& noise,
                      const F& f) {
  if constexpr (tensors_agree<Scalar, O, X, Y, Z>()) {
    const auto x_0 = argument("x_start", x_start);
    const auto x = argument("x_t", x_t);
    const auto z = argument("noise", noise);
    const auto y = argument("output", output);
    const Index batch = checked_batch(where, process, t, x_0, x, z);
    const LossInputs<Scalar> inputs{
        process,
        options,
        kind,
        output_halves<const Scalar>(where, y.tensor, "output", x.tensor, learns_variance(options.var_type)),
        x_0.tensor.data(),
        x.tensor.data(),
        z.tensor.data(),
        t};
    // (Of x_{t-1} the bound needs no x_0.)
    if (inputs.has_vb() && options.mean_type == ModelMeanType::epsilon) {
      check_tells_xstart(where, process, options.mean_type, t, batch);
    }
    f(where, x_0, inputs);
  }
}

}  // namespace detail
}  // namespace diffusion
