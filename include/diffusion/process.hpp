/// @file process.hpp
/// The forward process x_0 -> x_t: schedules, q(x_t | x_0) and its posterior, respacing.
#pragma once

#include "process/gaussian_diffusion.hpp"
#include "process/noise_level.hpp"
#include "process/respacing.hpp"
#include "process/schedules.hpp"
