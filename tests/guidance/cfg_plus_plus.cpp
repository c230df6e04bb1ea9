/// Tests of diffusion/guidance/cfg_plus_plus.hpp.
#include "diffusion/guidance/cfg_plus_plus.hpp"

#include <limits>
#include <stdexcept>
#include <type_traits>

#include "guidance_models.hpp"

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
