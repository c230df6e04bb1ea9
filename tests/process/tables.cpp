// Tests of diffusion/process/detail/tables.hpp, through the accessors of GaussianDiffusion.
#include "diffusion/process/detail/tables.hpp"

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "diffusion/process/gaussian_diffusion.hpp"
#include "diffusion/process/respacing.hpp"
#include "diffusion/process/schedules.hpp"
#include "lists.hpp"
#include "matchers.hpp"

namespace tables_tests {

using diffusion::cosine_beta_schedule;
using diffusion::GaussianDiffusion;
using diffusion::jsd_beta_schedule;
using diffusion::linear_beta_schedule;
using diffusion::named_beta_schedule;
using diffusion::detail::Tables;
using Eigen::ArrayXd;
using Eigen::Index;

namespace {

// The betas of our own schedules differ from the exact formula by up to 4e-15. 1 - abar has the
// same error. The error of abar is the sum of beta / (1 - beta) times the error of beta, where
// 1 / (1 - beta) is 1000 at the end of a cosine schedule.
constexpr double formula_one_minus = 4e-15;
constexpr double formula_alphas_cumprod = 1e-13;

const double infinity = std::numeric_limits<double>::infinity();

/// An accessor and its name in the recorded files. The type of `get` requires that every accessor
/// returns a const ArrayXd&.
template <class Scalar>
struct Accessor {
  const char* name;
  const ArrayXd& (GaussianDiffusion<Scalar>::*get)() const;
  bool is_log;
};

template <class Scalar>
std::vector<Accessor<Scalar>> accessors() {
  using P = GaussianDiffusion<Scalar>;
  return {{"betas", &P::betas, false},
          {"alphas_cumprod", &P::alphas_cumprod, false},
          {"alphas_cumprod_prev", &P::alphas_cumprod_prev, false},
          {"alphas_cumprod_next", &P::alphas_cumprod_next, false},
          {"one_minus_alphas_cumprod", &P::one_minus_alphas_cumprod, false},
          {"sqrt_alphas_cumprod", &P::sqrt_alphas_cumprod, false},
          {"sqrt_one_minus_alphas_cumprod", &P::sqrt_one_minus_alphas_cumprod, false},
          {"log_one_minus_alphas_cumprod", &P::log_one_minus_alphas_cumprod, true},
          {"sqrt_recip_alphas_cumprod", &P::sqrt_recip_alphas_cumprod, false},
          {"sqrt_recipm1_alphas_cumprod", &P::sqrt_recipm1_alphas_cumprod, false},
          {"posterior_variance", &P::posterior_variance, false},
          {"posterior_log_variance_clipped", &P::posterior_log_variance_clipped, true},
          {"posterior_mean_coef1", &P::posterior_mean_coef1, false},
          {"posterior_mean_coef2", &P::posterior_mean_coef2, false}};
}

/// The betas from which a group of schedules_truth.txt was computed.
ArrayXd reference_betas(const std::string& group) {
  const Golden& truth = golden("schedules_truth.txt");
  if (truth.contains(group + "/betas/betas_input")) return truth.array(group + "/betas/betas_input");
  if (group != "linear_T100000") return golden("guided_schedules.txt").array(group + "/betas");
  return linear_beta_schedule(100000);  // recorded at a few positions only; a test below compares them there
}

}  // namespace

// ---- recorded references ----

TEST_CASE("linear betas for T = 100000 equal the recorded ones bit for bit", "[tables]") {
  const Golden& g = golden("schedules_truth.txt");
  REQUIRE_THAT(at(reference_betas("linear_T100000"), g.array("linear_T100000/betas/index")),
               AllEqual(g.array("linear_T100000/betas/betas_input_at_index")));
}

TEST_CASE("every table is within 4 ulp of its exact value for T from 10 to 100000", "[tables]") {
  const Golden& g = golden("schedules_truth.txt");
  for (const char* const group : {"linear_T50", "linear_T1000", "linear_T100000", "cosine_T10", "cosine_T1000"}) {
    const std::string record = std::string(group) + "/betas/";
    const GaussianDiffusion<double> process(reference_betas(group));
    REQUIRE(process.num_timesteps() == g.integer(std::string(group) + "/T"));
    const ArrayXd index = g.array(record + "index");
    REQUIRE(index[0] == 0);
    REQUIRE(index[index.size() - 1] == static_cast<double>(process.num_timesteps() - 1));
    for (const auto& table : accessors<double>()) {
      if (std::string(table.name) == "betas") continue;  // given, not computed
      INFO(record << table.name);
      const ArrayXd& values = (process.*table.get)();
      REQUIRE(values.size() == process.num_timesteps());
      // The posterior's log-variance passes through 0 where the variance is 1. log(1 - abar)
      // approaches 0 too, but keeps its digits.
      const bool crosses_0 = std::string(table.name) == "posterior_log_variance_clipped";
      REQUIRE_THAT(at(values, index),
                   AllClose(g.array(record + table.name), tolerance::table, crosses_0 ? tolerance::table : 0.0));
    }
  }
}

TEST_CASE("abar and 1 - abar of our schedules equal the exact formula", "[tables]") {
  const Golden& g = golden("schedules_truth.txt");
  for (const char* const group :
       {"linear_T50", "linear_T1000", "linear_T4000", "linear_T100000", "cosine_T10", "cosine_T1000", "cosine_T4000"}) {
    INFO(group);
    const std::string name = group;
    const GaussianDiffusion<double> process(
        named_beta_schedule(name.substr(0, name.find('_')), g.integer(name + "/T")));
    const ArrayXd index = g.array(name + "/formula/index");
    REQUIRE_THAT(at(process.betas(), index), AllClose(g.array(name + "/formula/betas"), tolerance::schedule));
    REQUIRE_THAT(at(process.alphas_cumprod(), index),
                 AllClose(g.array(name + "/formula/alphas_cumprod"), formula_alphas_cumprod));
    REQUIRE_THAT(at(process.one_minus_alphas_cumprod(), index),
                 AllClose(g.array(name + "/formula/one_minus_alphas_cumprod"), formula_one_minus));
  }
}

TEST_CASE("every table equals guided-diffusion's up to its rounding", "[tables]") {
  const Golden& g = golden("guided_schedules.txt");
  for (const char* const group : {"linear_T50", "linear_T1000", "cosine_T10", "cosine_T1000", "custom_uniform",
                                  "custom_unsorted", "custom_tiny", "custom_two", "custom_last1"}) {
    const std::string record = std::string(group) + "/";
    const GaussianDiffusion<double> process(g.array(record + "betas"));
    REQUIRE(process.num_timesteps() == g.integer(record + "T"));
    const ArrayXd index = g.array(record + "index");
    const double rel = record == "custom_tiny/" ? tolerance::reference_tiny : tolerance::reference_table;
    REQUIRE_THAT(process.betas(), AllEqual(g.array(record + "betas")));
    for (const auto& table : accessors<double>()) {
      // The reference has no table of 1 - abar. It subtracts where it needs the value.
      if (std::string(table.name) == "betas" || std::string(table.name) == "one_minus_alphas_cumprod") continue;
      INFO(record << table.name);
      const ArrayXd values = at((process.*table.get)(), index);
      const ArrayXd expected = g.array(record + table.name);
      // Near 0, log(1 - abar) has the absolute error of abar in the reference, so no relative bound
      // holds.
      REQUIRE_THAT(values, AllClose(expected, rel, table.is_log ? rel : 0.0));
    }
  }
}

// ---- an independent computation for lengths that are not recorded ----

// Instead of a product in double-double arithmetic, this test uses a compensated sum of logarithms
// (Neumaier) in long double:
//     S = sum of log(1 - beta),  abar = exp(S),  1 - abar = -expm1(S)
TEST_CASE("tables of a million steps are within 4 ulp of an independent computation", "[tables]") {
  if (std::numeric_limits<long double>::digits < 64) return;  // long double is double
  for (const char* const name : {"linear", "cosine", "scaled_linear"}) {
    const Index T = name == std::string("scaled_linear") ? 3000 : 1000000;  // not scaled with T; abar falls to 1e-7
    const ArrayXd betas = named_beta_schedule(name, T);
    const GaussianDiffusion<double> process(betas);
    ArrayXd index = ArrayXd::LinSpaced(1001, 0, static_cast<double>(T - 1)).floor();
    ArrayXd abar(index.size()), one_minus(abar), coef1(abar), coef2(abar), variance(abar);
    long double sum = 0, lost = 0, S = 0;
    for (Index t = 0, i = 0; t < T; ++t) {
      const long double S_prev = S;
      const long double beta = betas[t], term = std::log1p(-beta), next = sum + term;
      lost += std::abs(sum) >= std::abs(term) ? (sum - next) + term : (term - next) + sum;
      sum = next;
      S = sum + lost;
      if (static_cast<Index>(index[i]) != t) continue;
      const long double exact = -std::expm1(S), exact_prev = -std::expm1(S_prev);
      abar[i] = static_cast<double>(std::exp(S));
      one_minus[i] = static_cast<double>(exact);
      variance[i] = static_cast<double>(exact_prev / exact * beta);
      coef1[i] = static_cast<double>(std::exp(S_prev / 2) * beta / exact);
      coef2[i] = static_cast<double>(std::exp(term / 2) * exact_prev / exact);
      ++i;
    }
    INFO(name << ", T = " << T);
    REQUIRE_THAT(at(process.alphas_cumprod(), index), AllClose(abar, tolerance::table));
    REQUIRE_THAT(at(process.one_minus_alphas_cumprod(), index), AllClose(one_minus, tolerance::table));
    REQUIRE_THAT(at(process.posterior_variance(), index), AllClose(variance, tolerance::table));
    REQUIRE_THAT(at(process.posterior_mean_coef1(), index), AllClose(coef1, tolerance::table));
    REQUIRE_THAT(at(process.posterior_mean_coef2(), index), AllClose(coef2, tolerance::table));
  }
}

// ---- identities ----

TEST_CASE("the tables satisfy their identities", "[tables]") {
  for (const char* const name : {"linear", "cosine", "scaled_linear", "jsd", "warmup50"}) {
    for (const Index T : {20, 1000}) {
      INFO(name << ", T = " << T);
      const GaussianDiffusion<double> p(named_beta_schedule(name, T));
      REQUIRE(p.num_timesteps() == T);
      REQUIRE(p.alphas_cumprod_prev()[0] == 1);
      REQUIRE(p.alphas_cumprod_next()[T - 1] == 0);
      REQUIRE(p.posterior_variance()[0] == 0);
      REQUIRE(p.posterior_mean_coef2()[0] == 0);
      REQUIRE(p.posterior_mean_coef1()[0] == 1);
      REQUIRE(p.posterior_log_variance_clipped()[0] == p.posterior_log_variance_clipped()[1]);
      for (Index t = 1; t < T; ++t) {
        REQUIRE(p.alphas_cumprod_prev()[t] == p.alphas_cumprod()[t - 1]);
        REQUIRE(p.alphas_cumprod_next()[t - 1] == p.alphas_cumprod()[t]);
      }
      REQUIRE_THAT(ArrayXd(p.alphas_cumprod() + p.one_minus_alphas_cumprod()),
                   AllClose(ArrayXd(ArrayXd::Ones(T)), tolerance::table));
      // The posterior averaged over q(x_t | x_0) is q(x_{t-1} | x_0): mean and variance.
      ArrayXd mean(T), variance(T), sqrt_prev(T), one_minus_prev(T);
      for (Index t = 0; t < T; ++t) {
        const double c1 = p.posterior_mean_coef1()[t], c2 = p.posterior_mean_coef2()[t];
        mean[t] = c1 + c2 * p.sqrt_alphas_cumprod()[t];
        variance[t] = c2 * c2 * p.one_minus_alphas_cumprod()[t] + p.posterior_variance()[t];
        sqrt_prev[t] = t == 0 ? 1 : p.sqrt_alphas_cumprod()[t - 1];
        one_minus_prev[t] = t == 0 ? 0 : p.one_minus_alphas_cumprod()[t - 1];
      }
      REQUIRE_THAT(mean, AllClose(sqrt_prev, tolerance::table));
      REQUIRE_THAT(variance, AllClose(one_minus_prev, tolerance::table));
    }
  }
}

TEST_CASE("the tables of a single step are those of t = 0", "[tables]") {
  const GaussianDiffusion<double> process(list({0.25}));
  for (const auto& [table, value] : {std::pair{&process.alphas_cumprod(), 0.75},
                                     {&process.alphas_cumprod_prev(), 1.0},
                                     {&process.alphas_cumprod_next(), 0.0},
                                     {&process.one_minus_alphas_cumprod(), 0.25},
                                     {&process.posterior_variance(), 0.0},
                                     {&process.posterior_log_variance_clipped(), std::log(0.25)},
                                     {&process.posterior_mean_coef1(), 1.0},
                                     {&process.posterior_mean_coef2(), 0.0}}) {
    REQUIRE_THAT(*table, AllEqual(list({value})));
  }
}

TEST_CASE("tables after a beta of 1 have abar = 0 and no NaN", "[tables]") {
  const GaussianDiffusion<double> process(list({0.5, 1.0, 0.25}));
  REQUIRE_THAT(process.alphas_cumprod(), AllEqual(list({0.5, 0, 0})));
  REQUIRE_THAT(process.one_minus_alphas_cumprod(), AllEqual(list({0.5, 1, 1})));
  REQUIRE_THAT(process.log_one_minus_alphas_cumprod(), AllEqual(list({std::log(0.5), 0, 0})));
  REQUIRE_THAT(process.sqrt_recip_alphas_cumprod(), AllEqual(list({1 / std::sqrt(0.5), infinity, infinity})));
  REQUIRE_THAT(process.sqrt_recipm1_alphas_cumprod(), AllEqual(list({1, infinity, infinity})));
  REQUIRE_THAT(process.posterior_mean_coef1(), AllEqual(list({1, std::sqrt(0.5), 0})));
  REQUIRE_THAT(process.posterior_mean_coef2(), AllEqual(list({0, 0, std::sqrt(0.75)})));
  REQUIRE_THAT(process.posterior_variance(), AllEqual(list({0, 0.5, 0.25})));

  const GaussianDiffusion<double> first(list({1.0, 0.5}));
  for (const auto& table : accessors<double>()) {
    INFO(table.name);
    for (const double value : (first.*table.get)()) REQUIRE_FALSE(std::isnan(value));
  }
}

TEST_CASE("the inverses of a subnormal abar are finite", "[tables]") {
  const GaussianDiffusion<double> process(ArrayXd::Constant(36000, 0.02));  // abar falls below 1e-315
  REQUIRE(process.alphas_cumprod()[35999] > 0);
  REQUIRE(process.alphas_cumprod()[35999] < std::numeric_limits<double>::min());
  REQUIRE(std::isfinite(process.sqrt_recip_alphas_cumprod()[35999]));
  REQUIRE(std::isfinite(process.sqrt_recipm1_alphas_cumprod()[35999]));
}

TEST_CASE("abar decreases until it underflows to 0", "[tables]") {
  const GaussianDiffusion<double> process(ArrayXd::Constant(40000, 0.02));
  const ArrayXd& abar = process.alphas_cumprod();
  REQUIRE(abar[39999] == 0);
  REQUIRE((abar.tail(39999) < abar.head(39999) || abar.tail(39999) == 0).all());
  REQUIRE(error_message<std::domain_error>([&] {
            (void)respace(process, {0, 39998, 39999});
          }) ==
          "diffusion::respace: alphas_cumprod[39998] = 0: keep no step after timestep 39998, where no signal is left");

  // A late beta that is too small to change abar leaves it as it is, and not 0.
  ArrayXd steep = ArrayXd::Constant(20, 1 - std::ldexp(1.0, -53));
  steep[19] = 1e-25;
  const GaussianDiffusion<double> late(steep);
  REQUIRE(late.alphas_cumprod()[19] == late.alphas_cumprod()[18]);
  REQUIRE(late.alphas_cumprod()[19] > 0);
}

TEST_CASE("the tables do not depend on the scalar type", "[tables]") {
  const auto require_same = [](auto scalar) {
    using Scalar = decltype(scalar);
    const ArrayXd betas = linear_beta_schedule(100);
    const GaussianDiffusion<double> expected(betas);
    const GaussianDiffusion<Scalar> process(betas);
    for (std::size_t i = 0; i < accessors<double>().size(); ++i) {
      REQUIRE_THAT((process.*accessors<Scalar>()[i].get)(), AllEqual((expected.*accessors<double>()[i].get)()));
    }
  };
  require_same(float());
  require_same(static_cast<long double>(0));
  require_same(Eigen::half());
  require_same(Eigen::bfloat16());
}

// ---- the variance of a jump from s to t ----

TEST_CASE("the variance of one step equals its beta at every abar", "[tables]") {
  const ArrayXd tiny = ArrayXd::Constant(100, 1e-20);  // 1 - abar is far below the spacing of doubles at 1
  const ArrayXd steep = ArrayXd::Constant(6000, 0.1);  // abar falls to 1e-275
  const ArrayXd mixed = list({1e-30, 0.9, 1e-9, 0.999, 1e-3, 0.5, 1e-6, 1.0});
  for (const ArrayXd& betas : {linear_beta_schedule(1000), linear_beta_schedule(100000), cosine_beta_schedule(4000),
                               jsd_beta_schedule(1000), ArrayXd(ArrayXd::Constant(100000, 1e-7)), tiny, steep, mixed}) {
    INFO("T = " << betas.size() << ", betas[0] = " << betas[0]);
    const Tables tables(betas);
    ArrayXd variance(betas.size() - 1);
    for (Index t = 1; t < betas.size(); ++t) variance[t - 1] = tables.step_variance(t - 1, t);
    REQUIRE_THAT(variance, AllClose(ArrayXd(betas.tail(betas.size() - 1)), tolerance::table));
  }
}

TEST_CASE("the variance of a jump from s to t equals that of a process that begins at s", "[tables]") {
  std::mt19937 engine(1);
  for (const ArrayXd& betas : {linear_beta_schedule(1000), cosine_beta_schedule(1000), jsd_beta_schedule(100),
                               ArrayXd(ArrayXd::Constant(1000, 1e-9)), ArrayXd(ArrayXd::Constant(3000, 0.1))}) {
    const Tables tables(betas);
    const auto T = static_cast<std::uint32_t>(betas.size());
    for (int i = 0; i < 50; ++i) {
      const auto s = static_cast<Index>(engine() % (T - 1));
      const auto t = s + 1 + static_cast<Index>(engine() % (T - 1 - static_cast<std::uint32_t>(s)));
      INFO("T = " << T << ", s = " << s << ", t = " << t);
      const Tables rest(betas.segment(s + 1, t - s));
      REQUIRE_THAT(list({tables.step_variance(s, t)}),
                   AllClose(list({rest.one_minus_alphas_cumprod[t - s - 1]}), tolerance::table));
    }
  }
}

}  // namespace tables_tests
