/// @file model.hpp
/// The meaning of a network's output, and the Denoiser that calls the network.
#pragma once

#include "model/denoiser.hpp"
#include "model/parameterization.hpp"
#include "model/prediction.hpp"
