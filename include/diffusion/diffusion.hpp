/// @file diffusion.hpp
/// The whole library. Each header can also be included alone.
#pragma once

#include "gaussian_diffusion.hpp"
#include "jax_noise.hpp"
#include "likelihood.hpp"
#include "losses.hpp"
#include "noise.hpp"
#include "numpy_noise.hpp"
#include "respacing.hpp"
#include "reverse_process.hpp"
#include "reverse_types.hpp"
#include "schedules.hpp"
#include "tensor.hpp"
#include "timestep_samplers.hpp"
#include "torch_noise.hpp"
#include "variational_bound.hpp"
#include "version.hpp"
