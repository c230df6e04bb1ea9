/// @file noise.hpp
/// Sources of N(0, 1) noise: reproducible, recorded, or equal to that of torch, JAX and NumPy.
#pragma once

#include "noise/engine_noise.hpp"
#include "noise/jax_noise.hpp"
#include "noise/noise_source.hpp"
#include "noise/numpy_noise.hpp"
#include "noise/philox_noise.hpp"
#include "noise/recorded_noise.hpp"
#include "noise/torch_noise.hpp"
