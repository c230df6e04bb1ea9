/// @file reverse_models.hpp
/// Shared by the tests of the reverse process: the functions of the recorded runs, which are
/// formulas in a value and its timestep, and a model that does almost nothing.
#pragma once

#include <algorithm>  // std::copy
#include <array>
#include <cmath>
#include <initializer_list>
#include <string>
#include <vector>

#include "diffusion/model/parameterization.hpp"
#include "diffusion/process/respacing.hpp"
#include "diffusion/process/schedules.hpp"
#include "guided_model.hpp"

namespace models {

/// Returns a tensor whose element i is f(x[i], t of the sample of i).
template <class X, class T, class F>
X map(const X& x, const T& t, const F& f) {
  X out(x.dimensions());
  const Eigen::Index batch = x.dimension(0);
  for (Eigen::Index i = 0; i < x.size(); ++i) {
    const bool row_major = static_cast<int>(X::Layout) == Eigen::RowMajor;
    out.data()[i] = f(x.data()[i], t(row_major ? i / (x.size() / batch) : i % batch));
  }
  return out;
}

/// GuidedModel for tensors of any type, which records its model times.
struct AnyGuidedModel {
  diffusion::ModelVarType var_type = diffusion::ModelVarType::fixed_small;
  std::vector<double>* received_times = nullptr;  // every model time it received

  template <class X, class T>
  X operator()(const X& x, const T& t) const {
    for (Eigen::Index n = 0; received_times && n < t.size(); ++n) received_times->push_back(static_cast<double>(t(n)));
    return GuidedModel<typename X::Scalar, X::NumDimensions, static_cast<int>(X::Layout)>{var_type}(x, t);
  }
};

/// A cond_fn:
///
///     0.5 sin(2 x + 0.3) - 0.2 x + 0.1 sin(0.005 t)
struct Gradient {
  template <class X, class T>
  X operator()(const X& x, const T& t) const {
    using S = typename X::Scalar;
    using std::sin;
    return map(x, t, [](S y, S s) { return S(0.5) * sin(2 * y + S(0.3)) - S(0.2) * y + S(0.1) * sin(S(0.005) * s); });
  }
};

/// A denoised_fn: 0.8 x + 0.1 cos(x) if `on`, otherwise x.
struct DenoisedFn {
  bool on = true;

  template <class X>
  X operator()(const X& x) const {
    using S = typename X::Scalar;
    using std::cos;
    X out = x;
    for (Eigen::Index i = 0; on && i < x.size(); ++i) out.data()[i] = S(0.8) * x.data()[i] + S(0.1) * cos(x.data()[i]);
    return out;
  }
};

/// A model that writes x / 4 to its output, for learned variances to both halves of the channels.
/// It does not allocate.
struct QuarterModel {
  template <class X, class T>
  void operator()(const X& x, const T&, X& out) const {
    for (Eigen::Index i = 0; i < out.size(); ++i) out.data()[i] = x.data()[i % x.size()] * typename X::Scalar(0.25);
  }
};

constexpr std::array<diffusion::ModelMeanType, 4> mean_types = {
    diffusion::ModelMeanType::previous_x, diffusion::ModelMeanType::start_x, diffusion::ModelMeanType::epsilon,
    diffusion::ModelMeanType::velocity};
constexpr std::array<diffusion::ModelVarType, 4> var_types = {
    diffusion::ModelVarType::learned, diffusion::ModelVarType::fixed_small, diffusion::ModelVarType::fixed_large,
    diffusion::ModelVarType::learned_range};

/// A process of 40 steps, respaced from 1000.
template <class Scalar>
diffusion::GaussianDiffusion<Scalar> spaced_process() {
  return respace(diffusion::GaussianDiffusion<Scalar>(diffusion::linear_beta_schedule(1000)),
                 diffusion::space_timesteps(1000, "10,10,20"));
}

inline diffusion::Timesteps timesteps(std::initializer_list<Eigen::Index> values) {
  diffusion::Timesteps t(static_cast<Eigen::Index>(values.size()));
  std::copy(values.begin(), values.end(), t.data());
  return t;
}

}  // namespace models
