/// @file reverse_models.hpp
/// What the tests of the reverse process share: the functions of the recorded runs, which are formulas of a value and its t,
/// and a model that does nearly nothing.
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

/// out[i] = f(x[i], t of i's sample)
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

/// GuidedModel for tensors of any kind, which writes down what it hears.
struct Guided {
  diffusion::ModelVarType var_type = diffusion::ModelVarType::fixed_small;
  std::vector<double>* heard = nullptr;  // every t that the model was told

  template <class X, class T>
  X operator()(const X& x, const T& t) const {
    for (Eigen::Index n = 0; heard && n < t.size(); ++n) heard->push_back(static_cast<double>(t(n)));
    return GuidedModel<typename X::Scalar, X::NumDimensions, static_cast<int>(X::Layout)>{var_type}(x, t);
  }
};

/// cond_fn: 0.5 sin(2 x + 0.3) - 0.2 x + 0.1 sin(0.005 t)
struct Gradient {
  template <class X, class T>
  X operator()(const X& x, const T& t) const {
    using S = typename X::Scalar;
    using std::sin;
    return map(x, t, [](S y, S s) { return S(0.5) * sin(2 * y + S(0.3)) - S(0.2) * y + S(0.1) * sin(S(0.005) * s); });
  }
};

/// denoised_fn: 0.8 x + 0.1 cos(x), or nothing.
struct Denoised {
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

/// A model that writes its output, x / 4 (twice over for learned variances), and takes nothing from the heap.
struct Writing {
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

/// 40 of 1000 steps.
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
