/// Tests of diffusion/sampling/steps.hpp. (k_diffusion_golden.cpp compares ancestral steps
/// with k-diffusion's.)
#include "diffusion/sampling/steps.hpp"

#include <cmath>
#include <stdexcept>

#include "matchers.hpp"

namespace steps_tests {

using namespace diffusion;

namespace {

using Tensor = Eigen::Tensor<double, 2, Eigen::RowMajor>;

const NoiseLevel high{500.0, 0.6, 0.8}, low{100.0, 0.8, 0.6}, clean{0.0, 1.0, 0.0}, pure{999.0, 0.0, 1.0};

}  // namespace

TEST_CASE("a step with a fixed prediction keeps x_0 and epsilon", "[steps]") {
  const Tensor x_0 = random_tensor<Tensor>({2, 3}, 1), epsilon = random_tensor<Tensor>({2, 3}, 2);
  const auto at = [&](const NoiseLevel& level) { return Tensor(x_0 * level.alpha + epsilon * level.sigma); };
  const double close = Tolerance<double>::rel;
  Tensor out;
  step_with_fixed_x_start(out, at(high), high, low, x_0);
  REQUIRE_THAT(out, AllClose(at(low), 2 * close, 2 * close));
  step_with_fixed_epsilon(out, at(high), high, low, epsilon);
  REQUIRE_THAT(out, AllClose(at(low), 2 * close, 2 * close));

  SECTION("in place") {
    Tensor x = at(high);
    step_with_fixed_x_start(x, x, high, low, x_0);
    REQUIRE_THAT(x, AllClose(at(low), 2 * close, 2 * close));
  }
  SECTION("to the clean end") {
    step_with_fixed_x_start(out, at(high), high, clean, x_0);
    REQUIRE_THAT(out, AllEqual(x_0));
  }
}

TEST_CASE("a step from a level without noise throws std::domain_error", "[steps]") {
  Tensor x(1, 1);
  x.setZero();
  REQUIRE_THROWS_AS(step_with_fixed_x_start(x, x, clean, low, x), std::domain_error);
  REQUIRE_THROWS_AS(half_log_snr_rise(clean, low), std::domain_error);
  REQUIRE_NOTHROW(check_has_noise(low));
}

TEST_CASE("half_log_snr_rise returns the rise of lambda and midpoint_in_log_sigma the level halfway", "[steps]") {
  REQUIRE(std::abs(half_log_snr_rise(high, low) - 2 * std::log(4.0 / 3.0)) < Tolerance<double>::rel);
  const TimeGrid grid = edm_grid((Eigen::ArrayXd(3) << 4.0, 1.0, 0.0).finished());
  const NoiseLevel middle = midpoint_in_log_sigma(grid, grid.levels()[0], grid.levels()[1]);
  REQUIRE(std::abs(middle.sigma / 2.0 - 1) < tolerance::level);
  REQUIRE(middle.alpha == 1.0);
}

TEST_CASE("touches_clean_or_pure_noise and is_zero_length recognise their steps", "[steps]") {
  const TimeGrid grid = edm_grid((Eigen::ArrayXd(2) << 1.0, 0.0).finished());
  REQUIRE(touches_clean_or_pure_noise(Step{high, clean, 0, 1, grid}));
  REQUIRE(touches_clean_or_pure_noise(Step{pure, low, 0, 1, grid}));
  REQUIRE_FALSE(touches_clean_or_pure_noise(Step{high, low, 0, 1, grid}));
  for (const NoiseLevel& to : {clean, pure}) REQUIRE(touches_infinite_lambda(Step{low, to, 0, 1, grid}));
  REQUIRE_FALSE(touches_infinite_lambda(Step{high, low, 0, 1, grid}));
  REQUIRE(is_zero_length(low, {100.0, 0.8, 0.6 * (1 - 1e-14)}));
  REQUIRE_FALSE(is_zero_length(low, {100.0, 0.8, 0.6 * (1 - 1e-12)}));
}

TEST_CASE("check_goes_down rejects a rising step and check_has_timesteps a negative model time", "[steps]") {
  REQUIRE_NOTHROW(check_goes_down(high, low));
  REQUIRE_NOTHROW(check_goes_down(low, low));
  REQUIRE_THROWS_AS(check_goes_down(low, high), std::invalid_argument);
  REQUIRE_THROWS_AS(ancestral_step(low, high, 1.0), std::invalid_argument);
  REQUIRE_NOTHROW(check_has_timesteps("Lcm", edm_grid((Eigen::ArrayXd(2) << 2.0, 0.0).finished())));
  REQUIRE_THROWS_AS(check_has_timesteps("Lcm", edm_grid((Eigen::ArrayXd(3) << 2.0, 0.5, 0.0).finished())),
                    std::invalid_argument);
}

TEST_CASE("ancestral_step splits the noise of a step into a level below and added noise", "[steps]") {
  const AncestralStep posterior = ancestral_step(high, low, 1.0);
  REQUIRE(posterior.down.alpha == low.alpha);
  REQUIRE(std::abs(std::hypot(posterior.down.sigma, posterior.up) / low.sigma - 1) < tolerance::ancestral);
  const AncestralStep ode = ancestral_step(high, low, 0.0);
  REQUIRE((ode.up == 0.0 && ode.down.sigma == low.sigma));
}

TEST_CASE("add_step_noise draws no noise for a deviation of 0", "[steps]") {
  Tensor x = random_tensor<Tensor>({2, 3}, 3), z;
  const Tensor before = x;
  int draws = 0;
  const auto noise = [&draws](Tensor& out, const Tensor& like) {
    ++draws;
    out = like.constant(1.0);
  };
  add_step_noise(x, 0.0, noise, z);
  REQUIRE_THAT(x, AllEqual(before));
  REQUIRE(draws == 0);
  add_step_noise(x, 0.5, noise, z);
  REQUIRE_THAT(x, AllEqual(Tensor(before + 0.5)));
  REQUIRE(draws == 1);
}

TEST_CASE("ancestral_step stays accurate if the level below has little noise", "[steps]") {
  for (const double ratio : {0.5, 1e-3, 1e-6}) {
    const auto posterior = ancestral_step({0, 1, 3}, {0, 1, 3 * ratio}, 1.0);
    CHECK(std::abs(posterior.down.sigma / (3 * ratio * ratio) - 1) < tolerance::ancestral);
    const auto half = ancestral_step({0, 1, 3}, {0, 1, 3 * ratio}, 0.5);
    CHECK(std::abs(std::hypot(half.down.sigma, half.up) / (3 * ratio) - 1) < tolerance::ancestral);
  }
}

}  // namespace steps_tests
