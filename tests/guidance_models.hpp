/// @file guidance_models.hpp
/// Shared by the tests of guidance: two models, and reference implementations of guidance in long
/// double.
#pragma once

#include <algorithm>  // std::min
#include <cmath>
#include <vector>

#include "matchers.hpp"
#include "reverse_models.hpp"
#include "samples.hpp"

namespace models {

/// A model that writes f(x) + 0.1 cos(0.01 t) and counts its calls. If `out` has twice the channels
/// of x, it writes the same function of x + 2 to the second half.
template <class F>
struct Model {
  F f;
  int* calls = nullptr;

  template <class X, class T>
  void operator()(const X& x, const T& t, X& out) const {
    using S = typename X::Scalar;
    if (calls) ++*calls;
    const bool row_major = static_cast<int>(X::Layout) == Eigen::RowMajor;
    const Eigen::Index batch = x.dimension(0), halves = x.size() == 0 ? 1 : out.size() / x.size();
    const Eigen::Index size = batch == 0 ? 1 : x.size() / batch;  // of a sample of x
    // In memory, blocks of this size alternate between the two halves of the channels.
    const Eigen::Index block = row_major || halves == 1 ? size : x.dimension(X::NumDimensions > 1 ? 1 : 0);
    for (Eigen::Index i = 0; i < out.size(); ++i) {
      const Eigen::Index n = row_major ? i / (halves * size) : i % batch,
                         p = row_major ? i % (halves * size) : i / batch;
      // The second half of the channels is computed from x + 2.
      const bool second = halves == 2 && p / block % 2 == 1;
      const Eigen::Index from = halves == 2 ? p / (2 * block) * block + p % block : p;
      const double value =
          static_cast<double>(x.data()[row_major ? n * size + from : n + from * batch]) + (second ? 2 : 0);
      out.data()[i] = S(f(value) + 0.1 * std::cos(0.01 * static_cast<double>(t(n))));
    }
  }
};

inline double cond_value(double x) { return std::sin(2 * x) + 0.3; }
inline double uncond_value(double x) { return 0.5 * x - 0.2 * x * x; }
inline Model<double (*)(double)> cond_model(int* calls = nullptr) { return {cond_value, calls}; }
inline Model<double (*)(double)> uncond_model(int* calls = nullptr) { return {uncond_value, calls}; }

/// Both models in one: cond_model for the first half of a doubled batch, uncond_model for the
/// second.
struct BothModels {
  int* calls = nullptr;

  template <class X, class T>
  void operator()(const X& x, const T& t, X& out) const {
    if (calls) ++*calls;
    const auto half = [](const auto& from, Eigen::Index which) {
      auto first = from.dimensions(), extent = from.dimensions();
      for (std::size_t d = 0; d < first.size(); ++d) first[d] = 0;
      extent[0] /= 2;
      first[0] = which * extent[0];
      return std::make_pair(first, extent);
    };
    for (Eigen::Index which : {0, 1}) {
      const auto [x_first, x_extent] = half(x, which);
      const auto [t_first, t_extent] = half(t, which);
      const auto [out_first, out_extent] = half(out, which);
      X part = out.slice(out_first, out_extent);
      const X x_part = x.slice(x_first, x_extent);
      const T t_part = t.slice(t_first, t_extent);
      (which == 0 ? cond_model() : uncond_model())(x_part, t_part, part);
      out.slice(out_first, out_extent) = part;
    }
  }
};

/// Returns the output of model(x, t, out).
template <class Model, class X, class T>
X output(Model&& model, const X& x, const T& t) {
  X out(x.dimensions());
  model(x, t, out);
  return out;
}

/// A model whose output is `value` everywhere.
inline auto constant_model(double value) {
  return [value](const auto& x, const auto&, auto& out) {
    out.setConstant(static_cast<typename std::decay_t<decltype(x)>::Scalar>(value));
  };
}

/// Model times, one per sample.
template <class Scalar>
Eigen::Tensor<Scalar, 1> model_times(std::initializer_list<double> values) {
  Eigen::Tensor<Scalar, 1> t(static_cast<Eigen::Index>(values.size()));
  std::transform(values.begin(), values.end(), t.data(), [](double value) { return Scalar(value); });
  return t;
}

using Values = std::vector<long double>;

/// Returns a tensor of cond's shape. Its sample n is f(n, sample n of cond, sample n of uncond).
template <class Tensor, class F>
auto map_samples(const Tensor& cond, const Tensor& uncond, const F& f) {
  const auto c = matchers::elements(cond), u = matchers::elements(uncond);
  Eigen::Tensor<long double, Tensor::NumDimensions, Eigen::RowMajor> out(cond.dimensions());
  const auto batch = static_cast<std::size_t>(cond.dimension(0)), size = c.values.size() / batch;
  for (std::size_t n = 0; n < batch; ++n) {
    const auto sample = [&](const Values& all) {
      const auto first = all.begin() + static_cast<std::ptrdiff_t>(n * size);
      return Values(first, first + static_cast<std::ptrdiff_t>(size));
    };
    const Values guided = f(static_cast<Eigen::Index>(n), sample(c.values), sample(u.values));
    std::copy(guided.begin(), guided.end(), out.data() + n * size);
  }
  return out;
}

inline long double dot(const Values& x, const Values& y) {
  long double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i];
  return sum;
}
/// Standard deviation, unbiased.
inline long double deviation(const Values& x) {
  long double mean = 0, sum = 0;
  for (const long double value : x) mean += value / static_cast<long double>(x.size());
  for (const long double value : x) sum += (value - mean) * (value - mean);
  return std::sqrt(sum / static_cast<long double>(x.size() - 1));
}

/// Classifier-free guidance with rescaling; Lin et al 2023, Eqs. (13)-(16).
inline Values classifier_free(const Values& c, const Values& u, long double s, long double phi = 0) {
  Values guided(c.size());
  for (std::size_t i = 0; i < c.size(); ++i) guided[i] = s * c[i] + (1 - s) * u[i];
  if (phi == 0) return guided;
  const long double ratio = deviation(c) / deviation(guided);
  for (long double& value : guided) value = phi * (value * ratio) + (1 - phi) * value;
  return guided;
}

/// Adaptive projected guidance; Sadat et al 2024. d is the momentum, which is updated.
inline Values projected(const Values& c, const Values& u, Values& d, long double s, long double eta, long double r,
                        long double beta) {
  d.resize(c.size());
  for (std::size_t i = 0; i < c.size(); ++i) d[i] = c[i] - u[i] + beta * d[i];
  const long double shrink = std::min(1.0L, r / std::sqrt(dot(d, d))), length = std::sqrt(dot(c, c));
  Values unit(c), guided(c);
  for (long double& value : unit) value /= length;
  const long double along = shrink * dot(d, unit);
  for (std::size_t i = 0; i < c.size(); ++i) {
    const long double parallel = along * unit[i], orthogonal = shrink * d[i] - parallel;
    guided[i] += (s - 1) * (orthogonal + eta * parallel);
  }
  return guided;
}

}  // namespace models
