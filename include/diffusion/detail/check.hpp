/// @file check.hpp
/// Checks of numbers that more than one subject makes.
#pragma once

#include <Eigen/Core>
#include <stdexcept>  // std::invalid_argument

#include "error.hpp"

namespace diffusion {
namespace detail {

/// The largest integer up to which a double has every integer: timesteps are computed as doubles.
inline constexpr double largest_timestep = 0x1p53;

/// Throws std::invalid_argument unless 1 <= count <= 2^53.
inline void check_count(const char* where, const char* name, Eigen::Index count) {
  if (count < 1) fail<std::invalid_argument>(where, name, " = ", count, " must be at least 1");
  if (static_cast<double>(count) > largest_timestep) {
    fail<std::invalid_argument>(where, name, " = ", count, " is above 2^53, and a double cannot count so far");
  }
}
inline void check_num_timesteps(const char* where, Eigen::Index num_timesteps) {
  check_count(where, "num_timesteps", num_timesteps);
}

}  // namespace detail
}  // namespace diffusion
