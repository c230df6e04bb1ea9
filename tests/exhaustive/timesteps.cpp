// Every spacing of timesteps for every pair of T and n up to 400, against the rules of the
// references, restated here with NumPy's arithmetic.
#include "diffusion/sampling/timesteps.hpp"

#include <cmath>
#include <string>
#include <vector>

#include "diffusion/process/respacing.hpp"
#include "matchers.hpp"

using namespace diffusion;
using Eigen::Index;

namespace {

using Steps = std::vector<double>;

/// NumPy's linspace(0, stop, n)[i]; the last entry is `stop` itself.
double linspace(double stop, Index n, Index i) {
  if (n == 1) return 0.0;
  return i == n - 1 ? stop : static_cast<double>(i) * (stop / static_cast<double>(n - 1));
}

/// NumPy's arange(T, 0, -T / n), rounded, minus 1: the trailing timesteps of diffusers, which may
/// end with a -1 too many.
Steps trailing(Index T, Index n) {
  const volatile double step = -static_cast<double>(T) / static_cast<double>(n);
  const volatile double second = static_cast<double>(T) + step, delta = second - static_cast<double>(T);
  const auto length = static_cast<Index>(std::ceil(-static_cast<double>(T) / step));
  Steps out;
  for (Index i = 0; i < length; ++i) {
    const volatile double product = static_cast<double>(i) * delta;
    out.push_back(std::nearbyint(static_cast<double>(T) + product) - 1.0);
  }
  if (static_cast<Index>(out.size()) > n) out.pop_back();
  return out;
}

/// The timesteps of diffusers' DDPM, DDIM and PNDM.
Steps ddim(Index T, TimestepSpacing spacing, Index n) {
  if (spacing == TimestepSpacing::trailing) return trailing(T, n);
  Steps out;
  for (Index i = n - 1; i >= 0; --i) {
    out.push_back(spacing == TimestepSpacing::leading ? static_cast<double>(i * (T / n))
                                                      : std::nearbyint(linspace(static_cast<double>(T - 1), n, i)));
  }
  return out;
}

/// The timesteps of diffusers' DPM-Solver, UniPC and DEIS.
Steps dpm_solver(Index T, TimestepSpacing spacing, Index n) {
  if (spacing == TimestepSpacing::trailing) return trailing(T, n);
  Steps out;
  for (Index i = n; i >= 1; --i) {
    out.push_back(spacing == TimestepSpacing::leading ? static_cast<double>(i * (T / (n + 1)))
                                                      : std::nearbyint(linspace(static_cast<double>(T - 1), n + 1, i)));
  }
  return out;
}

/// The timesteps of guided-diffusion for one section of n.
std::vector<Index> section(Index T, Index n) {
  std::vector<Index> out;
  const double stride = n <= 1 ? 1.0 : static_cast<double>(T - 1) / static_cast<double>(n - 1);
  double at = 0.0;
  for (Index i = 0; i < n; ++i, at += stride) out.push_back(static_cast<Index>(std::nearbyint(at)));
  return out;
}

}  // namespace

TEST_CASE("every spacing of timesteps equals the rule of its reference for every T and n up to 400", "[exhaustive]") {
  Index lists = 0;
  for (Index T = 1; T <= 400; ++T) {
    for (Index n = 1; n <= T; ++n) {
      for (const auto spacing : {TimestepSpacing::leading, TimestepSpacing::trailing, TimestepSpacing::linspace}) {
        INFO("T = " << T << ", n = " << n << ", spacing " << static_cast<int>(spacing));
        if (spaced_timesteps(T, spacing, n) != ddim(T, spacing, n)) FAIL("spaced_timesteps differs");
        if (dpm_solver_timesteps(T, spacing, n) != dpm_solver(T, spacing, n)) FAIL("dpm_solver_timesteps differs");
        lists += 2;
      }
      INFO("T = " << T << ", n = " << n);
      if (space_timesteps(T, {n}) != section(T, n)) FAIL("space_timesteps differs");
      ++lists;
    }
  }
  REQUIRE(lists == 400 * 401 / 2 * 7);
}

TEST_CASE("the timesteps of a consistency model equal the rule of their reference for every T and n up to 400",
          "[exhaustive]") {
  Index lists = 0, expected_lists = 0;
  for (Index T = 1; T <= 400; ++T) {
    for (const Index original : {Index{1}, T / 20, T / 7, T / 2, T}) {
      for (Index n = 1; n <= original; ++n) {
        // linspace(0, original, n, endpoint=False), rounded down, of the reversed list of original
        // timesteps.
        const volatile double step = static_cast<double>(original) / static_cast<double>(n);
        Steps expected;
        for (Index i = 0; i < n; ++i) {
          const auto skipped = static_cast<Index>(std::floor(static_cast<double>(i) * step));
          expected.push_back(static_cast<double>((original - skipped) * (T / original) - 1));
        }
        INFO("T = " << T << ", original = " << original << ", n = " << n);
        if (lcm_timesteps(T, original, n) != expected) FAIL("lcm_timesteps differs");
        ++lists;
      }
      expected_lists += original;
    }
  }
  REQUIRE(lists == expected_lists);
  REQUIRE(lists > 400 * 401 / 2);
}
