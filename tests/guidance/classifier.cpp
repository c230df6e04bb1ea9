/// Tests of diffusion/guidance/classifier.hpp.
#include "diffusion/guidance/classifier.hpp"

#include <cmath>
#include <cstddef>
#include <functional>
#include <limits>
#include <stdexcept>

#include "diffusion/process/respacing.hpp"
#include "diffusion/process/schedules.hpp"
#include "diffusion/sampling/reverse_process.hpp"
#include "guidance_models.hpp"

namespace classifier_tests {

using diffusion::classifier_guidance;
using diffusion::GaussianDiffusion;
using diffusion::ModelMeanType;
using diffusion::ModelVarType;
using diffusion::ReverseProcess;
using Eigen::Index;
using models::cond_model;
using models::map_samples;
using models::model_times;
using models::output;
using models::uncond_model;
using models::Values;

TEMPLATE_TEST_CASE("classifier guidance equals condition_score", "[classifier]", DoubleRowMajor, DoubleColMajor) {
  using Scalar = typename TestType::Scalar;
  using Tensor = typename TestType::template Tensor<3>;
  const Tensor x = random_tensor<Tensor>({4, 2, 5}, 1);
  const diffusion::Timesteps t = models::timesteps({0, 39, 7, 20});
  for (const bool rescale : {false, true}) {
    const GaussianDiffusion<Scalar> process =
        respace(GaussianDiffusion<Scalar>(diffusion::cosine_beta_schedule(300)), diffusion::space_timesteps(300, "40"));
    const diffusion::ReverseOptions options{ModelMeanType::epsilon, ModelVarType::fixed_small, false, rescale};
    auto guided = classifier_guidance(process, cond_model(), uncond_model(), 1.0, rescale);
    const auto expected = ReverseProcess(process, cond_model(), options).with_cond_fn(uncond_model());
    const Tensor epsilon = ReverseProcess(process, std::ref(guided), options).model_output(x, t);
    const auto moments = expected.condition_score(expected.p_mean_variance(x, t), x, t);
    REQUIRE_THAT(epsilon, AllClose(process.predict_eps_from_xstart(x, t, moments.pred_xstart), tolerance::converted,
                                   tolerance::converted));
  }
}

TEST_CASE("classifier guidance matches its formula, also between timesteps and at alpha = 0", "[classifier]") {
  using Tensor = DoubleRowMajor::Tensor<2>;
  const GaussianDiffusion<double> process(diffusion::rescale_zero_terminal_snr(diffusion::linear_beta_schedule(1000)));
  const Tensor x = random_tensor<Tensor>({5, 6}, 1);
  const auto t = model_times<double>({0, 500, 500.25, 999, 998.5});
  auto guided = classifier_guidance(process, cond_model(), uncond_model(), 1.5);
  const Tensor epsilon = output(cond_model(), x, t), gradient = output(uncond_model(), x, t);
  const auto ratio = [&](Index i) {  // sigma / alpha
    const long double abar = static_cast<long double>(process.alphas_cumprod()[i]);
    return std::sqrt((1 - abar) / abar);
  };
  const long double between = std::pow(ratio(500), 0.75L) * std::pow(ratio(501), 0.25L);
  const long double sigma[] = {std::sqrt(static_cast<long double>(process.betas()[0])),
                               std::sqrt(1 - static_cast<long double>(process.alphas_cumprod()[500])),
                               between / std::sqrt(1 + between * between), 1, 1};
  const auto expected = map_samples(epsilon, gradient, [&](Index n, Values e, const Values& g) {
    for (std::size_t i = 0; i < e.size(); ++i) e[i] -= 1.5L * sigma[n] * g[i];
    return e;
  });
  REQUIRE_THAT(output(guided, x, t), AllClose(expected, tolerance::exact_sum, tolerance::exact_sum));
}

TEST_CASE("classifier guidance throws for model times out of range, wrong shapes and infinite scales", "[classifier]") {
  using Invalid = std::invalid_argument;
  using Tensor = FloatRowMajor::Tensor<2>;
  const double infinity = std::numeric_limits<double>::infinity(),
               not_a_number = std::numeric_limits<double>::quiet_NaN();
  const Tensor x = random_tensor<Tensor>({2, 4}, 1);
  const auto t = model_times<float>({5, 6});
  const auto wrong = [](const Tensor&, const auto&) { return Tensor(2, 3); };
  const GaussianDiffusion<float> process(diffusion::linear_beta_schedule(100));
  auto classified = classifier_guidance(process, cond_model(), uncond_model());
  REQUIRE(error_message<std::out_of_range>([&] {
            (void)classified(x, model_times<float>({0, 100}));
          }) == "diffusion::classifier_guidance: t[1] = 100 is outside [0, 99]");
  REQUIRE_THROWS_AS(classified(x, model_times<float>({-1, 5})), std::out_of_range);
  REQUIRE_THROWS_AS(classified(x, model_times<float>({1, not_a_number})), std::out_of_range);
  REQUIRE_THROWS_AS(classified(x, model_times<float>({1})), Invalid);
  REQUIRE_THROWS_AS(classifier_guidance(process, cond_model(), wrong)(x, t), Invalid);
  REQUIRE(error_message<Invalid>([&] { (void)classifier_guidance(process, cond_model(), wrong, infinity); }) ==
          "diffusion::classifier_guidance: scale = inf is not finite");
}

TEST_CASE(
    "classifier guidance has the scale 1 by default and refuses a result of a wrong shape before it calls a model",
    "[classifier]") {
  using Tensor = DoubleRowMajor::Tensor<2>;
  const GaussianDiffusion<double> process(diffusion::linear_beta_schedule(100));
  const Tensor x = random_tensor<Tensor>({2, 4}, 1);
  const auto t = model_times<double>({5, 6});
  int calls = 0;
  auto guided = classifier_guidance(process, cond_model(&calls), uncond_model(&calls));
  const Tensor epsilon = output(cond_model(), x, t), gradient = output(uncond_model(), x, t);
  const auto expected = map_samples(epsilon, gradient, [&](Index n, Values e, const Values& g) {
    const long double sigma = std::sqrt(1 - static_cast<long double>(process.alphas_cumprod()[5 + n]));
    for (std::size_t i = 0; i < e.size(); ++i) e[i] -= sigma * g[i];
    return e;
  });
  REQUIRE_THAT(output(guided, x, t), AllClose(expected, tolerance::exact_sum, tolerance::exact_sum));
  REQUIRE(calls == 2);
  Tensor out(2, 5);
  REQUIRE(error_message([&] { guided(x, t, out); }) ==
          "diffusion::classifier_guidance: out has shape [2, 5], but for x of shape [2, 4] it must have [2, 4]");
  REQUIRE(calls == 2);
}

}  // namespace classifier_tests
