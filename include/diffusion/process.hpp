/// @file process.hpp
/// Includes every header of process/.
#pragma once

/// @defgroup process Process: from x_0 to x_t
/// The forward process, which turns data x_0 into noise x_T: beta schedules, q(x_t | x_0), the
/// posterior q(x_{t-1} | x_t, x_0), and respacing to fewer steps.

#include "process/gaussian_diffusion.hpp"
#include "process/noise_level.hpp"
#include "process/respacing.hpp"
#include "process/schedules.hpp"
