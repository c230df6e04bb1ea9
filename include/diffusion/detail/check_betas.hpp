/// @file check_betas.hpp
/// What a beta may be: 0 < beta <= 1. A beta of 0 adds no noise and makes the posterior 0/0; a beta of 1 is pure noise.
#pragma once

#include <Eigen/Core>
#include <stdexcept>  // std::invalid_argument

#include "error.hpp"

namespace diffusion {
namespace detail {

/// Whether 0 < beta <= 1; NaN is not.
inline bool is_beta(double beta) { return beta > 0.0 && beta <= 1.0; }

/// Throws std::invalid_argument unless 0 < value <= 1, as "<name> = 1.5 is outside (0, 1]".
inline void check_beta(const char* where, const char* name, double value) {
  if (!is_beta(value)) fail<std::invalid_argument>(where, name, " = ", value, " is outside (0, 1]");
}

/// Throws std::invalid_argument unless there is at least one beta and 0 < betas[i] <= 1 for every i.
inline void check_betas(const char* where, const Eigen::ArrayXd& betas) {
  if (betas.size() == 0) fail<std::invalid_argument>(where, "betas is empty");
  for (Eigen::Index i = 0; i < betas.size(); ++i) {
    if (!is_beta(betas[i])) {
      fail<std::invalid_argument>(where, "betas[", i, "] = ", betas[i], " is outside (0, 1]");
    }
  }
}

}  // namespace detail
}  // namespace diffusion
