/// @file sampler_list.hpp
/// All samplers, for the tests that every sampler must pass. Register a new one with one
/// line in all_samplers.hpp.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <diffusion/diffusion.hpp>

/// Type-erased arguments of `sample`, so that each sampler is compiled once per tensor type.
template <class Tensor>
using ErasedDenoiser = std::function<void(const Tensor&, const diffusion::NoiseLevel&, diffusion::Prediction<Tensor>&)>;
template <class Tensor>
using ErasedNoise = std::function<void(Tensor&)>;

/// Properties of a sampler that the tests need. The defaults are those of a deterministic sampler.
struct SamplerTraits {
  /// Order of convergence of a whole run. 0 if the sampler is stochastic or chooses its own steps.
  double order = 0;
  bool stochastic = false;    // draws noise
  bool goes_up = true;        // can step to a higher noise level
  bool starts_clean = false;  // can start at sigma = 0
  bool redraws = false;       // draws noise even in a zero-length step: full re-noising or churn
  bool in_blocks = false;     // the order of a step depends on its position in a block
  bool shares_steps = false;  // chooses its own steps for the whole batch
  bool consistency = false;   // is exact for a consistency model, which predicts the ODE's end point
  bool converges = true;      // reaches the data's variance as the steps become short
};

/// A run of a listed sampler.
template <class Tensor>
using ListedRun =
    diffusion::SamplingRun<diffusion::AnySampler<Tensor>, Tensor, ErasedNoise<Tensor>, diffusion::DeviceRef>;

/// A sampler with its name for messages and its properties.
template <class Tensor>
struct ListedSampler : SamplerTraits {
  std::string name;
  /// Calls sample() with the sampler itself.
  std::function<Tensor(const diffusion::TimeGrid&, const ErasedDenoiser<Tensor>&, const Tensor&,
                       const ErasedNoise<Tensor>&, const diffusion::Hooks<Tensor>&)>
      run;
  diffusion::AnySampler<Tensor> any;

  /// Begins a SamplingRun with the sampler as an AnySampler.
  ListedRun<Tensor> begin(const diffusion::TimeGrid& grid, const Tensor& x, const ErasedNoise<Tensor>& noise,
                          const diffusion::Hooks<Tensor>& hooks, const diffusion::DeviceRef& device) const {
    return {any, grid, x, noise, hooks, device};
  }
};

/// A grid of n steps of Stable Diffusion's process.
inline diffusion::TimeGrid trailing_grid(Eigen::Index n) {
  static const diffusion::GaussianDiffusion<double> process(diffusion::scaled_linear_beta_schedule(1000));
  return timestep_grid(process, diffusion::TimestepSpacing::trailing, n);
}

/// The samplers for a tensor type; defined in all_samplers.hpp. sampler_list.cpp has it for tensors
/// of rank 2 of each scalar type and layout.
template <class Tensor>
std::vector<ListedSampler<Tensor>> all_samplers();
