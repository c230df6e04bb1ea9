/// @file reverse_types.hpp
/// The vocabulary of the reverse process: what a model's output means, and what comes of it.
#pragma once

#include <unsupported/Eigen/CXX11/Tensor>

namespace diffusion {

/// What the model predicts.
enum class ModelMeanType {
  previous_x,  // x_{t-1}: the mean of p(x_{t-1} | x_t)
  start_x,     // x_0
  epsilon,     // the noise in x_t
  velocity,    // v = sqrt(abar_t) epsilon - sqrt(1 - abar_t) x_0
  // The rest are for a Denoiser; a ReverseProcess refuses them.
  score,          // the gradient of log q(x_t): -epsilon / sqrt(1 - abar_t)
  flow_velocity,  // epsilon - x_0, the derivative of x = (1 - sigma) x_0 + sigma epsilon
  edm             // F of x_0 = c_skip x + c_out F(c_in x); Karras et al. 2022, Eq. (7)
};

/// What the variance of p(x_{t-1} | x_t) is.
enum class ModelVarType {
  learned,       // exp(v), where v is the second half of the model's channels
  fixed_small,   // posterior_variance; 0 at t = 0, where log_variance is that of t = 1
  fixed_large,   // beta_t; at t = 0 the posterior_variance of t = 1 (betas[0] when T = 1)
  learned_range  // log_variance = f log(beta_t) + (1 - f) posterior_log_variance_clipped, f = (v + 1) / 2
};

/// How a ReverseProcess reads its model.
struct ReverseOptions {
  ModelMeanType mean_type = ModelMeanType::epsilon;
  ModelVarType var_type = ModelVarType::fixed_small;
  bool clip_denoised = true;       // limit the prediction of x_0 to [-1, 1]
  bool rescale_timesteps = false;  // the model hears t * 1000 / original_num_timesteps
};

/// p(x_{t-1} | x_t), and the x_0 it was made from.
template <class Tensor>
struct PMeanVariance {
  Tensor mean;
  Tensor variance;
  Tensor log_variance;
  Tensor pred_xstart;
};

/// A step of sampling: the new x, and the x_0 it was made from.
template <class Tensor>
struct ReverseStep {
  Tensor sample;
  Tensor pred_xstart;
};

/// What a denoiser makes of x = alpha x_0 + sigma epsilon. `memory` is its own, taken at first use; one Prediction serves one
/// thread at a time. Tensor: the plain tensor type of x.
template <class Tensor>
struct Prediction {
  Tensor x_start;
  Tensor epsilon;
  struct Memory {
    Eigen::Tensor<typename Tensor::Scalar, 1> model_t;  // the time as the model hears it
    Tensor input;                                       // x at the scale that the model knows
    Tensor output;                                      // the model's, where it is neither x_start nor epsilon
    Tensor channels;                                    // the model's, where it has twice the channels
    Eigen::Array<double, Eigen::Dynamic, 1> magnitudes, thresholds;  // of dynamic thresholding
  } memory;
};

/// In place of noise where none is needed: DDIM with eta = 0.
struct NoNoise {};

/// What a step keeps between the call of the model and its result. It takes its memory at first use, and again when the shape
/// of x changes; it serves one thread at a time. Tensor: the plain tensor type of x.
template <class Tensor>
struct ReverseWorkspace {
  Eigen::Tensor<typename Tensor::Scalar, 1> model_t;  // the timesteps as the model hears them
  Tensor output;                                      // the model's
  Tensor gradient;                                    // cond_fn's
  Tensor noise;
  Tensor mean;    // of a model of previous_x
  Tensor values;  // the half of the output that learned variances are made from
};

}  // namespace diffusion
