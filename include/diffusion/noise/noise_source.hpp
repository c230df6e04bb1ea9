/// @file noise_source.hpp
/// Noise sources. A noise source is any callable noise(x) that fills the tensor x with independent
/// N(0, 1) values by logical index: the value of an element does not depend on the layout of x. A
/// source that can use an Eigen device is callable as noise(x, device) too. The sources of the
/// library are in the other headers of this folder.
#pragma once

#include <type_traits>

#include "../tensor.hpp"

namespace diffusion {

/// In place of a noise source where no noise is needed: DDIM with eta = 0.
struct NoNoise {};

namespace detail {

/// True if a noise source can fill an X; otherwise one static_assert says why not.
template <class X>
constexpr bool can_be_filled() {
  static_assert(is_writable_v<X>,
                "diffusion: a noise source fills a tensor that can be written to: an Eigen::Tensor, TensorMap or "
                "TensorFixedSize that is not const");
  if constexpr (is_writable_v<X>) {
    static_assert(is_scalar_v<typename Traits<X>::Scalar>,
                  "diffusion: the scalar type of noise must be float, double, long double, Eigen::half or "
                  "Eigen::bfloat16");
    return is_scalar_v<typename Traits<X>::Scalar>;
  }
  return false;
}

/// Fills x with noise: noise(x), or noise(x, device) if the source can use the device.
template <class Noise, class X, class Device>
void draw(Noise& noise, X& x, const Device& device) {
  if constexpr (std::is_invocable_v<Noise&, X&, const Device&>) {
    noise(x, device);
  } else {
    static_assert(
        std::is_invocable_v<Noise&, X&>,
        "diffusion: noise must be a tensor of x's shape or a noise source, a callable noise(x) that fills the "
        "tensor x");
    if constexpr (std::is_invocable_v<Noise&, X&>) noise(x);
  }
}

}  // namespace detail
}  // namespace diffusion
