/// @file training.hpp
/// Includes every header of training/.
#pragma once

/// @defgroup training Training: losses and likelihoods
/// Training losses with their weights and gradients, likelihoods and the variational bound, and
/// samplers of the timesteps to train at.

#include "training/likelihood.hpp"
#include "training/loss_weights.hpp"
#include "training/losses.hpp"
#include "training/timestep_samplers.hpp"
#include "training/variational_bound.hpp"
