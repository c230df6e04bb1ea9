/// Tests of diffusion/guidance/classifier_free.hpp.
#include "diffusion/guidance/classifier_free.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "diffusion/guidance/adaptive_projected.hpp"
#include "diffusion/guidance/cfg_plus_plus.hpp"
#include "diffusion/guidance/guided_model.hpp"
#include "guidance_models.hpp"

namespace classifier_free_tests {

using diffusion::AdaptiveProjectedGuidance;
using diffusion::ClassifierFreeGuidance;
using diffusion::guided_model;
using diffusion::guided_model_of_doubled_batch;
using diffusion::limited_interval;
using Eigen::Index;
using models::cond_model;
using models::constant_model;
using models::map_samples;
using models::model_times;
using models::output;
using models::uncond_model;
using models::Values;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

}  // namespace

// ---- values ----

TEMPLATE_TEST_CASE("classifier-free guidance matches its formula", "[classifier_free]", LAYOUTS) {
  using Scalar = typename TestType::Scalar;
  using Tensor = typename TestType::template Tensor<3>;
  const Tensor x = random_tensor<Tensor>({5, 3, 7}, 1);
  const auto t = model_times<Scalar>({0, 20, 400, 400, 999});
  const Tensor c = output(cond_model(), x, t), u = output(uncond_model(), x, t);
  for (const double scale : {-0.5, 0.3, 2.5}) {
    for (const double phi : {0.0, 0.7, 1.0}) {
      INFO("scale " << scale << ", rescale " << phi);
      auto model = guided_model(cond_model(), uncond_model(), ClassifierFreeGuidance{scale, phi});
      const auto expected = map_samples(
          c, u, [&](Index, const Values& a, const Values& b) { return models::classifier_free(a, b, scale, phi); });
      REQUIRE_THAT(output(model, x, t), AllClose(expected, Tolerance<Scalar>::rel, Tolerance<Scalar>::abs));
    }
  }
}

TEST_CASE("guidance matches values computed by hand", "[classifier_free]") {
  using Tensor = DoubleRowMajor::Tensor<2>;
  Tensor c(1, 2), u(1, 2), expected(1, 2);
  const auto t = model_times<double>({7});
  const auto gives = [](const Tensor& y) { return [y](const Tensor&, const auto&) { return y; }; };
  const auto guided = [&](const auto& guidance) { return guided_model(gives(c), gives(u), guidance)(c, t); };
  c.setValues({{3, 4}});
  u.setValues({{3, -1}});
  // u + 2 (c - u) = {3, 9}, whose standard deviation is 6 times that of c.
  expected.setValues({{3, 9}});
  REQUIRE_THAT(guided(ClassifierFreeGuidance{2}), AllEqual(expected));
  expected.setValues({{0.5, 1.5}});
  REQUIRE_THAT(guided(ClassifierFreeGuidance{2, 1}), AllClose(expected, tolerance::exact_sum));
  // c - u = {0, 5} is the sum of 4/5 c = {2.4, 3.2} and {-2.4, 1.8}, which is orthogonal to c.
  expected.setValues({{3 - 2 * 2.4, 4 + 2 * 1.8}});
  REQUIRE_THAT(guided(AdaptiveProjectedGuidance{3}), AllClose(expected, tolerance::exact_sum));
  expected.setValues({{3 - 2 * 2.4 + 2.4, 4 + 2 * 1.8 + 3.2}});
  REQUIRE_THAT(guided(AdaptiveProjectedGuidance{3, 0.5}), AllClose(expected, tolerance::exact_sum));
  expected.setValues({{3, 6}});  // c - u shrunk to {0, 1}
  REQUIRE_THAT(guided(AdaptiveProjectedGuidance{3, 1, 1}), AllClose(expected, tolerance::exact_sum));
}

TEMPLATE_TEST_CASE("guidance rounds once in half precision", "[classifier_free]", Eigen::half, Eigen::bfloat16) {
  using Tensor = Eigen::Tensor<TestType, 2>;
  const Tensor x = random_tensor<Tensor>({3, 40}, 1);
  const auto t = model_times<TestType>({1, 2, 3});
  const Tensor c = output(cond_model(), x, t), u = output(uncond_model(), x, t);
  const auto check = [&](const auto& guidance, const auto& oracle) {
    auto model = guided_model(cond_model(), uncond_model(), guidance);
    REQUIRE_THAT(output(model, x, t),
                 AllClose(map_samples(c, u, [&](Index, const Values& a, const Values& b) { return oracle(a, b); }),
                          Tolerance<TestType>::rel, Tolerance<float>::abs));
  };
  check(ClassifierFreeGuidance{3, 0.7},
        [](const Values& a, const Values& b) { return models::classifier_free(a, b, 3, 0.7L); });
  check(AdaptiveProjectedGuidance{3, 0.5}, [](const Values& a, const Values& b) {
    Values d;
    return models::projected(a, b, d, 3, 0.5, infinity, 0);
  });
}

// ---- identities ----

TEMPLATE_TEST_CASE("scales 1 and 0 give the output of one model exactly", "[classifier_free]", LAYOUTS) {
  using Scalar = typename TestType::Scalar;
  using Tensor = typename TestType::template Tensor<3>;
  const Tensor x = random_tensor<Tensor>({3, 2, 19}, 1);
  const auto t = model_times<Scalar>({5, 6, 7});
  const Tensor c = output(cond_model(), x, t), u = output(uncond_model(), x, t);
  int calls = 0;
  for (const double phi : {0.0, 0.7}) {
    auto cond = guided_model(cond_model(), uncond_model(&calls), ClassifierFreeGuidance{1, phi});
    REQUIRE_THAT(output(cond, x, t), AllEqual(c));
  }
  auto projected = guided_model(cond_model(), uncond_model(&calls), AdaptiveProjectedGuidance{1, 0.3, 1, -0.5});
  REQUIRE_THAT(output(projected, x, t), AllEqual(c));
  REQUIRE(calls == 0);
  auto uncond = guided_model(cond_model(), uncond_model(), ClassifierFreeGuidance{0});
  REQUIRE_THAT(output(uncond, x, t), AllEqual(u));

  // The same holds if the other output is not finite, and in a batch with guided samples.
  const auto only_in = [](double at) { return [at](double s) { return s == at ? 2.5 : 1.0; }; };
  const auto check_beside_nan = [&](const auto& guidance) {
    const Tensor guided = output(guided_model(cond_model(), constant_model(not_a_number), guidance), x, t);
    for (const Index n : {0, 2}) REQUIRE_THAT(sample_of(guided, n), AllEqual(sample_of(c, n)));
    REQUIRE(std::isnan(guided(1, 0, 0)));
  };
  check_beside_nan(ClassifierFreeGuidance{only_in(6)});
  check_beside_nan(ClassifierFreeGuidance{only_in(6), 0.5});
  check_beside_nan(AdaptiveProjectedGuidance{only_in(6)});
  check_beside_nan(AdaptiveProjectedGuidance{only_in(6), 0, 1, 0.5});
  REQUIRE_THAT(output(guided_model(constant_model(infinity), uncond_model(), ClassifierFreeGuidance{0}), x, t),
               AllEqual(u));
  // The sign of a zero is kept.
  const Tensor zero =
      output(guided_model(constant_model(-0.0), uncond_model(), ClassifierFreeGuidance{only_in(6)}), x, t);
  REQUIRE(std::signbit(zero(0, 0, 0)));
}

TEST_CASE("guidance between equal models changes nothing at any scale", "[classifier_free]") {
  using Tensor = FloatColMajor::Tensor<2>;
  const Tensor x = random_tensor<Tensor>({3, 50}, 1);
  const auto t = model_times<float>({5, 6, 7});
  const Tensor c = output(cond_model(), x, t);
  REQUIRE_THAT(output(guided_model(cond_model(), cond_model(), ClassifierFreeGuidance{100}), x, t), AllEqual(c));
  REQUIRE_THAT(output(guided_model(cond_model(), cond_model(), ClassifierFreeGuidance{100, 0.7}), x, t), AllEqual(c));
  REQUIRE_THAT(output(guided_model(cond_model(), cond_model(), AdaptiveProjectedGuidance{100, 0, 1, 0.5}), x, t),
               AllEqual(c));
}

TEST_CASE("limited_interval guides each sample by its own model time", "[classifier_free]") {
  using Tensor = DoubleRowMajor::Tensor<2>;
  const Tensor x = random_tensor<Tensor>({6, 5}, 1);
  const auto t = model_times<double>({0, 9.75, 10, 20, 30, 30.25});
  int calls = 0;
  const auto with = [&](const diffusion::GuidanceScale& scale) {
    return output(guided_model(cond_model(), uncond_model(&calls), ClassifierFreeGuidance{scale, 0.5}), x, t);
  };
  const Tensor c = output(cond_model(), x, t), guided = with(4), limited = with(limited_interval(4, 10, 30));
  REQUIRE(calls == 2);
  for (const Index n : {0, 1, 5}) REQUIRE_THAT(sample_of(limited, n), AllEqual(sample_of(c, n)));
  for (const Index n : {2, 3, 4}) REQUIRE_THAT(sample_of(limited, n), AllEqual(sample_of(guided, n)));
  REQUIRE_THAT(with(limited_interval(4, 31, infinity)), AllEqual(c));
  REQUIRE(calls == 2);

  // A scale that changes with t, without and with a limited interval.
  const auto ramp = [](double s) { return 1 + s / 10; };
  const Tensor ramped = with(ramp), part = with(limited_interval(ramp, 25, 40));
  REQUIRE_THAT(sample_of(ramped, 3), AllEqual(sample_of(with(3), 3)));
  REQUIRE_THAT(sample_of(part, 4), AllEqual(sample_of(with(4), 4)));
  REQUIRE_THAT(sample_of(part, 3), AllEqual(sample_of(c, 3)));
}

TEST_CASE("rescale = 1 gives the standard deviation of the conditional output", "[classifier_free]") {
  using Tensor = DoubleColMajor::Tensor<3>;
  const Tensor x = random_tensor<Tensor>({4, 3, 50}, 1);
  const auto t = model_times<double>({1, 2, 3, 4});
  const Tensor c = output(cond_model(), x, t);
  const Tensor guided = output(guided_model(cond_model(), uncond_model(), ClassifierFreeGuidance{7.5, 1}), x, t);
  for (Index n = 0; n < 4; ++n) {
    const auto deviation = [n](const Tensor& y) {
      return models::deviation(matchers::elements(sample_of(y, n)).values);
    };
    REQUIRE_THAT(static_cast<double>(deviation(guided)),
                 WithinRel(static_cast<double>(deviation(c)), tolerance::exact_sum));
  }
  // Samples of one value, or of equal values that are inexact in binary, are not rescaled.
  const auto line = random_tensor<FloatRowMajor::Tensor<1>>({4}, 1);
  const auto at = model_times<float>({1, 2, 3, 4});
  REQUIRE_THAT(output(guided_model(cond_model(), uncond_model(), ClassifierFreeGuidance{3, 0.7}), line, at),
               AllEqual(output(guided_model(cond_model(), uncond_model(), ClassifierFreeGuidance{3}), line, at)));
  REQUIRE_THAT(
      output(guided_model(constant_model(0.1), constant_model(0.7), ClassifierFreeGuidance{3, 0.7}), x, t),
      AllEqual(output(guided_model(constant_model(0.1), constant_model(0.7), ClassifierFreeGuidance{3}), x, t)));
}

// ---- errors ----

TEST_CASE("guidance throws std::invalid_argument for parameters out of range and wrong shapes", "[classifier_free]") {
  using Invalid = std::invalid_argument;
  using Tensor = FloatRowMajor::Tensor<2>;
  const Tensor x = random_tensor<Tensor>({2, 4}, 1);
  const auto t = model_times<float>({5, 6});
  const auto apply = [&](const auto& guidance) { output(guided_model(cond_model(), uncond_model(), guidance), x, t); };
  REQUIRE(error_message<Invalid>([&] { (void)apply(ClassifierFreeGuidance{not_a_number}); }) ==
          "diffusion::GuidanceScale: scale = nan is not finite");
  REQUIRE(error_message<Invalid>([&] { (void)apply(ClassifierFreeGuidance{[](double s) { return 1 / (s - 6); }}); }) ==
          "diffusion::GuidanceScale: scale(6) = inf is not finite");
  REQUIRE(error_message<Invalid>([&] {
            (void)apply(ClassifierFreeGuidance{2, 1.5});
          }) == "diffusion::ClassifierFreeGuidance: rescale = 1.5 is outside [0, 1]");
  REQUIRE_THROWS_AS(apply(ClassifierFreeGuidance{2, not_a_number}), Invalid);
  REQUIRE(error_message<Invalid>([&] { (void)limited_interval(2, 5, 4); }) ==
          "diffusion::limited_interval: low = 5 must be at most high = 4");
  REQUIRE_THROWS_AS(limited_interval(2, not_a_number, 4), Invalid);
  REQUIRE(error_message<Invalid>([&] {
            (void)apply(AdaptiveProjectedGuidance{2, not_a_number});
          }) == "diffusion::AdaptiveProjectedGuidance: eta = nan is not finite");
  REQUIRE(error_message<Invalid>([&] {
            (void)apply(AdaptiveProjectedGuidance{2, 0, 0});
          }) == "diffusion::AdaptiveProjectedGuidance: norm_threshold = 0 must be greater than 0");
  REQUIRE_THROWS_AS(apply(AdaptiveProjectedGuidance{2, 0, 1, infinity}), Invalid);

  auto model = guided_model(cond_model(), uncond_model(), ClassifierFreeGuidance{2});
  REQUIRE(error_message<Invalid>([&] {
            (void)model(x, model_times<float>({1, 2, 3}));
          }) == "diffusion::GuidedModel: t has 3 entries for a batch of 2 samples");
  Tensor out(2, 5);
  REQUIRE(error_message<Invalid>([&] { (void)model(x, t, out); }) ==
          "diffusion::GuidedModel: out has shape [2, 5], but for x of shape [2, 4] it must have [2, 4]");
  const auto wrong = [](const Tensor&, const auto&) { return Tensor(2, 3); };
  REQUIRE(
      error_message<Invalid>([&] { (void)guided_model(cond_model(), wrong, ClassifierFreeGuidance{2})(x, t); }) ==
      "diffusion::GuidedModel: the unconditional model's output has shape [2, 3], but for x of shape [2, 4] it must "
      "have [2, 4]");
  REQUIRE(
      error_message<Invalid>([&] { (void)guided_model_of_doubled_batch(wrong, ClassifierFreeGuidance{2})(x, t); }) ==
      "diffusion::GuidedModel: the doubled batch's output has shape [2, 3], but for x of shape [4, 4] it must have "
      "[4, 4]");
}

}  // namespace classifier_free_tests
