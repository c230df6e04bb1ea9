/// @file matchers.hpp
/// Shared by all tests: a matcher for tensors and arrays, the types that a test runs over, and
/// reproducible random tensors.
#pragma once

#include <exception>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <unsupported/Eigen/CXX11/Tensor>
#include <vector>

#include "allocations.hpp"
#include "catch.hpp"
#include "golden.hpp"
#include "layout.hpp"
#include "tolerance.hpp"

/// A combination of scalar type and layout. TEMPLATE_TEST_CASE("...", "[...]", LAYOUTS) runs once
/// for each, as TestType.
template <class ScalarType, int Layout>
struct Case {
  using Scalar = ScalarType;
  static constexpr int layout = Layout;
  template <int Rank>
  using Tensor = Eigen::Tensor<Scalar, Rank, Layout, Eigen::Index>;
};
using FloatRowMajor = Case<float, Eigen::RowMajor>;
using FloatColMajor = Case<float, Eigen::ColMajor>;
using DoubleRowMajor = Case<double, Eigen::RowMajor>;
using DoubleColMajor = Case<double, Eigen::ColMajor>;
#define LAYOUTS FloatRowMajor, FloatColMajor, DoubleRowMajor, DoubleColMajor

namespace matchers {

/// Shape and values of a tensor or array. The values are in row-major order for either layout.
struct Elements {
  std::vector<Eigen::Index> dims;
  std::vector<long double> values;
};

template <class Scalar>
long double widen(const Scalar& x) {
  if constexpr (std::is_arithmetic_v<Scalar>) {
    return static_cast<long double>(x);
  } else {
    return static_cast<long double>(static_cast<float>(x));  // half, bfloat16
  }
}

template <class Scalar, int Rank, int Options, class Index>
Elements elements(const Eigen::Tensor<Scalar, Rank, Options, Index>& x) {
  Elements out;
  out.dims = layouts::dims_of(x);
  out.values.reserve(static_cast<std::size_t>(x.size()));
  const auto ordered = with_layout<Eigen::RowMajor>(x);
  for (Index i = 0; i < ordered.size(); ++i) out.values.push_back(widen(ordered.data()[i]));
  return out;
}

template <class X>
Elements elements(const Eigen::TensorBase<X, Eigen::ReadOnlyAccessors>& expression) {
  using Traits = Eigen::internal::traits<X>;
  // One coefficient at a time: in Eigen's packet assignment g++ 12 takes a small fixed-size tensor
  // for an empty one and warns.
  Eigen::TensorEvaluator<const X, Eigen::DefaultDevice> evaluator(static_cast<const X&>(expression),
                                                                  Eigen::DefaultDevice());
  evaluator.evalSubExprsIfNeeded(nullptr);
  Eigen::Tensor<std::remove_const_t<typename Traits::Scalar>, Traits::NumDimensions, Traits::Layout,
                typename Traits::Index>
      x;
  x.resize(evaluator.dimensions());
  for (typename Traits::Index i = 0; i < x.size(); ++i) x.data()[i] = evaluator.coeff(i);
  evaluator.cleanup();
  return elements(x);
}

/// A column has rank 1, any other array or matrix rank 2.
template <class X>
Elements elements(const Eigen::DenseBase<X>& x) {
  Elements out;
  out.dims.push_back(x.rows());
  if (X::ColsAtCompileTime != 1) out.dims.push_back(x.cols());
  for (Eigen::Index i = 0; i < x.rows(); ++i) {
    for (Eigen::Index j = 0; j < x.cols(); ++j) out.values.push_back(widen(x.derived().coeff(i, j)));
  }
  return out;
}

/// A list as text, for example "[2, 3]".
std::string bracketed(const std::vector<Eigen::Index>& list);

/// Values uniform in [-1, 1). They depend only on the seed: the standard fixes the engine's output,
/// and no distribution is used.
std::vector<double> uniform_values(Eigen::Index count, unsigned seed);

}  // namespace matchers

/// REQUIRE_THAT(x, AllClose(expected, rel, abs)) requires that x has the shape of `expected` and
/// that
///
///     |x - expected| <= rel |expected| + abs
///
/// at every index. Layouts and scalar types may differ. NaN matches nothing, infinity only itself.
class AllClose {
 public:
  template <class X>
  AllClose(const X& expected, double rel, double abs = 0)
      : expected_(matchers::elements(expected)), rel_(rel), abs_(abs) {}

  template <class X>
  bool match(const X& x) const {
    return match(matchers::elements(x));
  }
  bool match(const matchers::Elements& got) const;

  std::string toString() const { return report_; }

 private:
  matchers::Elements expected_;
  double rel_, abs_;
  mutable std::string report_;
};

/// Matches the same shape and exactly equal values.
template <class X>
AllClose AllEqual(const X& expected) {
  return AllClose(expected, 0, 0);
}

/// Returns the message of the exception that f throws. Its type must be exactly Error; otherwise
/// the result says so.
template <class Error = std::invalid_argument, class F>
std::string error_message(F f) {
  try {
    f();
  } catch (const std::exception& e) {
    return (typeid(e) == typeid(Error) ? "" : "another type: ") + std::string(e.what());
  }
  return "nothing was thrown";
}

/// A tensor of values uniform in [-1, 1). The value at an index is the same for every layout and,
/// up to rounding, for every scalar type.
template <class Tensor>
Tensor random_tensor(const Eigen::array<Eigen::Index, static_cast<std::size_t>(Tensor::NumDimensions)>& dims,
                     unsigned seed) {
  constexpr int rank = Tensor::NumDimensions;
  using Index = typename Tensor::Index;
  Eigen::Tensor<typename Tensor::Scalar, rank, Eigen::RowMajor, Index> values;
  typename decltype(values)::Dimensions shape;
  for (std::size_t d = 0; d < dims.size(); ++d) shape[d] = static_cast<Index>(dims[d]);
  values.resize(shape);
  Index i = 0;
  for (const double value : matchers::uniform_values(values.size(), seed)) {
    values.data()[i++] = static_cast<typename Tensor::Scalar>(value);
  }
  return with_layout<static_cast<int>(Tensor::Layout)>(values);
}

// Failure messages print the shape of a tensor or array. AllClose reports the worst element.
namespace Catch {
template <class Scalar, int Rank, int Options, class Index>
struct StringMaker<Eigen::Tensor<Scalar, Rank, Options, Index>> {
  static std::string convert(const Eigen::Tensor<Scalar, Rank, Options, Index>& x) {
    return "tensor of shape " + matchers::bracketed(layouts::dims_of(x));
  }
};
template <class Scalar, int Rows, int Cols, int Options, int MaxRows, int MaxCols>
struct StringMaker<Eigen::Array<Scalar, Rows, Cols, Options, MaxRows, MaxCols>> {
  static std::string convert(const Eigen::Array<Scalar, Rows, Cols, Options, MaxRows, MaxCols>& x) {
    return "array of shape " + matchers::bracketed({x.rows(), x.cols()});
  }
};
}  // namespace Catch
