/// @file model.hpp
/// Includes every header of model/.
#pragma once

/// @defgroup model Model: predictions of a network
/// The parameterisation of a network's output (epsilon, x_0, velocity and others), and Denoiser,
/// which calls the network and recovers x_0 and epsilon from its output.

#include "model/denoiser.hpp"
#include "model/parameterization.hpp"
#include "model/prediction.hpp"
