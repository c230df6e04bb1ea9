/// @file sampler_contract.hpp
/// The contract of samplers (diffusion/sampling.hpp), as the compiler checks it.
#pragma once

#include <optional>
#include <stdexcept>  // std::invalid_argument
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>  // std::declval

#include "../../detail/arguments.hpp"
#include "../../noise/noise_source.hpp"
#include "../steps.hpp"

namespace diffusion {
namespace detail {

/// The `noise` that samplers receive: the noise source and the device of the run. Their types are
/// erased, so that a sampler is compiled once per tensor type.
template <class Tensor>
class StepNoise {
 public:
  template <class Noise, class Device>
  StepNoise(Noise& noise, const Device& device)
      : noise_(const_cast<void*>(static_cast<const void*>(&noise))),
        device_(&device),
        fill_([](void* source, [[maybe_unused]] const void* on, Tensor& z) {
          constexpr bool is_tensor = is_tensor_v<Noise> || std::is_same_v<std::decay_t<Noise>, Tensor>;
          static_assert(!is_tensor,
                        "diffusion: a sampler may draw noise at every step: pass a noise source (RecordedNoise replays "
                        "tensors)");
          if constexpr (std::is_same_v<std::decay_t<Noise>, NoNoise>) {
            fail<std::invalid_argument>("sample", "this sampler needs noise: pass a noise source");
          } else if constexpr (!is_tensor) {
            draw(*static_cast<Noise*>(source), z, *static_cast<const Device*>(on));
          }
        }) {}

  /// Resizes z to the shape of x and fills it. A z that is not one of Eigen's tensors becomes a
  /// copy of x first, because it may also differ in its scalar type or the place of its memory.
  void operator()(Tensor& z, const Tensor& x) const {
    if constexpr (is_adapted_v<Tensor>) {
      z = x;
    } else {
      resize(z, shape(x));
    }
    fill_(noise_, device_, z);
    check_result("sample", "the noise", z, x, shape(x));
  }
  /// Fills z.
  void operator()(Tensor& z) const { fill_(noise_, device_, z); }

 private:
  void* noise_;
  const void* device_;
  void (*fill_)(void* source, const void* device, Tensor& z);
};

template <class Sampler, class Tensor, class = void>
inline constexpr bool is_sampler_v = false;

template <class Sampler, class Tensor>
inline constexpr bool is_sampler_v<Sampler, Tensor, std::void_t<typename Sampler::template State<Tensor>>> = true;

/// The optional members of a sampler: whether a Sampler has them. They must be const.
template <class Sampler, class = void>
inline constexpr bool has_check_v = false;
template <class Sampler>
inline constexpr bool has_check_v<Sampler, std::void_t<decltype(std::declval<Sampler&>().check())>> = true;

template <class Sampler, class Tensor, class = void>
inline constexpr bool has_begin_v = false;
template <class Sampler, class Tensor>
inline constexpr bool
    has_begin_v<Sampler, Tensor,
                std::void_t<decltype(std::declval<Sampler&>().begin(
                    std::declval<const Step&>(), std::declval<Tensor&>(), std::declval<const StepNoise<Tensor>&>(),
                    std::declval<typename std::remove_const_t<Sampler>::template State<Tensor>&>()))>> = true;

/// The type that advance() returns.
template <class Sampler, class Tensor>
using AdvanceResult = decltype(std::declval<const Sampler&>().advance(
    std::declval<const Step&>(), std::declval<const ModelCall&>(), std::declval<Tensor&>(),
    std::declval<Prediction<Tensor>&>(), std::declval<const StepNoise<Tensor>&>(),
    std::declval<typename Sampler::template State<Tensor>&>()));

/// Whether advance() can be called as the contract says, and returns void or the next level.
template <class Sampler, class Tensor, class = void>
inline constexpr bool has_advance_v = false;
template <class Sampler, class Tensor>
inline constexpr bool has_advance_v<Sampler, Tensor, std::void_t<AdvanceResult<Sampler, Tensor>>> =
    std::is_void_v<AdvanceResult<Sampler, Tensor>> ||
    std::is_same_v<AdvanceResult<Sampler, Tensor>, std::optional<NoiseLevel>>;

/// True if a Sampler has the members of a sampler; otherwise one static_assert says which is wrong.
template <class Sampler, class Tensor>
constexpr bool is_complete_sampler() {
  constexpr bool has_state = is_sampler_v<Sampler, Tensor>;
  static_assert(has_state,
                "diffusion: the first argument must be a sampler, such as diffusion::Ddim{}: a struct with a "
                "State<Tensor> and an advance");
  if constexpr (has_state) {
    constexpr bool advances = has_advance_v<Sampler, Tensor>;
    static_assert(advances,
                  "diffusion: a sampler needs a const member advance(step, call, x, prediction, noise, state) that "
                  "returns void or std::optional<NoiseLevel> (diffusion/sampling.hpp has the contract)");
    constexpr bool const_members = has_check_v<Sampler> == has_check_v<const Sampler> &&
                                   has_begin_v<Sampler, Tensor> == has_begin_v<const Sampler, Tensor>;
    static_assert(const_members, "diffusion: the members begin and check of a sampler must be const");
    return advances && const_members;
  }
  return false;
}

}  // namespace detail
}  // namespace diffusion
