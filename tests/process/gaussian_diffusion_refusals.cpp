// Tests of the exceptions of diffusion/process/gaussian_diffusion.hpp: their types and messages,
// and that nothing is written before they are thrown.
#include "diffusion/process/gaussian_diffusion.hpp"

#include <algorithm>
#include <initializer_list>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "diffusion/process/schedules.hpp"
#include "matchers.hpp"

namespace gaussian_diffusion_refusals_tests {

using diffusion::GaussianDiffusion;
using diffusion::linear_beta_schedule;
using diffusion::MeanVariance;
using diffusion::Timesteps;
using Eigen::ArrayXd;
using Eigen::Index;

namespace {

using Matrix = Eigen::Tensor<double, 2>;

template <class X>
X list(std::initializer_list<typename X::Scalar> values) {
  X out(static_cast<Index>(values.size()));
  std::copy(values.begin(), values.end(), out.data());
  return out;
}
Timesteps steps(std::initializer_list<Index> values) { return list<Timesteps>(values); }

}  // namespace

TEST_CASE("GaussianDiffusion names the index and value of a beta outside its range", "[gaussian_diffusion]") {
  const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  REQUIRE(error_message<std::invalid_argument>([] { (void)GaussianDiffusion<float>{ArrayXd()}; }) ==
          "diffusion::GaussianDiffusion: betas is empty");
  for (const auto& [value, text] : {std::pair<double, std::string>{0, "0"},
                                    {-0.1, "-0.1"},
                                    {1.5, "1.5"},
                                    {nan, "nan"},
                                    {inf, "inf"},
                                    {-inf, "-inf"},
                                    {100000, "100000"},
                                    {1000000, "1e+06"},
                                    {1 + 1e-15, "1.000000000000001"}}) {
    ArrayXd betas = ArrayXd::Constant(5, 0.1);
    betas[3] = value;
    REQUIRE(error_message<std::invalid_argument>([&] { (void)GaussianDiffusion<float>{betas}; }) ==
            "diffusion::GaussianDiffusion: betas[3] = " + text + " is outside (0, 1]");
  }
  REQUIRE_NOTHROW(GaussianDiffusion<float>(list<ArrayXd>({1.0})));
  REQUIRE_NOTHROW(GaussianDiffusion<float>(list<ArrayXd>({std::numeric_limits<double>::denorm_min()})));
}

namespace {

/// Calls every operation with at least one wrong argument. Requires that each throws, with its own
/// name and the same reason in the message, and leaves its outputs unchanged.
struct InvalidCall {
  Matrix x{3, 4}, y{3, 4}, out{3, 4}, variance{3, 4}, log_variance{3, 4};
  Timesteps t = steps({0, 1, 2});

  template <class Error>
  void require(const GaussianDiffusion<double>& p, const std::string& reason,
               std::initializer_list<const char*> names) {
    const std::vector<std::string> only(names.begin(), names.end());
    const auto check = [&](const std::string& name, auto call) {
      if (!only.empty() && std::find(only.begin(), only.end(), name) == only.end()) return;
      INFO(name);
      out.setConstant(9);
      variance.setConstant(9);
      log_variance.setConstant(9);
      REQUIRE(error_message<Error>(call) == "diffusion::GaussianDiffusion::" + name + ": " + reason);
      for (const Matrix* m : {&out, &variance, &log_variance}) {
        for (Index i = 0; i < m->size(); ++i) REQUIRE(m->data()[i] == 9);
      }
    };
    MeanVariance<Matrix&> moments{out, variance, log_variance};
    check("q_mean_variance", [&] { p.q_mean_variance_into(moments, x, t); });
    check("q_posterior_mean_variance", [&] { p.q_posterior_mean_variance_into(moments, x, y, t); });
    check("q_mean", [&] { p.q_mean_into(out, x, t); });
    check("q_posterior_mean", [&] { p.q_posterior_mean_into(out, x, y, t); });
    check("q_sample", [&] { p.q_sample_into(out, x, t, y); });
    check("q_step", [&] { p.q_step_into(out, x, -1, t, y); });
    check("predict_xstart_from_eps", [&] { p.predict_xstart_from_eps_into(out, x, t, y); });
    check("predict_xstart_from_xprev", [&] { p.predict_xstart_from_xprev_into(out, x, t, y); });
    check("predict_xstart_from_v", [&] { p.predict_xstart_from_v_into(out, x, t, y); });
    check("predict_eps_from_xstart", [&] { p.predict_eps_from_xstart_into(out, x, t, y); });
    check("predict_eps_from_v", [&] { p.predict_eps_from_v_into(out, x, t, y); });
    check("velocity", [&] { p.velocity_into(out, x, t, y); });
  }
};

}  // namespace

TEST_CASE("operations throw std::out_of_range for timesteps outside 0 to T - 1", "[gaussian_diffusion]") {
  const GaussianDiffusion<double> process(linear_beta_schedule(50));
  InvalidCall invalid_call;
  for (const Index bad : {Index(-1), Index(50), std::numeric_limits<Index>::max(), std::numeric_limits<Index>::min()}) {
    invalid_call.t = steps({0, 49, bad});
    invalid_call.require<std::out_of_range>(process, "t[2] = " + std::to_string(bad) + " is outside [0, 50)", {});
    invalid_call.t = steps({bad, 0, 49});
    invalid_call.require<std::out_of_range>(process, "t[0] = " + std::to_string(bad) + " is outside [0, 50)", {});
  }
  // The message names the first wrong entry. It has no index if t is one integer.
  invalid_call.t = steps({0, 50, -1});
  invalid_call.require<std::out_of_range>(process, "t[1] = 50 is outside [0, 50)", {});
  const Matrix x(3, 4);
  REQUIRE(error_message<std::out_of_range>([&] { (void)process.q_sample(x, 50, x); }) ==
          "diffusion::GaussianDiffusion::q_sample: t = 50 is outside [0, 50)");
  REQUIRE(error_message<std::out_of_range>([&] { (void)process.q_mean_variance(x, -1); }) ==
          "diffusion::GaussianDiffusion::q_mean_variance: t = -1 is outside [0, 50)");
  REQUIRE(error_message<std::out_of_range>([&] { (void)process.q_variance(50); }) ==
          "diffusion::GaussianDiffusion::q_variance: t = 50 is outside [0, 50)");
  REQUIRE(error_message<std::out_of_range>([&] {
            (void)process.q_log_variance(steps({0, 49, -1}));
          }) == "diffusion::GaussianDiffusion::q_log_variance: t[2] = -1 is outside [0, 50)");
  REQUIRE(error_message<std::out_of_range>([&] { (void)process.q_posterior_variance(-1); }) ==
          "diffusion::GaussianDiffusion::q_posterior_variance: t = -1 is outside [0, 50)");
  REQUIRE(error_message<std::out_of_range>([&] { (void)process.q_posterior_log_variance(steps({50})); }) ==
          "diffusion::GaussianDiffusion::q_posterior_log_variance: t[0] = 50 is outside [0, 50)");
  REQUIRE(error_message<std::out_of_range>([&] { (void)process.predict_xstart_from_eps(x, 50, x); }) ==
          "diffusion::GaussianDiffusion::predict_xstart_from_eps: t = 50 is outside [0, 50)");
  REQUIRE(error_message<std::out_of_range>([&] { (void)process.predict_xstart_from_xprev(x, -1, x); }) ==
          "diffusion::GaussianDiffusion::predict_xstart_from_xprev: t = -1 is outside [0, 50)");
}

TEST_CASE("timesteps may be farther apart than 2^62", "[gaussian_diffusion]") {
  const Index far = Index(1) << 62;
  const Index t[] = {0, far};
  REQUIRE(diffusion::detail::all_within(t, 2, 0, far + 1));
  REQUIRE_FALSE(diffusion::detail::all_within(t, 2, 0, far));
  REQUIRE_FALSE(diffusion::detail::all_within(t, 2, 1, far + 1));
}

TEST_CASE("operations throw std::invalid_argument for a wrong number of timesteps", "[gaussian_diffusion]") {
  const GaussianDiffusion<double> process(linear_beta_schedule(50));
  InvalidCall invalid_call;
  invalid_call.t = steps({0, 1});
  invalid_call.require<std::invalid_argument>(process, "t has 2 entries for a batch of 3 samples", {});
  invalid_call.t = steps({0, 1, 2, 3});
  invalid_call.require<std::invalid_argument>(process, "t has 4 entries for a batch of 3 samples", {});
  invalid_call.t = Timesteps(0);
  invalid_call.require<std::invalid_argument>(process, "t has 0 entries for a batch of 3 samples", {});
  invalid_call.x = invalid_call.y = invalid_call.out = invalid_call.variance = invalid_call.log_variance = Matrix(0, 4);
  invalid_call.t = steps({1});
  invalid_call.require<std::invalid_argument>(process, "t has 1 entries for a batch of 0 samples", {});
}

TEST_CASE("operations name both shapes if shapes differ", "[gaussian_diffusion]") {
  const GaussianDiffusion<double> process(linear_beta_schedule(50));
  for (const auto& sizes : {std::pair<Index, Index>{3, 5}, {2, 4}, {4, 3}, {12, 1}, {0, 4}}) {
    const Index rows = sizes.first, cols = sizes.second;  // clang 14 does not capture structured bindings
    const std::string shape = " has shape [" + std::to_string(rows) + ", " + std::to_string(cols) + "], but ";
    InvalidCall invalid_call;
    invalid_call.y.resize(rows, cols);
    invalid_call.require<std::invalid_argument>(process, "x_t" + shape + "x_start has [3, 4]",
                                                {"q_posterior_mean_variance", "q_posterior_mean"});
    invalid_call.require<std::invalid_argument>(process, "noise" + shape + "x_start has [3, 4]",
                                                {"q_sample", "velocity"});
    invalid_call.require<std::invalid_argument>(process, "noise" + shape + "x_s has [3, 4]", {"q_step"});
    invalid_call.require<std::invalid_argument>(process, "eps" + shape + "x_t has [3, 4]", {"predict_xstart_from_eps"});
    invalid_call.require<std::invalid_argument>(process, "xprev" + shape + "x_t has [3, 4]",
                                                {"predict_xstart_from_xprev"});
    invalid_call.require<std::invalid_argument>(process, "v" + shape + "x_t has [3, 4]",
                                                {"predict_xstart_from_v", "predict_eps_from_v"});
    invalid_call.require<std::invalid_argument>(process, "x_start" + shape + "x_t has [3, 4]",
                                                {"predict_eps_from_xstart"});

    const auto with = [&](Matrix InvalidCall::*result) {
      InvalidCall other;
      (other.*result).resize(rows, cols);
      return other;
    };
    InvalidCall out = with(&InvalidCall::out);
    out.require<std::invalid_argument>(process, "out.mean" + shape + "x_start has [3, 4]",
                                       {"q_mean_variance", "q_posterior_mean_variance"});
    out.require<std::invalid_argument>(process, "out" + shape + "x_start has [3, 4]",
                                       {"q_sample", "velocity", "q_mean", "q_posterior_mean"});
    out.require<std::invalid_argument>(process, "out" + shape + "x_s has [3, 4]", {"q_step"});
    out.require<std::invalid_argument>(process, "out" + shape + "x_t has [3, 4]",
                                       {"predict_xstart_from_eps", "predict_xstart_from_xprev", "predict_xstart_from_v",
                                        "predict_eps_from_xstart", "predict_eps_from_v"});
    InvalidCall variance = with(&InvalidCall::variance);
    variance.require<std::invalid_argument>(process, "out.variance" + shape + "x_start has [3, 4]",
                                            {"q_mean_variance", "q_posterior_mean_variance"});
    InvalidCall log_variance = with(&InvalidCall::log_variance);
    log_variance.require<std::invalid_argument>(process, "out.log_variance" + shape + "x_start has [3, 4]",
                                                {"q_mean_variance", "q_posterior_mean_variance"});
  }
}

TEST_CASE("operations throw std::invalid_argument for a tensor of rank 0", "[gaussian_diffusion]") {
  const GaussianDiffusion<float> process(linear_beta_schedule(50));
  const Eigen::Tensor<float, 0> x;
  REQUIRE(error_message<std::invalid_argument>([&] { (void)process.q_sample(x, 0, x); }) ==
          "diffusion::GaussianDiffusion::q_sample: x_start has rank 0; its first axis must be the batch");
  REQUIRE(error_message<std::invalid_argument>([&] { (void)process.q_mean_variance(x, 0); }) ==
          "diffusion::GaussianDiffusion::q_mean_variance: x_start has rank 0; its first axis must be the batch");
  REQUIRE(error_message<std::invalid_argument>([&] { (void)process.q_sample(x, 0, [](auto&) {}); }) ==
          "diffusion::GaussianDiffusion::q_sample: x_start has rank 0; its first axis must be the batch");
}

TEST_CASE("predict_xstart throws std::domain_error where x_0 cannot be recovered", "[gaussian_diffusion]") {
  const GaussianDiffusion<double> process(list<ArrayXd>({0.5, 1.0, 0.25}));  // abar: 0.5, 0, 0
  InvalidCall invalid_call;
  invalid_call.t = steps({0, 0, 1});
  invalid_call.require<std::domain_error>(process, "alphas_cumprod[1] = 0: x_0 cannot be recovered from x_t (sample 2)",
                                          {"predict_xstart_from_eps"});
  invalid_call.t = steps({0, 2, 1});  // the posterior's mean depends on x_0 at t = 1 (beta = 1), but not at t = 2
  invalid_call.require<std::domain_error>(process,
                                          "posterior_mean_coef1[2] = 0: x_0 cannot be recovered from x_t (sample 1)",
                                          {"predict_xstart_from_xprev"});
  invalid_call.t = steps({0, 1, 1});
  REQUIRE_NOTHROW(process.predict_xstart_from_xprev(invalid_call.x, invalid_call.t, invalid_call.y));
  const Matrix x(3, 4);
  REQUIRE_THAT(error_message<std::domain_error>([&] { (void)process.predict_xstart_from_eps(x, 2, x); }),
               StartsWith("diffusion::GaussianDiffusion::predict_xstart_from_eps: alphas_cumprod[2] = 0: "));
  const GaussianDiffusion<double> no_signal(list<ArrayXd>({1.0, 0.5}));
  REQUIRE_THROWS_AS(no_signal.predict_xstart_from_eps(x, 0, x), std::domain_error);
  REQUIRE_THROWS_AS(no_signal.predict_xstart_from_eps(x, steps({0, 0, 0}), x), std::domain_error);
}

TEST_CASE("q_step throws unless s is less than t and abar_s is positive", "[gaussian_diffusion]") {
  const GaussianDiffusion<double> process(list<ArrayXd>({0.5, 0.5, 1.0, 0.25}));
  const Matrix x = random_tensor<Matrix>({2, 3}, 1);
  const std::string where = "diffusion::GaussianDiffusion::q_step: ";
  const auto q_step_error = [&](auto s, auto t, auto error) {
    Matrix out(2, 3);
    out.setConstant(9);
    bool drawn = false;
    const std::string message = error_message<decltype(error)>([&] { process.q_step_into(out, x, s, t, x); });
    REQUIRE(error_message<decltype(error)>([&] { process.q_step_into(out, x, s, t, [&](auto&) { drawn = true; }); }) ==
            message);
    REQUIRE_FALSE(drawn);
    for (Index i = 0; i < 6; ++i) REQUIRE(out.data()[i] == 9);
    return message;
  };
  const std::out_of_range range("");
  REQUIRE_THAT(q_step_error(1, 1, range), StartsWith(where + "s = 1 must be less than t = 1"));
  REQUIRE_THAT(q_step_error(2, 1, range), StartsWith(where + "s = 2 must be less than t = 1"));
  REQUIRE_THAT(q_step_error(steps({0, 1}), 1, range), StartsWith(where + "s = 1 must be less than t = 1 (sample 1)"));
  REQUIRE_THAT(q_step_error(1, steps({2, 0}), range), StartsWith(where + "s = 1 must be less than t = 0 (sample 1)"));
  REQUIRE(q_step_error(-2, 1, range) == where + "s = -2 is outside [-1, 4)");
  REQUIRE(q_step_error(steps({-1, -2}), 1, range) == where + "s[1] = -2 is outside [-1, 4)");
  REQUIRE(q_step_error(4, 1, range) == where + "s = 4 is outside [-1, 4)");
  REQUIRE(q_step_error(0, 4, range) == where + "t = 4 is outside [0, 4)");
  REQUIRE(q_step_error(steps({0, 0}), steps({1, 4}), range) == where + "t[1] = 4 is outside [0, 4)");
  const std::invalid_argument argument("");
  REQUIRE(q_step_error(steps({0}), 1, argument) == where + "s has 1 entries for a batch of 2 samples");
  REQUIRE(q_step_error(0, steps({1, 1, 1}), argument) == where + "t has 3 entries for a batch of 2 samples");
  const std::domain_error domain("");
  REQUIRE_THAT(
      q_step_error(2, 3, domain),
      StartsWith(where + "alphas_cumprod[2] = 0: a step cannot start at s = 2, where no signal is left (sample 0)"));
  REQUIRE_THAT(q_step_error(steps({1, 2}), 3, domain), StartsWith(where + "alphas_cumprod[2] = 0"));
  const GaussianDiffusion<double> no_signal(list<ArrayXd>({1.0, 0.5}));
  REQUIRE_THAT(error_message<std::domain_error>([&] { (void)no_signal.q_step(x, 0, 1, x); }),
               StartsWith(where + "alphas_cumprod[0] = 0: a step cannot start at s = 0"));
  REQUIRE_NOTHROW(process.q_step(x, 1, 2, x));
}

}  // namespace gaussian_diffusion_refusals_tests
