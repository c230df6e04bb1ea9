// Tests of diffusion/process/noise_level.hpp.
#include "diffusion/process/noise_level.hpp"

#include <cmath>
#include <limits>

#include "matchers.hpp"

namespace noise_level_tests {

using namespace diffusion;

TEST_CASE("noise_to_signal and half_log_snr equal their formulas, also at both ends", "[noise_level]") {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  REQUIRE(noise_to_signal({5, 0.8, 0.6}) == 0.6 / 0.8);
  REQUIRE(noise_to_signal({0, 1, 0}) == 0);
  REQUIRE(noise_to_signal({9, 0, 1}) == infinity);
  REQUIRE(half_log_snr({5, 0.5, 0.5}) == 0);
  REQUIRE(half_log_snr({0, 1, 0}) == infinity);
  REQUIRE(half_log_snr({9, 0, 1}) == -infinity);
}

TEST_CASE("variance_preserving_level has the given ratio and norm 1, also at both ends", "[noise_level]") {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  for (const double s : {1e-300, 1e-8, 0.3, 1.0, 14.6, 1e9, 1e300}) {
    const NoiseLevel level = variance_preserving_level(7, s);
    INFO(s);
    REQUIRE(level.t == 7);
    REQUIRE(std::abs(noise_to_signal(level) / s - 1) < tolerance::level);
    REQUIRE(std::abs(std::hypot(level.alpha, level.sigma) - 1) < tolerance::level);
  }
  const NoiseLevel clean = variance_preserving_level(0, 0), noise = variance_preserving_level(9, infinity);
  REQUIRE(clean.alpha == 1);
  REQUIRE(clean.sigma == 0);
  REQUIRE(noise.alpha == 0);
  REQUIRE(noise.sigma == 1);
}

}  // namespace noise_level_tests
