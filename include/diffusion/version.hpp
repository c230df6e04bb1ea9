/// @file version.hpp
/// The version of the library and its release notes. CMake reads the version from this file.
///
/// Release notes of 0.2.0
///
/// Fixed:
/// - A run that starts part-way along a grid takes the same steps as the whole run. Step::index and
///   Step::count refer to the whole grid, and Step::first marks the first step of a run.
/// - Noise is correct in programs whose object files are compiled for different instruction sets.
/// - Hooks::correct_x_t is also called at the end of a run that Hooks::stop has ended.
/// - Thresholding makes a sample of x_0 NaN if one of its values is not finite.
/// - DpmSolverAdaptive takes the same steps in both layouts.
/// - Multistep samplers, Lms and Tcd reach pure noise on a reversed grid. They returned NaN.
///
/// New:
/// - SamplingRun, a run that asks for predictions: for models that cannot be called from sample(),
///   for checkpoints, and for control loops. It replaces sample_into(). Samplers have advance(),
///   which takes a prediction, in place of step(), which called the model.
/// - Samplers and denoisers on torch::Tensor (interop/torch.hpp) and on any type with
///   TensorOperations.
/// - sample(), SamplingRun and Denoiser take an Eigen device.
/// - Ipndm::lower_order_final.
/// - AnySampler, which holds any sampler for a tensor type. named_sampler and named_sigmas find
///   samplers and sigmas by the names of other programs (interop/names.hpp and sigma_names.hpp).
/// - read_diffusers_config, which makes the grid, the sampler and the denoiser's options of a
///   scheduler_config.json (interop/diffusers_config.hpp). DenoiserOptions::output_scale and
///   edm_time.
/// - Samples and training losses over the processes of MPI (interop/mpi.hpp).
/// - Hooks::observe_x_start, and sample() takes hooks without noise.
/// - Denoiser::model_input, Denoiser::model_time and Denoiser::prediction.
/// - q_mean, q_variance, q_posterior_mean and q_posterior_variance.
/// - TorchHalf, and support for Eigen 5.
/// - Functions that return a tensor or a changed copy are `[[nodiscard]]`.
/// - Public helpers for new samplers: the functions of sampling/steps.hpp, History, and the
///   exponential integrators of sampling/exponential.hpp.
///
/// Removed: FlowEuler. FlowEuler{} equals Euler{} and FlowEuler{true} equals Lcm{10.0, 0.0}, bit
/// for bit.
///
/// Headers are grouped into folders by subject: noise, process, model, guidance, sampling and
/// training. `<diffusion/FOLDER.hpp>` includes a whole folder. `<diffusion/diffusion.hpp>` still
/// includes the whole library. The headers noise.hpp, guidance.hpp and sampling.hpp still exist and
/// include their folders. Moved headers:
///
///     adaptive_projected_guidance.hpp -> guidance/adaptive_projected.hpp
///     classifier_guidance.hpp         -> guidance/classifier.hpp
///     denoiser.hpp                    -> model/denoiser.hpp
///     detail/dpm_stages.hpp           -> sampling/exponential.hpp
///     detail/exponential_step.hpp     -> sampling/exponential.hpp
///     detail/history.hpp              -> sampling/history.hpp
///     detail/level_steps.hpp          -> sampling/steps.hpp
///                                        sampling/churn.hpp
///     detail/multistep.hpp            -> sampling/exponential.hpp
///     gaussian_diffusion.hpp          -> process/gaussian_diffusion.hpp
///     guidance.hpp                    -> guidance/classifier_free.hpp
///                                        guidance/guided_model.hpp
///                                        guidance/cfg_plus_plus.hpp
///     jax_noise.hpp                   -> noise/jax_noise.hpp
///     likelihood.hpp                  -> training/likelihood.hpp
///     loss_weights.hpp                -> training/loss_weights.hpp
///     losses.hpp                      -> training/losses.hpp
///     noise.hpp                       -> noise/philox_noise.hpp
///                                        noise/engine_noise.hpp
///                                        noise/recorded_noise.hpp
///                                        noise/noise_source.hpp
///     noise_level.hpp                 -> process/noise_level.hpp
///     numpy_noise.hpp                 -> noise/numpy_noise.hpp
///     respacing.hpp                   -> process/respacing.hpp
///     reverse_process.hpp             -> sampling/reverse_process.hpp
///     reverse_types.hpp               -> model/parameterization.hpp
///                                        model/prediction.hpp
///                                        sampling/reverse_process.hpp
///     samplers/*.hpp                  -> sampling/samplers/*.hpp
///     samplers/flow_euler.hpp         -> removed
///     sampling.hpp                    -> sampling/sample.hpp
///     schedules.hpp                   -> process/schedules.hpp
///     sigmas.hpp                      -> sampling/sigmas.hpp
///     time_grid.hpp                   -> sampling/time_grid.hpp
///     timestep_samplers.hpp           -> training/timestep_samplers.hpp
///     timestep_spacing.hpp            -> sampling/timesteps.hpp
///     torch_noise.hpp                 -> noise/torch_noise.hpp
///     variational_bound.hpp           -> training/variational_bound.hpp
#pragma once

/// Major version.
#define DIFFUSION_VERSION_MAJOR 0
/// Minor version.
#define DIFFUSION_VERSION_MINOR 2
/// Patch version.
#define DIFFUSION_VERSION_PATCH 0
