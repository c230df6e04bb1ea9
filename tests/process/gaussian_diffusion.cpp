// Tests of diffusion/process/gaussian_diffusion.hpp: its operations against the reference and each
// other. See also
//   gaussian_diffusion_batches.cpp    properties that all operations on a batch share
//   gaussian_diffusion_refusals.cpp   exceptions
//   tensor.cpp                        types of arguments and results
//   tables.cpp                        tables
#include "diffusion/process/gaussian_diffusion.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <random>
#include <string>
#include <type_traits>

#include "diffusion/process/schedules.hpp"
#include "matchers.hpp"

// All members that are not templates compile for every scalar type.
template class diffusion::GaussianDiffusion<float>;
template class diffusion::GaussianDiffusion<double>;
template class diffusion::GaussianDiffusion<long double>;
template class diffusion::GaussianDiffusion<Eigen::half>;
template class diffusion::GaussianDiffusion<Eigen::bfloat16>;

namespace gaussian_diffusion_tests {

using diffusion::cosine_beta_schedule;
using diffusion::GaussianDiffusion;
using diffusion::jsd_beta_schedule;
using diffusion::linear_beta_schedule;
using diffusion::Timesteps;
using Eigen::ArrayXd;
using Eigen::Index;

namespace {

using Vector = Eigen::Tensor<double, 1>;
using Matrix = Eigen::Tensor<double, 2>;

template <class X>
X list(std::initializer_list<typename X::Scalar> values) {
  X out(static_cast<Index>(values.size()));
  std::copy(values.begin(), values.end(), out.data());
  return out;
}
Timesteps steps(std::initializer_list<Index> values) { return list<Timesteps>(values); }

Vector constant(Index size, double value) {
  Vector out(size);
  out.setConstant(value);
  return out;
}

ArrayXd array(const Vector& x) { return Eigen::Map<const ArrayXd>(x.data(), x.size()); }

}  // namespace

// ---- recorded references ----

namespace {

template <class Case, int Rank>
void require_forward_process(const std::string& name, const std::string& suffix, double tolerance) {
  using Scalar = typename Case::Scalar;
  const Golden& g = golden("guided_forward.txt");
  const Index steps = g.integer(name + "T");
  const GaussianDiffusion<Scalar> process(
      diffusion::named_beta_schedule(g.integer(name + "schedule") == 0 ? "linear" : "cosine", steps));
  const auto read = [&](const std::string& record) { return g.tensor<Scalar, Rank, Case::layout>(name + record); };
  const auto require_close = [&](const auto& got, const std::string& record) {
    INFO(name << record << suffix);
    REQUIRE_THAT(got, AllClose(g.tensor<double, Rank>(name + record + suffix), tolerance, tolerance));
  };
  const auto x_start = read("x_start"), noise = read("noise"), x_t = read("x_t");
  const Timesteps t = g.timesteps(name + "t");

  require_close(process.q_sample(x_start, t, noise), "q_sample/out");
  const auto marginal = process.q_mean_variance(x_start, t);
  require_close(marginal.mean, "q_mean_variance/mean");
  require_close(marginal.variance, "q_mean_variance/variance");
  require_close(marginal.log_variance, "q_mean_variance/log_variance");
  const auto posterior = process.q_posterior_mean_variance(x_start, x_t, t);
  require_close(posterior.mean, "q_posterior/mean");
  require_close(posterior.variance, "q_posterior/variance");
  require_close(posterior.log_variance, "q_posterior/log_variance_clipped");
}

}  // namespace

TEMPLATE_TEST_CASE("the forward process equals guided-diffusion's at every rank", "[gaussian_diffusion]",
                   DoubleRowMajor, FloatColMajor) {
  constexpr bool is_float = std::is_same_v<typename TestType::Scalar, float>;
  const std::string suffix = is_float ? ".f32" : "";
  const double tolerance = is_float ? tolerance::forward_f32 : tolerance::forward;
  for (const char* const schedule : {"linear_T1000", "cosine_T50"}) {
    const Index first = schedule[0] == 'l' ? 0 : 5;
    const auto name = [&](Index rank) {
      return "case" + std::to_string(first + rank - 1) + "_" + schedule + "_rank" + std::to_string(rank) + "/";
    };
    require_forward_process<TestType, 1>(name(1), suffix, tolerance);
    require_forward_process<TestType, 2>(name(2), suffix, tolerance);
    require_forward_process<TestType, 3>(name(3), suffix, tolerance);
    require_forward_process<TestType, 4>(name(4), suffix, tolerance);
    require_forward_process<TestType, 5>(name(5), suffix, tolerance);
  }
}

TEST_CASE("predict_xstart_from_xprev has guided-diffusion's coefficients", "[gaussian_diffusion]") {
  const Golden& g = golden("guided_schedules.txt");
  for (const char* const name : {"custom_uniform", "custom_unsorted", "custom_tiny", "custom_two", "custom_last1"}) {
    INFO(name);
    const std::string record = std::string(name) + "/";
    const GaussianDiffusion<double> process(g.array(record + "betas"));
    const Index T = process.num_timesteps();
    Timesteps t(T);
    for (Index i = 0; i < T; ++i) t(i) = i;
    const Vector zeros = constant(T, 0), ones = constant(T, 1);
    const double rel = record == "custom_tiny/" ? tolerance::reference_tiny : tolerance::reference_table;
    REQUIRE_THAT(array(process.predict_xstart_from_xprev(zeros, t, ones)),
                 AllClose(g.array(record + "recip_posterior_mean_coef1"), rel));
    REQUIRE_THAT(array(process.predict_xstart_from_xprev(ones, t, zeros)),
                 AllClose(ArrayXd(-g.array(record + "posterior_mean_coef2_over_coef1")), rel));
  }
}

// ---- identities ----

TEMPLATE_TEST_CASE("x_0, epsilon and v are recovered from one another at every t", "[gaussian_diffusion]", float,
                   double) {
  using Batch = Eigen::Tensor<TestType, 2>;
  constexpr double rel = Tolerance<TestType>::rel;
  const Batch x_start = random_tensor<Batch>({3, 4}, 1), noise = random_tensor<Batch>({3, 4}, 2);
  for (const ArrayXd& betas : {linear_beta_schedule(1000), cosine_beta_schedule(1000)}) {
    const GaussianDiffusion<TestType> process(betas);
    for (const Index t : {0, 1, 2, 10, 100, 500, 900, 998, 999}) {
      INFO("betas[0] = " << betas[0] << ", t = " << t);
      const Batch x_t = process.q_sample(x_start, t, noise), v = process.velocity(x_start, t, noise);
      // The division magnifies the rounding error of x_t.
      const double from_eps = rel * (1 + 2 * process.sqrt_recip_alphas_cumprod()[t]);
      const double from_xstart = rel * (1 + 2 / process.sqrt_one_minus_alphas_cumprod()[t]);
      REQUIRE_THAT(process.predict_xstart_from_eps(x_t, t, noise), AllClose(x_start, rel, from_eps));
      REQUIRE_THAT(process.predict_eps_from_xstart(x_t, t, x_start), AllClose(noise, rel, from_xstart));
      // (x_t, v) is (x_0, epsilon) rotated, so no rounding error is magnified.
      REQUIRE_THAT(process.predict_xstart_from_v(x_t, t, v), AllClose(x_start, rel, rel));
      REQUIRE_THAT(process.predict_eps_from_v(x_t, t, v), AllClose(noise, rel, rel));
      const Batch x_prev = process.q_posterior_mean_variance(x_start, x_t, t).mean;
      const double from_xprev = rel * (1 + 2 / process.posterior_mean_coef1()[t]);
      REQUIRE_THAT(process.predict_xstart_from_xprev(x_t, t, x_prev), AllClose(x_start, rel, from_xprev));
    }
  }
}

TEST_CASE("the posterior averaged over q(x_t | x_0) is q(x_{t-1} | x_0)", "[gaussian_diffusion]") {
  const GaussianDiffusion<double> process(cosine_beta_schedule(1000));
  const Index last = process.num_timesteps() - 1;
  Timesteps t(last), t_prev(last);
  for (Index i = 0; i < last; ++i) t(i) = i + 1, t_prev(i) = i;
  const Vector ones = constant(last, 1), zeros = constant(last, 0);
  // The mean is the posterior's mean at the mean of x_t. The variance is the posterior's own plus
  // that of its mean, which is linear in x_t.
  const auto marginal = process.q_mean_variance(ones, t), marginal_prev = process.q_mean_variance(ones, t_prev);
  const auto posterior = process.q_posterior_mean_variance(ones, marginal.mean, t);
  const auto per_x_t = process.q_posterior_mean_variance(zeros, ones, t).mean;
  REQUIRE_THAT(posterior.mean, AllClose(marginal_prev.mean, tolerance::table));
  REQUIRE_THAT(ArrayXd(array(posterior.variance) + array(per_x_t).square() * array(marginal.variance)),
               AllClose(array(marginal_prev.variance), tolerance::table));
}

TEST_CASE("q_step from s to u and then to t equals q_step from s to t", "[gaussian_diffusion]") {
  std::mt19937 engine(3);
  for (const ArrayXd& betas : {linear_beta_schedule(1000), cosine_beta_schedule(1000), jsd_beta_schedule(1000),
                               ArrayXd(ArrayXd::Constant(1000, 1e-9)), ArrayXd(ArrayXd::Constant(3000, 0.1))}) {
    INFO("betas[0] = " << betas[0]);
    const GaussianDiffusion<double> process(betas);
    const auto T = static_cast<std::uint32_t>(betas.size());
    const Index N = 200;
    Timesteps s(N), u(N), t(N);
    for (Index n = 0; n < N; ++n) {
      s(n) = n < 20 ? -1 : static_cast<Index>(engine() % (T - 2));
      u(n) = s(n) + 1 + static_cast<Index>(engine() % (T - 2 - static_cast<std::uint32_t>(s(n) + 1) + 1));
      t(n) = u(n) + 1 + static_cast<Index>(engine() % (T - 1 - static_cast<std::uint32_t>(u(n))));
    }
    const Vector ones = constant(N, 1), zeros = constant(N, 0);
    const auto scale = [&](const Timesteps& from, const Timesteps& to) {
      return array(process.q_step(ones, from, to, zeros));
    };
    const auto deviation = [&](const Timesteps& from, const Timesteps& to) {
      return array(process.q_step(zeros, from, to, ones));
    };
    REQUIRE_THAT(ArrayXd(scale(s, u) * scale(u, t)), AllClose(scale(s, t), tolerance::table));
    REQUIRE_THAT(ArrayXd((deviation(s, u) * scale(u, t)).square() + deviation(u, t).square()),
                 AllClose(ArrayXd(deviation(s, t).square()), 2 * tolerance::table));
  }
}

TEST_CASE("q_step from s = -1 equals q_sample", "[gaussian_diffusion]") {
  const GaussianDiffusion<double> process(linear_beta_schedule(1000));
  const Matrix x = random_tensor<Matrix>({5, 7}, 1), noise = random_tensor<Matrix>({5, 7}, 2);
  const Timesteps t = steps({0, 999, 17, 500, 1}), s = steps({-1, -1, -1, -1, -1});
  REQUIRE_THAT(process.q_step(x, -1, t, noise), AllEqual(process.q_sample(x, t, noise)));
  REQUIRE_THAT(process.q_step(x, s, t, noise), AllEqual(process.q_sample(x, t, noise)));
  REQUIRE_THAT(process.q_step(x, s, 40, noise), AllEqual(process.q_sample(x, 40, noise)));
}

TEST_CASE("q_step over one step has variance beta_t and scale sqrt(1 - beta_t) at every t", "[gaussian_diffusion]") {
  for (const ArrayXd& betas :
       {linear_beta_schedule(100000), ArrayXd(ArrayXd::Constant(1000, 1e-18)), ArrayXd(ArrayXd::Constant(6000, 0.1))}) {
    INFO("betas[0] = " << betas[0]);
    const GaussianDiffusion<double> process(betas);
    const Index last = betas.size() - 1;
    Timesteps s(last), t(last);
    for (Index i = 0; i < last; ++i) s(i) = i, t(i) = i + 1;
    const ArrayXd variance = array(process.q_step(constant(last, 0), s, t, constant(last, 1))).square();
    const ArrayXd squared_scale = array(process.q_step(constant(last, 1), s, t, constant(last, 0))).square();
    REQUIRE_THAT(variance, AllClose(ArrayXd(betas.tail(last)), tolerance::table));
    REQUIRE_THAT(squared_scale, AllClose(ArrayXd(1 - betas.tail(last)), tolerance::table));
  }
}

TEST_CASE("operations that do not divide by abar are defined at a step to pure noise", "[gaussian_diffusion]") {
  const GaussianDiffusion<double> process(list<ArrayXd>({0.5, 1.0, 0.25}));
  const Vector x = list<Vector>({2.0}), noise = list<Vector>({3.0});
  REQUIRE(process.q_sample(x, 1, noise)(0) == 3);
  REQUIRE(process.q_step(x, 0, 1, noise)(0) == 3);
  REQUIRE(process.q_posterior_mean_variance(x, noise, 1).mean(0) == std::sqrt(0.5) * 2);
  REQUIRE(process.predict_xstart_from_v(noise, 1, x)(0) == -2);
  REQUIRE(process.predict_eps_from_v(noise, 1, x)(0) == 3);
  REQUIRE(process.predict_eps_from_xstart(noise, 1, x)(0) == 3);
}

// ---- scalar types ----

// Products of two half or two bfloat16 values are exact in float, so the rounded float result is
// the expected one.
TEMPLATE_TEST_CASE("half and bfloat16 results equal the float results rounded once", "[gaussian_diffusion]",
                   Eigen::half, Eigen::bfloat16) {
  using Batch = Eigen::Tensor<TestType, 2>;
  using FloatBatch = Eigen::Tensor<float, 2>;
  const ArrayXd betas = linear_beta_schedule(1000);
  const GaussianDiffusion<TestType> process(betas);
  const GaussianDiffusion<float> in_float(betas);
  const Batch x = random_tensor<Batch>({6, 33}, 1), y = random_tensor<Batch>({6, 33}, 2);
  const FloatBatch float_x = x.template cast<float>(), float_y = y.template cast<float>();
  const Timesteps t = steps({0, 999, 1, 17, 500, 300});
  const auto rounded = [](const FloatBatch& z) { return Batch(z.cast<TestType>()); };
  REQUIRE_THAT(process.q_sample(x, t, y), AllEqual(rounded(in_float.q_sample(float_x, t, float_y))));
  REQUIRE_THAT(process.predict_xstart_from_eps(x, t, y),
               AllEqual(rounded(in_float.predict_xstart_from_eps(float_x, t, float_y))));
  const auto posterior = process.q_posterior_mean_variance(x, y, t);
  const auto float_posterior = in_float.q_posterior_mean_variance(float_x, float_y, t);
  REQUIRE_THAT(posterior.mean, AllEqual(rounded(float_posterior.mean)));
  REQUIRE_THAT(posterior.variance, AllEqual(rounded(float_posterior.variance)));
  REQUIRE_THAT(posterior.log_variance, AllEqual(rounded(float_posterior.log_variance)));
}

TEST_CASE("q_sample in long double is within 3 epsilon of its formula", "[gaussian_diffusion]") {
  if (std::numeric_limits<long double>::digits < 64) return;  // long double is double
  using Batch = Eigen::Tensor<long double, 2>;
  const GaussianDiffusion<long double> process(linear_beta_schedule(1000));
  const GaussianDiffusion<double> in_double(linear_beta_schedule(1000));
  const Matrix x = random_tensor<Matrix>({5, 33}, 1), noise = random_tensor<Matrix>({5, 33}, 2);
  const Batch long_x = x.cast<long double>(), long_noise = noise.cast<long double>();
  for (const Index t : {0, 1, 500, 999}) {
    const Batch got = process.q_sample(long_x, t, long_noise);
    const Matrix coarse = in_double.q_sample(x, t, noise);
    const long double a = process.sqrt_alphas_cumprod()[t], b = process.sqrt_one_minus_alphas_cumprod()[t];
    long double worst = 0, worst_of_double = 0;
    for (Index i = 0; i < got.size(); ++i) {
      const long double expected = a * long_x.data()[i] + b * long_noise.data()[i];
      worst = std::max(worst, std::abs(got.data()[i] - expected));
      worst_of_double = std::max(worst_of_double, std::abs(coarse.data()[i] - expected));
    }
    REQUIRE(worst < 3 * std::numeric_limits<long double>::epsilon());
    REQUIRE(worst_of_double > 100 * worst);
  }
}

}  // namespace gaussian_diffusion_tests
