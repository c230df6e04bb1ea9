/// @file prediction.hpp
/// The result of a denoiser: its estimates of x_0 and epsilon.
#pragma once

#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>

#include "../tensor.hpp"

namespace diffusion {

namespace detail {

/// The type of the model times of a batch: `Eigen::Tensor<Scalar, 1>`, the Times of
/// TensorOperations, or double if there is no such type.
template <class Tensor, class = void>
struct ModelTimes {
  using type = double;
};
template <class Tensor>
struct ModelTimes<Tensor, std::enable_if_t<is_tensor_v<Tensor>>> {
  using type = Eigen::Tensor<typename Traits<Tensor>::Scalar, 1>;
};
template <class Tensor>
struct ModelTimes<Tensor, std::void_t<typename TensorOperations<Tensor>::Times>> {
  using type = typename TensorOperations<Tensor>::Times;
};

}  // namespace detail

/// A model's estimates of x_0 and epsilon in x = alpha x_0 + sigma epsilon. Tensor is the plain
/// tensor type of x. Use one Prediction per thread, because it contains a workspace.
template <class Tensor>
struct Prediction {
  Tensor x_start;  ///< estimate of x_0, of x's shape
  Tensor epsilon;  ///< estimate of epsilon, of x's shape

  /// The workspace of the denoiser that fills the Prediction. Filling it again for the same shape
  /// allocates nothing, unless the model does.
  struct Memory {
    typename detail::ModelTimes<Tensor>::type model_t;  ///< model time of each sample, [N]
    Tensor input;                                       ///< x, scaled for the model
    Tensor output;                                      ///< output that is neither x_0 nor epsilon; then |x_0|
    Tensor channels;                                    ///< output with learned variances
    Eigen::ArrayXd thresholds;                          ///< threshold of each sample
  } memory;                                             ///< the denoiser's workspace
};

}  // namespace diffusion
