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

template <class Tensor>
struct ListedSampler {
  std::string name;
  double order;     // of a whole run's error, deterministic ones
  bool stochastic;  // asks for noise
  std::function<Tensor(const diffusion::TimeGrid&, const ErasedDenoiser<Tensor>&, const Tensor&,
                       const ErasedNoise<Tensor>&, const diffusion::Hooks<Tensor>&)>
      run;
};

template <class Tensor>
std::vector<ListedSampler<Tensor>> all_samplers() {
  using namespace diffusion;
  std::vector<ListedSampler<Tensor>> list;
  const auto add = [&list](std::string name, double order, bool stochastic, const auto& sampler) {
    list.push_back({std::move(name), order, stochastic,
                    [sampler](const TimeGrid& grid, const ErasedDenoiser<Tensor>& denoiser, const Tensor& x,
                              const ErasedNoise<Tensor>& noise, const Hooks<Tensor>& hooks) {
                      return sample(sampler, grid, denoiser, x, noise, hooks);
                    }});
  };
  const DpmSolverType heun = DpmSolverType::heun, midpoint = DpmSolverType::midpoint;
  constexpr bool deterministic = false, stochastic = true;
  add("Ddim", 1, deterministic, Ddim{});
  add("Euler", 1, deterministic, Euler{});
  add("EulerAncestral eta=0", 1, deterministic, EulerAncestral{0.0});
  add("Heun", 2, deterministic, Heun{});
  add("Dpm2", 2, deterministic, Dpm2{});
  add("Dpm2Ancestral eta=0", 2, deterministic, Dpm2Ancestral{0.0});
  // The orders of multistep methods rise from 1, and the first step's error stays: second order is what a run has of it.
  add("Lms order=1", 1, deterministic, Lms{1});
  add("Lms order=2", 2, deterministic, Lms{2});
  add("Lms order=3", 2, deterministic, Lms{3});
  add("Lms", 2, deterministic, Lms{});
  add("DpmSolverPP order=1", 1, deterministic, DpmSolverPP{1});
  add("DpmSolverPP", 2, deterministic, DpmSolverPP{2, midpoint, 0.0, 1.0, false});
  add("DpmSolverPP heun", 2, deterministic, DpmSolverPP{2, heun, 0.0, 1.0, false});
  add("DpmSolverPP order=3", 2, deterministic, DpmSolverPP{3, midpoint, 0.0, 1.0, false});
  add("DpmSolver order=1", 1, deterministic, DpmSolver{1});
  add("DpmSolver", 2, deterministic, DpmSolver{2, midpoint, 0.0, 1.0, false});
  add("DpmSolver heun", 2, deterministic, DpmSolver{2, heun, 0.0, 1.0, false});
  add("DpmSolver order=3", 2, deterministic, DpmSolver{3, midpoint, 0.0, 1.0, false});
  add("DpmSolverSinglestep", 2, deterministic, DpmSolverSinglestep{2, midpoint, 0.0, 1.0, true, false});
  add("DpmSolverSinglestep order=3", 3, deterministic, DpmSolverSinglestep{3, heun, 0.0, 1.0, true, false});
  add("DpmSolverSinglestep epsilon", 2, deterministic, DpmSolverSinglestep{2, midpoint, 0.0, 1.0, false, false});
  add("DpmSolverPP2SAncestral eta=0", 2, deterministic, DpmSolverPP2SAncestral{0.0});
  add("DpmSolverPPSde eta=0", 2, deterministic, DpmSolverPPSde{0.0});
  add("UniPc order=1", 2, deterministic, UniPc{1, UniPc::B::bh2, true, {}, true, false});
  add("UniPc", 3, deterministic, UniPc{2, UniPc::B::bh2, true, {}, true, false});
  add("UniPc bh1", 3, deterministic, UniPc{2, UniPc::B::bh1, true, {}, true, false});
  add("UniPc epsilon", 3, deterministic, UniPc{2, UniPc::B::bh2, true, {}, false, false});
  add("UniPc order=3", 3, deterministic, UniPc{3, UniPc::B::bh2, true, {}, true, false});
  add("UniPc order=2, no corrector", 2, deterministic, UniPc{2, UniPc::B::bh2, false, {}, true, false});
  add("Deis order=2", 2, deterministic, Deis{2, false});
  add("Deis", 2, deterministic, Deis{3, false});
  add("Pndm", 2, deterministic, Pndm{});
  add("Pndm with Runge-Kutta", 2, deterministic, Pndm{false});
  add("Ipndm", 2, deterministic, Ipndm{});
  add("FlowEuler", 1, deterministic, FlowEuler{});
  add("FlowHeun", 2, deterministic, FlowHeun{});
  add("DpmSolverAdaptive", 0, deterministic, DpmSolverAdaptive{});  // its steps do not follow the grid's
  add("Tcd eta=0", 1, deterministic, Tcd{0.0});
  add("Ddpm", 0, stochastic, Ddpm{});
  add("Ddpm fixed_large", 0, stochastic, Ddpm{Ddpm::Variance::fixed_large});
  add("Ddim eta=1", 0, stochastic, Ddim{1.0});
  add("Ddim eta=0.5", 0, stochastic, Ddim{0.5});
  add("Euler churn", 0, stochastic, Euler{{10.0}});
  add("EulerAncestral", 0, stochastic, EulerAncestral{});
  add("Heun churn", 0, stochastic, Heun{{10.0}});
  add("Dpm2 churn", 0, stochastic, Dpm2{{10.0}});
  add("Dpm2Ancestral", 0, stochastic, Dpm2Ancestral{});
  add("DpmSolverPP sde", 0, stochastic, DpmSolverPP{2, midpoint, 1.0});
  add("DpmSolverPP order=3 sde", 0, stochastic, DpmSolverPP{3, midpoint, 1.0});
  add("DpmSolver sde", 0, stochastic, DpmSolver{2, midpoint, 1.0});
  add("DpmSolverSinglestep sde", 0, stochastic, DpmSolverSinglestep{2, midpoint, 1.0});
  add("DpmSolverSinglestep order=3 sde", 0, stochastic, DpmSolverSinglestep{3, midpoint, 1.0});
  add("DpmSolverPP2SAncestral", 0, stochastic, DpmSolverPP2SAncestral{});
  add("DpmSolverPPSde", 0, stochastic, DpmSolverPPSde{});
  add("Lcm", 0, stochastic, Lcm{10.0, 0.0});  // without the boundary's share of x, which is for distilled models
  add("Tcd", 0, stochastic, Tcd{});
  add("FlowHeun churn", 0, stochastic, FlowHeun{{10.0}});
  add("FlowEuler stochastic", 0, stochastic, FlowEuler{true});
  return list;
}
