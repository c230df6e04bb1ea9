/// @file timesteps.hpp
/// Which of the timesteps 0, ..., T - 1 a run of n steps stops at. time_grid.hpp makes a TimeGrid of such a list.
#pragma once

#include <Eigen/Core>
#include <cmath>      // std::abs, std::floor
#include <stdexcept>  // std::invalid_argument
#include <vector>

#include "../detail/check.hpp"
#include "../detail/error.hpp"
#include "../detail/math/linspace.hpp"

namespace diffusion {
namespace detail {

inline void check_num_timesteps_kept(const char* where, Eigen::Index n, Eigen::Index num_timesteps,
                                     const char* name = "n") {
  check_num_timesteps(where, num_timesteps);
  check_at_least<Eigen::Index>(where, name, n, 1);
  if (n > num_timesteps) {
    fail<std::invalid_argument>(where, name, " = ", n, " is more than the ", num_timesteps, " timesteps there are");
  }
}

/// Throws std::invalid_argument unless every timestep + offset is one that a double has.
inline void check_offset(const char* where, Eigen::Index num_timesteps, Eigen::Index offset) {
  if (!(std::abs(static_cast<double>(offset)) <= largest_timestep - static_cast<double>(num_timesteps))) {
    fail<std::invalid_argument>(where, "offset = ", offset,
                                " makes timesteps beyond 2^53, which a double cannot count");
  }
}

}  // namespace detail

/// How n timesteps are spread over 0, ..., T - 1.
enum class TimestepSpacing {
  leading,  // i floor(T / n) + offset: begins at 0 + offset and stops short of T - 1
  trailing,  // round(T - i T / n) - 1: begins at T - 1, and n = T takes all; rounded as numpy's arange(T, 0, -T / n) comes out
  linspace  // round(linspace(0, T - 1, n)): both ends
};

/// n timesteps in descending order, equal to those of diffusers' DDPM, DDIM and PNDM (without the spurious -1 that these
/// append for some n with trailing). With n = 1, leading and linspace give timestep 0; use trailing. `offset` applies to
/// leading only. Throws std::invalid_argument unless 1 <= n <= T.
[[nodiscard]] inline std::vector<double> spaced_timesteps(Eigen::Index num_timesteps, TimestepSpacing spacing,
                                                          Eigen::Index n, Eigen::Index offset = 0) {
  detail::check_num_timesteps_kept("spaced_timesteps", n, num_timesteps);
  detail::check_offset("spaced_timesteps", num_timesteps, offset);
  const double T = static_cast<double>(num_timesteps);
  const double arange_step =
      detail::rounded(T - T / static_cast<double>(n)) - T;  // -T / n, with the rounding of its first
  const Eigen::ArrayXd even = detail::linspace(0.0, T - 1.0, n);
  std::vector<double> out;
  for (Eigen::Index i = 0; i < n; ++i) {
    const Eigen::Index left = n - 1 - i;
    switch (spacing) {
      case TimestepSpacing::leading:
        out.push_back(static_cast<double>(left * (num_timesteps / n) + offset));
        break;
      case TimestepSpacing::trailing:
        out.push_back(static_cast<double>(
            detail::round_half_even(T + detail::rounded(static_cast<double>(i) * arange_step)) - 1));
        break;
      case TimestepSpacing::linspace:
        out.push_back(static_cast<double>(detail::round_half_even(even[left])));
        break;
    }
  }
  return out;
}

/// The n timesteps that diffusers' DPM-Solver, UniPC and DEIS take: the first n of n + 1 that are spread with leading or
/// linspace; trailing as above. n = T gives what diffusers has, though T + 1 timesteps do not fit in T: linspace has one
/// of them twice and leading has 0 + offset throughout (timestep_grid refuses both). Throws std::invalid_argument unless
/// 1 <= n <= T.
[[nodiscard]] inline std::vector<double> dpm_solver_timesteps(Eigen::Index num_timesteps, TimestepSpacing spacing,
                                                              Eigen::Index n, Eigen::Index offset = 0) {
  detail::check_num_timesteps_kept("dpm_solver_timesteps", n, num_timesteps);
  if (spacing == TimestepSpacing::trailing) return spaced_timesteps(num_timesteps, spacing, n);
  detail::check_offset("dpm_solver_timesteps", num_timesteps, offset);
  std::vector<double> out;
  const Eigen::ArrayXd even = detail::linspace(0.0, static_cast<double>(num_timesteps) - 1.0, n + 1);
  for (Eigen::Index i = n; i >= 1; --i) {
    const Eigen::Index leading = i * (num_timesteps / (n + 1)) + offset;
    out.push_back(
        static_cast<double>(spacing == TimestepSpacing::leading ? leading : detail::round_half_even(even[i])));
  }
  return out;
}

/// The n timesteps of latent consistency models: of the original_steps that a model was distilled on, counted from T - 1
/// or so down, n evenly; Luo et al. 2023, Section 4.3. Throws std::invalid_argument unless 1 <= n <= original_steps <= T.
[[nodiscard]] inline std::vector<double> lcm_timesteps(Eigen::Index num_timesteps, Eigen::Index original_steps,
                                                       Eigen::Index n) {
  detail::check_num_timesteps_kept("lcm_timesteps", original_steps, num_timesteps, "original_steps");
  detail::check_num_timesteps_kept("lcm_timesteps", n, original_steps);
  const Eigen::Index stride = num_timesteps / original_steps;
  std::vector<double> out;
  for (Eigen::Index i = 0; i < n; ++i) {
    const auto skipped = static_cast<Eigen::Index>(
        std::floor(static_cast<double>(i) * (static_cast<double>(original_steps) / static_cast<double>(n))));
    out.push_back(static_cast<double>((original_steps - skipped) * stride - 1));
  }
  return out;
}

}  // namespace diffusion
