/// @file draw.hpp
/// How a noise source is asked for noise.
#pragma once

#include <type_traits>

namespace diffusion {
namespace detail {

/// noise(x), or noise(x, device) where the source can use the device.
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
