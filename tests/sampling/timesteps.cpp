// Tests of diffusion/sampling/timesteps.hpp
#include "diffusion/sampling/timesteps.hpp"

#include <stdexcept>
#include <vector>

#include "matchers.hpp"

namespace timesteps_tests {

using namespace diffusion;
using Eigen::Index;

TEST_CASE("trailing timesteps begin at T - 1 and fall, and there are n of them for every n", "[timesteps]") {
  for (const Index T : {1, 2, 10, 1000}) {
    for (Index n = 1; n <= T; ++n) {
      const std::vector<double> times = spaced_timesteps(T, TimestepSpacing::trailing, n);
      INFO("T = " << T << ", n = " << n);
      REQUIRE(static_cast<Index>(times.size()) == n);
      REQUIRE(times.front() == static_cast<double>(T - 1));
      REQUIRE(times.back() >= 0);
      bool falls = true;
      for (std::size_t i = 1; i < times.size(); ++i) falls = falls && times[i] < times[i - 1];
      REQUIRE(falls);
    }
  }
}

TEST_CASE("every spacing has the timesteps of its formula", "[timesteps]") {
  using V = std::vector<double>;
  REQUIRE(spaced_timesteps(1000, TimestepSpacing::leading, 4) == V{750, 500, 250, 0});
  REQUIRE(spaced_timesteps(1000, TimestepSpacing::leading, 4, 1) == V{751, 501, 251, 1});
  REQUIRE(spaced_timesteps(1000, TimestepSpacing::trailing, 4) == V{999, 749, 499, 249});
  // Halves are rounded as in numpy's arange, where 87.5 and 62.5 are slightly smaller and 12.5 is
  // exact.
  REQUIRE(spaced_timesteps(100, TimestepSpacing::trailing, 24) ==
          V{99, 95, 91, 86, 82, 78, 74, 70, 66, 61, 57, 53, 49, 45, 41, 36, 32, 28, 24, 20, 16, 11, 7, 3});
  REQUIRE(spaced_timesteps(1000, TimestepSpacing::linspace, 4) == V{999, 666, 333, 0});
  REQUIRE(spaced_timesteps(6, TimestepSpacing::linspace, 3) == V{5, 2, 0});  // 2.5 is rounded to even
  REQUIRE(dpm_solver_timesteps(1000, TimestepSpacing::linspace, 3) == V{999, 666, 333});
  REQUIRE(dpm_solver_timesteps(1000, TimestepSpacing::leading, 3) == V{750, 500, 250});
  REQUIRE(dpm_solver_timesteps(1000, TimestepSpacing::trailing, 4) == V{999, 749, 499, 249});
  REQUIRE(lcm_timesteps(1000, 50, 4) == V{999, 759, 499, 259});
  REQUIRE(lcm_timesteps(1000, 50, 1) == V{999});
}

TEST_CASE("lists of timesteps throw std::invalid_argument for a number of steps out of range", "[timesteps]") {
  REQUIRE(error_message<std::invalid_argument>([] { (void)spaced_timesteps(10, TimestepSpacing::leading, 0); }) ==
          "diffusion::spaced_timesteps: n = 0 must be at least 1");
  REQUIRE(error_message<std::invalid_argument>([] { (void)spaced_timesteps(10, TimestepSpacing::trailing, 11); }) ==
          "diffusion::spaced_timesteps: n = 11 is more than the 10 timesteps to choose from");
  REQUIRE(error_message<std::invalid_argument>([] { (void)dpm_solver_timesteps(10, TimestepSpacing::leading, -1); }) ==
          "diffusion::dpm_solver_timesteps: n = -1 must be at least 1");
  for (const TimestepSpacing spacing : {TimestepSpacing::leading, TimestepSpacing::linspace}) {
    REQUIRE(dpm_solver_timesteps(10, spacing, 9).size() == 9);
  }
  REQUIRE(error_message<std::invalid_argument>([] { (void)lcm_timesteps(1000, 50, 51); }) ==
          "diffusion::lcm_timesteps: n = 51 is more than the 50 timesteps to choose from");
  REQUIRE(error_message<std::invalid_argument>([] { (void)lcm_timesteps(1000, 1001, 4); }) ==
          "diffusion::lcm_timesteps: original_steps = 1001 is more than the 1000 timesteps to choose from");
}

TEST_CASE("an offset moves the leading timesteps only", "[timesteps]") {
  using V = std::vector<double>;
  REQUIRE(spaced_timesteps(1000, TimestepSpacing::leading, 4, 1) == V{751, 501, 251, 1});
  REQUIRE(dpm_solver_timesteps(1000, TimestepSpacing::leading, 4, 1) == V{801, 601, 401, 201});
  for (const TimestepSpacing spacing : {TimestepSpacing::trailing, TimestepSpacing::linspace}) {
    REQUIRE(spaced_timesteps(1000, spacing, 4, 1) == spaced_timesteps(1000, spacing, 4));
    REQUIRE(dpm_solver_timesteps(1000, spacing, 4, 1) == dpm_solver_timesteps(1000, spacing, 4));
  }
}

TEST_CASE("dpm_solver_timesteps with n = T equals diffusers' timesteps", "[timesteps]") {
  // numpy.linspace(0, 9, 11).round()[::-1][:-1] and (numpy.arange(11) * (10 // 11))[::-1][:-1] + 1
  REQUIRE(dpm_solver_timesteps(10, TimestepSpacing::linspace, 10) == std::vector<double>{9, 8, 7, 6, 5, 4, 4, 3, 2, 1});
  REQUIRE(dpm_solver_timesteps(10, TimestepSpacing::leading, 10, 1) == std::vector<double>(10, 1.0));
  REQUIRE(dpm_solver_timesteps(10, TimestepSpacing::trailing, 10) == std::vector<double>{9, 8, 7, 6, 5, 4, 3, 2, 1, 0});
  REQUIRE(dpm_solver_timesteps(1000, TimestepSpacing::linspace, 1000).size() == 1000);
}

TEST_CASE("offsets and numbers of timesteps above 2^53 throw std::invalid_argument", "[timesteps]") {
  constexpr Eigen::Index most = std::numeric_limits<Eigen::Index>::max();
  REQUIRE(error_message([] { (void)spaced_timesteps(1000, TimestepSpacing::leading, 10, most); }) ==
          "diffusion::spaced_timesteps: offset = 9223372036854775807 gives timesteps beyond 2^53, which a double "
          "cannot represent exactly");
  REQUIRE_THAT(error_message([] { (void)dpm_solver_timesteps(1000, TimestepSpacing::leading, 10, -most - 1); }),
               StartsWith("diffusion::dpm_solver_timesteps: offset = -9223372036854775808"));
  REQUIRE_THAT(error_message([] { (void)spaced_timesteps(most / 2, TimestepSpacing::linspace, 10); }),
               StartsWith("diffusion::spaced_timesteps: num_timesteps = 4611686018427387903 is above 2^53"));
  REQUIRE_THAT(error_message([] { (void)lcm_timesteps(most, 50, 4); }),
               StartsWith("diffusion::lcm_timesteps: num_timesteps = 9223372036854775807 is above 2^53"));
}

TEST_CASE("offsets are accepted as long as every timestep plus the offset is at most 2^53", "[timesteps]") {
  constexpr Index most = (Index(1) << 53) - 1000;
  for (const Index offset : {most, -most}) {
    REQUIRE(spaced_timesteps(1000, TimestepSpacing::leading, 2, offset)[0] == static_cast<double>(500 + offset));
    REQUIRE(dpm_solver_timesteps(1000, TimestepSpacing::leading, 1, offset)[0] == static_cast<double>(500 + offset));
  }
  REQUIRE_THROWS_AS(spaced_timesteps(1000, TimestepSpacing::leading, 2, most + 1), std::invalid_argument);
  REQUIRE_THROWS_AS(dpm_solver_timesteps(1000, TimestepSpacing::leading, 2, -most - 1), std::invalid_argument);
}

}  // namespace timesteps_tests
