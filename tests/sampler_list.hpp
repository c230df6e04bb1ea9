/// @file sampler_list.hpp
/// Every sampler, for the tests that all must pass. A new one is a line here.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <diffusion/diffusion.hpp>

/// What tests hand to `sample`, with its type forgotten, so that each sampler is compiled once for each tensor.
template <class Tensor>
using ErasedDenoiser = std::function<void(const Tensor&, const diffusion::NoiseLevel&, diffusion::Prediction<Tensor>&)>;
template <class Tensor>
using ErasedNoise = std::function<void(Tensor&)>;

/// What the tests must know of a sampler. By default it is deterministic.
struct SamplerTraits {
  double order = 0;  // of a whole run's error; 0 for stochastic samplers and where steps do not follow the grid's
  bool stochastic = false;    // asks for noise
  bool goes_up = true;        // also takes steps to more noise; false for those that add noise for the step they take
  bool starts_clean = false;  // can start at sigma = 0
  bool redraws = false;    // draws noise in every step, whatever its length: all of it anew, or churn before the step
  bool in_blocks = false;  // the order of a step depends on its place in a block
  bool shares_steps = false;  // chooses its own steps for a whole batch
  bool consistency = false;   // is exact for a consistency model, which predicts where the ODE leads to
  bool converges = true;      // tends to the data's variance as steps grow short
};

template <class Tensor>
struct ListedSampler : SamplerTraits {
  std::string name;
  std::function<Tensor(const diffusion::TimeGrid&, const ErasedDenoiser<Tensor>&, const Tensor&,
                       const ErasedNoise<Tensor>&, const diffusion::Hooks<Tensor>&)>
      run;
};

template <class Tensor>
std::vector<ListedSampler<Tensor>> all_samplers() {
  using namespace diffusion;
  std::vector<ListedSampler<Tensor>> list;
  const auto add = [&list](std::string name, const SamplerTraits& traits, const auto& sampler) {
    list.push_back({traits, std::move(name),
                    [sampler](const TimeGrid& grid, const ErasedDenoiser<Tensor>& denoiser, const Tensor& x,
                              const ErasedNoise<Tensor>& noise, const Hooks<Tensor>& hooks) {
                      return sample(sampler, grid, denoiser, x, noise, hooks);
                    }});
  };
  const DpmSolverType heun = DpmSolverType::heun, midpoint = DpmSolverType::midpoint;
  const auto of_order = [](double order) {
    SamplerTraits traits;
    traits.order = order;
    return traits;
  };
  const auto starts_clean = [](SamplerTraits traits) {
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
  redrawing = starts_clean(churning);
  adaptive.goes_up = false;
  adaptive.shares_steps = true;
  SamplerTraits consistent = redrawing, trajectory = redrawing;
  consistent.consistency = true;
  trajectory.converges = false;  // the way down of Tcd does not grow short with the steps
  add("Ddim", starts_clean(of_order(1)), Ddim{});
  add("Euler", of_order(1), Euler{});
  add("EulerAncestral eta=0", of_order(1), EulerAncestral{0.0});
  add("Heun", of_order(2), Heun{});
  add("Dpm2", of_order(2), Dpm2{});
  add("Dpm2Ancestral eta=0", of_order(2), Dpm2Ancestral{0.0});
  // The orders of multistep methods rise from 1, and the first step's error stays: second order is what a run has of it.
  add("Lms order=1", starts_clean(of_order(1)), Lms{1});
  add("Lms order=2", starts_clean(of_order(2)), Lms{2});
  add("Lms order=3", starts_clean(of_order(2)), Lms{3});
  add("Lms", starts_clean(of_order(2)), Lms{});
  add("DpmSolverPP order=1", of_order(1), DpmSolverPP{1});
  add("DpmSolverPP", of_order(2), DpmSolverPP{2, midpoint, 0.0, 1.0, false});
  add("DpmSolverPP heun", of_order(2), DpmSolverPP{2, heun, 0.0, 1.0, false});
  add("DpmSolverPP order=3", of_order(2), DpmSolverPP{3, midpoint, 0.0, 1.0, false});
  add("DpmSolver order=1", of_order(1), DpmSolver{1});
  add("DpmSolver", of_order(2), DpmSolver{2, midpoint, 0.0, 1.0, false});
  add("DpmSolver heun", of_order(2), DpmSolver{2, heun, 0.0, 1.0, false});
  add("DpmSolver order=3", of_order(2), DpmSolver{3, midpoint, 0.0, 1.0, false});
  add("DpmSolverSinglestep", of_order(2), DpmSolverSinglestep{2, midpoint, 0.0, 1.0, true, false});
  add("DpmSolverSinglestep order=3", of_order(3), DpmSolverSinglestep{3, heun, 0.0, 1.0, true, false});
  add("DpmSolverSinglestep epsilon", of_order(2), DpmSolverSinglestep{2, midpoint, 0.0, 1.0, false, false});
  add("DpmSolverPP2SAncestral eta=0", of_order(2), DpmSolverPP2SAncestral{0.0});
  add("DpmSolverPPSde eta=0", of_order(2), DpmSolverPPSde{0.0});
  add("UniPc order=1", of_order(2), UniPc{1, UniPc::B::bh2, true, {}, true, false});
  add("UniPc", of_order(3), UniPc{2, UniPc::B::bh2, true, {}, true, false});
  add("UniPc bh1", of_order(3), UniPc{2, UniPc::B::bh1, true, {}, true, false});
  add("UniPc epsilon", of_order(3), UniPc{2, UniPc::B::bh2, true, {}, false, false});
  add("UniPc order=3", of_order(3), UniPc{3, UniPc::B::bh2, true, {}, true, false});
  add("UniPc order=2, no corrector", of_order(2), UniPc{2, UniPc::B::bh2, false, {}, true, false});
  add("Deis order=2", of_order(2), Deis{2, false});
  add("Deis", of_order(2), Deis{3, false});
  add("Pndm", starts_clean(of_order(2)), Pndm{});
  add("Pndm with Runge-Kutta", starts_clean(of_order(2)), Pndm{false});
  add("Ipndm", starts_clean(of_order(2)), Ipndm{});
  add("FlowHeun", of_order(2), FlowHeun{});
  add("DpmSolverAdaptive", adaptive, DpmSolverAdaptive{});
  add("Tcd eta=0", starts_clean(of_order(1)), Tcd{0.0});
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
  add("Lcm", consistent, Lcm{10.0, 0.0});  // without the boundary's share of x, which is for distilled models
  add("Tcd", trajectory, Tcd{});
  add("FlowHeun churn", churning, FlowHeun{{10.0}});
  return list;
}
