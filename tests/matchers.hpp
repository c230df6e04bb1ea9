/// @file matchers.hpp
/// What the tests share: a matcher for tensors and arrays, the types a test runs over, and reproducible random tensors.
#pragma once

#include <cmath>    // std::abs, std::isnan
#include <cstdint>  // std::uint32_t
#include <exception>
#include <iomanip>  // std::setprecision
#include <random>   // std::mt19937
#include <sstream>
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

/// One combination of scalar type and layout: TEMPLATE_TEST_CASE("...", "[...]", LAYOUTS) runs with TestType being each.
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

/// Shape and values of a tensor or array; the values in row-major order whatever its layout, so that layouts compare.
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

template <class X>
Elements elements(const Eigen::TensorBase<X, Eigen::ReadOnlyAccessors>& expression) {
  using Traits = Eigen::internal::traits<X>;
  constexpr int rank = Traits::NumDimensions;
  // Coefficient by coefficient: where Eigen assigns packets, g++ 12 takes a small tensor of fixed size for one of none.
  Eigen::TensorEvaluator<const X, Eigen::DefaultDevice> evaluator(static_cast<const X&>(expression),
                                                                  Eigen::DefaultDevice());
  evaluator.evalSubExprsIfNeeded(nullptr);
  Eigen::Tensor<std::remove_const_t<typename Traits::Scalar>, rank, Traits::Layout, typename Traits::Index> x;
  x.resize(evaluator.dimensions());
  for (typename Traits::Index i = 0; i < x.size(); ++i) x.data()[i] = evaluator.coeff(i);
  evaluator.cleanup();
  const auto ordered = with_layout<Eigen::RowMajor>(x);
  Elements out;
  for (std::size_t d = 0; d < static_cast<std::size_t>(rank); ++d) {
    out.dims.push_back(static_cast<Eigen::Index>(x.dimension(d)));
  }
  for (Eigen::Index i = 0; i < static_cast<Eigen::Index>(ordered.size()); ++i) {
    out.values.push_back(widen(ordered.data()[i]));
  }
  return out;
}

/// A column is of rank 1, any other array or matrix of rank 2.
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

inline std::string bracketed(const std::vector<Eigen::Index>& list) {
  std::string out = "[";
  for (const Eigen::Index i : list) out += (out.size() > 1 ? ", " : "") + std::to_string(i);
  return out + "]";
}

}  // namespace matchers

/// REQUIRE_THAT(x, AllClose(expected, rel, abs)): x has the shape of expected, and |x - expected| <= rel |expected| + abs
/// at every index. Layouts and scalar types may differ. A NaN matches nothing, an infinity only itself.
class AllClose {
 public:
  template <class X>
  AllClose(const X& expected, double rel, double abs = 0)
      : expected_(matchers::elements(expected)), rel_(rel), abs_(abs) {}

  template <class X>
  bool match(const X& x) const {
    const matchers::Elements got = matchers::elements(x);
    if (got.dims != expected_.dims) {
      report_ = "has the shape " + matchers::bracketed(expected_.dims) + ", but it is " + matchers::bracketed(got.dims);
      return false;
    }
    std::size_t worst = 0, failures = 0;
    long double worst_excess = 0;
    for (std::size_t i = 0; i < got.values.size(); ++i) {
      const long double excess = this->excess(got.values[i], expected_.values[i]);
      if (excess > 1) ++failures;
      if (excess > worst_excess) worst_excess = excess, worst = i;
    }
    std::ostringstream report;
    report << "is within " << rel_ << " |expected| + " << abs_ << " of the expected values";
    if (!got.values.empty()) {
      report << "; " << failures << " of " << got.values.size() << " are not; the worst, at " << index(worst) << ", is "
             << std::setprecision(21) << got.values[worst] << " for " << expected_.values[worst] << ", "
             << std::setprecision(3) << worst_excess << " times the allowed difference";
    }
    report_ = report.str();
    return failures == 0;
  }

  std::string toString() const { return report_; }

 private:
  /// The difference in units of what is allowed.
  long double excess(long double got, long double expected) const {
    if (got == expected) return 0;
    const long double difference = std::abs(got - expected);
    const long double allowed = rel_ * std::abs(expected) + abs_;
    if (!(difference <= allowed) && !(difference > allowed)) return HUGE_VALL;  // a NaN
    if (std::isinf(got) || std::isinf(expected) || allowed == 0) return HUGE_VALL;
    return difference / allowed;
  }

  std::string index(std::size_t i) const {
    std::vector<Eigen::Index> out(expected_.dims.size());
    for (std::size_t d = out.size(); d-- > 0;) {
      const std::size_t dim = static_cast<std::size_t>(expected_.dims[d]);
      out[d] = static_cast<Eigen::Index>(i % dim);
      i /= dim;
    }
    return matchers::bracketed(out);
  }

  matchers::Elements expected_;
  double rel_, abs_;
  mutable std::string report_;
};

/// The same shape and the very same values.
template <class X>
AllClose AllEqual(const X& expected) {
  return AllClose(expected, 0, 0);
}

/// The message of the Error that f throws, of exactly that type.
template <class Error = std::invalid_argument, class F>
std::string refusal(F f) {
  try {
    f();
  } catch (const std::exception& e) {
    return (typeid(e) == typeid(Error) ? "" : "another type: ") + std::string(e.what());
  }
  return "nothing was thrown";
}

/// Values uniform in [-1, 1), the same at the same index for every layout (and, but for rounding, scalar type). A given
/// seed means the same values everywhere: the engine's output is the standard's, and no distribution is involved.
template <class Tensor>
Tensor random_tensor(const Eigen::array<Eigen::Index, static_cast<std::size_t>(Tensor::NumDimensions)>& dims,
                     unsigned seed) {
  constexpr int rank = Tensor::NumDimensions;
  Eigen::Tensor<typename Tensor::Scalar, rank, Eigen::RowMajor, typename Tensor::Index> values;
  typename decltype(values)::Dimensions shape;
  for (std::size_t d = 0; d < dims.size(); ++d) shape[d] = static_cast<typename Tensor::Index>(dims[d]);
  values.resize(shape);
  std::mt19937 engine(seed);
  for (Eigen::Index i = 0; i < static_cast<Eigen::Index>(values.size()); ++i) {
    const double uniform = static_cast<double>(static_cast<std::uint32_t>(engine())) / 4294967296.0;  // [0, 1)
    values.data()[i] = static_cast<typename Tensor::Scalar>(2 * uniform - 1);
  }
  return with_layout<static_cast<int>(Tensor::Layout)>(values);
}

// In a failure's message a tensor or array is its shape; AllClose names the element that matters.
namespace Catch {
template <class Scalar, int Rank, int Options, class Index>
struct StringMaker<Eigen::Tensor<Scalar, Rank, Options, Index>> {
  static std::string convert(const Eigen::Tensor<Scalar, Rank, Options, Index>& x) {
    return "tensor of shape " + matchers::bracketed(matchers::elements(x).dims);
  }
};
template <class Scalar, int Rows, int Cols, int Options, int MaxRows, int MaxCols>
struct StringMaker<Eigen::Array<Scalar, Rows, Cols, Options, MaxRows, MaxCols>> {
  static std::string convert(const Eigen::Array<Scalar, Rows, Cols, Options, MaxRows, MaxCols>& x) {
    return "array of shape " + matchers::bracketed({x.rows(), x.cols()});
  }
};
}  // namespace Catch
