/// @file reverse_step.hpp
/// Arguments and results of a ReverseProcess: its options, the moments and the steps, and the
/// memory of a step.
#pragma once

#include <unsupported/Eigen/CXX11/Tensor>

#include "../model/parameterization.hpp"

namespace diffusion {

/// How a ReverseProcess reads its model.
struct ReverseOptions {
  ModelMeanType mean_type = ModelMeanType::epsilon;
  ModelVarType var_type = ModelVarType::fixed_small;
  bool clip_denoised = true;       ///< limit the prediction of x_0 to [-1, 1]
  bool rescale_timesteps = false;  ///< the model time is t * 1000 / original_num_timesteps
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

/// The memory of a step. It is allocated at first use, and again when the shape of x changes; it
/// serves one thread at a time. Tensor: the plain tensor type of x.
template <class Tensor>
struct ReverseWorkspace {
  Eigen::Tensor<typename Tensor::Scalar, 1> model_t;  // the model time of each sample
  Tensor output;                                      // the model's
  Tensor gradient;                                    // cond_fn's
  Tensor noise;
  Tensor mean;    // the output of a model of previous_x
  Tensor values;  // the half of the output that learned variances are made from
};

}  // namespace diffusion
