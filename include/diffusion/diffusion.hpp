/// @file diffusion.hpp
/// The whole library. Each header can also be included alone.
#pragma once

#include "guidance.hpp"
#include "model.hpp"
#include "noise.hpp"
#include "process.hpp"
#include "sampling.hpp"
#include "tensor.hpp"
#include "training.hpp"
#include "version.hpp"
