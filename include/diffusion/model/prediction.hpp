/// @file prediction.hpp
/// The answer of a denoiser.
#pragma once

#include <unsupported/Eigen/CXX11/Tensor>

namespace diffusion {

/// x_0 and epsilon in x = alpha x_0 + sigma epsilon, as a model has them. Tensor: the plain tensor
/// type of x. One Prediction serves one thread at a time.
template <class Tensor>
struct Prediction {
  Tensor x_start;
  Tensor epsilon;

  /// The workspace of the denoiser that fills the Prediction: a Prediction that is used again
  /// allocates nothing.
  struct Memory {
    Eigen::Tensor<typename Tensor::Scalar, 1> model_t;               // the model time of each sample
    Tensor input;                                                    // x as the model is given it
    Tensor output;                                                   // the output, where it is neither x_0 nor epsilon
    Tensor channels;                                                 // the output with learned variances
    Eigen::Array<double, Eigen::Dynamic, 1> magnitudes, thresholds;  // of dynamic thresholding
  } memory;
};

}  // namespace diffusion
