/// Tests of diffusion/sampling/churn.hpp.
#include "diffusion/sampling/churn.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>

#include "matchers.hpp"

namespace churn_tests {

using namespace diffusion;

namespace {

using Tensor = Eigen::Tensor<double, 2, Eigen::RowMajor>;

/// Noise that is 1 everywhere. Counts its draws.
struct Ones {
  int* draws;
  void operator()(Tensor& z, const Tensor& x) const {
    ++*draws;
    z = x.constant(1.0);
  }
};

}  // namespace

TEST_CASE("churn raises sigma over alpha by the factor 1 + gamma", "[churn]") {
  const TimeGrid grid = edm_grid((Eigen::ArrayXd(3) << 2.0, 1.0, 0.0).finished());
  const Step step{grid.levels()[0], grid.levels()[1], 0, 10, grid};
  Tensor x(1, 2), z;
  x.setConstant(3.0);
  int draws = 0;
  const NoiseLevel up = Churn{2.0}.apply(step, x, Ones{&draws}, z);  // gamma = 0.2
  REQUIRE(std::abs(up.sigma / 2.4 - 1) < tolerance::level);
  REQUIRE(draws == 1);
  const double risen = std::sqrt(2.4 * 2.4 - 2.0 * 2.0);
  REQUIRE_THAT(x, AllClose(Tensor(x.constant(3.0 + risen)), tolerance::level, 0));

  SECTION("gamma is at most sqrt(2) - 1") {
    const NoiseLevel most = Churn{100.0}.apply(step, x, Ones{&draws}, z);
    REQUIRE(std::abs(most.sigma / (2.0 * std::sqrt(2.0)) - 1) < tolerance::level);
  }
  SECTION("s_noise multiplies the noise") {
    x.setConstant(3.0);
    Churn{2.0, 0.0, std::numeric_limits<double>::infinity(), 0.5}.apply(step, x, Ones{&draws}, z);
    REQUIRE_THAT(x, AllClose(Tensor(x.constant(3.0 + 0.5 * risen)), tolerance::level, 0));
  }
}

TEST_CASE("churn outside its interval draws no noise", "[churn]") {
  const TimeGrid grid = edm_grid((Eigen::ArrayXd(3) << 2.0, 1.0, 0.0).finished());
  const Step step{grid.levels()[0], grid.levels()[1], 0, 10, grid};
  Tensor x(1, 2), z;
  x.setConstant(3.0);
  int draws = 0;
  for (const Churn& churn : {Churn{}, Churn{2.0, 2.5}, Churn{2.0, 0.0, 1.5}}) {
    REQUIRE(churn.apply(step, x, Ones{&draws}, z).sigma == 2.0);
  }
  REQUIRE(draws == 0);
  REQUIRE_THAT(x, AllEqual(Tensor(x.constant(3.0))));
}

TEST_CASE("Churn::check throws std::invalid_argument for parameters out of range", "[churn]") {
  REQUIRE_NOTHROW(Churn{}.check("Heun"));
  REQUIRE(error_message([] { Churn{-1.0}.check("Heun"); }) == "diffusion::Heun: s_churn = -1 must not be negative");
  REQUIRE_THROWS_AS((Churn{0.0, -1.0}.check("Heun")), std::invalid_argument);
  REQUIRE_THROWS_AS((Churn{0.0, 0.0, -1.0}.check("Heun")), std::invalid_argument);
  REQUIRE_THROWS_AS((Churn{0.0, 0.0, 1.0, std::numeric_limits<double>::infinity()}.check("Heun")),
                    std::invalid_argument);
}

TEST_CASE("churn includes both ends of its interval, also below sigma = alpha", "[churn]") {
  const TimeGrid grid = flow_matching_grid((Eigen::ArrayXd(3) << 0.25, 0.125, 0.0).finished());
  const Step step{grid.levels()[0], grid.levels()[1], 0, 10, grid};
  const double s = noise_to_signal(step.from);  // 1 / 3
  for (const Churn& churn : {Churn{2.0}, Churn{2.0, s}, Churn{2.0, 0.0, s}, Churn{2.0, s, s}}) {
    Tensor x(1, 2), z;
    x.setConstant(3.0);
    int draws = 0;
    const NoiseLevel up = churn.apply(step, x, Ones{&draws}, z);
    // s = 0.4 after that, so sigma = 0.4 / 1.4 on this path.
    REQUIRE(draws == 1);
    REQUIRE(std::abs(up.sigma - 0.4 / 1.4) < tolerance::level);
    REQUIRE(std::abs(up.alpha - 1 / 1.4) < tolerance::level);
    REQUIRE(std::abs(up.t - 1000 * up.sigma) < 1000 * tolerance::level);
    const double expected = (3.0 / 0.75 + std::sqrt(0.4 * 0.4 - s * s)) / 1.4;
    REQUIRE_THAT(x, AllClose(Tensor(x.constant(expected)), tolerance::level, 0));
  }
  Tensor x(1, 2), z;
  x.setConstant(3.0);
  int draws = 0;
  for (const Churn& churn : {Churn{2.0, std::nextafter(s, 1.0)}, Churn{2.0, 0.0, std::nextafter(s, 0.0)}}) {
    REQUIRE(churn.apply(step, x, Ones{&draws}, z).sigma == 0.25);
  }
  REQUIRE(draws == 0);
}

}  // namespace churn_tests
