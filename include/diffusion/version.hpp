/// @file version.hpp
/// The version of the library; the one place that states it (CMake reads it from here).
///
/// Release notes
///
/// 0.2.0: defects are mended: a run that starts part-way takes the steps of the whole run (Step::index
/// and Step::count are those of the whole grid; Step::first says that a run begins), noise is right
/// in programs whose object files are built for different instruction sets, Hooks::stop corrects x
/// once more, a value of x_0 that is not finite shows in its thresholded sample. New: sample() with
/// hooks and without noise, Denoiser::model_input, model_time and prediction, q_mean and q_variance
/// and their posterior forms, TorchHalf, Eigen 5. Value forms are [[nodiscard]].
///
/// Headers are in rooms, one for each subject: noise, process, model, guidance, sampling,
/// training. `<diffusion/ROOM.hpp>` includes all of a room, `<diffusion/diffusion.hpp>` the whole
/// library, as before. Removed: FlowEuler, which is Euler{}, and FlowEuler{true}, which is
/// Lcm{10.0, 0.0}, bit for bit. Public now, for writers of samplers: the functions of
/// sampling/steps.hpp, History, and the exponential integrators of sampling/exponential.hpp. Moved
/// includes (noise.hpp, guidance.hpp and sampling.hpp exist still, and include all of their rooms):
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

#define DIFFUSION_VERSION_MAJOR 0
#define DIFFUSION_VERSION_MINOR 2
#define DIFFUSION_VERSION_PATCH 0
