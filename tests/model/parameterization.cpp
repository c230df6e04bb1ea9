// Tests of diffusion/model/parameterization.hpp
#include "diffusion/model/parameterization.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "diffusion/process/schedules.hpp"
#include "diffusion/sampling/reverse_process.hpp"
#include "diffusion/training/losses.hpp"
#include "matchers.hpp"

namespace parameterization_tests {

using namespace diffusion;

TEST_CASE("ReverseProcess and training_target throw std::invalid_argument for types that need a Denoiser",
          "[parameterization]") {
  const GaussianDiffusion<double> process(linear_beta_schedule(100));
  const Eigen::Tensor<double, 2> x = random_tensor<Eigen::Tensor<double, 2>>({2, 3}, 1);
  const auto model = [](const Eigen::Tensor<double, 2>& at, const Eigen::Tensor<double, 1>&) { return at; };
  for (const ModelMeanType type : {ModelMeanType::score, ModelMeanType::flow_velocity, ModelMeanType::edm}) {
    const std::string reason =
        "mean_type must be previous_x, start_x, epsilon or velocity; use a Denoiser for score, flow_velocity and edm";
    ReverseOptions options;
    options.mean_type = type;
    REQUIRE(error_message([&] { (void)ReverseProcess(process, model, options); }) ==
            "diffusion::ReverseProcess: " + reason);
    REQUIRE(error_message([&] { (void)training_target(process, type, x, x, x, 5); }) ==
            "diffusion::training_target: " + reason);
  }
}

TEST_CASE("x_0 and epsilon solve the two equations of every row of the table", "[parameterization]") {
  for (const ModelMeanType type : {ModelMeanType::start_x, ModelMeanType::epsilon, ModelMeanType::velocity,
                                   ModelMeanType::score, ModelMeanType::flow_velocity, ModelMeanType::edm}) {
    for (const double s : {1e-3, 0.3, 1.0, 20.0, 3e3}) {
      for (const double alpha : {1.0, 0.25}) {
        INFO("type " << static_cast<int>(type) << ", sigma / alpha = " << s << ", alpha = " << alpha);
        const auto row = detail::parameterization(type, alpha, alpha * s, std::hypot(alpha, alpha * s), 0.5);
        REQUIRE_THAT(row.divisor, WithinRel(row.alpha * row.q - row.sigma * row.p, tolerance::exact_sum));
        const double x_0 = 0.7, epsilon = -1.3;
        const double x = row.alpha * x_0 + row.sigma * epsilon, output = row.p * x_0 + row.q * epsilon;
        const double size = std::abs(row.x_start().x * x) + std::abs(row.x_start().output * output);
        REQUIRE_THAT(row.x_start().x * x + row.x_start().output * output, WithinAbs(x_0, size * tolerance::exact_sum));
        const double noise_size = std::abs(row.epsilon().x * x) + std::abs(row.epsilon().output * output);
        REQUIRE_THAT(row.epsilon().x * x + row.epsilon().output * output,
                     WithinAbs(epsilon, noise_size * tolerance::exact_sum));
      }
    }
  }
}

TEST_CASE("a training target is p x_0 + q z, without the term whose coefficient is 0", "[parameterization]") {
  const GaussianDiffusion<double> process(constant_beta_schedule(3, 1e-20));  // abar rounds to 1
  const auto target = [&](ModelMeanType type, double x_0, double z) {
    return detail::step_parameterization(process, type, 0).target(x_0, z);
  };
  constexpr double infinity = std::numeric_limits<double>::infinity();
  CHECK(target(ModelMeanType::start_x, 0.7, infinity) == 0.7);
  CHECK(target(ModelMeanType::epsilon, infinity, -1.3) == -1.3);
  CHECK_THAT(target(ModelMeanType::velocity, 0.7, -1.3), WithinRel(-1.3 - 1e-10 * 0.7, Tolerance<double>::rel));
}

}  // namespace parameterization_tests
