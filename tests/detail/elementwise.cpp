// Tests of diffusion/detail/kernel/elementwise.hpp against a plain loop, bit for bit, on every path
// and remainder.
#include "diffusion/detail/kernel/elementwise.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <unsupported/Eigen/CXX11/ThreadPool>
#include <utility>
#include <vector>

#include "diffusion/detail/kernel/linear_combination.hpp"
#include "diffusion/detail/kernel/multiply_add.hpp"
#include "diffusion/tensor.hpp"
#include "matchers.hpp"

namespace elementwise_tests {

using diffusion::detail::affine;
using diffusion::detail::Arithmetic;
using diffusion::detail::multiply_add;
using Eigen::Index;

namespace {

// Sizes around the kernel's blocks: 32 samples in RowMajor, 1024 (double) or 2048 (float)
// coefficients in ColMajor, also with a last block that is not a multiple of the packet size.
// Further sizes are around each packet size from 2 to 16 and four times that, so that every
// remainder occurs.
const std::vector<Index> batches = {1,   2,    3,    7,    63,   64,   65,   255,  256,
                                    257, 1025, 2047, 2048, 2049, 2201, 3000, 4097, 4197};
const std::vector<Index> sample_sizes = {1, 2, 3, 7, 15, 16, 17, 63, 64, 65, 1000};
constexpr Index largest = 70000;  // values in a tensor; larger tensors take no other path

/// Whether two numbers are equal, including the sign of zeros. (Not by memcmp: a long double has
/// padding bytes.)
template <class Scalar>
bool same(Scalar a, Scalar b) {
  const long double x = matchers::widen(a), y = matchers::widen(b);
  return x == y && std::signbit(x) == std::signbit(y);
}

/// Coefficient of input k for sample n. It differs clearly from its neighbours and is rarely exact
/// in the scalar type.
double factor(Index n, std::size_t k) {
  const double x = std::fmod(0.6180339887498949 * static_cast<double>(n + 1), 1.0);
  return k % 2 == 0 ? 0.25 + x : x - 1.75;
}

/// Element i of input k.
template <class Scalar>
Scalar input(Index i, std::size_t k) {
  const double x = static_cast<double>((i * 7919 + 13 * static_cast<Index>(k)) % 1009) / 1009.0 - 0.4;
  return static_cast<Scalar>(x);
}

/// sum_k a_k x_k[i] as the kernel computes it: in the arithmetic type, from the last term to the
/// first, with one multiply_add for each term except the last, rounded to Scalar at the end.
template <class Scalar, std::size_t Inputs>
Scalar expected(Index n, Index i) {
  using Real = Arithmetic<Scalar>;
  if constexpr (Inputs == 0) {
    return static_cast<Scalar>(static_cast<Real>(factor(n, 0)));
  } else {
    Real sum = static_cast<Real>(factor(n, Inputs - 1)) * static_cast<Real>(input<Scalar>(i, Inputs - 1));
    for (std::size_t k = Inputs - 1; k-- > 0;) {
      sum = multiply_add(static_cast<Real>(factor(n, k)), static_cast<Real>(input<Scalar>(i, k)), sum);
    }
    return static_cast<Scalar>(sum);
  }
}

/// A matrix [batch, sample_size] between two fences of marked values. It is unaligned, because it
/// begins at an odd element.
template <class Scalar, int Layout>
class Fenced {
 public:
  Fenced(Index batch, Index sample_size)
      : batch_(batch), sample_size_(sample_size), memory_(static_cast<std::size_t>(batch * sample_size + 2 * fence)) {
    for (Scalar& x : memory_) x = static_cast<Scalar>(mark);
  }
  Eigen::TensorMap<Eigen::Tensor<Scalar, 2, Layout>> map() {
    return Eigen::TensorMap<Eigen::Tensor<Scalar, 2, Layout>>(memory_.data() + fence, batch_, sample_size_);
  }
  bool fences_intact() const {
    for (std::size_t i = 0; i < static_cast<std::size_t>(fence); ++i) {
      if (!same(memory_[i], static_cast<Scalar>(mark))) return false;
      if (!same(memory_[memory_.size() - 1 - i], static_cast<Scalar>(mark))) return false;
    }
    return true;
  }

 private:
  static constexpr Index fence = 33;
  static constexpr float mark = 1024;
  Index batch_, sample_size_;
  std::vector<Scalar> memory_;
};

template <class Device, class Out, class Map, class Coefficients, std::size_t... k>
void call(const Device& device, Out& out, bool uniform, const Coefficients& coefficients, const std::vector<Map>& x,
          std::index_sequence<k...>) {
  if (uniform) {
    affine(device, out, coefficients(Index(0)), x[k]...);
  } else {
    affine(device, out, coefficients, x[k]...);
  }
}

/// Runs the kernel on `Inputs` tensors of one size. Returns what is wrong with the result, or "".
template <class Scalar, int Layout, std::size_t Inputs, class Device>
std::string fault(Index batch, Index sample_size, bool uniform, bool in_place, const Device& device) {
  using Block = Fenced<Scalar, Layout>;
  std::vector<Block> blocks(Inputs, Block(batch, sample_size));
  Block own(batch, sample_size);
  std::vector<decltype(own.map())> x;
  for (std::size_t k = 0; k < Inputs; ++k) {
    x.push_back(blocks[k].map());
    for (Index i = 0; i < x[k].size(); ++i) x[k].data()[i] = input<Scalar>(i, k);
  }
  auto out = in_place ? blocks.back().map() : own.map();
  const auto coefficients = [](Index n) {
    std::array<double, (std::max)(Inputs, std::size_t(1))> c;
    for (std::size_t k = 0; k < c.size(); ++k) c[k] = factor(n, k);
    return c;
  };
  call(device, out, uniform, coefficients, x, std::make_index_sequence<Inputs>());
  for (Index i = 0; i < out.size(); ++i) {
    const Index n = Layout == Eigen::RowMajor ? i / sample_size : i % batch;
    if (!same(out.data()[i], expected<Scalar, Inputs>(uniform ? 0 : n, i))) {
      return "element " + std::to_string(i) + " of sample " + std::to_string(n);
    }
    for (std::size_t k = 0; k < (in_place ? Inputs - 1 : Inputs); ++k) {
      if (!same(x[k].data()[i], input<Scalar>(i, k))) return "input " + std::to_string(k) + " was changed";
    }
  }
  if (!own.fences_intact()) return "wrote outside the output";
  for (const Block& block : blocks) {
    if (!block.fences_intact()) return "wrote outside an input";
  }
  return "";
}

template <class Scalar, int Layout, std::size_t Inputs>
void require_plain_loop(const std::vector<Index>& sizes_of_batch) {
  for (const Index batch : sizes_of_batch) {
    for (const Index sample_size : sample_sizes) {
      if (batch * sample_size > largest) continue;
      INFO("batch " << batch << ", sample size " << sample_size << ", inputs " << Inputs);
      const Eigen::DefaultDevice device;
      REQUIRE(fault<Scalar, Layout, Inputs>(batch, sample_size, false, false, device) == "");
      REQUIRE(fault<Scalar, Layout, Inputs>(batch, sample_size, true, false, device) == "");
      if (Inputs > 0) REQUIRE(fault<Scalar, Layout, Inputs>(batch, sample_size, false, true, device) == "");
    }
  }
}

}  // namespace

TEMPLATE_TEST_CASE("affine equals a plain loop bit for bit for all batch and sample sizes", "[elementwise]", LAYOUTS) {
  using Scalar = typename TestType::Scalar;
  require_plain_loop<Scalar, TestType::layout, 0>(batches);
  require_plain_loop<Scalar, TestType::layout, 1>(batches);
  require_plain_loop<Scalar, TestType::layout, 2>(batches);
  require_plain_loop<Scalar, TestType::layout, 3>(batches);
}

TEMPLATE_TEST_CASE("affine equals a plain loop bit for bit for the scalar types without packets", "[elementwise]",
                   (Case<long double, Eigen::RowMajor>), (Case<long double, Eigen::ColMajor>),
                   (Case<Eigen::half, Eigen::RowMajor>), (Case<Eigen::half, Eigen::ColMajor>),
                   (Case<Eigen::bfloat16, Eigen::RowMajor>), (Case<Eigen::bfloat16, Eigen::ColMajor>)) {
  using Scalar = typename TestType::Scalar;
  require_plain_loop<Scalar, TestType::layout, 0>({3, 65});
  require_plain_loop<Scalar, TestType::layout, 2>({1, 2, 7, 65, 1025});
}

TEMPLATE_TEST_CASE("affine on a thread pool equals a plain loop bit for bit", "[elementwise]", FloatRowMajor,
                   DoubleColMajor) {
  using Scalar = typename TestType::Scalar;
  Eigen::ThreadPool pool(3);
  const Eigen::ThreadPoolDevice device(&pool, 3);
  for (const Index batch : {1, 2, 7, 65, 1025, 3000}) {
    for (const Index sample_size : {1, 7, 64, 1000, 40000}) {
      if (batch * sample_size > 200000) continue;
      INFO("batch " << batch << ", sample size " << sample_size);
      REQUIRE(fault<Scalar, TestType::layout, 0>(batch, sample_size, false, false, device) == "");
      REQUIRE(fault<Scalar, TestType::layout, 2>(batch, sample_size, false, false, device) == "");
      REQUIRE(fault<Scalar, TestType::layout, 2>(batch, sample_size, false, true, device) == "");
      REQUIRE(fault<Scalar, TestType::layout, 2>(batch, sample_size, true, false, device) == "");
    }
  }
}

TEMPLATE_TEST_CASE("a linear combination of any number of terms equals a plain loop bit for bit", "[elementwise]",
                   FloatRowMajor, DoubleColMajor, (Case<Eigen::half, Eigen::RowMajor>),
                   (Case<long double, Eigen::ColMajor>)) {
  using Matrix = typename TestType::template Tensor<2>;
  using Scalar = typename TestType::Scalar;
  using Real = Arithmetic<Scalar>;
  for (const Index size : {1, 7, 16, 67, 1000}) {
    std::vector<Matrix> x(9, Matrix(1, size));
    for (std::size_t k = 0; k < x.size(); ++k) {
      for (Index i = 0; i < size; ++i) x[k](0, i) = input<Scalar>(i, k);
    }
    const Matrix nan = Matrix(1, size).setConstant(std::numeric_limits<Scalar>::quiet_NaN());
    for (std::size_t terms = 0; terms <= 8; ++terms) {
      for (const bool in_place : {false, true}) {
        if (in_place && terms == 0) continue;
        INFO("size " << size << ", terms " << terms << (in_place ? ", in place" : ""));
        std::vector<Matrix> y = x;
        Matrix own, &out = in_place ? y[0] : own;
        diffusion::detail::LinearCombination<Matrix> sum;
        sum.add(0.0, nan);
        for (std::size_t k = 0; k < terms; ++k) sum.add(factor(3, k), y[k]);
        sum.into(out, x[0]);
        Index wrong = 0;
        for (Index i = 0; i < size; ++i) {
          Real expected = 0;
          for (std::size_t k = terms; k-- > 0;) {
            const Real a = static_cast<Real>(factor(3, k)), value = static_cast<Real>(x[k](0, i));
            expected = k + 1 == terms ? a * value : multiply_add(a, value, expected);
          }
          if (!same(out(0, i), static_cast<Scalar>(expected))) ++wrong;
        }
        REQUIRE(wrong == 0);
      }
    }
    diffusion::detail::LinearCombination<Matrix> full;
    for (std::size_t k = 0; k < 8; ++k) full.add(1.0, x[k]);
    REQUIRE_THROWS_AS(full.add(1.0, x[8]), std::length_error);
  }
}

TEMPLATE_TEST_CASE("by_step gives each sample the coefficients of its timestep", "[elementwise]", FloatRowMajor,
                   FloatColMajor) {
  using Matrix = typename TestType::template Tensor<2>;
  using diffusion::detail::by_step;
  const Matrix x = random_tensor<Matrix>({5, 33}, 1), y = random_tensor<Matrix>({5, 33}, 2);
  const Eigen::DefaultDevice device;
  diffusion::Timesteps t(5);
  t.setValues({7, 3, 0, 3, 9});
  const auto step_factors = [](Index step) { return std::array{factor(step, 0), factor(step, 1)}; };
  Matrix out(5, 33), expected(5, 33);
  affine(
      device, expected, [&](Index n) { return step_factors(t(n)); }, x, y);
  affine(device, out, by_step(diffusion::TimestepsView(t), step_factors), x, y);
  REQUIRE_THAT(out, AllEqual(expected));
  affine(device, expected, step_factors(7), x, y);
  affine(device, out, by_step(diffusion::TimestepsView(7), step_factors), x, y);
  REQUIRE_THAT(out, AllEqual(expected));
}

TEMPLATE_TEST_CASE("affine does not allocate", "[elementwise]", FloatRowMajor, FloatColMajor) {
  using Matrix = typename TestType::template Tensor<2>;
  for (const Index batch : {1, 3, 1025}) {
    for (const Index sample_size : {1, 7, 65, 3000}) {
      const Matrix x = random_tensor<Matrix>({batch, sample_size}, 1),
                   y = random_tensor<Matrix>({batch, sample_size}, 2);
      Matrix out(batch, sample_size);
      const auto coefficients = [](Index n) { return std::array{factor(n, 0), factor(n, 1)}; };
      REQUIRE(count_allocations([&] { affine(Eigen::DefaultDevice(), out, coefficients, x, y); }) == 0);
    }
  }
}

TEST_CASE("affine on an empty tensor does not ask for coefficients", "[elementwise]") {
  const auto never = [](Index) -> std::array<double, 1> { throw std::logic_error("coefficients were asked for"); };
  Eigen::Tensor<float, 2> no_samples(0, 5), no_values(5, 0);
  Eigen::Tensor<float, 2, Eigen::RowMajor> no_samples_row_major(0, 5), no_values_row_major(5, 0);
  const auto require_no_work = [&](const auto& coefficients) {
    REQUIRE_NOTHROW(affine(Eigen::DefaultDevice(), no_samples, coefficients, no_samples));
    REQUIRE_NOTHROW(affine(Eigen::DefaultDevice(), no_values, coefficients, no_values));
    REQUIRE_NOTHROW(affine(Eigen::DefaultDevice(), no_samples_row_major, coefficients, no_samples_row_major));
    REQUIRE_NOTHROW(affine(Eigen::DefaultDevice(), no_values_row_major, coefficients, no_values_row_major));
  };
  require_no_work(never);
  require_no_work(std::array{1.0});
}

TEMPLATE_TEST_CASE("apply calls its function on every element with the coefficients of the sample", "[elementwise]",
                   FloatRowMajor, DoubleColMajor) {
  using Matrix = typename TestType::template Tensor<2>;
  using Scalar = typename TestType::Scalar;
  for (const Index batch : {1, 3, 65, 1025}) {
    for (const Index sample_size : {1, 7, 65}) {
      INFO("batch " << batch << ", sample size " << sample_size);
      const Matrix x = random_tensor<Matrix>({batch, sample_size}, 1),
                   y = random_tensor<Matrix>({batch, sample_size}, 2);
      Matrix out(batch, sample_size), expected(batch, sample_size);
      const auto coefficients = [](Index n) { return std::array{factor(n, 0), factor(n, 1)}; };
      const auto f = [](const std::array<Scalar, 2>& a, Scalar u, Scalar v) { return u < v ? a[0] * u : a[1] * v; };
      diffusion::detail::apply(Eigen::DefaultDevice(), out, f, coefficients, x, y);
      for (Index n = 0; n < batch; ++n) {
        const std::array<Scalar, 2> a{static_cast<Scalar>(factor(n, 0)), static_cast<Scalar>(factor(n, 1))};
        for (Index i = 0; i < sample_size; ++i) expected(n, i) = f(a, x(n, i), y(n, i));
      }
      REQUIRE_THAT(out, AllEqual(expected));
    }
  }
}

TEMPLATE_TEST_CASE("clamp limits values to the bounds of their sample and keeps NaN", "[elementwise]", LAYOUTS,
                   (Case<long double, Eigen::RowMajor>), (Case<Eigen::half, Eigen::ColMajor>)) {
  using Matrix = typename TestType::template Tensor<2>;
  using Scalar = typename TestType::Scalar;
  for (const Index batch : {1, 3, 65, 1025}) {
    for (const Index sample_size : {1, 7, 65}) {
      INFO("batch " << batch << ", sample size " << sample_size);
      Matrix x = random_tensor<Matrix>({batch, sample_size}, 1);
      const auto bound = [](Index n) { return n % 5 == 0 ? 0.25 : 0.5; };
      // Values out of bounds in each way, in every packet and remainder.
      for (Index i = 0; i < x.size(); ++i) {
        if (i % 3 == 1) x.data()[i] = std::numeric_limits<Scalar>::quiet_NaN();
        if (i % 11 == 2) x.data()[i] = std::numeric_limits<Scalar>::infinity();
        if (i % 13 == 3) x.data()[i] = -std::numeric_limits<Scalar>::infinity();
      }
      Matrix out(batch, sample_size);
      diffusion::detail::clamp(
          Eigen::DefaultDevice(), out,
          [&](Index n) {
            return std::array{-bound(n), bound(n)};
          },
          x);
      Index wrong = 0;
      for (Index n = 0; n < batch; ++n) {
        const Scalar b = static_cast<Scalar>(bound(n));
        for (Index i = 0; i < sample_size; ++i) {
          const Scalar in = x(n, i), got = out(n, i);
          using Eigen::numext::isnan;
          const bool good = (isnan)(in) ? (isnan)(got) : got == (in < -b ? -b : in > b ? b : in);
          if (!good) ++wrong;
        }
      }
      REQUIRE(wrong == 0);
    }
  }
}

// half and bfloat16 have significands of 11 and 8 bits. A product of two values fits in a float, so
// the sum below is rounded only once.
TEST_CASE("half and bfloat16 are computed in float", "[elementwise]") {
  static_assert(std::is_same_v<Arithmetic<Eigen::half>, float> && std::is_same_v<Arithmetic<Eigen::bfloat16>, float>);
  static_assert(std::is_same_v<Arithmetic<float>, float> && std::is_same_v<Arithmetic<double>, double> &&
                std::is_same_v<Arithmetic<long double>, long double>);
  Eigen::Tensor<Eigen::half, 1> x(1), y(1), out(1);
  x.setConstant(static_cast<Eigen::half>(1.0f));
  y.setConstant(static_cast<Eigen::half>(1.0f));
  // In half, 1 + 2^-12 is 1, and the result would be 0.
  affine(Eigen::DefaultDevice(), out, std::array{1 + std::ldexp(1.0, -12), -1.0}, x, y);
  REQUIRE(static_cast<float>(out(0)) == std::ldexp(1.0f, -12));
}

TEST_CASE("multiply_add rounds once with a fused instruction and at most twice without", "[elementwise]") {
  const double a = 1 + std::ldexp(1.0, -30), product = 1 + std::ldexp(1.0, -29);  // a * a = product + 2^-60
  const volatile double minus_product = -product;
  const double got = multiply_add(a, a, double(minus_product));
#if defined(__FMA__)
  REQUIRE(got == std::ldexp(1.0, -60));
#else
  REQUIRE((got == std::ldexp(1.0, -60) || got == 0));
#endif
}

}  // namespace elementwise_tests
