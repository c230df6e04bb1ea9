// Tests of diffusion/process/gaussian_diffusion.hpp: properties that all operations on a batch
// share.
#include "diffusion/process/gaussian_diffusion.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <functional>
#include <string>
#include <thread>
#include <type_traits>
#include <unsupported/Eigen/CXX11/ThreadPool>
#include <utility>
#include <vector>

#include "diffusion/noise/philox_noise.hpp"
#include "diffusion/process/schedules.hpp"
#include "matchers.hpp"

namespace gaussian_diffusion_batches_tests {

using diffusion::GaussianDiffusion;
using diffusion::linear_beta_schedule;
using diffusion::MeanVariance;
using diffusion::Timesteps;
using diffusion::TimestepsView;
using Eigen::ArrayXd;
using Eigen::Index;

namespace {

// Each case costs compile time. The fourth, DoubleRowMajor, would add nothing to what is tested
// here.
#define CASES FloatRowMajor, FloatColMajor, DoubleColMajor

constexpr Index T = 50;
const ArrayXd betas = linear_beta_schedule(T);

/// Whether case C also runs on a thread pool.
template <class C>
constexpr bool has_pool = std::is_same_v<C, FloatRowMajor> || std::is_same_v<C, DoubleColMajor>;

/// An operation on (x, t) or (x, t, y) with matrices of shape [batch, sample size]. Its result is
/// one tensor, or the three moments of a Gaussian.
template <class Case>
struct Operation {
  using Matrix = typename Case::template Tensor<2>;
  using Process = GaussianDiffusion<typename Case::Scalar>;
  using Pool = Eigen::ThreadPoolDevice;

  const char* name;
  const char* x_name;
  const char* y_name;  // empty if there is no y
  /// The factors of x and y in the first result, from beta_t, abar_t and abar_{t-1}.
  std::array<long double, 2> (*factors)(long double beta, long double abar, long double prev);

  std::function<std::vector<Matrix>(const Process&, const Matrix& x, TimestepsView t, const Matrix& y)> value;
  /// Writes into out[0], and also into out[1] and out[2] if results == 3.
  std::function<void(const Process&, std::array<Matrix*, 3> out, const Matrix& x, TimestepsView t, const Matrix& y)>
      into;
  std::function<void(const Process&, std::array<Matrix*, 3> out, const Matrix& x, TimestepsView t, const Matrix& y,
                     const Pool& device)>
      into_on;
  std::size_t results = 1;
};

/// An operation with one result: f(process, x, t, y) and f_into(process, out, x, t, y, device...).
template <class Case, class F, class FInto>
Operation<Case> operation(const char* name, const char* x_name, const char* y_name,
                          std::array<long double, 2> (*factors)(long double, long double, long double), F f,
                          FInto f_into) {
  using Matrix = typename Operation<Case>::Matrix;
  using Results = std::vector<Matrix>;
  return {
      name,
      x_name,
      y_name,
      factors,
      [f](const auto& p, const auto& x, TimestepsView t, const auto& y) { return Results{f(p, x, t, y)}; },
      [f_into](const auto& p, auto out, const auto& x, TimestepsView t, const auto& y) { f_into(p, *out[0], x, t, y); },
      [f_into](const auto& p, auto out, const auto& x, TimestepsView t, const auto& y, const auto& device) {
        static_cast<void>(f_into);  // used with a pool only
        if constexpr (has_pool<Case>) f_into(p, *out[0], x, t, y, device);
      }};
}

/// An operation with three results: a MeanVariance.
template <class Case, class F, class FInto>
Operation<Case> gaussian(const char* name, const char* y_name,
                         std::array<long double, 2> (*factors)(long double, long double, long double), F f,
                         FInto f_into) {
  using Matrix = typename Operation<Case>::Matrix;
  using Results = std::vector<Matrix>;
  return {name,
          "x_start",
          y_name,
          factors,
          [f](const auto& p, const auto& x, TimestepsView t, const auto& y) {
            const MeanVariance<Matrix> m = f(p, x, t, y);
            return Results{m.mean, m.variance, m.log_variance};
          },
          [f_into](const auto& p, auto out, const auto& x, TimestepsView t, const auto& y) {
            f_into(p, MeanVariance<Matrix&>{*out[0], *out[1], *out[2]}, x, t, y);
          },
          [f_into](const auto& p, auto out, const auto& x, TimestepsView t, const auto& y, const auto& device) {
            static_cast<void>(f_into);  // used with a pool only
            if constexpr (has_pool<Case>) f_into(p, MeanVariance<Matrix&>{*out[0], *out[1], *out[2]}, x, t, y, device);
          },
          3};
}

using Factors = std::array<long double, 2>;
using LD = long double;

template <class C>
const std::vector<Operation<C>>& operations() {
  // clang-format off
  static const std::vector<Operation<C>> all = {
      gaussian<C>("q_mean_variance", "",
          [](LD, LD abar, LD) { return Factors{std::sqrt(abar), 0}; },
          [](auto& p, auto& x, auto t, auto&) { return p.q_mean_variance(x, t); },
          [](auto& p, auto&& out, auto& x, auto t, auto&, auto&... device) { p.q_mean_variance_into(out, x, t, device...); }),
      gaussian<C>("q_posterior_mean_variance", "x_t",
          [](LD beta, LD abar, LD prev) {
            return Factors{std::sqrt(prev) * beta / (1 - abar), std::sqrt(1 - beta) * (1 - prev) / (1 - abar)}; },
          [](auto& p, auto& x, auto t, auto& y) { return p.q_posterior_mean_variance(x, y, t); },
          [](auto& p, auto&& out, auto& x, auto t, auto& y, auto&... device) { p.q_posterior_mean_variance_into(out, x, y, t, device...); }),
      operation<C>("q_mean", "x_start", "",
          [](LD, LD abar, LD) { return Factors{std::sqrt(abar), 0}; },
          [](auto& p, auto& x, auto t, auto&) { return p.q_mean(x, t); },
          [](auto& p, auto& out, auto& x, auto t, auto&, auto&... device) { p.q_mean_into(out, x, t, device...); }),
      operation<C>("q_posterior_mean", "x_start", "x_t",
          [](LD beta, LD abar, LD prev) {
            return Factors{std::sqrt(prev) * beta / (1 - abar), std::sqrt(1 - beta) * (1 - prev) / (1 - abar)}; },
          [](auto& p, auto& x, auto t, auto& y) { return p.q_posterior_mean(x, y, t); },
          [](auto& p, auto& out, auto& x, auto t, auto& y, auto&... device) { p.q_posterior_mean_into(out, x, y, t, device...); }),
      operation<C>("q_sample", "x_start", "noise",
          [](LD, LD abar, LD) { return Factors{std::sqrt(abar), std::sqrt(1 - abar)}; },
          [](auto& p, auto& x, auto t, auto& y) { return p.q_sample(x, t, y); },
          [](auto& p, auto& out, auto& x, auto t, auto& y, auto&... device) { p.q_sample_into(out, x, t, y, device...); }),
      operation<C>("q_step", "x_s", "noise",  // here from s = -1 only
          [](LD, LD abar, LD) { return Factors{std::sqrt(abar), std::sqrt(1 - abar)}; },
          [](auto& p, auto& x, auto t, auto& y) { return p.q_step(x, -1, t, y); },
          [](auto& p, auto& out, auto& x, auto t, auto& y, auto&... device) { p.q_step_into(out, x, -1, t, y, device...); }),
      operation<C>("predict_xstart_from_eps", "x_t", "eps",
          [](LD, LD abar, LD) { return Factors{1 / std::sqrt(abar), -std::sqrt((1 - abar) / abar)}; },
          [](auto& p, auto& x, auto t, auto& y) { return p.predict_xstart_from_eps(x, t, y); },
          [](auto& p, auto& out, auto& x, auto t, auto& y, auto&... device) { p.predict_xstart_from_eps_into(out, x, t, y, device...); }),
      operation<C>("predict_xstart_from_xprev", "x_t", "xprev",
          [](LD beta, LD abar, LD prev) {
            return Factors{-std::sqrt((1 - beta) / prev) * (1 - prev) / beta, (1 - abar) / (std::sqrt(prev) * beta)}; },
          [](auto& p, auto& x, auto t, auto& y) { return p.predict_xstart_from_xprev(x, t, y); },
          [](auto& p, auto& out, auto& x, auto t, auto& y, auto&... device) { p.predict_xstart_from_xprev_into(out, x, t, y, device...); }),
      operation<C>("predict_xstart_from_v", "x_t", "v",
          [](LD, LD abar, LD) { return Factors{std::sqrt(abar), -std::sqrt(1 - abar)}; },
          [](auto& p, auto& x, auto t, auto& y) { return p.predict_xstart_from_v(x, t, y); },
          [](auto& p, auto& out, auto& x, auto t, auto& y, auto&... device) { p.predict_xstart_from_v_into(out, x, t, y, device...); }),
      operation<C>("predict_eps_from_xstart", "x_t", "x_start",
          [](LD, LD abar, LD) { return Factors{1 / std::sqrt(1 - abar), -std::sqrt(abar / (1 - abar))}; },
          [](auto& p, auto& x, auto t, auto& y) { return p.predict_eps_from_xstart(x, t, y); },
          [](auto& p, auto& out, auto& x, auto t, auto& y, auto&... device) { p.predict_eps_from_xstart_into(out, x, t, y, device...); }),
      operation<C>("predict_eps_from_v", "x_t", "v",
          [](LD, LD abar, LD) { return Factors{std::sqrt(1 - abar), std::sqrt(abar)}; },
          [](auto& p, auto& x, auto t, auto& y) { return p.predict_eps_from_v(x, t, y); },
          [](auto& p, auto& out, auto& x, auto t, auto& y, auto&... device) { p.predict_eps_from_v_into(out, x, t, y, device...); }),
      operation<C>("velocity", "x_start", "noise",
          [](LD, LD abar, LD) { return Factors{-std::sqrt(1 - abar), std::sqrt(abar)}; },
          [](auto& p, auto& x, auto t, auto& y) { return p.velocity(x, t, y); },
          [](auto& p, auto& out, auto& x, auto t, auto& y, auto&... device) { p.velocity_into(out, x, t, y, device...); }),
  };
  // clang-format on
  return all;
}

/// A random batch. Its timesteps are spread over [0, T) and include both ends.
template <class Case>
struct Batch {
  using Matrix = typename Case::template Tensor<2>;
  Batch(Index size, Index sample_size)
      : x(random_tensor<Matrix>({size, sample_size}, 11)), y(random_tensor<Matrix>({size, sample_size}, 12)), t(size) {
    for (Index n = 0; n < size; ++n) t(n) = n == 0 ? T - 1 : n * 17 % T;
    if (size > 1) t(1) = 0;
  }
  Matrix x, y;
  Timesteps t;
};

template <class Matrix>
Matrix filled(const Matrix& like, float value) {
  Matrix out(like.dimension(0), like.dimension(1));
  out.setConstant(static_cast<typename Matrix::Scalar>(value));
  return out;
}

template <class Matrix>
std::array<Matrix*, 3> outputs(std::vector<Matrix>& out) {
  return {&out[0], &out[1], &out[2]};
}

/// Requires that the first `results` tensors have the same bits.
template <class Matrix>
void require_equal(const std::vector<Matrix>& got, const std::vector<Matrix>& expected, std::size_t results) {
  for (std::size_t i = 0; i < results; ++i) {
    const auto bytes = static_cast<std::size_t>(expected[i].size()) * sizeof(typename Matrix::Scalar);
    const bool same = got[i].dimensions() == expected[i].dimensions() &&
                      std::equal(reinterpret_cast<const char*>(expected[i].data()),
                                 reinterpret_cast<const char*>(expected[i].data()) + bytes,
                                 reinterpret_cast<const char*>(got[i].data()));
    if (!same) REQUIRE_THAT(got[i], AllEqual(expected[i]));  // reports the position
    REQUIRE(same);
  }
}

// Below and above the size from which the kernel treats samples as large.
const std::vector<Index> sample_sizes = {1, 5, 70};

}  // namespace

// ---- properties that all operations share ----

TEMPLATE_TEST_CASE("every operation equals its formula", "[gaussian_diffusion]", CASES) {
  using Scalar = typename TestType::Scalar;
  const GaussianDiffusion<Scalar> process(betas);
  const Batch<TestType> batch(3, 5);
  for (const auto& op : operations<TestType>()) {
    long double abar = 1;
    for (Index t = 0; t < T; ++t) {
      const long double prev = abar;
      abar *= 1 - static_cast<long double>(betas[t]);
      const auto [a, b] = op.factors(betas[t], abar, prev);
      Eigen::Tensor<long double, 2, TestType::layout> expected(3, 5);
      for (Index i = 0; i < expected.size(); ++i) expected.data()[i] = a * batch.x.data()[i] + b * batch.y.data()[i];
      INFO(op.name << ", t = " << t);
      const double rel = Tolerance<Scalar>::rel;
      const double abs = Tolerance<Scalar>::abs * static_cast<double>(std::abs(a) + std::abs(b));
      REQUIRE_THAT(op.value(process, batch.x, t, batch.y)[0], AllClose(expected, rel, abs));
    }
  }
}

TEMPLATE_TEST_CASE("variances and log-variances equal the tables", "[gaussian_diffusion]", CASES) {
  using Scalar = typename TestType::Scalar;
  using Matrix = typename TestType::template Tensor<2>;
  const GaussianDiffusion<Scalar> process(betas);
  for (const Index sample_size : sample_sizes) {
    const Batch<TestType> batch(9, sample_size);
    const auto spread = [&](const ArrayXd& table) {
      Matrix out(9, sample_size);
      for (Index n = 0; n < 9; ++n) {
        for (Index i = 0; i < sample_size; ++i) out(n, i) = static_cast<Scalar>(table[batch.t(n)]);
      }
      return out;
    };
    const auto marginal = process.q_mean_variance(batch.x, batch.t);
    REQUIRE_THAT(marginal.variance, AllEqual(spread(process.one_minus_alphas_cumprod())));
    REQUIRE_THAT(marginal.log_variance, AllEqual(spread(process.log_one_minus_alphas_cumprod())));
    const auto posterior = process.q_posterior_mean_variance(batch.x, batch.y, batch.t);
    REQUIRE_THAT(posterior.variance, AllEqual(spread(process.posterior_variance())));
    REQUIRE_THAT(posterior.log_variance, AllEqual(spread(process.posterior_log_variance_clipped())));
    REQUIRE_THAT(process.q_mean(batch.x, batch.t), AllEqual(marginal.mean));
    REQUIRE_THAT(process.q_posterior_mean(batch.x, batch.y, batch.t), AllEqual(posterior.mean));
  }
}

TEMPLATE_TEST_CASE("variances per sample equal the variances per element", "[gaussian_diffusion]", CASES) {
  using Scalar = typename TestType::Scalar;
  const GaussianDiffusion<Scalar> process(betas);
  const auto require_same = [&](const Batch<TestType>& batch, TimestepsView t, Index size) {
    const auto marginal = process.q_mean_variance(batch.x, t);
    const auto posterior = process.q_posterior_mean_variance(batch.x, batch.y, t);
    const auto require_first = [&](const Eigen::Tensor<Scalar, 1>& got, const auto& element_variances) {
      REQUIRE(got.size() == size);
      for (Index n = 0; n < size; ++n) {
        REQUIRE(matchers::widen(got(n)) == matchers::widen(element_variances(n, 0)));
      }
    };
    require_first(process.q_variance(t), marginal.variance);
    require_first(process.q_log_variance(t), marginal.log_variance);
    require_first(process.q_posterior_variance(t), posterior.variance);
    require_first(process.q_posterior_log_variance(t), posterior.log_variance);
  };
  const Batch<TestType> batch(9, 5);
  require_same(batch, batch.t, 9);
  for (Index t = 0; t < T; ++t) require_same(batch, t, 1);
  REQUIRE(process.q_variance(Timesteps(0)).size() == 0);
}

TEMPLATE_TEST_CASE("a sample's result does not depend on the rest of the batch", "[gaussian_diffusion]", CASES) {
  using Matrix = typename TestType::template Tensor<2>;
  const GaussianDiffusion<typename TestType::Scalar> process(betas);
  for (const Index sample_size : sample_sizes) {
    const Batch<TestType> batch(9, sample_size);
    // Sample 5 alone, and the whole batch in reverse order.
    const auto alone = [&](const Matrix& x) {
      return Matrix(x.slice(Eigen::array<Index, 2>{5, 0}, Eigen::array<Index, 2>{1, sample_size}));
    };
    const auto reversed = [](const auto& x) {
      std::decay_t<decltype(x)> out(x.dimensions());
      for (Index n = 0; n < x.dimension(0); ++n) out.template chip<0>(n) = x.template chip<0>(x.dimension(0) - 1 - n);
      return out;
    };
    Timesteps reversed_t(9), alone_t(1);
    for (Index n = 0; n < 9; ++n) reversed_t(n) = batch.t(8 - n);
    alone_t(0) = batch.t(5);
    for (const auto& op : operations<TestType>()) {
      INFO(op.name << ", sample size " << sample_size);
      const auto all = op.value(process, batch.x, batch.t, batch.y);
      const auto one = op.value(process, alone(batch.x), alone_t, alone(batch.y));
      const auto backwards = op.value(process, reversed(batch.x), reversed_t, reversed(batch.y));
      for (std::size_t i = 0; i < op.results; ++i) {
        REQUIRE_THAT(one[i], AllEqual(alone(all[i])));
        REQUIRE_THAT(backwards[i], AllEqual(reversed(all[i])));
      }
    }
  }
}

TEMPLATE_TEST_CASE("one integer for the whole batch equals the same timestep for each sample", "[gaussian_diffusion]",
                   CASES) {
  const GaussianDiffusion<typename TestType::Scalar> process(betas);
  for (const Index sample_size : sample_sizes) {
    Batch<TestType> batch(9, sample_size);
    for (const Index t : {Index(0), Index(1), T - 1}) {
      batch.t.setConstant(t);
      for (const auto& op : operations<TestType>()) {
        INFO(op.name << ", t = " << t);
        require_equal(op.value(process, batch.x, t, batch.y), op.value(process, batch.x, batch.t, batch.y), op.results);
        require_equal(op.value(process, batch.x, static_cast<int>(t), batch.y),
                      op.value(process, batch.x, batch.t, batch.y), op.results);
      }
    }
  }
}

TEST_CASE("operations give the same bits in both layouts", "[gaussian_diffusion]") {
  const GaussianDiffusion<float> process(betas);
  for (const Index sample_size : sample_sizes) {
    const Batch<FloatRowMajor> row(9, sample_size);
    const Batch<FloatColMajor> col(9, sample_size);
    for (std::size_t i = 0; i < operations<FloatRowMajor>().size(); ++i) {
      const auto& op = operations<FloatRowMajor>()[i];
      INFO(op.name << ", sample size " << sample_size);
      const auto expected = op.value(process, row.x, row.t, row.y);
      const auto got = operations<FloatColMajor>()[i].value(process, col.x, col.t, col.y);
      for (std::size_t k = 0; k < op.results; ++k) REQUIRE_THAT(got[k], AllEqual(expected[k]));
    }
  }
}

TEMPLATE_TEST_CASE("f_into writes what f returns, also in place", "[gaussian_diffusion]", CASES) {
  using Matrix = typename TestType::template Tensor<2>;
  const GaussianDiffusion<typename TestType::Scalar> process(betas);
  for (const Index sample_size : sample_sizes) {
    const Batch<TestType> batch(9, sample_size);
    for (const auto& op : operations<TestType>()) {
      INFO(op.name << ", sample size " << sample_size);
      const std::vector<Matrix> expected = op.value(process, batch.x, batch.t, batch.y);
      std::vector<Matrix> out(3, filled(batch.x, 9));
      op.into(process, outputs(out), batch.x, batch.t, batch.y);
      require_equal(out, expected, op.results);

      for (std::size_t over = 0; over < op.results; ++over) {
        std::vector<Matrix> inputs = {batch.x, batch.y};
        for (Matrix& input : inputs) {
          const Matrix original = input;
          std::vector<Matrix> others(3, filled(batch.x, 9));
          std::array<Matrix*, 3> into = outputs(others);
          into[over] = &input;
          op.into(process, into, inputs[0], batch.t, inputs[1]);
          others[over] = input;
          require_equal(others, expected, op.results);
          input = original;
        }
      }
      // x, y and out may all be the same tensor.
      const std::vector<Matrix> squared = op.value(process, batch.x, batch.t, batch.x);
      std::vector<Matrix> all(3, batch.x);
      op.into(process, outputs(all), all[0], batch.t, all[0]);
      require_equal(all, squared, op.results);
    }
  }
}

TEMPLATE_TEST_CASE("operations give the same bits on a thread pool", "[gaussian_diffusion]", FloatRowMajor,
                   DoubleColMajor) {
  using Matrix = typename TestType::template Tensor<2>;
  const GaussianDiffusion<typename TestType::Scalar> process(betas);
  Eigen::ThreadPool pool(3);
  const Eigen::ThreadPoolDevice device(&pool, 3);
  for (const auto& [size, sample_size] : {std::pair<Index, Index>{3, 40000}, {4000, 7}, {1, 100003}, {0, 5}}) {
    const Batch<TestType> batch(size, sample_size);
    for (const auto& op : operations<TestType>()) {
      INFO(op.name << ", batch " << size << ", sample size " << sample_size);
      std::vector<Matrix> out(3, filled(batch.x, 9)), expected = out;
      op.into(process, outputs(expected), batch.x, batch.t, batch.y);
      op.into_on(process, outputs(out), batch.x, batch.t, batch.y, device);
      require_equal(out, expected, op.results);
      out[0] = batch.x;
      op.into_on(process, outputs(out), out[0], batch.t, batch.y, device);
      require_equal(out, expected, op.results);
    }
  }
}

TEST_CASE("many threads can use one process at the same time", "[gaussian_diffusion]") {
  using C = DoubleRowMajor;
  using Matrix = C::Tensor<2>;
  const GaussianDiffusion<double> process(betas);
  const Batch<C> batch(9, 70);
  std::vector<std::vector<Matrix>> expected;
  for (const auto& op : operations<C>()) expected.push_back(op.value(process, batch.x, batch.t, batch.y));
  std::atomic<int> differences{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int repetition = 0; repetition < 20; ++repetition) {
        for (std::size_t k = 0; k < expected.size(); ++k) {
          const auto got = operations<C>()[k].value(process, batch.x, batch.t, batch.y);
          for (std::size_t r = 0; r < got.size(); ++r) {
            if (!AllEqual(expected[k][r]).match(got[r])) ++differences;
          }
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  REQUIRE(differences == 0);
}

TEMPLATE_TEST_CASE("f_into allocates nothing", "[gaussian_diffusion]", CASES) {
  using Matrix = typename TestType::template Tensor<2>;
  const GaussianDiffusion<typename TestType::Scalar> process(betas);
  for (const auto& [size, sample_size] : {std::pair<Index, Index>{9, 5}, {9, 70}, {1, 100}, {1300, 3}}) {
    const Batch<TestType> batch(size, sample_size);
    std::vector<Matrix> out(3, batch.x);
    for (const auto& op : operations<TestType>()) {
      INFO(op.name << ", batch " << size << ", sample size " << sample_size);
      REQUIRE(count_allocations([&] { op.into(process, outputs(out), batch.x, batch.t, batch.y); }) == 0);
      REQUIRE(count_allocations([&] { op.into(process, outputs(out), out[0], 3, batch.y); }) == 0);
    }
  }
}

TEST_CASE("f allocates its results and nothing else", "[gaussian_diffusion]") {
  if (count_allocations([] { Eigen::Tensor<float, 1> x(100); }) == 0) return;  // this build does not count allocations
  const GaussianDiffusion<float> process(betas);
  const Batch<FloatRowMajor> batch(9, 70);
  const auto& [x, y, t] = batch;
  REQUIRE(count_allocations([&, &x = x, &y = y, &t = t] { (void)process.q_sample(x, t, y); }) == 1);
  REQUIRE(count_allocations([&, &x = x, &y = y, &t = t] { (void)process.q_step(x, -1, t, y); }) == 1);
  REQUIRE(count_allocations([&, &x = x, &y = y, &t = t] { (void)process.predict_xstart_from_eps(x, t, y); }) == 1);
  REQUIRE(count_allocations([&, &x = x, &t = t] { (void)process.q_mean_variance(x, t); }) == 3);
  REQUIRE(count_allocations([&, &x = x, &t = t] { (void)process.q_mean(x, t); }) == 1);
  REQUIRE(count_allocations([&, &t = t] { (void)process.q_variance(t); }) == 1);
  REQUIRE(count_allocations([&, &x = x, &y = y, &t = t] { (void)process.q_posterior_mean_variance(x, y, t); }) == 3);
  // Noise from a source is drawn into the result. In place it needs a temporary tensor.
  const auto source = [](auto& z) { z.setConstant(0.5f); };
  REQUIRE(count_allocations([&, &x = x, &t = t] { (void)process.q_sample(x, t, source); }) == 1);
  FloatRowMajor::Tensor<2> out = x;
  REQUIRE(count_allocations([&, &x = x, &t = t] { process.q_sample_into(out, x, t, source); }) == 0);
  REQUIRE(count_allocations([&, &t = t] { process.q_sample_into(out, out, t, source); }) == 1);
}

TEMPLATE_TEST_CASE("empty batches and samples without values give empty results", "[gaussian_diffusion]", CASES) {
  const GaussianDiffusion<typename TestType::Scalar> process(betas);
  for (const auto& [size, sample_size] : {std::pair<Index, Index>{0, 5}, {3, 0}, {0, 0}}) {
    const Batch<TestType> batch(size, sample_size);
    for (const auto& op : operations<TestType>()) {
      INFO(op.name << ", batch " << size << ", sample size " << sample_size);
      for (const auto& result : op.value(process, batch.x, batch.t, batch.y)) {
        REQUIRE_THAT(result, AllEqual(batch.x));
      }
      for (const auto& result : op.value(process, batch.x, 7, batch.y)) REQUIRE_THAT(result, AllEqual(batch.x));
    }
  }
}

TEMPLATE_TEST_CASE("a noise source and a tensor filled by it give the same bits", "[gaussian_diffusion]", LAYOUTS) {
  using Scalar = typename TestType::Scalar;
  using Tensor = typename TestType::template Tensor<3>;
  const GaussianDiffusion<Scalar> process(linear_beta_schedule(50));
  const Tensor x = random_tensor<Tensor>({5, 3, 7}, 1);
  Tensor z(5, 3, 7);
  diffusion::PhiloxNoise{3}(z);
  Timesteps t(5);
  t.setValues({0, 10, 20, 30, 49});
  REQUIRE_THAT(process.q_sample(x, t, diffusion::PhiloxNoise(3)), AllEqual(process.q_sample(x, t, z)));
  REQUIRE_THAT(process.q_sample(x, 20, diffusion::PhiloxNoise(3)), AllEqual(process.q_sample(x, 20, z)));
  REQUIRE_THAT(process.q_step(x, -1, t, diffusion::PhiloxNoise(3)), AllEqual(process.q_step(x, -1, t, z)));
  Tensor in_place = x;
  process.q_sample_into(in_place, in_place, t, diffusion::PhiloxNoise(3));
  REQUIRE_THAT(in_place, AllEqual(process.q_sample(x, t, z)));
}

}  // namespace gaussian_diffusion_batches_tests
