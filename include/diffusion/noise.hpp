/// @file noise.hpp
/// Includes every header of noise/.
#pragma once

/// @defgroup noise Noise: N(0, 1) values
/// Sources of N(0, 1) noise that fill a tensor: reproducible per sample, from a standard engine,
/// recorded, or equal to the noise of PyTorch, JAX and NumPy. Functions that draw noise take any of
/// them.

#include "noise/engine_noise.hpp"
#include "noise/jax_noise.hpp"
#include "noise/noise_source.hpp"
#include "noise/numpy_noise.hpp"
#include "noise/philox_noise.hpp"
#include "noise/recorded_noise.hpp"
#include "noise/sample_range.hpp"
#include "noise/torch_noise.hpp"
