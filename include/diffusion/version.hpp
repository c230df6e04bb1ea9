/// @file version.hpp
/// The version of the library; the one place that states it (CMake reads it from here).
#pragma once

#define DIFFUSION_VERSION_MAJOR 0
#define DIFFUSION_VERSION_MINOR 1
#define DIFFUSION_VERSION_PATCH 0
