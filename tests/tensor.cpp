// Tests of diffusion/tensor.hpp: the tensors, timesteps and noise that an operation takes, the
// tensors it returns, and the tensors it can write to.
#include "diffusion/tensor.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <initializer_list>
#include <stdexcept>
#include <type_traits>
#include <unsupported/Eigen/CXX11/ThreadPool>
#include <utility>
#include <vector>

#include "diffusion/detail/kernel/linear_combination.hpp"
#include "diffusion/noise/philox_noise.hpp"
#include "diffusion/noise/recorded_noise.hpp"
#include "diffusion/process/gaussian_diffusion.hpp"
#include "diffusion/process/schedules.hpp"
#include "matchers.hpp"

/// A tensor whose number of axes is known at run time.
struct Ragged {
  std::vector<Eigen::Index> sizes;
};
template <>
struct diffusion::TensorOperations<Ragged> {
  static std::vector<Eigen::Index> shape(const Ragged& x) { return x.sizes; }
  static void combine(Ragged& out, const detail::LinearCombination<Ragged>& sum, const detail::DeviceRef&) {
    out = *sum.begin()->tensor;
  }
};

namespace tensor_tests {

using diffusion::GaussianDiffusion;
using diffusion::PlainTensor;
using diffusion::Timesteps;
using diffusion::TimestepsView;
using Eigen::Index;

namespace {

// Shape [3, 4], a batch of three.
using Matrix = Eigen::Tensor<float, 2>;
using Fixed = Eigen::TensorFixedSize<float, Eigen::Sizes<3, 4>>;

Timesteps steps(std::initializer_list<Index> values) {
  Timesteps out(static_cast<Index>(values.size()));
  std::copy(values.begin(), values.end(), out.data());
  return out;
}

/// Returns a copy with index type int. Eigen's own conversion does not compile on all platforms.
template <class Scalar, int Rank, int Layout>
Eigen::Tensor<Scalar, Rank, Layout, int> with_int_index(const Eigen::Tensor<Scalar, Rank, Layout>& x) {
  Eigen::array<int, static_cast<std::size_t>(Rank)> dims;
  for (std::size_t d = 0; d < dims.size(); ++d) dims[d] = static_cast<int>(x.dimension(d));
  Eigen::Tensor<Scalar, Rank, Layout, int> out(dims);
  std::copy_n(x.data(), x.size(), out.data());
  return out;
}

/// A process, arguments of its operations, and the results for plain tensors.
struct Setting {
  GaussianDiffusion<float> process{diffusion::linear_beta_schedule(50)};
  Matrix x = random_tensor<Matrix>({3, 4}, 1), y = random_tensor<Matrix>({3, 4}, 2);
  Timesteps t = steps({0, 49, 17});
  Matrix sample = process.q_sample(x, t, y);
  diffusion::MeanVariance<Matrix> posterior = process.q_posterior_mean_variance(x, y, t);
};

/// Moments of a Gaussian in tensors of different types. The _into functions need only these
/// members.
template <class Mean, class Variance, class LogVariance>
struct Moments {
  Mean mean;
  Variance variance;
  LogVariance log_variance;
};

}  // namespace

// ---- arguments ----

TEST_CASE("an argument may be any Eigen tensor", "[tensor]") {
  Setting s;
  const auto as_x = [&](const auto& x) {
    static_assert(std::is_same_v<decltype(s.process.q_sample(x, s.t, s.y)), Matrix>);
    REQUIRE_THAT(s.process.q_sample(x, s.t, s.y), AllEqual(s.sample));
  };
  const auto as_noise = [&](const auto& y) { REQUIRE_THAT(s.process.q_sample(s.x, s.t, y), AllEqual(s.sample)); };
  const auto as_both = [&](const auto& x, const auto& y) {
    as_x(x);
    as_noise(y);
  };

  SECTION("a map of const or non-const values") {
    as_both(Eigen::TensorMap<Matrix>(s.x.data(), 3, 4), Eigen::TensorMap<Matrix>(s.y.data(), 3, 4));
    using MapOfConst = Eigen::TensorMap<Eigen::Tensor<const float, 2>>;
    as_both(MapOfConst(s.x.data(), 3, 4), MapOfConst(s.y.data(), 3, 4));
    using ConstMap = Eigen::TensorMap<const Matrix>;
    as_both(ConstMap(s.x.data(), 3, 4), ConstMap(s.y.data(), 3, 4));
  }
  SECTION("a tensor of fixed size") { as_both(Fixed(s.x), Fixed(s.y)); }
  SECTION("an expression") {
    as_both(s.x * 1.0f, s.y.abs() * s.y.sign());
    as_both(s.x.cast<double>().cast<float>(), s.y.cast<long double>().cast<float>());
    as_both(s.x.shuffle(std::array{0, 1}), s.y.shuffle(std::array{1, 0}).shuffle(std::array{1, 0}));
    Eigen::Tensor<float, 3> both(3, 2, 4);
    both.chip<1>(0) = s.x;
    both.chip<1>(1) = s.y;
    as_both(both.chip<1>(0), both.chip<1>(1));
    const Eigen::array<Index, 3> second{0, 1, 0}, extent{3, 1, 4};
    as_noise(both.slice(second, extent).reshape(Eigen::array<Index, 2>{3, 4}));
  }
  SECTION("a reference to any of them") {
    as_x(Eigen::TensorRef<Matrix>(s.x));
    as_noise(Eigen::TensorRef<Matrix>(s.y));
  }
  SECTION("another index type") {
    as_noise(with_int_index(s.y));
    const auto sample = s.process.q_sample(with_int_index(s.x), s.t, s.y);
    static_assert(std::is_same_v<decltype(sample), const Eigen::Tensor<float, 2, Eigen::ColMajor, int>>);
    REQUIRE_THAT(sample, AllEqual(s.sample));
  }
}

TEST_CASE("q_posterior_mean_variance takes any Eigen tensors, with different index types", "[tensor]") {
  Setting s;
  const auto posterior =
      s.process.q_posterior_mean_variance(Eigen::TensorMap<const Matrix>(s.x.data(), 3, 4), with_int_index(s.y), s.t);
  static_assert(std::is_same_v<decltype(posterior), const diffusion::MeanVariance<Matrix>>);
  REQUIRE_THAT(posterior.mean, AllEqual(s.posterior.mean));
  REQUIRE_THAT(posterior.variance, AllEqual(s.posterior.variance));
  REQUIRE_THAT(posterior.log_variance, AllEqual(s.posterior.log_variance));
  REQUIRE_THAT(s.process.q_posterior_mean_variance(s.x * 1.0f, Fixed(s.y), s.t).mean, AllEqual(s.posterior.mean));
}

TEST_CASE("tensors with different numbers of axes have different shapes", "[tensor]") {
  const std::vector<Index> sizes{2, 3}, more{2, 3, 4};
  REQUIRE(diffusion::detail::has_shape(Ragged{sizes}, sizes));
  REQUIRE_FALSE(diffusion::detail::has_shape(Ragged{more}, sizes));
}

TEST_CASE("results are plain tensors with the layout and index type of the input", "[tensor]") {
  using RowMajorInt = Eigen::Tensor<float, 3, Eigen::RowMajor, int>;
  STATIC_REQUIRE((std::is_same_v<PlainTensor<RowMajorInt>, RowMajorInt>));
  STATIC_REQUIRE((std::is_same_v<PlainTensor<Eigen::TensorMap<const RowMajorInt>>, RowMajorInt>));
  STATIC_REQUIRE((std::is_same_v<PlainTensor<const Eigen::TensorMap<Eigen::Tensor<const float, 2>>&>, Matrix>));
  STATIC_REQUIRE((std::is_same_v<PlainTensor<decltype(Matrix() * 2.0f)>, Matrix>));
  STATIC_REQUIRE((std::is_same_v<PlainTensor<decltype(Matrix().cast<double>())>, Eigen::Tensor<double, 2>>));
  STATIC_REQUIRE((std::is_same_v<PlainTensor<Fixed>, Matrix>));
  STATIC_REQUIRE((std::is_same_v<PlainTensor<Eigen::TensorRef<Matrix>>, Matrix>));
}

namespace {

template <int Rank, int Layout>
void require_same_at_rank(const GaussianDiffusion<double>& process, const Eigen::array<Index, Rank>& dims) {
  INFO("rank " << Rank << (Layout == Eigen::RowMajor ? ", row-major" : ", column-major"));
  using X = Eigen::Tensor<double, Rank, Layout>;
  const X x = random_tensor<X>(dims, 1), y = random_tensor<X>(dims, 2);
  const Timesteps t = steps({0, 49, 17});
  const X got = process.q_sample(x, t, y);
  for (std::size_t d = 0; d < dims.size(); ++d) REQUIRE(got.dimension(d) == dims[d]);
  // The same values in rank 2, one sample per row.
  const auto flat = [](const X& z) {
    return Eigen::Tensor<double, 2, Layout>(z.reshape(Eigen::array<Index, 2>{3, z.size() / 3}));
  };
  REQUIRE_THAT(flat(got), AllEqual(process.q_sample(flat(x), t, flat(y))));
}

}  // namespace

// gaussian_diffusion.cpp tests ranks 1 to 5 in both layouts against recorded values.
TEST_CASE("q_sample gives the same values at every rank for the same first axis", "[tensor]") {
  const GaussianDiffusion<double> process(diffusion::linear_beta_schedule(50));
  require_same_at_rank<1, Eigen::ColMajor>(process, {3});
  require_same_at_rank<4, Eigen::ColMajor>(process, {3, 5, 2, 7});
  require_same_at_rank<6, Eigen::ColMajor>(process, {3, 5, 2, 7, 1, 2});
  require_same_at_rank<6, Eigen::RowMajor>(process, {3, 5, 2, 7, 1, 2});
}

// ---- timesteps ----

TEST_CASE("timesteps may be a tensor, a map, a vector, or one integer of any type", "[tensor]") {
  Setting s;
  const auto require_timesteps = [&](TimestepsView t) {
    REQUIRE_FALSE(t.uniform());
    REQUIRE(t.size() == 3);
    for (Index n = 0; n < 3; ++n) REQUIRE(t[n] == s.t(n));
    REQUIRE_THAT(s.process.q_sample(s.x, t, s.y), AllEqual(s.sample));
  };
  require_timesteps(s.t);
  require_timesteps(Eigen::TensorMap<Timesteps>(s.t.data(), 3));
  require_timesteps(Eigen::TensorMap<const Timesteps>(s.t.data(), 3));
  require_timesteps(Eigen::TensorMap<Eigen::Tensor<const Index, 1>>(s.t.data(), 3));
  Eigen::TensorFixedSize<Index, Eigen::Sizes<3>> fixed;
  fixed = s.t;
  require_timesteps(fixed);
  require_timesteps(std::vector<Index>(s.t.data(), s.t.data() + 3));
  require_timesteps(with_int_index(s.t));
  require_timesteps(with_layout<Eigen::RowMajor>(s.t));

  const auto require_uniform = [](TimestepsView t) {
    REQUIRE(t.uniform());
    REQUIRE(t[0] == 17);
    REQUIRE(t[1000] == 17);
  };
  require_uniform(17);
  require_uniform(short{17});
  require_uniform(17l);
  require_uniform(17ll);
  require_uniform(17u);
  require_uniform(std::size_t{17});
  REQUIRE(TimestepsView(-1)[0] == -1);
}

TEST_CASE("timesteps may be a temporary map of const values", "[tensor]") {
  Setting s;
  std::vector<Index> raw = {0, 49, 17};
  REQUIRE_THAT(s.process.q_sample(s.x, Eigen::TensorMap<Eigen::Tensor<const Index, 1>>(raw.data(), 3), s.y),
               AllEqual(s.sample));
}

// ---- results ----

TEST_CASE("a result may be written to any tensor in memory", "[tensor]") {
  Setting s;
  SECTION("a map, also a temporary one") {
    std::vector<float> memory(14, 9.0f);
    Eigen::TensorMap<Matrix> map(memory.data() + 1, 3, 4);
    s.process.q_sample_into(map, s.x, s.t, s.y);
    REQUIRE_THAT(Matrix(map), AllEqual(s.sample));
    std::fill(memory.begin(), memory.end(), 9.0f);
    s.process.q_sample_into(Eigen::TensorMap<Matrix>(memory.data() + 1, 3, 4), s.x, s.t, s.y);
    REQUIRE_THAT(Matrix(map), AllEqual(s.sample));
    REQUIRE((memory.front() == 9.0f && memory.back() == 9.0f));
  }
  SECTION("a tensor of fixed size") {
    Fixed out;
    s.process.q_sample_into(out, s.x, s.t, s.y);
    REQUIRE_THAT(Matrix(out), AllEqual(s.sample));
  }
  SECTION("another index type") {
    Eigen::Tensor<float, 2, Eigen::ColMajor, int> out(3, 4);
    s.process.q_sample_into(out, s.x, s.t, s.y);
    REQUIRE_THAT(out, AllEqual(s.sample));
  }
  SECTION("moments of three kinds at once") {
    std::vector<float> memory(12);
    Moments<Matrix, Fixed, Eigen::TensorMap<Matrix>> out{Matrix(3, 4), Fixed(),
                                                         Eigen::TensorMap<Matrix>(memory.data(), 3, 4)};
    s.process.q_posterior_mean_variance_into(out, s.x, s.y, s.t);
    REQUIRE_THAT(out.mean, AllEqual(s.posterior.mean));
    REQUIRE_THAT(Matrix(out.variance), AllEqual(s.posterior.variance));
    REQUIRE_THAT(Matrix(out.log_variance), AllEqual(s.posterior.log_variance));
  }
  SECTION("temporary moments of maps") {
    using Map = Eigen::TensorMap<Matrix>;
    Matrix mean(3, 4), variance(3, 4), log_variance(3, 4);
    s.process.q_posterior_mean_variance_into(
        Moments<Map, Map, Map>{Map(mean.data(), 3, 4), Map(variance.data(), 3, 4), Map(log_variance.data(), 3, 4)}, s.x,
        s.y, s.t);
    REQUIRE_THAT(mean, AllEqual(s.posterior.mean));
    REQUIRE_THAT(variance, AllEqual(s.posterior.variance));
    REQUIRE_THAT(log_variance, AllEqual(s.posterior.log_variance));
  }
}

TEST_CASE("an expression is evaluated before a tensor that it reads is overwritten", "[tensor]") {
  Setting s;
  // Reversed, each element depends on another one.
  const Eigen::array<bool, 2> turned{true, true};
  const Matrix expected = s.process.q_sample(Matrix(s.x.reverse(turned)), s.t, s.y);
  Matrix x = s.x;
  s.process.q_sample_into(x, x.reverse(turned), s.t, s.y);
  REQUIRE_THAT(x, AllEqual(expected));
  const Matrix expected_noise = s.process.q_sample(s.x, s.t, Matrix(s.y.reverse(turned)));
  Matrix y = s.y;
  s.process.q_sample_into(y, s.x, s.t, y.reverse(turned));
  REQUIRE_THAT(y, AllEqual(expected_noise));
}

// ---- noise sources ----

TEST_CASE("q_sample and q_step call a noise source once", "[tensor]") {
  Setting s;
  int calls = 0;
  const auto source = [&](auto& z) {
    ++calls;
    z = s.y;
  };
  REQUIRE_THAT(s.process.q_sample(s.x, s.t, source), AllEqual(s.sample));
  REQUIRE(calls == 1);
  REQUIRE_THAT(s.process.q_step(s.x, -1, s.t, source), AllEqual(s.sample));
  REQUIRE(calls == 2);
  REQUIRE_THAT(s.process.q_sample(s.x * 1.0f, s.t, source), AllEqual(s.sample));
  REQUIRE(calls == 3);

  SECTION("in place") {
    Matrix x = s.x;
    s.process.q_sample_into(x, x, s.t, source);
    REQUIRE_THAT(x, AllEqual(s.sample));
    REQUIRE(calls == 4);
    x = s.x;
    s.process.q_step_into(Eigen::TensorMap<Matrix>(x.data(), 3, 4), x, -1, s.t, source);
    REQUIRE_THAT(x, AllEqual(s.sample));
    REQUIRE(calls == 5);
  }
  SECTION("for an empty batch") {
    REQUIRE(s.process.q_sample(Matrix(0, 4), 3, [&](auto&) { ++calls; }).size() == 0);
    REQUIRE(calls == 4);
  }
}

TEST_CASE("a noise source keeps its state between calls and may be a temporary", "[tensor]") {
  Setting s;
  diffusion::RecordedNoise<Matrix> recorded({s.y, s.x});
  REQUIRE_THAT(s.process.q_sample(s.x, s.t, recorded), AllEqual(s.sample));
  REQUIRE_THAT(s.process.q_sample(s.x, s.t, recorded), AllEqual(s.process.q_sample(s.x, s.t, s.x)));
  REQUIRE(recorded.call() == 2);
  Matrix drawn(3, 4);
  diffusion::PhiloxNoise{7}(drawn);
  REQUIRE_THAT(s.process.q_sample(s.x, s.t, diffusion::PhiloxNoise{7}), AllEqual(s.process.q_sample(s.x, s.t, drawn)));
}

namespace {
struct DeviceAware {
  template <class X>
  void operator()(X&) {
    throw std::logic_error("called without the device");
  }
  template <class X, class Device>
  void operator()(X& x, const Device& device) {
    used = &device;
    x.setConstant(1.0f);
  }
  const void* used = nullptr;
};
}  // namespace

TEST_CASE("a noise source that takes a device receives it", "[tensor]") {
  Setting s;
  Eigen::ThreadPool pool(2);
  const Eigen::ThreadPoolDevice device(&pool, 2);
  const Matrix expected = s.process.q_sample(s.x, s.t, s.x.constant(1.0f));
  DeviceAware source;
  REQUIRE_THAT(s.process.q_sample(s.x, s.t, source), AllEqual(expected));
  Matrix out(3, 4);
  s.process.q_sample_into(out, s.x, s.t, source, device);
  REQUIRE(source.used == &device);
  REQUIRE_THAT(out, AllEqual(expected));
}

TEST_CASE("invalid arguments throw before the noise source is called or anything is written", "[tensor]") {
  Setting s;
  bool called = false;
  const auto source = [&](auto& z) {
    called = true;
    z.setZero();
  };
  Matrix out(3, 4), other(4, 3);
  out.setConstant(9);
  other.setConstant(9);
  REQUIRE_THROWS_AS(s.process.q_sample_into(out, s.x, 50, source), std::out_of_range);
  REQUIRE_THROWS_AS(s.process.q_sample_into(out, s.x, steps({0, 1, -1}), source), std::out_of_range);
  REQUIRE_THROWS_AS(s.process.q_sample_into(out, s.x, steps({0, 1}), source), std::invalid_argument);
  REQUIRE_THROWS_AS(s.process.q_sample_into(other, s.x, s.t, source), std::invalid_argument);
  REQUIRE_THROWS_WITH(s.process.q_sample_into(other, s.x, s.t, source),
                      "diffusion::GaussianDiffusion::q_sample: out has shape [4, 3], but x_start has [3, 4]");
  REQUIRE_FALSE(called);
  for (Index i = 0; i < 12; ++i) REQUIRE((out.data()[i] == 9 && other.data()[i] == 9));
}

}  // namespace tensor_tests
