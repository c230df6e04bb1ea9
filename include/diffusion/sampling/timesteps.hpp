/// @file timesteps.hpp
/// Lists of n timesteps in descending order, chosen from the T timesteps 0, ..., T - 1 of a
/// process. timestep_grid() in time_grid.hpp makes a TimeGrid from such a list.
///
/// Note for porters: the leading and linspace timesteps of DDIM are not those of DPM-Solver.
/// spaced_timesteps() is for DDPM, DDIM and PNDM; dpm_solver_timesteps() is for DPM-Solver, UniPC
/// and DEIS, which spread n + 1 timesteps and drop the last. For T = 1000 and n = 4, without an
/// offset:
///
///                 spaced_timesteps       dpm_solver_timesteps
///     leading     750, 500, 250,   0     800, 600, 400, 200
///     linspace    999, 666, 333,   0     999, 749, 500, 250
///     trailing    999, 749, 499, 249     999, 749, 499, 249
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

/// Throws std::invalid_argument unless 1 <= n <= num_timesteps <= 2^53. `name` is the name of n in
/// the message.
inline void check_num_timesteps_kept(const char* where, Eigen::Index n, Eigen::Index num_timesteps,
                                     const char* name = "n") {
  check_num_timesteps(where, num_timesteps);
  check_at_least<Eigen::Index>(where, name, n, 1);
  if (n > num_timesteps) {
    fail<std::invalid_argument>(where, name, " = ", n, " is more than the ", num_timesteps,
                                " timesteps to choose from");
  }
}

/// Throws std::invalid_argument unless every timestep + offset is at most 2^53 in magnitude:
/// timesteps are doubles.
inline void check_offset(const char* where, Eigen::Index num_timesteps, Eigen::Index offset) {
  if (!(std::abs(static_cast<double>(offset)) <= largest_timestep - static_cast<double>(num_timesteps))) {
    fail<std::invalid_argument>(where, "offset = ", offset,
                                " gives timesteps beyond 2^53, which a double cannot represent exactly");
  }
}

}  // namespace detail

/// How n timesteps are spread over 0, ..., T - 1. The formulas are those of spaced_timesteps(), for
/// i = 0, ..., n - 1.
enum class TimestepSpacing {
  /// i floor(T / n) + offset: the last timestep is the offset. Without an offset, the first is
  /// below T - 1 unless n = T.
  leading,
  /// round(T - i T / n) - 1: includes T - 1, and for n = T every timestep. Rounded like numpy's
  /// arange(T, 0, -T / n).
  trailing,
  /// round(linspace(0, T - 1, n)): includes both ends.
  linspace
};

/// Returns n timesteps in descending order, those of diffusers' DDPM, DDIM and PNDM. diffusers
/// appends a spurious -1 for some n with trailing spacing; this list does not have it. With n = 1,
/// leading and linspace give timestep 0: use trailing. `offset` applies to leading only. Throws
/// std::invalid_argument unless 1 <= n <= T <= 2^53, and if an offset gives timesteps beyond 2^53.
[[nodiscard]] inline std::vector<double> spaced_timesteps(Eigen::Index num_timesteps, TimestepSpacing spacing,
                                                          Eigen::Index n, Eigen::Index offset = 0) {
  detail::check_num_timesteps_kept("spaced_timesteps", n, num_timesteps);
  detail::check_offset("spaced_timesteps", num_timesteps, offset);
  const double T = static_cast<double>(num_timesteps);
  const double arange_step =
      detail::rounded(T - T / static_cast<double>(n)) - T;  // -T / n as arange rounds it: its second entry minus T
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

/// Returns n timesteps in descending order, those of diffusers' DPM-Solver, UniPC and DEIS. For
/// leading and linspace these are not the timesteps of DDIM: n + 1 timesteps are spread and the
/// last is dropped,
///
///     leading     i floor(T / (n + 1)) + offset           for i = n, ..., 1
///     linspace    round(linspace(0, T - 1, n + 1))[i]     for i = n, ..., 1
///     trailing    as in spaced_timesteps
///
/// As in diffusers, n = T repeats timesteps: linspace has one of them twice, and every leading
/// timestep is the offset. timestep_grid throws for both lists. Throws std::invalid_argument unless
/// 1 <= n <= T <= 2^53, and if an offset gives timesteps beyond 2^53.
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

/// Returns n timesteps of a latent consistency model in descending order, spread evenly over the
/// original_steps timesteps that it was distilled on; Luo et al 2023, Section 4.3. For
/// i = 0, ..., n - 1:
///
///     t_i = (original_steps - floor(i original_steps / n)) floor(T / original_steps) - 1
///
/// Throws std::invalid_argument unless 1 <= n <= original_steps <= T <= 2^53.
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
