/// @file random_bits.hpp
/// Bits from a uniform random bit generator of the standard library's kind, the same on every platform:
/// std::uniform_real_distribution and its kin are not.
#pragma once

#include <algorithm>  // std::min
#include <cstdint>
#include <type_traits>
#include <utility>  // std::declval

namespace diffusion {
namespace detail {

template <class E, class = void>
inline constexpr bool is_bit_generator_v = false;
template <class E>
inline constexpr bool is_bit_generator_v<
    E, std::enable_if_t<std::is_unsigned_v<decltype(std::declval<E&>()())> && ((E::min)() < (E::max)())>> = true;

/// floor(log2(x + 1)): how many bits a number from 0 to x gives.
constexpr int bits_in(std::uint64_t x) {
  int bits = 0;
  while (bits < 64 && ~std::uint64_t{0} >> (63 - bits) <= x) ++bits;
  return bits;
}

/// So many random bits, at most 64, as a number. A number of the engine gives its m bits, m = floor(log2(max - min + 1)),
/// after subtraction of min; one of 2^m or more is passed over. The highest bits of as many numbers as it takes are used,
/// those of the first number as the highest bits; what is left of the last is dropped.
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
    // Shifts by 64 are undefined; there is nothing to shift then.
    result = take == 64 ? number : (result << take) | (number >> (width - take));
    bits -= take;
  }
  return result;
}

/// A double uniform on [0, 1): a multiple of 2^-53, each equally likely.
template <class Engine>
double uniform_unit(Engine& engine) {
  return static_cast<double>(random_bits(engine, 53)) * 0x1p-53;
}

}  // namespace detail
}  // namespace diffusion
