/// Tests of diffusion/training/loss_weights.hpp.
#include "diffusion/training/loss_weights.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "diffusion/process/schedules.hpp"
#include "diffusion/training/losses.hpp"
#include "matchers.hpp"
#include "reverse_models.hpp"

namespace loss_weights_tests {

using namespace diffusion;
using Eigen::Index;
using models::timesteps;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
const std::vector<double> ratios = {1e-300, 1e-20, 1e-8, 0.01, 0.5, 1.0, 3.0, 5.0, 7.5, 1e4, 1e20, 1e300};

/// One objective: the formula of its weight for x_0, and the functions for x_0, epsilon and v;
/// nullptr if there is no such function.
struct Weighting {
  const char* name;
  long double (*x_start_weight)(long double snr);
  double (*x_start)(double snr);
  double (*epsilon)(double snr);
  double (*v)(double snr);
};
const Weighting weightings[] = {
    {"min-SNR", [](long double snr) { return snr < 5 ? snr : 5.0L; },
     [](double snr) { return min_snr_weight_x_start(snr); }, [](double snr) { return min_snr_weight_epsilon(snr); },
     [](double snr) { return min_snr_weight_v(snr); }},
    {"min-SNR with gamma 1.5", [](long double snr) { return snr < 1.5L ? snr : 1.5L; },
     [](double snr) { return min_snr_weight_x_start(snr, 1.5); },
     [](double snr) { return min_snr_weight_epsilon(snr, 1.5); },
     [](double snr) { return min_snr_weight_v(snr, 1.5); }},
    {"soft min-SNR", [](long double snr) { return 1 / (1 / snr + 1 / 4.0L); },
     [](double snr) { return soft_min_snr_weight_x_start(snr); },
     [](double snr) { return soft_min_snr_weight_epsilon(snr); },
     [](double snr) { return soft_min_snr_weight_v(snr); }},
    {"P2", [](long double snr) { return snr / std::pow(0.5L + snr, 2.0L); }, nullptr,
     [](double snr) { return p2_weight_epsilon(snr, 0.5, 2.0); }, nullptr},
    {"truncated SNR", [](long double snr) { return snr > 1 ? snr : 1.0L; }, truncated_snr_weight_x_start, nullptr,
     truncated_snr_weight_v},
    {"EDM",
     [](long double snr) {
       const long double sigma_2 = 1 / snr, data_2 = 0.25L;
       return (sigma_2 + data_2) / (sigma_2 * data_2);
     },
     [](double snr) { return edm_weight_x_start(snr); }, nullptr, [](double snr) { return edm_weight_v(snr); }},
};

}  // namespace

// ---- values ----

TEST_CASE("the weights for x_0, epsilon and v belong to one objective", "[loss_weights]") {
  for (const Weighting& weighting : weightings) {
    for (const double snr : ratios) {
      INFO(weighting.name << " at " << snr);
      const long double x_start_weight = weighting.x_start_weight(snr), epsilon_weight = x_start_weight / snr,
                        v_weight = x_start_weight / (snr + 1.0L);
      const auto close = [](double got, long double expected) {
        return std::abs(got - expected) <= tolerance::exact_sum * expected + std::numeric_limits<double>::denorm_min();
      };
      if (weighting.x_start) REQUIRE(close(weighting.x_start(snr), x_start_weight));
      if (weighting.epsilon) REQUIRE(close(weighting.epsilon(snr), epsilon_weight));
      if (weighting.v) REQUIRE(close(weighting.v(snr), v_weight));
    }
  }
}

TEST_CASE("the weights equal their limits at snr = 0 and at snr = infinity", "[loss_weights]") {
  REQUIRE(min_snr_weight_epsilon(0) == 1);
  REQUIRE(min_snr_weight_x_start(0) == 0);
  REQUIRE(min_snr_weight_v(0) == 0);
  REQUIRE(soft_min_snr_weight_epsilon(0) == 1);
  REQUIRE(soft_min_snr_weight_x_start(0) == 0);
  REQUIRE(soft_min_snr_weight_v(0) == 0);
  REQUIRE(p2_weight_epsilon(0, 0.5, 2) == 4);
  REQUIRE(truncated_snr_weight_x_start(0) == 1);
  REQUIRE(truncated_snr_weight_v(0) == 1);
  REQUIRE(edm_weight_x_start(0) == 4);
  REQUIRE(edm_weight_v(0) == 4);

  REQUIRE(min_snr_weight_epsilon(infinity) == 0);
  REQUIRE(min_snr_weight_x_start(infinity) == 5);
  REQUIRE(min_snr_weight_v(infinity) == 0);
  REQUIRE(soft_min_snr_weight_epsilon(infinity) == 0);
  REQUIRE(soft_min_snr_weight_x_start(infinity) == 4);
  REQUIRE(soft_min_snr_weight_v(infinity) == 0);
  REQUIRE(p2_weight_epsilon(infinity) == 0);
  REQUIRE(truncated_snr_weight_x_start(infinity) == infinity);
  REQUIRE(truncated_snr_weight_v(infinity) == 1);
  REQUIRE(edm_weight_x_start(infinity) == infinity);
  REQUIRE(edm_weight_v(infinity) == 1);
}

TEST_CASE("the weights equal values computed by hand", "[loss_weights]") {
  REQUIRE(min_snr_weight_epsilon(5) == 1);
  REQUIRE(min_snr_weight_epsilon(20) == 0.25);
  REQUIRE(min_snr_weight_x_start(20) == 5);
  REQUIRE(min_snr_weight_v(19) == 0.25);
  REQUIRE(min_snr_weight_v(3) == 0.75);
  REQUIRE(soft_min_snr_weight_epsilon(4) == 0.5);
  REQUIRE(soft_min_snr_weight_x_start(4) == 2);
  REQUIRE(p2_weight_epsilon(3) == 0.25);
  REQUIRE(truncated_snr_weight_v(1) == 0.5);
  REQUIRE(truncated_snr_weight_v(3) == 0.75);
  REQUIRE(edm_weight_v(2) == 2);
  REQUIRE(edm_weight_v(123, 1.0) == 1);
}

// ---- weights of a batch ----

TEMPLATE_TEST_CASE("loss_weights returns the weight of each timestep of a batch", "[loss_weights]", float, double,
                   Eigen::half) {
  const GaussianDiffusion<TestType> process(rescale_zero_terminal_snr(cosine_beta_schedule(50)));
  const Timesteps t = timesteps({0, 49, 7, 7, 30});
  const auto weight = [](double snr) { return min_snr_weight_v(snr); };
  const auto got = loss_weights(process, t, weight);
  REQUIRE(got.dimension(0) == 5);
  for (Index n = 0; n < 5; ++n) {
    // abar_t, computed as a product.
    long double abar = 1;
    for (Index i = 0; i <= t(n); ++i) abar *= 1 - static_cast<long double>(process.betas()[i]);
    const long double snr = abar / (1 - abar);
    REQUIRE_THAT(static_cast<double>(got(n)),
                 WithinAbs(static_cast<double>((snr < 5 ? snr : 5) / (snr + 1)), Tolerance<TestType>::abs));
  }
  REQUIRE(got(1) == TestType(0));
  REQUIRE(loss_weights(process, 30, weight).dimension(0) == 1);
  REQUIRE(loss_weights(process, 30, weight)(0) == got(4));
  REQUIRE(loss_weights(process, Timesteps(0), weight).size() == 0);
  REQUIRE(loss_weights(process, t, truncated_snr_weight_v)(1) == TestType(1));

  std::vector<TestType> memory(5);
  Eigen::TensorMap<Eigen::Tensor<TestType, 1, Eigen::RowMajor>> map(memory.data(), 5);
  REQUIRE(count_allocations([&] { loss_weights_into(map, process, t, weight); }) == 0);
  REQUIRE_THAT(map, AllEqual(got));
}

TEST_CASE("loss_weights computes the SNR without cancellation where there is little noise", "[loss_weights]") {
  const GaussianDiffusion<double> process(constant_beta_schedule(3, 1e-17));
  const auto snr = loss_weights(process, timesteps({0, 2}), [](double ratio) { return ratio; });
  REQUIRE_THAT(snr(0), WithinRel(1e17, tolerance::table));
  REQUIRE_THAT(snr(1), WithinRel(1e17 / 3, tolerance::table));
}

TEST_CASE("the weighted losses of epsilon, x_0 and v are equal", "[loss_weights]") {
  using Tensor = DoubleRowMajor::Tensor<2>;
  const GaussianDiffusion<double> process(cosine_beta_schedule(30));
  const Timesteps t = timesteps({0, 3, 15, 25, 28});
  const Tensor x_start = random_tensor<Tensor>({5, 4}, 1), noise = random_tensor<Tensor>({5, 4}, 2);
  const Tensor x_t = process.q_sample(x_start, t, noise), eps = random_tensor<Tensor>({5, 4}, 3);
  const Tensor x_0 = process.predict_xstart_from_eps(x_t, t, eps), v = process.velocity(x_0, t, eps);
  const auto weighted = [&](ModelMeanType type, const Tensor& output, double (*weight)(double, double)) {
    const auto target = training_target(process, type, x_start, x_t, noise, t);
    const auto weights = loss_weights(process, t, [&](double snr) { return weight(snr, 2.0); });
    Eigen::Tensor<double, 1> out(5);
    for (Index n = 0; n < 5; ++n) {
      out(n) = 0;
      for (Index i = 0; i < 4; ++i) out(n) += weights(n) * std::pow(target(n, i) - output(n, i), 2);
    }
    return out;
  };
  const auto epsilon_weight = weighted(ModelMeanType::epsilon, eps, min_snr_weight_epsilon);
  REQUIRE_THAT(weighted(ModelMeanType::start_x, x_0, min_snr_weight_x_start),
               AllClose(epsilon_weight, tolerance::converted));
  REQUIRE_THAT(weighted(ModelMeanType::velocity, v, min_snr_weight_v), AllClose(epsilon_weight, tolerance::converted));
}

// ---- errors ----

TEST_CASE("the weights throw for invalid arguments", "[loss_weights]") {
  using Invalid = std::invalid_argument;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  REQUIRE(error_message<Invalid>([] { (void)min_snr_weight_epsilon(-1); }) ==
          "diffusion::min_snr_weight_epsilon: snr = -1 must be at least 0");
  REQUIRE(error_message<Invalid>([] { (void)min_snr_weight_v(1, 0); }) ==
          "diffusion::min_snr_weight_v: gamma = 0 must be positive and finite");
  REQUIRE(error_message<Invalid>([] { (void)edm_weight_v(1, -0.5); }) ==
          "diffusion::edm_weight_v: sigma_data = -0.5 must be positive and finite");
  REQUIRE(error_message<Invalid>([] { (void)p2_weight_epsilon(1, 0); }) ==
          "diffusion::p2_weight_epsilon: k = 0 must be positive and finite");
  REQUIRE(error_message<Invalid>([] { (void)p2_weight_epsilon(1, 1, 0); }) ==
          "diffusion::p2_weight_epsilon: gamma = 0 must be positive and finite");
  REQUIRE(error_message<Invalid>([] { (void)soft_min_snr_weight_epsilon(1, 0); }) ==
          "diffusion::soft_min_snr_weight_epsilon: gamma = 0 must be positive and finite");
  REQUIRE(error_message<Invalid>([] { (void)soft_min_snr_weight_v(-1); }) ==
          "diffusion::soft_min_snr_weight_v: snr = -1 must be at least 0");
  REQUIRE(error_message<Invalid>([] { (void)soft_min_snr_weight_v(1, -2); }) ==
          "diffusion::soft_min_snr_weight_v: gamma = -2 must be positive and finite");
  for (const Weighting& weighting : weightings) {
    INFO(weighting.name);
    for (const double snr : {nan, -1e-300}) {
      if (weighting.x_start) REQUIRE_THROWS_AS(weighting.x_start(snr), Invalid);
      if (weighting.epsilon) REQUIRE_THROWS_AS(weighting.epsilon(snr), Invalid);
      if (weighting.v) REQUIRE_THROWS_AS(weighting.v(snr), Invalid);
    }
  }
  const GaussianDiffusion<float> process(linear_beta_schedule(100));
  REQUIRE(error_message<std::out_of_range>([&] {
            (void)loss_weights(process, timesteps({3, 100}), truncated_snr_weight_v);
          }) == "diffusion::loss_weights: t[1] = 100 is outside [0, 100)");
  Eigen::Tensor<float, 1> out(3);
  REQUIRE(error_message<Invalid>([&] {
            loss_weights_into(out, process, timesteps({3, 4}), truncated_snr_weight_v);
          }) == "diffusion::loss_weights: t has 2 entries for a batch of 3 samples");
}

}  // namespace loss_weights_tests
