/// Tests of diffusion/guidance/cfg_plus_plus.hpp.
#include "diffusion/guidance/cfg_plus_plus.hpp"

#include <limits>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "guidance_models.hpp"

namespace cfg_plus_plus_tests {

using diffusion::cfg_plus_plus;
using Eigen::Index;
using models::map_samples;
using models::Values;

namespace {

template <class Tensor>
struct Prediction {
  Tensor x_start, epsilon;
};
struct Level {
  double alpha, sigma;
};

/// A denoiser whose x_0 is f(x).
auto denoiser(double (*f)(double)) {
  return [f](const auto& x, const Level& level, auto& out) {
    using Scalar = typename std::decay_t<decltype(x)>::Scalar;
    for (Index i = 0; i < x.size(); ++i) {
      const double value = static_cast<double>(x.data()[i]), x_0 = f(value);
      out.x_start.data()[i] = Scalar(x_0);
      out.epsilon.data()[i] = Scalar((value - level.alpha * x_0) / level.sigma);
    }
  };
}

}  // namespace

TEMPLATE_TEST_CASE("CFG++ guides x_0 and keeps the unconditional noise", "[cfg_plus_plus]", LAYOUTS) {
  using Scalar = typename TestType::Scalar;
  using Tensor = typename TestType::template Tensor<3>;
  const Tensor x = random_tensor<Tensor>({4, 2, 5}, 1);
  const Level level{0.6, 0.8};
  const auto denoised = [&](auto&& denoise) {
    Prediction<Tensor> out{Tensor(x.dimensions()), Tensor(x.dimensions())};
    denoise(x, level, out);
    return out;
  };
  const auto c = denoised(denoiser(models::cond_value)), u = denoised(denoiser(models::uncond_value));
  for (const double scale : {0.0, 0.6, 1.0, 2.5}) {
    auto guided = cfg_plus_plus(denoiser(models::cond_value), denoiser(models::uncond_value), scale);
    auto got = denoised(guided);
    REQUIRE_THAT(got.epsilon, AllEqual(u.epsilon));
    REQUIRE_THAT(got.x_start, AllClose(map_samples(c.x_start, u.x_start,
                                                   [&](Index, const Values& a, const Values& b) {
                                                     return models::classifier_free(a, b, scale);
                                                   }),
                                       Tolerance<Scalar>::rel, Tolerance<Scalar>::abs));
    if (scale == 1) REQUIRE_THAT(got.x_start, AllEqual(c.x_start));
    if (scale == 0) REQUIRE_THAT(got.x_start, AllEqual(u.x_start));
    REQUIRE(count_allocations([&] { guided(x, level, got); }) == 0);
  }
}

TEST_CASE("cfg_plus_plus throws std::invalid_argument for a scale that is not finite", "[cfg_plus_plus]") {
  const double not_a_number = std::numeric_limits<double>::quiet_NaN();
  REQUIRE(error_message([=] { (void)cfg_plus_plus(0, 0, not_a_number); }) ==
          "diffusion::cfg_plus_plus: scale = nan is not finite");
}

TEST_CASE("cfg_plus_plus throws std::invalid_argument if a denoiser writes a tensor of another shape",
          "[cfg_plus_plus]") {
  using Tensor = DoubleRowMajor::Tensor<2>;
  const Tensor x = random_tensor<Tensor>({2, 3}, 1);
  const auto good = denoiser(models::cond_value);
  const auto with = [&](Tensor Prediction<Tensor>::*wrong) {
    return [good, wrong](const Tensor& in, const Level& level, Prediction<Tensor>& out) {
      good(in, level, out);
      (out.*wrong).resize(2, 4);
    };
  };
  const auto message = [&](auto cond, auto uncond) {
    return error_message([&] {
      Prediction<Tensor> out{Tensor(2, 3), Tensor(2, 3)};
      cfg_plus_plus(cond, uncond, 0.6)(x, Level{0.6, 0.8}, out);
    });
  };
  const std::string rest = " has shape [2, 4], but for x of shape [2, 3] it must have [2, 3]";
  const auto x_start = with(&Prediction<Tensor>::x_start), epsilon = with(&Prediction<Tensor>::epsilon);
  CHECK(message(good, x_start) == "diffusion::cfg_plus_plus: the unconditional x_start" + rest);
  CHECK(message(good, epsilon) == "diffusion::cfg_plus_plus: the unconditional epsilon" + rest);
  CHECK(message(x_start, good) == "diffusion::cfg_plus_plus: the conditional x_start" + rest);
}

}  // namespace cfg_plus_plus_tests
