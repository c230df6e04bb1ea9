/// @file all_samplers.hpp
/// The definition of all_samplers(). A program compiles it once for each tensor type.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "sampler_list.hpp"

template <class Tensor>
std::vector<ListedSampler<Tensor>> all_samplers() {
  using namespace diffusion;
  std::vector<ListedSampler<Tensor>> list;
  const auto add = [&list](std::string name, const SamplerTraits& traits, const auto& sampler) {
    list.push_back({traits, std::move(name),
                    [sampler](const TimeGrid& grid, const ErasedDenoiser<Tensor>& denoiser, const Tensor& x,
                              const ErasedNoise<Tensor>& noise,
                              const Hooks<Tensor>& hooks) { return sample(sampler, grid, denoiser, x, noise, hooks); },
                    sampler});
  };
  const DpmSolverType heun = DpmSolverType::heun, midpoint = DpmSolverType::midpoint;
  const auto with_order = [](double order) {
    SamplerTraits traits;
    traits.order = order;
    return traits;
  };
  const auto with_clean_start = [](SamplerTraits traits) {
    traits.starts_clean = true;
    return traits;
  };
  SamplerTraits stochastic, blocks, churning, redrawing, adaptive;
  stochastic.stochastic = true;
  stochastic.goes_up = false;
  blocks = stochastic;
  blocks.in_blocks = true;
  churning = stochastic;
  churning.goes_up = churning.redraws = true;
  redrawing = with_clean_start(churning);
  adaptive.goes_up = false;
  adaptive.shares_steps = true;
  SamplerTraits consistent = redrawing, trajectory = redrawing;
  consistent.consistency = true;
  trajectory.converges = false;  // Tcd's deterministic part of a step does not shrink with the steps
  add("Ddim", with_clean_start(with_order(1)), Ddim{});
  add("Euler", with_order(1), Euler{});
  add("EulerAncestral eta=0", with_order(1), EulerAncestral{0.0});
  add("Heun", with_order(2), Heun{});
  add("Dpm2", with_order(2), Dpm2{});
  add("Dpm2Ancestral eta=0", with_order(2), Dpm2Ancestral{0.0});
  // Multistep methods start at order 1. The error of that first step remains, so that a run has at
  // most second order.
  add("Lms order=1", with_clean_start(with_order(1)), Lms{1});
  add("Lms order=2", with_clean_start(with_order(2)), Lms{2});
  add("Lms order=3", with_clean_start(with_order(2)), Lms{3});
  add("Lms", with_clean_start(with_order(2)), Lms{});
  add("DpmSolverPP order=1", with_order(1), DpmSolverPP{1});
  add("DpmSolverPP", with_order(2), DpmSolverPP{2, midpoint, 0.0, 1.0, false});
  add("DpmSolverPP heun", with_order(2), DpmSolverPP{2, heun, 0.0, 1.0, false});
  add("DpmSolverPP order=3", with_order(2), DpmSolverPP{3, midpoint, 0.0, 1.0, false});
  add("DpmSolver order=1", with_order(1), DpmSolver{1});
  add("DpmSolver", with_order(2), DpmSolver{2, midpoint, 0.0, 1.0, false});
  add("DpmSolver heun", with_order(2), DpmSolver{2, heun, 0.0, 1.0, false});
  add("DpmSolver order=3", with_order(2), DpmSolver{3, midpoint, 0.0, 1.0, false});
  add("DpmSolverSinglestep", with_order(2), DpmSolverSinglestep{2, midpoint, 0.0, 1.0, true, false});
  add("DpmSolverSinglestep order=3", with_order(3), DpmSolverSinglestep{3, heun, 0.0, 1.0, true, false});
  add("DpmSolverSinglestep epsilon", with_order(2), DpmSolverSinglestep{2, midpoint, 0.0, 1.0, false, false});
  add("DpmSolverPP2SAncestral eta=0", with_order(2), DpmSolverPP2SAncestral{0.0});
  add("DpmSolverPPSde eta=0", with_order(2), DpmSolverPPSde{0.0});
  add("UniPc order=1", with_order(2), UniPc{1, UniPc::B::bh2, true, {}, true, false});
  add("UniPc", with_order(3), UniPc{2, UniPc::B::bh2, true, {}, true, false});
  add("UniPc bh1", with_order(3), UniPc{2, UniPc::B::bh1, true, {}, true, false});
  add("UniPc epsilon", with_order(3), UniPc{2, UniPc::B::bh2, true, {}, false, false});
  add("UniPc order=3", with_order(3), UniPc{3, UniPc::B::bh2, true, {}, true, false});
  add("UniPc order=2, no corrector", with_order(2), UniPc{2, UniPc::B::bh2, false, {}, true, false});
  add("Deis order=2", with_order(2), Deis{2, false});
  add("Deis", with_order(2), Deis{3, false});
  add("Pndm", with_clean_start(with_order(2)), Pndm{});
  add("Pndm with Runge-Kutta", with_clean_start(with_order(2)), Pndm{false});
  add("Ipndm", with_clean_start(with_order(2)), Ipndm{});
  add("FlowHeun", with_order(2), FlowHeun{});
  if constexpr (!diffusion::detail::is_adapted_v<Tensor> || diffusion::detail::has_error_norm_v<Tensor>) {
    add("DpmSolverAdaptive", adaptive, DpmSolverAdaptive{});
  }
  add("Tcd eta=0", with_clean_start(with_order(1)), Tcd{0.0});
  add("Ddpm", stochastic, Ddpm{});
  add("Ddpm fixed_large", stochastic, Ddpm{Ddpm::Variance::fixed_large});
  add("Ddim eta=1", stochastic, Ddim{1.0});
  add("Ddim eta=0.5", stochastic, Ddim{0.5});
  add("Euler churn", churning, Euler{{10.0}});
  add("EulerAncestral", stochastic, EulerAncestral{});
  add("Heun churn", churning, Heun{{10.0}});
  add("Dpm2 churn", churning, Dpm2{{10.0}});
  add("Dpm2Ancestral", stochastic, Dpm2Ancestral{});
  add("DpmSolverPP sde", stochastic, DpmSolverPP{2, midpoint, 1.0});
  add("DpmSolverPP order=3 sde", stochastic, DpmSolverPP{3, midpoint, 1.0});
  add("DpmSolver sde", stochastic, DpmSolver{2, midpoint, 1.0});
  add("DpmSolverSinglestep sde", blocks, DpmSolverSinglestep{2, midpoint, 1.0});
  add("DpmSolverSinglestep order=3 sde", blocks, DpmSolverSinglestep{3, midpoint, 1.0});
  add("DpmSolverPP2SAncestral", stochastic, DpmSolverPP2SAncestral{});
  add("DpmSolverPPSde", stochastic, DpmSolverPPSde{});
  add("Lcm", consistent, Lcm{10.0, 0.0});  // sigma_data = 0: no boundary term in x
  add("Tcd", trajectory, Tcd{});
  add("FlowHeun churn", churning, FlowHeun{{10.0}});
  return list;
}
