/// Tests of diffusion/guidance/adaptive_projected.hpp.
#include "diffusion/guidance/adaptive_projected.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "diffusion/guidance/classifier_free.hpp"
#include "diffusion/guidance/guided_model.hpp"
#include "guidance_models.hpp"

namespace adaptive_projected_tests {

using diffusion::AdaptiveProjectedGuidance;
using diffusion::ClassifierFreeGuidance;
using diffusion::guided_model;
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

}  // namespace

TEMPLATE_TEST_CASE("adaptive projected guidance matches its formula over several steps", "[adaptive_projected]",
                   LAYOUTS) {
  using Scalar = typename TestType::Scalar;
  using Tensor = typename TestType::template Tensor<3>;
  const auto t = model_times<Scalar>({0, 20, 400, 400, 999});
  for (const double momentum : {0.0, -0.75}) {
    for (const double threshold : {infinity, 2.5}) {
      for (const double eta : {0.0, 0.4}) {
        INFO("momentum " << momentum << ", threshold " << threshold << ", eta " << eta);
        auto model =
            guided_model(cond_model(), uncond_model(), AdaptiveProjectedGuidance{2.5, eta, threshold, momentum});
        std::vector<Values> d(5);
        for (unsigned step = 1; step <= 3; ++step) {
          const Tensor x = random_tensor<Tensor>({5, 3, 7}, step);
          const Tensor c = output(cond_model(), x, t), u = output(uncond_model(), x, t);
          const auto expected = map_samples(c, u, [&](Index n, const Values& a, const Values& b) {
            return models::projected(a, b, d[static_cast<std::size_t>(n)], 2.5, eta, threshold, momentum);
          });
          REQUIRE_THAT(output(model, x, t), AllClose(expected, Tolerance<Scalar>::rel, Tolerance<Scalar>::abs));
        }
      }
    }
  }
}

TEST_CASE("adaptive projected guidance adds nothing parallel to cond and respects norm_threshold",
          "[adaptive_projected]") {
  using Tensor = DoubleRowMajor::Tensor<2>;
  const Tensor x = random_tensor<Tensor>({4, 60}, 1);
  const auto t = model_times<double>({1, 2, 3, 4});
  const Tensor c = output(cond_model(), x, t);
  const Tensor plain = output(guided_model(cond_model(), uncond_model(), ClassifierFreeGuidance{5}), x, t);
  REQUIRE_THAT(output(guided_model(cond_model(), uncond_model(), AdaptiveProjectedGuidance{5, 1}), x, t),
               AllClose(plain, tolerance::exact_sum, tolerance::exact_sum));
  const Tensor update = output(guided_model(cond_model(), uncond_model(), AdaptiveProjectedGuidance{5}), x, t) - c;
  const Tensor bounded =
      output(guided_model(cond_model(), uncond_model(), AdaptiveProjectedGuidance{5, 1, 0.25}), x, t) - c;
  for (Index n = 0; n < 4; ++n) {
    const auto sample_values = [n](const Tensor& y) { return matchers::elements(sample_of(y, n)).values; };
    REQUIRE_THAT(static_cast<double>(models::dot(sample_values(update), sample_values(c))),
                 WithinAbs(0, 60 * tolerance::exact_sum));
    REQUIRE_THAT(static_cast<double>(std::sqrt(models::dot(sample_values(bounded), sample_values(bounded)))),
                 WithinRel(4 * 0.25, tolerance::exact_sum));
  }
  // The parallel component is 0 if the conditional output is 0.
  REQUIRE_THAT(output(guided_model(constant_model(0), constant_model(1), AdaptiveProjectedGuidance{5}), x, t),
               AllEqual(Tensor(x.constant(-4.0))));
}

TEST_CASE("momentum lasts until reset or a change of shape and does not change in unguided samples",
          "[adaptive_projected]") {
  using Tensor = FloatRowMajor::Tensor<3>;
  const Tensor x = random_tensor<Tensor>({2, 3, 4}, 1), y = random_tensor<Tensor>({2, 3, 4}, 2);
  const auto t = model_times<float>({5, 6});
  auto model = guided_model(cond_model(), uncond_model(), AdaptiveProjectedGuidance{4, 0, infinity, -0.5});
  const Tensor first = output(model, x, t), second = output(model, y, t);
  auto copy = model;
  const Tensor third = output(model, x, t);
  REQUIRE_THAT(output(copy, x, t), AllEqual(third));  // a copy has a workspace of its own
  REQUIRE_FALSE(AllEqual(first).match(third));
  model.reset();
  REQUIRE_THAT(output(model, x, t), AllEqual(first));
  REQUIRE_THAT(output(model, y, t), AllEqual(second));
  // A change of shape starts another run.
  output(model, random_tensor<Tensor>({2, 3, 5}, 3), t);
  REQUIRE_THAT(output(model, x, t), AllEqual(first));

  // A sample keeps its momentum while it is not guided.
  auto limited = guided_model(cond_model(), uncond_model(),
                              AdaptiveProjectedGuidance{limited_interval(4, 5, 6), 0, infinity, -0.5});
  output(limited, x, t);
  output(limited, random_tensor<Tensor>({2, 3, 4}, 4), model_times<float>({1, 1}));
  REQUIRE_THAT(sample_of(output(limited, y, model_times<float>({5, 1})), 0), AllEqual(sample_of(second, 0)));
  REQUIRE_THAT(sample_of(output(limited, y, model_times<float>({1, 6})), 1), AllEqual(sample_of(second, 1)));
}

TEST_CASE("adaptive projected guidance without threshold guides by a difference whose square overflows",
          "[adaptive_projected]") {
  // With eta = 1, no momentum and no threshold it is classifier-free guidance.
  using Tensor = DoubleRowMajor::Tensor<2>;
  const Tensor x = random_tensor<Tensor>({2, 3}, 1);
  const Tensor guided = output(guided_model(constant_model(1), constant_model(-1e200), AdaptiveProjectedGuidance{3, 1}),
                               x, model_times<double>({5, 6}));
  Tensor expected(2, 3);
  expected.setConstant(1 + (3 - 1) * (1 + 1e200));
  REQUIRE_THAT(guided, AllClose(expected, Tolerance<double>::rel));
}

TEST_CASE("adaptive projected guidance of constant outputs matches values computed by hand", "[adaptive_projected]") {
  using Tensor = DoubleRowMajor::Tensor<2>;
  const Tensor x = random_tensor<Tensor>({2, 3}, 1);
  const auto t = model_times<double>({5, 6});
  const auto all = [](double value) {
    Tensor out(2, 3);
    out.setConstant(value);
    return out;
  };
  const auto guided = [&](double cond, double uncond, const AdaptiveProjectedGuidance& guidance) {
    return output(guided_model(constant_model(cond), constant_model(uncond), guidance), x, t);
  };
  CHECK_THAT(guided(0.5, -0.25, {2, 1}), AllEqual(all(1.25)));
  // The difference is parallel to the output, in either direction.
  CHECK_THAT(guided(0.5, 0.25, {3, 0}), AllEqual(all(0.5)));
  CHECK_THAT(guided(0.5, 0.75, {3, 0}), AllEqual(all(0.5)));
  // With momentum 1, differences add up.
  auto sums = guided_model(constant_model(0.5), constant_model(0.25), AdaptiveProjectedGuidance{3, 1, infinity, 1});
  CHECK_THAT(output(sums, x, t), AllEqual(all(1.0)));
  CHECK_THAT(output(sums, x, t), AllEqual(all(1.5)));
  // Without momentum, a NaN does not last.
  double uncond = std::numeric_limits<double>::quiet_NaN();
  auto changes = guided_model(
      constant_model(0.5), [&](const auto&, const auto&, auto& out) { out.setConstant(uncond); },
      AdaptiveProjectedGuidance{3, 1});
  CHECK(std::isnan(output(changes, x, t)(0, 0)));
  uncond = 0.25;
  CHECK_THAT(output(changes, x, t), AllEqual(all(1.0)));
  // A sample of scale 1 is the conditional output, even if the unconditional one is infinite.
  const Tensor limited = output(guided_model(constant_model(0.5), constant_model(infinity),
                                             AdaptiveProjectedGuidance{limited_interval(3, 5, 5), 1}),
                                x, t);
  CHECK_THAT(sample_of(limited, 1), AllEqual(sample_of(all(0.5), 1)));
}

}  // namespace adaptive_projected_tests
