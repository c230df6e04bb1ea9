/// @file prediction.hpp
/// The result of a denoiser: its estimates of x_0 and epsilon.
#pragma once

#include <unsupported/Eigen/CXX11/Tensor>

namespace diffusion {

/// A model's estimates of x_0 and epsilon in x = alpha x_0 + sigma epsilon. Tensor is the plain
/// tensor type of x. Use one Prediction per thread, because it contains a workspace.
template <class Tensor>
struct Prediction {
  Tensor x_start;  ///< estimate of x_0, of x's shape
  Tensor epsilon;  ///< estimate of epsilon, of x's shape

  /// The workspace of the denoiser that fills the Prediction. Filling it again for the same shape
  /// allocates nothing, unless the model does.
  struct Memory {
    Eigen::Tensor<typename Tensor::Scalar, 1> model_t;  ///< model time of each sample, [N]
    Tensor input;                                       ///< x, scaled for the model
    Tensor output;                                      ///< output that is neither x_0 nor epsilon
    Tensor channels;                                    ///< output with learned variances
    Eigen::ArrayXd magnitudes;                          ///< |x_0| of a sample, for thresholding
    Eigen::ArrayXd thresholds;                          ///< threshold of each sample
  } memory;                                             ///< the denoiser's workspace
};

}  // namespace diffusion
