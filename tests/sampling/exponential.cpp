/// Tests of diffusion/sampling/exponential.hpp: its coefficients. (samplers.cpp tests the solvers.)
#include "diffusion/sampling/exponential.hpp"

#include <array>
#include <cmath>
#include <cstddef>
#include <stdexcept>

#include "matchers.hpp"

namespace exponential_tests {

using namespace diffusion;

namespace {

const NoiseLevel from{500.0, 0.6, 0.8}, to{100.0, 0.8, 0.6};
const double h = 2 * std::log(4.0 / 3.0);  // lambda_to - lambda_from

bool close(double a, double b) { return std::abs(a - b) < tolerance::exact_sum; }

struct Places {
  std::array<double, 3> at;
  double place(std::size_t k) const { return at[k]; }
};

}  // namespace

TEST_CASE("an exponential step is exact for a constant prediction", "[exponential]") {
  // x = alpha x_0 + sigma epsilon at both ends, where data_step keeps x_0 and epsilon_step keeps
  // epsilon.
  const ExponentialStep data = data_step(from, to, DpmSolverType::heun, 0.0);
  CHECK(close(data.x, to.sigma / from.sigma));
  CHECK(close(data.d0, to.alpha - from.alpha * to.sigma / from.sigma));
  CHECK(data.noise == 0.0);
  const ExponentialStep epsilon = epsilon_step(from, to, DpmSolverType::heun, 0.0);
  CHECK(close(epsilon.x, to.alpha / from.alpha));
  CHECK(close(epsilon.d0, to.sigma - from.sigma * to.alpha / from.alpha));
  CHECK(epsilon.noise == 0.0);
}

TEST_CASE("data_step with eta = 1 gives x the variance sigma_to^2 for a given x_0", "[exponential]") {
  // x - alpha x_0 has the standard deviation sigma at both ends.
  const ExponentialStep data = data_step(from, to, DpmSolverType::heun, 1.0);
  CHECK(close(std::hypot(data.x * from.sigma, data.noise), to.sigma));
  CHECK(close(data.x * from.alpha + data.d0, to.alpha));
}

TEST_CASE("d1 is half of d0 for midpoint and differs for heun", "[exponential]") {
  for (const auto step : {&data_step, &epsilon_step}) {
    const ExponentialStep midpoint = step(from, to, DpmSolverType::midpoint, 0.0);
    const ExponentialStep heun = step(from, to, DpmSolverType::heun, 0.0);
    CHECK(midpoint.d1 == 0.5 * midpoint.d0);
    CHECK(heun.d0 == midpoint.d0);
    CHECK(heun.d1 != midpoint.d1);
  }
}

TEST_CASE("an exponential step from a level without noise throws std::domain_error", "[exponential]") {
  CHECK_THROWS_AS(data_step({0.0, 1.0, 0.0}, to, DpmSolverType::midpoint, 0.0), std::domain_error);
  CHECK_THROWS_AS(epsilon_step({0.0, 1.0, 0.0}, to, DpmSolverType::midpoint, 0.0), std::domain_error);
}

TEST_CASE("multistep_weights recovers the derivatives of a polynomial", "[exponential]") {
  // The predictions are 1 + 2 u + 3 u^2 / 2 at lambda + u h, so D0 = 1, D1 = 2 and D2 = 3.
  const ExponentialStep d{0.0, 1.0, 0.5, 1.0 / 6.0, 0.0};
  const Places places{{0.0, -0.7 * h, -1.9 * h}};
  const auto value = [](double u) { return 1 + 2 * u + 1.5 * u * u; };
  const auto weights = multistep_weights(d, h, 3, 2.0, places);
  const double sum = weights[0] * value(0) + weights[1] * value(-0.7) + weights[2] * value(-1.9);
  CHECK(close(sum, d.d0 * 1 + d.d1 * 2 + d.d2 * 3));
  const auto linear = multistep_weights(d, h, 2, 2.0, places);
  CHECK(close(linear[0] * 1 + linear[1] * (1 - 0.7 * 2), d.d0 * 1 + d.d1 * 2));
  const auto constant = multistep_weights(d, h, 1, 2.0, places);
  CHECK((constant[0] == d.d0 && constant[1] == 0.0 && constant[2] == 0.0));
}

TEST_CASE("the order of a multistep solver rises at the start and falls at the end of short runs", "[exponential]") {
  const TimeGrid grid = edm_grid((Eigen::ArrayXd(2) << 1.0, 0.0).finished());
  const auto order = [&](Eigen::Index index, Eigen::Index count, std::size_t predictions, bool lower, bool euler) {
    const MultistepOptions options{true, 1.0, 3, DpmSolverType::midpoint, 0.0, 1.0, lower, euler};
    return multistep_order(Step{from, to, index, count, grid}, options, predictions);
  };
  CHECK(order(0, 10, 1, true, false) == 1);
  CHECK(order(5, 10, 3, true, false) == 3);
  CHECK(order(8, 10, 3, true, false) == 2);
  CHECK(order(9, 10, 3, true, false) == 1);
  CHECK(order(9, 10, 3, false, false) == 3);
  CHECK(order(12, 14, 3, true, false) == 2);
  CHECK(order(13, 14, 3, true, false) == 1);
  CHECK(order(14, 15, 3, true, false) == 3);
  CHECK(order(19, 20, 3, true, false) == 3);
  CHECK(order(19, 20, 3, true, true) == 1);
}

TEST_CASE("a multistep step of order 3 does not depend on the type, one of order 2 does", "[exponential]") {
  using Tensor = Eigen::Tensor<double, 2, Eigen::RowMajor>;
  const TimeGrid grid = edm_grid((Eigen::ArrayXd(2) << 1.0, 0.0).finished());
  const Step step{from, to, 5, 20, grid};
  const auto moved = [&](DpmSolverType type, int order, bool data) {
    Tensor x = random_tensor<Tensor>({2, 3}, 1);
    Prediction<Tensor> prediction;
    prediction.x_start = random_tensor<Tensor>({2, 3}, 2);
    prediction.epsilon = random_tensor<Tensor>({2, 3}, 3);
    MultistepState<Tensor> state;
    for (unsigned k = 0; k < 2; ++k) {
      Tensor earlier = random_tensor<Tensor>({2, 3}, 4 + k);
      state.predictions.push(earlier, half_log_snr(from) - 2.0 + k);
    }
    const MultistepOptions options{data, 1.0, order, type, 0.0, 1.0, false, false};
    multistep_step(
        options, step, x, prediction, [](auto&&...) {}, state);
    return x;
  };
  for (const bool data : {true, false}) {
    REQUIRE_THAT(moved(DpmSolverType::midpoint, 3, data), AllEqual(moved(DpmSolverType::heun, 3, data)));
    REQUIRE_FALSE(AllEqual(moved(DpmSolverType::heun, 2, data)).match(moved(DpmSolverType::midpoint, 2, data)));
  }
}

}  // namespace exponential_tests
