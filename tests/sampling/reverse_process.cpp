// Tests of diffusion/sampling/reverse_process.hpp: calls of the user's functions, equations and
// errors. Batches are tested in reverse_batches.cpp, recorded runs of guided-diffusion in
// reverse_golden.cpp, exact answers in reverse_oracles.cpp.
#include "diffusion/sampling/reverse_process.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "diffusion/noise/noise_source.hpp"
#include "diffusion/noise/philox_noise.hpp"
#include "diffusion/process/respacing.hpp"
#include "diffusion/process/schedules.hpp"
#include "matchers.hpp"
#include "reverse_models.hpp"

namespace reverse_process_tests {

using diffusion::GaussianDiffusion;
using diffusion::linear_beta_schedule;
using diffusion::ModelMeanType;
using diffusion::ModelVarType;
using diffusion::NoNoise;
using diffusion::PhiloxNoise;
using diffusion::PMeanVariance;
using diffusion::respace;
using diffusion::ReverseOptions;
using diffusion::ReverseProcess;
using diffusion::ReverseStep;
using diffusion::ReverseWorkspace;
using diffusion::Timesteps;
using Eigen::ArrayXd;
using Eigen::Index;
using models::QuarterModel;
using models::spaced_process;
using models::timesteps;
using models::var_types;

// ---- how the model is called ----

TEST_CASE("a model may return a tensor or an expression, write its output, or change its state through std::ref",
          "[reverse_process]") {
  using Tensor = FloatColMajor::Tensor<2>;
  using Times = Eigen::Tensor<float, 1>;
  const Tensor x = random_tensor<Tensor>({3, 4}, 1);
  const auto sampled = [&](const auto& model) {
    return ReverseProcess(spaced_process<float>(), model).ddim_sample_loop(x);
  };
  const Tensor expected = sampled(QuarterModel{});
  REQUIRE_THAT(sampled([](const Tensor& y, const Times&) -> Tensor { return y * 0.25f; }), AllEqual(expected));
  REQUIRE_THAT(sampled([](const auto& y, const auto&) { return y * 0.25f; }), AllEqual(expected));
  REQUIRE_THAT(sampled(std::function<Tensor(const Tensor&, const Times&)>(
                   [](const Tensor& y, const Times&) { return Tensor(y * 0.25f); })),
               AllEqual(expected));
  Tensor output;
  REQUIRE_THAT(sampled([&output](const Tensor& y, const Times&) -> const Tensor& { return output = y * 0.25f; }),
               AllEqual(expected));
  int calls = 0;
  auto counting = [&calls](const Tensor& y, const Times& t) mutable {
    REQUIRE(t.size() == 3);
    ++calls;
    return Tensor(y * 0.25f);
  };
  REQUIRE_THAT(sampled(std::ref(counting)), AllEqual(expected));
  REQUIRE(calls == 40);
}

TEST_CASE("denoised_fn may return a tensor or an expression that permutes values, or change x_0 in place",
          "[reverse_process]") {
  using Tensor = FloatRowMajor::Tensor<2>;
  const Tensor x = random_tensor<Tensor>({3, 4}, 1);
  const ReverseProcess reverse(spaced_process<float>(), models::AnyGuidedModel{}, {ModelMeanType::start_x});
  const Eigen::array<bool, 2> flip = {false, true};
  const Tensor expected = reverse.p_mean_variance(x, 5).pred_xstart.reverse(flip);
  const auto with = [&](const auto& f) { return reverse.with_denoised_fn(f).p_mean_variance(x, 5).pred_xstart; };
  REQUIRE_THAT(with([&](const auto& y) { return y.reverse(flip); }), AllEqual(expected));
  REQUIRE_THAT(with([&](const Tensor& y) -> Tensor { return y.reverse(flip); }), AllEqual(expected));
  REQUIRE_THAT(with([&](auto& y) { y = Tensor(y.reverse(flip)); }), AllEqual(expected));
}

TEST_CASE("denoised_fn is applied before clipping", "[reverse_process]") {
  using Tensor = DoubleRowMajor::Tensor<2>;
  Tensor x(1, 3);
  x.setValues({{-0.1, 0.04, 0.2}});
  const auto reverse = ReverseProcess(spaced_process<double>(), [](const auto& y, const auto&) { return y * 1.0; },
                                      {ModelMeanType::start_x})
                           .with_denoised_fn([](const auto& y) { return y * 10.0; });
  Tensor expected(1, 3);
  expected.setValues({{-1, 0.4, 1}});
  REQUIRE_THAT(reverse.p_mean_variance(x, 5).pred_xstart, AllEqual(expected));
}

TEST_CASE("clipping keeps a NaN in the model's output", "[reverse_process]") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  using Tensor = DoubleRowMajor::Tensor<2>;
  Tensor x(1, 9);
  x.setConstant(nan);
  const ReverseProcess reverse(spaced_process<double>(), QuarterModel{}, {ModelMeanType::start_x});
  const Tensor out = reverse.p_mean_variance(x, 5).pred_xstart;
  for (Index i = 0; i < 9; ++i) REQUIRE(std::isnan(out(0, i)));
}

TEST_CASE("p_sample calls model, noise, cond_fn and ddim_sample model, cond_fn, noise, with the same model time",
          "[reverse_process]") {
  using Tensor = DoubleRowMajor::Tensor<2>;
  const Tensor x = random_tensor<Tensor>({2, 3}, 1);
  std::string calls;
  std::vector<double> received_times;
  const auto called = [&](char who) {
    return [&calls, &received_times, who](const auto& y, const auto& t) {
      calls += who;
      for (Index n = 0; n < t.size(); ++n) received_times.push_back(t(n));
      return Tensor(y * 0.1);
    };
  };
  const auto noise = [&](auto& y) {
    calls += 'n';
    y.setZero();
  };
  const GaussianDiffusion<double> base(linear_beta_schedule(4000));
  const GaussianDiffusion<double> twice = respace(respace(base, {0, 100, 2000, 3999}), {1, 3});
  const auto reverse =
      ReverseProcess(twice, called('m'), ReverseOptions{ModelMeanType::epsilon, ModelVarType::fixed_small, true, true})
          .with_cond_fn(called('c'));
  (void)reverse.p_sample(x, timesteps({0, 1}), noise);
  REQUIRE(calls == "mnc");
  REQUIRE(received_times == std::vector<double>{25, 999.75, 25, 999.75});
  calls.clear();
  (void)reverse.p_sample_loop(x, noise);
  REQUIRE(calls == "mncmnc");
  calls.clear();
  (void)reverse.ddim_sample_loop(x, noise, 0.0);
  REQUIRE(calls == "mcnmcn");
  calls.clear();
  (void)reverse.ddim_sample_loop(x);
  REQUIRE(calls == "mcmc");
}

TEST_CASE("half and bfloat16 results equal float results up to rounding", "[reverse_process]") {
  using Tensor = FloatRowMajor::Tensor<2>;
  const Tensor x = random_tensor<Tensor>({3, 5}, 1), noise = random_tensor<Tensor>({3, 5}, 2);
  const Tensor expected =
      ReverseProcess(spaced_process<float>(), QuarterModel{}, {ModelMeanType::start_x}).p_sample(x, 20, noise).sample;
  const auto check = [&](auto zero) {
    using S = decltype(zero);
    using Small = Eigen::Tensor<S, 2, Eigen::RowMajor, Index>;
    const ReverseProcess reverse(spaced_process<S>(), QuarterModel{}, {ModelMeanType::start_x});
    const auto step = reverse.p_sample(Small(x.template cast<S>()), 20, Small(noise.template cast<S>()));
    REQUIRE_THAT(step.sample, AllClose(expected, 4 * Tolerance<S>::rel, 4 * Tolerance<S>::abs));
  };
  check(Eigen::half());
  check(Eigen::bfloat16());
}

// ---- equations ----

TEST_CASE("the four mean types give the same p(x_{t-1} | x_t) for the same x_0 and epsilon", "[reverse_process]") {
  using Tensor = DoubleRowMajor::Tensor<2>;
  const GaussianDiffusion<double> p = spaced_process<double>();
  const Tensor x_0 = random_tensor<Tensor>({4, 6}, 1) * 0.9, eps = random_tensor<Tensor>({4, 6}, 2);
  const Timesteps t = timesteps({0, 3, 20, 39});
  const Tensor x = p.q_sample(x_0, t, eps), v = p.velocity(x_0, t, eps);
  const Tensor mean = p.q_posterior_mean_variance(x_0, x, t).mean;
  const auto require_same = [&](ModelMeanType type, const Tensor& output) {
    const ReverseProcess reverse(p, [&](const auto&, const auto&) { return output; }, {type});
    const PMeanVariance<Tensor> m = reverse.p_mean_variance(x, t);
    REQUIRE_THAT(m.mean, AllClose(mean, tolerance::converted, tolerance::converted));
    REQUIRE_THAT(m.pred_xstart, AllClose(x_0, tolerance::converted, tolerance::converted));
  };
  require_same(ModelMeanType::start_x, x_0);
  require_same(ModelMeanType::epsilon, eps);
  require_same(ModelMeanType::velocity, v);
  require_same(ModelMeanType::previous_x, mean);
}

TEST_CASE("fixed variances equal the tables of the process, also at t = 0 and for T = 1", "[reverse_process]") {
  using Tensor = DoubleRowMajor::Tensor<1>;
  const auto moments = [](const GaussianDiffusion<double>& p, ModelVarType type, Index t) {
    Tensor x(1);
    x.setConstant(0.5);
    return ReverseProcess(p, QuarterModel{}, {ModelMeanType::epsilon, type}).p_mean_variance(x, t);
  };
  const GaussianDiffusion<double> p(linear_beta_schedule(50));
  ArrayXd one(1);
  one << 0.25;
  const GaussianDiffusion<double> single(one);
  for (Index t = 0; t < 50; ++t) {
    const auto small = moments(p, ModelVarType::fixed_small, t), large = moments(p, ModelVarType::fixed_large, t);
    REQUIRE(small.variance(0) == p.posterior_variance()[t]);
    REQUIRE(small.log_variance(0) == p.posterior_log_variance_clipped()[t]);
    REQUIRE(large.variance(0) == (t == 0 ? p.posterior_variance()[1] : p.betas()[t]));
    REQUIRE(large.log_variance(0) == std::log(large.variance(0)));
  }
  ArrayXd pair(2);
  pair << 0.25, 0.5;
  const GaussianDiffusion<double> two(pair);
  REQUIRE(moments(two, ModelVarType::fixed_large, 0).variance(0) == two.posterior_variance()[1]);
  REQUIRE(moments(two, ModelVarType::fixed_large, 1).variance(0) == 0.5);
  REQUIRE(moments(single, ModelVarType::fixed_small, 0).variance(0) == 0.0);
  REQUIRE(moments(single, ModelVarType::fixed_small, 0).log_variance(0) == std::log(0.25));
  REQUIRE(moments(single, ModelVarType::fixed_large, 0).variance(0) == 0.25);
}

TEST_CASE("learned_range interpolates from posterior_log_variance_clipped at v = -1 to log(betas) at v = 1",
          "[reverse_process]") {
  using Tensor = DoubleColMajor::Tensor<2>;
  const GaussianDiffusion<double> p(linear_beta_schedule(50));
  const Tensor x = random_tensor<Tensor>({2, 1}, 1);
  for (const double v : {-1.0, 0.0, 1.0}) {
    const auto model = [&](const auto& y, const auto&, auto& out) {
      for (Index n = 0; n < 2; ++n) out(n, 0) = y(n, 0), out(n, 1) = v;
    };
    const ReverseProcess reverse(p, model, {ModelMeanType::epsilon, ModelVarType::learned_range});
    for (const Index t : {0, 1, 49}) {
      const double low = p.posterior_log_variance_clipped()[t], high = std::log(p.betas()[t]);
      const double expected = v < 0 ? low : v > 0 ? high : (low + high) / 2;
      const auto m = reverse.p_mean_variance(x, t);
      REQUIRE_THAT(m.log_variance(1, 0), WithinRel(expected, Tolerance<double>::rel));
      REQUIRE_THAT(m.variance(1, 0), WithinRel(std::exp(expected), 20 * Tolerance<double>::rel));
    }
  }
}

TEST_CASE("p_sample returns mean + exp(log_variance / 2) noise, and the mean alone at t = 0", "[reverse_process]") {
  using Tensor = DoubleRowMajor::Tensor<2>;
  const Tensor x = random_tensor<Tensor>({3, 4}, 1), noise = random_tensor<Tensor>({3, 4}, 2);
  const Timesteps t = timesteps({0, 1, 39});
  for (const ModelVarType type : var_types) {
    const ReverseProcess plain(spaced_process<double>(), models::AnyGuidedModel{type}, {ModelMeanType::epsilon, type});
    const auto guided = plain.with_cond_fn(models::Gradient{});
    const PMeanVariance<Tensor> p = plain.p_mean_variance(x, t);
    Tensor spread = (p.log_variance * 0.5).exp() * noise;
    for (Index i = 0; i < 4; ++i) spread(0, i) = 0;
    const auto close = [](const Tensor& expected) {
      return AllClose(expected, Tolerance<double>::rel, Tolerance<double>::abs);
    };
    REQUIRE_THAT(plain.p_sample(x, t, noise).sample, close(p.mean + spread));
    REQUIRE_THAT(guided.p_sample(x, t, noise).sample, close(guided.condition_mean(p, x, t) + spread));
    REQUIRE_THAT(guided.p_sample(x, t, noise).pred_xstart, AllEqual(p.pred_xstart));
  }
}

// ---- where x_0 cannot be recovered ----

TEST_CASE("at zero terminal SNR, models of epsilon throw std::domain_error, and models of x_0 and v sample",
          "[reverse_process]") {
  using Tensor = DoubleRowMajor::Tensor<2>;
  const GaussianDiffusion<double> p(diffusion::rescale_zero_terminal_snr(linear_beta_schedule(50)));
  const Tensor x = random_tensor<Tensor>({3, 4}, 1);
  const auto reverse = [&](ModelMeanType type) { return ReverseProcess(p, models::AnyGuidedModel{}, {type}); };
  REQUIRE_THAT(error_message<std::domain_error>([&] {
                 (void)reverse(ModelMeanType::epsilon).p_mean_variance(x, timesteps({3, 49, 2}));
               }),
               StartsWith("diffusion::ReverseProcess::p_mean_variance: alphas_cumprod[49] = 0"));
  REQUIRE_THAT(error_message<std::domain_error>([&] { (void)reverse(ModelMeanType::epsilon).ddim_sample(x, 49); }),
               StartsWith("diffusion::ReverseProcess::ddim_sample: alphas_cumprod[49] = 0"));
  REQUIRE_THROWS_AS(reverse(ModelMeanType::epsilon).p_sample_loop(x, PhiloxNoise(1)), std::domain_error);
  for (const ModelMeanType type : {ModelMeanType::start_x, ModelMeanType::velocity}) {
    const auto r = reverse(type);
    for (const Tensor& out : {r.p_sample_loop(x, PhiloxNoise(1)), r.ddim_sample_loop(x),
                              r.ddim_reverse_sample(x, 49).sample, r.ddim_sample(x, 49, x, 1.0).sample}) {
      for (Index i = 0; i < out.size(); ++i) REQUIRE(std::isfinite(out.data()[i]));
    }
    // The step up from a timestep without signal keeps x_T = epsilon.
    REQUIRE_THAT(r.ddim_reverse_sample(x, 49).sample, AllEqual(x));
    REQUIRE_THAT(error_message<std::domain_error>([&] { (void)r.with_cond_fn(models::Gradient{}).ddim_sample(x, 49); }),
                 StartsWith("diffusion::ReverseProcess::ddim_sample: alphas_cumprod[49] = 0"));
  }
}

TEST_CASE("a process without signal at a step samples with models of x_0, also at t = 0 and after that step",
          "[reverse_process]") {
  using Tensor = DoubleRowMajor::Tensor<2>;
  const Tensor x = random_tensor<Tensor>({3, 4}, 1), x_0 = random_tensor<Tensor>({3, 4}, 2);
  const auto predicts_x_0 = [&](const auto&, const auto&) { return x_0; };
  const auto sampled = [&](std::initializer_list<double> betas, Index t, bool ddim) {
    const GaussianDiffusion<double> p(Eigen::Map<const ArrayXd>(betas.begin(), static_cast<Index>(betas.size())));
    const ReverseProcess reverse(p, predicts_x_0, {ModelMeanType::start_x, ModelVarType::fixed_small, false});
    return ddim ? reverse.ddim_sample(x, t, x, 0.0).sample : reverse.p_sample(x, t, Tensor(x.constant(0.0))).sample;
  };
  for (const bool ddim : {false, true}) {
    for (const auto& betas : {std::initializer_list<double>{1.0}, {1.0, 0.5}}) {
      REQUIRE_THAT(sampled(betas, 0, ddim), AllEqual(x_0));
    }
  }
  // Where abar is 0 at t and at t - 1, x_t = epsilon and x_{t-1} = epsilon too.
  for (const double beta : {0.25, 0.75}) REQUIRE_THAT(sampled({0.5, 1.0, beta}, 2, true), AllEqual(x));
  // The mean of q(x_1 | x_2, x_0) is then sqrt(alpha_2) x_2.
  REQUIRE_THAT(sampled({0.5, 1.0, 0.75}, 2, false),
               AllClose(Tensor(x * 0.5), Tolerance<double>::rel, Tolerance<double>::abs));
}

TEST_CASE("models of x_{t-1} throw std::domain_error where the posterior mean does not depend on x_0",
          "[reverse_process]") {
  using Tensor = DoubleRowMajor::Tensor<2>;
  ArrayXd betas(3);
  betas << 0.5, 1.0, 0.75;  // abar_1 = 0, so posterior_mean_coef1[2] = 0
  const ReverseProcess reverse(GaussianDiffusion<double>(betas), QuarterModel{}, {ModelMeanType::previous_x});
  const Tensor x = random_tensor<Tensor>({2, 3}, 1);
  const std::string message = "posterior_mean_coef1[2] = 0: x_{t-1} does not determine x_0 (sample ";
  REQUIRE(error_message<std::domain_error>([&] { (void)reverse.p_mean_variance(x, 2); }) ==
          "diffusion::ReverseProcess::p_mean_variance: " + message + "0)");
  REQUIRE(error_message<std::domain_error>([&] {
            (void)reverse.p_sample(x, timesteps({1, 2}), x);
          }) == "diffusion::ReverseProcess::p_sample: " + message + "1)");
  REQUIRE(error_message<std::domain_error>([&] { (void)reverse.moments_from_output(x, x, 2, false); }) ==
          "diffusion::ReverseProcess::moments_from_output: " + message + "0)");
  REQUIRE_NOTHROW(reverse.p_mean_variance(x, timesteps({0, 1})));
}

// ---- errors ----

TEST_CASE("ddim_sample throws for an eta that is too large, negative or not finite, or that needs noise",
          "[reverse_process]") {
  using Tensor = DoubleRowMajor::Tensor<2>;
  const GaussianDiffusion<double> p(linear_beta_schedule(50));
  const ReverseProcess reverse(p, models::AnyGuidedModel{});
  const Tensor x = random_tensor<Tensor>({2, 3}, 1);
  const std::string where = "diffusion::ReverseProcess::ddim_sample: ";
  // The largest eta at t: 1 - abar_prev = sigma^2.
  const double largest = std::sqrt(p.one_minus_alphas_cumprod()[20] / p.betas()[20]);
  REQUIRE(std::isfinite(reverse.ddim_sample(x, 20, x, largest * (1 - 1e-9)).sample(0, 0)));
  REQUIRE_THAT(
      error_message<std::invalid_argument>([&] {
        (void)reverse.ddim_sample(x, timesteps({0, 20}), x, largest * (1 + 1e-9));
      }),
      ContainsSubstring(
          " is too large at t = 20: 1 - alphas_cumprod_prev - sigma^2 would be negative; any eta <= 1 is valid"));
  // At t = 0 the sample is x_0 for every eta.
  for (const double eta : {5.0, 1e200}) {
    const auto step = reverse.ddim_sample(x, 0, x, eta);
    REQUIRE_THAT(step.sample, AllEqual(step.pred_xstart));
  }
  const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  REQUIRE(error_message<std::invalid_argument>([&] { (void)reverse.ddim_sample(x, 5, x, -0.5); }) ==
          where + "eta = -0.5 must be finite and not negative");
  REQUIRE_THROWS_AS(reverse.ddim_sample(x, 5, x, nan), std::invalid_argument);
  REQUIRE_THROWS_AS(reverse.ddim_sample(x, 5, x, inf), std::invalid_argument);
  REQUIRE(error_message<std::invalid_argument>([&] { (void)reverse.ddim_sample(x, 5, NoNoise(), 0.5); }) ==
          where + "eta = 0.5 needs noise: pass a tensor or a noise source");
  // A loop throws before its first step.
  int calls = 0;
  const ReverseProcess counted(p, [&](const auto& y, const auto&) { return ++calls, Tensor(y); });
  REQUIRE_THAT(error_message<std::invalid_argument>([&] { (void)counted.ddim_sample_loop(x, PhiloxNoise(1), 3.0); }),
               StartsWith("diffusion::ReverseProcess::ddim_sample_loop: eta = 3 is too large at t = "));
  REQUIRE(calls == 0);
}

TEST_CASE("the error for a tensor of the wrong shape names both shapes", "[reverse_process]") {
  using Tensor = FloatRowMajor::Tensor<3>;
  const Tensor x = random_tensor<Tensor>({2, 3, 4}, 1);
  const auto doubled = [](const Tensor& y, const auto&) { return Tensor(y.concatenate(y, 1)); };
  const auto same = [](const Tensor& y, const auto&) { return y; };
  const ReverseOptions learned{ModelMeanType::epsilon, ModelVarType::learned};
  const std::string where = "diffusion::ReverseProcess::p_sample: ";
  REQUIRE(
      error_message<std::invalid_argument>(
          [&] { (void)ReverseProcess(spaced_process<float>(), doubled).p_sample(x, 5, x); }) ==
      where +
          "the model's output has shape [2, 6, 4], but for x of shape [2, 3, 4] it must have [2, 3, 4]; for a model "
          "with learned variances set ReverseOptions::var_type to learned or learned_range");
  REQUIRE(error_message<std::invalid_argument>(
              [&] { (void)ReverseProcess(spaced_process<float>(), same, learned).p_sample(x, 5, x); }) ==
          where +
              "the model's output has shape [2, 3, 4], but for x of shape [2, 3, 4] it must have [2, 6, 4]; for a "
              "model without learned variances set ReverseOptions::var_type to fixed_small or fixed_large");
  REQUIRE_THAT(error_message<std::invalid_argument>([&] {
                 (void)ReverseProcess(spaced_process<float>(), same).moments_from_output(doubled(x, 5), x, 5, true);
               }),
               EndsWith("set ReverseOptions::var_type to learned or learned_range"));
  const auto resizing = [](const Tensor&, const auto&, Tensor& out) { out.resize(1, 1, 1); };
  REQUIRE_THAT(error_message<std::invalid_argument>(
                   [&] { (void)ReverseProcess(spaced_process<float>(), resizing).p_sample(x, 5, x); }),
               StartsWith(where + "the model's output has shape [1, 1, 1]"));
  const ReverseProcess good(spaced_process<float>(), same);
  REQUIRE_THAT(error_message<std::invalid_argument>([&] { (void)good.with_cond_fn(doubled).p_sample(x, 5, x); }),
               StartsWith(where + "cond_fn's output has shape [2, 6, 4]"));
  REQUIRE_THAT(error_message<std::invalid_argument>([&] {
                 (void)good.with_denoised_fn([](const auto& y) { return y.concatenate(y, 1); }).p_sample(x, 5, x);
               }),
               ContainsSubstring("denoised_fn(x_start) has shape [2, 6, 4]"));
  const Tensor small(2, 3, 1);
  REQUIRE(error_message<std::invalid_argument>([&] { (void)good.p_sample(x, 5, small); }) ==
          where + "noise has shape [2, 3, 1], but for x of shape [2, 3, 4] it must have [2, 3, 4]");
  REQUIRE_THAT(error_message<std::invalid_argument>([&] { (void)good.moments_from_output(small, x, 5, true); }),
               ContainsSubstring("output has shape [2, 3, 1]"));
  ReverseStep<Tensor> step{small, x};
  ReverseWorkspace<Tensor> workspace;
  // Results and moments of guidance.
  const auto guided = good.with_cond_fn(same);
  const PMeanVariance<Tensor> moments = good.p_mean_variance(x, 5);
  for (int part = 0; part < 4; ++part) {
    INFO("part " << part);
    PMeanVariance<Tensor> narrow = moments;
    (part == 0   ? narrow.mean
     : part == 1 ? narrow.variance
     : part == 2 ? narrow.log_variance
                 : narrow.pred_xstart) = small;
    const std::string score = "diffusion::ReverseProcess::condition_score: ",
                      shapes = " has shape [2, 3, 1], but for x of shape [2, 3, 4] it must have [2, 3, 4]";
    REQUIRE(error_message([&] { guided.condition_score_into(narrow, moments, x, 5, workspace); }) ==
            score + "out" + shapes);
    REQUIRE(error_message([&] { good.p_mean_variance_into(narrow, x, 5, workspace); }) ==
            "diffusion::ReverseProcess::p_mean_variance: out" + shapes);
    REQUIRE(error_message([&] { good.moments_from_output_into(narrow, x, x, 5, true); }) ==
            "diffusion::ReverseProcess::moments_from_output: out" + shapes);
    if (part > 0) {
      REQUIRE(error_message([&] { (void)guided.condition_score(narrow, x, 5); }) == score + "moments" + shapes);
    }
    if (part < 2) {
      REQUIRE(error_message([&] { (void)guided.condition_mean(narrow, x, 5); }) ==
              "diffusion::ReverseProcess::condition_mean: moments" + shapes);
    }
  }
  Tensor narrow_mean = small;
  REQUIRE(error_message([&] { guided.condition_mean_into(narrow_mean, moments, x, 5, workspace); }) ==
          "diffusion::ReverseProcess::condition_mean: out has shape [2, 3, 1], but for x of shape [2, 3, 4] it must "
          "have [2, 3, 4]");
  REQUIRE_THAT(error_message<std::invalid_argument>([&] { good.p_sample_into(step, x, 5, x, workspace); }),
               ContainsSubstring("has shape [2, 3, 1]"));
  ReverseStep<Tensor> loop{small, small};
  REQUIRE(error_message(
              [&] { good.p_sample_loop_into(loop, x, PhiloxNoise(1), diffusion::detail::NoObserver(), workspace); }) ==
          "diffusion::ReverseProcess::p_sample_loop: out has shape [2, 3, 1], but for x of shape [2, 3, 4] it must "
          "have [2, 3, 4]");
  REQUIRE_THAT(loop.sample, AllEqual(small));
}

TEST_CASE("an output other than out.sample may not be x", "[reverse_process]") {
  using Tensor = FloatRowMajor::Tensor<2>;
  const ReverseProcess reverse(spaced_process<float>(), [](const Tensor& y, const auto&) { return y; });
  Tensor x = random_tensor<Tensor>({2, 3}, 1);
  const Tensor before = x, noise = random_tensor<Tensor>({2, 3}, 2);
  auto step = reverse.p_sample(x, 5, noise);
  auto moments = reverse.p_mean_variance(x, 5);
  ReverseWorkspace<Tensor> workspace;
  struct Step {
    Tensor &sample, &pred_xstart;
  };
  const auto aliasing_message = [](const std::string& function) {
    return "diffusion::ReverseProcess::" + function +
           ": only out.sample may be x, but another tensor of out has x's memory";
  };
  REQUIRE(error_message<std::invalid_argument>([&] {
            reverse.p_sample_into(Step{step.sample, x}, x, 5, noise, workspace);
          }) == aliasing_message("p_sample"));
  REQUIRE(error_message<std::invalid_argument>([&] {
            reverse.ddim_sample_into(Step{step.sample, x}, x, 5, noise, 0.0, workspace);
          }) == aliasing_message("ddim_sample"));
  using Moments = diffusion::PMeanVariance<Tensor&>;
  REQUIRE(
      error_message<std::invalid_argument>([&] {
        reverse.p_mean_variance_into(Moments{moments.mean, moments.variance, moments.log_variance, x}, x, 5, workspace);
      }) == aliasing_message("moments_from_output"));
  REQUIRE_THAT(x, AllEqual(before));
  REQUIRE(error_message<std::invalid_argument>([&] {
            reverse.ddim_reverse_sample_into(Step{step.sample, x}, x, 5, workspace);
          }) == aliasing_message("ddim_reverse_sample"));
  Tensor one = random_tensor<Tensor>({1, 1}, 3), one_sample = one;
  REQUIRE(error_message([&] {
            reverse.ddim_reverse_sample_into(Step{one_sample, one}, one, 5, workspace);
          }) == aliasing_message("ddim_reverse_sample"));
  const auto guided = reverse.with_cond_fn([](const Tensor& y, const auto&) { return y; });
  const auto given = moments;
  for (int part = 0; part < 4; ++part) {
    INFO("part " << part);
    const auto or_x = [&](int i, Tensor& own) -> Tensor& { return i == part ? x : own; };
    const Moments out{or_x(0, moments.mean), or_x(1, moments.variance), or_x(2, moments.log_variance),
                      or_x(3, moments.pred_xstart)};
    REQUIRE(error_message<std::invalid_argument>([&] { reverse.moments_from_output_into(out, noise, x, 5, true); }) ==
            aliasing_message("moments_from_output"));
    REQUIRE(error_message<std::invalid_argument>([&] { reverse.p_mean_variance_into(out, x, 5, workspace); }) ==
            aliasing_message("moments_from_output"));
    REQUIRE(error_message<std::invalid_argument>([&] { guided.condition_score_into(out, given, x, 5, workspace); }) ==
            aliasing_message("condition_score"));
  }
  REQUIRE_THAT(x, AllEqual(before));
  const Tensor expected = reverse.p_sample(x, 5, noise).sample;
  reverse.p_sample_into(Step{x, step.pred_xstart}, x, 5, noise, workspace);
  REQUIRE_THAT(x, AllEqual(expected));
}

TEST_CASE("learned variances throw for a tensor without channels", "[reverse_process]") {
  using Tensor = FloatRowMajor::Tensor<1>;
  const Tensor x = random_tensor<Tensor>({4}, 1);
  const ReverseProcess reverse(spaced_process<float>(), QuarterModel{},
                               {ModelMeanType::epsilon, ModelVarType::learned});
  REQUIRE(error_message<std::invalid_argument>([&] { (void)reverse.p_mean_variance(x, 5); }) ==
          "diffusion::ReverseProcess::p_mean_variance: x has rank 1; learned variances are the second half of the "
          "channels, which are axis 1");
}

TEST_CASE("model_output_into writes what model_output returns, and throws for an output of another shape",
          "[reverse_process]") {
  using Tensor = FloatRowMajor::Tensor<2>;
  const Tensor x = random_tensor<Tensor>({2, 3}, 1);
  const ReverseProcess reverse(spaced_process<float>(), QuarterModel{});
  ReverseWorkspace<Tensor> workspace;
  Tensor out(2, 3), narrow(2, 2);
  reverse.model_output_into(out, x, 7, workspace);
  REQUIRE_THAT(out, AllEqual(reverse.model_output(x, 7)));
  REQUIRE_THAT(out, AllEqual(Tensor(x * 0.25f)));
  REQUIRE_THROWS_AS(reverse.model_output_into(narrow, x, 7, workspace), std::invalid_argument);
}

TEST_CASE("timesteps out of range or of the wrong number throw before the model is called", "[reverse_process]") {
  using Tensor = FloatRowMajor::Tensor<2>;
  const Tensor x = random_tensor<Tensor>({2, 3}, 1);
  int calls = 0;
  const ReverseProcess reverse(spaced_process<float>(), [&](const Tensor& y, const auto&) { return ++calls, y; });
  const std::string where = "diffusion::ReverseProcess::";
  REQUIRE(error_message<std::out_of_range>([&] { (void)reverse.p_mean_variance(x, 40); }) ==
          where + "p_mean_variance: t = 40 is outside [0, 40)");
  REQUIRE(error_message<std::out_of_range>([&] {
            (void)reverse.ddim_sample(x, timesteps({0, -1}));
          }) == where + "ddim_sample: t[1] = -1 is outside [0, 40)");
  REQUIRE(error_message<std::invalid_argument>([&] {
            (void)reverse.ddim_reverse_sample(x, timesteps({0, 1, 2}));
          }) == where + "ddim_reverse_sample: t has 3 entries for a batch of 2 samples");
  REQUIRE_THROWS_AS(reverse.model_output(x, 41), std::out_of_range);
  REQUIRE(error_message<std::out_of_range>([&] {
            (void)reverse.p_mean_variance(random_tensor<Tensor>({1, 3}, 1), timesteps({40}));
          }) == where + "p_mean_variance: t[0] = 40 is outside [0, 40)");
  REQUIRE(calls == 0);
}

}  // namespace reverse_process_tests
