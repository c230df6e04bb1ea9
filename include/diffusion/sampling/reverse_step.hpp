/// @file reverse_step.hpp
/// The options, results and workspace of a ReverseProcess.
#pragma once

#include <unsupported/Eigen/CXX11/Tensor>

#include "../model/parameterization.hpp"

namespace diffusion {

/// How a ReverseProcess calls its model and reads the output.
struct ReverseOptions {
  ModelMeanType mean_type = ModelMeanType::epsilon;   ///< the quantity that the model predicts
  ModelVarType var_type = ModelVarType::fixed_small;  ///< the variance of p(x_{t-1} | x_t)
  bool clip_denoised = true;                          ///< limits the prediction of x_0 to [-1, 1]
  bool rescale_timesteps = false;                     ///< model time = t * 1000 / original_num_timesteps
};

/// The moments of p(x_{t-1} | x_t), and the prediction of x_0 that they are computed from. All four
/// tensors have x_t's shape.
template <class Tensor>
struct PMeanVariance {
  Tensor mean;          ///< mean of p(x_{t-1} | x_t)
  Tensor variance;      ///< variance of p(x_{t-1} | x_t)
  Tensor log_variance;  ///< its logarithm; for fixed_small finite even at t = 0, where the variance is 0
  Tensor pred_xstart;   ///< predicted x_0
};

/// The result of one sampling step, and the prediction of x_0 that it is computed from. Both
/// tensors have x_t's shape.
template <class Tensor>
struct ReverseStep {
  Tensor sample;       ///< x_{t-1}, or x_{t+1} for ddim_reverse_sample
  Tensor pred_xstart;  ///< predicted x_0
};

/// Workspace of a step. Its tensors are allocated at first use, and again when the shape of x
/// changes. A workspace serves one thread at a time. Tensor: the plain tensor type of x.
template <class Tensor>
struct ReverseWorkspace {
  Eigen::Tensor<typename Tensor::Scalar, 1> model_t;  ///< model time of each sample
  Tensor output;                                      ///< output of the model
  Tensor gradient;                                    ///< output of cond_fn
  Tensor noise;                                       ///< noise drawn from a noise source
  Tensor mean;                                        ///< output of a previous_x model, without its variance channels
  Tensor values;                                      ///< variance channels of the output, its second half
};

}  // namespace diffusion
