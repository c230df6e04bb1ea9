/// @file random_bits.hpp
/// Random bits from a standard uniform random bit generator, the same on every platform. The
/// standard distributions, such as std::uniform_real_distribution, differ between platforms.
#pragma once

#include <algorithm>  // std::min
#include <cstdint>
#include <type_traits>
#include <utility>  // std::declval

namespace diffusion {
namespace detail {

/// Whether E is a uniform random bit generator, such as std::mt19937.
template <class E, class = void>
inline constexpr bool is_bit_generator_v = false;
template <class E>
inline constexpr bool is_bit_generator_v<
    E, std::enable_if_t<std::is_unsigned_v<decltype(std::declval<E&>()())> && ((E::min)() < (E::max)())>> = true;

/// floor(log2(x + 1)), the number of random bits in a uniform number from 0 to x.
constexpr int bits_in(std::uint64_t x) {
  int bits = 0;
  while (bits < 64 && ~std::uint64_t{0} >> (63 - bits) <= x) ++bits;
  return bits;
}

/// Returns an integer of `bits` random bits, at most 64. A draw is a number of the engine, minus
/// min. It has m random bits, and is rejected if it is 2^m or more:
///
///     m = floor(log2(max - min + 1))
///
/// Draws are concatenated, the first one as the highest bits. If the last draw has more bits than
/// needed, its highest bits are used.
template <class Engine>
std::uint64_t random_bits(Engine& engine, int bits) {
  constexpr std::uint64_t span = std::uint64_t{(Engine::max)()} - std::uint64_t{(Engine::min)()};
  constexpr int width = bits_in(span);
  constexpr std::uint64_t largest = ~std::uint64_t{0} >> (64 - width);  // 2^m - 1
  std::uint64_t result = 0;
  while (bits > 0) {
    std::uint64_t number = 0;
    do {
      number = std::uint64_t{engine()} - std::uint64_t{(Engine::min)()};
    } while (number > largest);
    const int take = (std::min)(bits, width);
    // A shift by 64 is undefined. Nothing needs to be shifted then.
    result = take == 64 ? number : (result << take) | (number >> (width - take));
    bits -= take;
  }
  return result;
}

/// Returns a double that is uniform on the multiples of 2^-53 in [0, 1).
template <class Engine>
double uniform_unit(Engine& engine) {
  return static_cast<double>(random_bits(engine, 53)) * 0x1p-53;
}

}  // namespace detail
}  // namespace diffusion
