/// @file noise_source.hpp
/// The interface of a noise source. A noise source is any callable noise(x) that fills the tensor x
/// with independent N(0, 1) values. The value of an element depends on its index, not on the layout
/// of x. A source that can use an Eigen device is also callable as noise(x, device). A source that
/// fills only some tensor types X has a member `template <class X> static constexpr bool fills`.
/// The sources of the library are in the other headers of this folder.
#pragma once

#include <functional>  // std::reference_wrapper
#include <type_traits>
#include <utility>  // std::declval

#include "../tensor.hpp"

namespace diffusion {

/// Takes the place of a noise source where no noise is drawn, as in DDIM with eta = 0.
struct NoNoise {};

namespace detail {

/// True if a noise source can fill an X. Otherwise one readable static_assert fails.
template <class X>
constexpr bool can_be_filled() {
  static_assert(is_writable_v<X>,
                "diffusion: a noise source needs a writable tensor: a non-const Eigen::Tensor, TensorMap or "
                "TensorFixedSize");
  if constexpr (is_writable_v<X>) {
    static_assert(is_scalar_v<typename Traits<X>::Scalar>,
                  "diffusion: the scalar type of noise must be float, double, long double, Eigen::half or "
                  "Eigen::bfloat16");
    return is_scalar_v<typename Traits<X>::Scalar>;
  }
  return false;
}

/// Whether a Noise that fills Eigen tensors can fill an X, as its member `fills` says.
template <class Noise, class X, class = void>
inline constexpr bool can_fill_v = true;
template <class Noise, class X>
inline constexpr bool can_fill_v<Noise, X, std::void_t<decltype(Noise::template fills<X>)>> = Noise::template fills<X>;
template <class Noise, class X>
inline constexpr bool can_fill_v<std::reference_wrapper<Noise>, X> = can_fill_v<Noise, X>;

/// Whether TensorOperations<X> can fill an X by a Noise.
template <class Noise, class X, class = void>
inline constexpr bool has_fill_v = false;
template <class Noise, class X>
inline constexpr bool
    has_fill_v<Noise, X, std::void_t<decltype(TensorOperations<X>::fill(std::declval<X&>(), std::declval<Noise&>()))>> =
        true;

/// Fills x with noise: calls noise(x, device) if the source can use the device, otherwise noise(x).
/// A type with TensorOperations is filled by its `fill`, if it has one.
template <class Noise, class X, class Device>
void draw(Noise& noise, X& x, const Device& device) {
  if constexpr (has_fill_v<Noise, X>) {
    TensorOperations<X>::fill(x, noise);
  } else if constexpr (std::is_invocable_v<Noise&, X&, const Device&>) {
    noise(x, device);
  } else {
    static_assert(
        std::is_invocable_v<Noise&, X&>,
        "diffusion: noise must be a tensor of x's shape or a noise source that is not const, a callable noise(x) that "
        "fills the tensor x; for a sampler that draws none, pass {}");
    if constexpr (std::is_invocable_v<Noise&, X&>) noise(x);
  }
}

}  // namespace detail
}  // namespace diffusion
