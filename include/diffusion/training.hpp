/// @file training.hpp
/// Losses with their weights and gradients, likelihoods, and the timesteps to train at.
#pragma once

#include "training/likelihood.hpp"
#include "training/loss_weights.hpp"
#include "training/losses.hpp"
#include "training/timestep_samplers.hpp"
#include "training/variational_bound.hpp"
