/// @file check.hpp
/// Checks of numeric arguments. Each throws std::invalid_argument with a message that begins
/// "diffusion::<where>: <name> = <value>".
#pragma once

#include <Eigen/Core>
#include <cmath>      // std::isfinite
#include <stdexcept>  // std::invalid_argument

#include "error.hpp"

namespace diffusion {
namespace detail {

/// Throws unless value >= least.
template <class Number>
void check_at_least(const char* where, const char* name, Number value, Number least) {
  if (!(value >= least)) fail<std::invalid_argument>(where, name, " = ", value, " must be at least ", least);
}

/// Largest timestep. Timesteps are computed in double, which represents every integer up to 2^53.
inline constexpr double largest_timestep = 0x1p53;

/// Throws unless 1 <= count <= 2^53.
inline void check_count(const char* where, const char* name, Eigen::Index count) {
  check_at_least<Eigen::Index>(where, name, count, 1);
  if (static_cast<double>(count) > largest_timestep) {
    fail<std::invalid_argument>(where, name, " = ", count,
                                " is above 2^53; a double does not represent every larger integer");
  }
}

/// Throws unless 1 <= num_timesteps <= 2^53.
inline void check_num_timesteps(const char* where, Eigen::Index num_timesteps) {
  check_count(where, "num_timesteps", num_timesteps);
}

/// Throws unless value > 0 and finite.
inline void check_positive(const char* where, const char* name, double value) {
  if (!(value > 0.0 && std::isfinite(value))) {
    fail<std::invalid_argument>(where, name, " = ", value, " must be positive and finite");
  }
}

/// Throws unless value >= 0 and finite.
inline void check_not_negative(const char* where, const char* name, double value) {
  if (!(value >= 0.0 && std::isfinite(value))) {
    fail<std::invalid_argument>(where, name, " = ", value, " must be finite and not negative");
  }
}

/// Throws unless low <= value <= high.
template <class Number>
void check_in(const char* where, const char* name, Number value, Number low, Number high) {
  if (!(value >= low && value <= high)) {
    fail<std::invalid_argument>(where, name, " = ", value, " is outside [", low, ", ", high, "]");
  }
}

/// Throws unless value is finite.
inline void check_finite(const char* where, const char* name, double value) {
  if (!std::isfinite(value)) fail<std::invalid_argument>(where, name, " = ", value, " is not finite");
}

/// Throws unless 1 <= order <= most.
inline void check_order(const char* where, int order, int most) { check_in(where, "order", order, 1, most); }

}  // namespace detail
}  // namespace diffusion
