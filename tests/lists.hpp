/// @file lists.hpp
/// Arrays of numbers for the tests that compare with recorded values.
#pragma once

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>

#include "matchers.hpp"

/// An array of these values.
inline Eigen::ArrayXd list(std::initializer_list<double> values) {
  Eigen::ArrayXd out(static_cast<Eigen::Index>(values.size()));
  std::copy(values.begin(), values.end(), out.begin());
  return out;
}

/// The values at these indices, which hold integers.
inline Eigen::ArrayXd at(const Eigen::ArrayXd& values, const Eigen::ArrayXd& indices) {
  Eigen::ArrayXd out(indices.size());
  for (Eigen::Index i = 0; i < out.size(); ++i) out[i] = values[static_cast<Eigen::Index>(std::llround(indices[i]))];
  return out;
}

/// The values of a tensor in row-major order.
template <class Tensor>
Eigen::ArrayXd flat(const Tensor& x) {
  const matchers::Elements elements = matchers::elements(x);
  Eigen::ArrayXd out(static_cast<Eigen::Index>(elements.values.size()));
  for (Eigen::Index i = 0; i < out.size(); ++i) {
    out[i] = static_cast<double>(elements.values[static_cast<std::size_t>(i)]);
  }
  return out;
}

/// The next n values of a noise source.
template <class Scalar, class Noise>
Eigen::ArrayXd draw(Noise&& noise, Eigen::Index n) {
  Eigen::Tensor<Scalar, 1> x(n);
  x.setConstant(std::numeric_limits<Scalar>::quiet_NaN());
  noise(x);
  return flat(x);
}
