/// @file sampling.hpp
/// Includes every header of sampling/.
#pragma once

/// @defgroup sampling Sampling: from x_T to x_0
/// Sampling from x_T to x_0: time grids, sample(), the samplers, and the functions for writing a
/// new sampler. ReverseProcess offers guided-diffusion's DDPM and DDIM steps and loops.

#include "sampling/churn.hpp"
#include "sampling/exponential.hpp"
#include "sampling/history.hpp"
#include "sampling/reverse_process.hpp"
#include "sampling/reverse_step.hpp"
#include "sampling/sample.hpp"
#include "sampling/samplers/ddim.hpp"
#include "sampling/samplers/ddpm.hpp"
#include "sampling/samplers/deis.hpp"
#include "sampling/samplers/dpm2.hpp"
#include "sampling/samplers/dpm2_ancestral.hpp"
#include "sampling/samplers/dpm_solver.hpp"
#include "sampling/samplers/dpm_solver_adaptive.hpp"
#include "sampling/samplers/dpm_solver_fast.hpp"
#include "sampling/samplers/dpm_solver_pp.hpp"
#include "sampling/samplers/dpm_solver_pp_2s.hpp"
#include "sampling/samplers/dpm_solver_pp_sde.hpp"
#include "sampling/samplers/dpm_solver_singlestep.hpp"
#include "sampling/samplers/euler.hpp"
#include "sampling/samplers/euler_ancestral.hpp"
#include "sampling/samplers/flow_heun.hpp"
#include "sampling/samplers/heun.hpp"
#include "sampling/samplers/ipndm.hpp"
#include "sampling/samplers/lcm.hpp"
#include "sampling/samplers/lms.hpp"
#include "sampling/samplers/pndm.hpp"
#include "sampling/samplers/repaint.hpp"
#include "sampling/samplers/tcd.hpp"
#include "sampling/samplers/uni_pc.hpp"
#include "sampling/sigmas.hpp"
#include "sampling/steps.hpp"
#include "sampling/time_grid.hpp"
#include "sampling/timesteps.hpp"
