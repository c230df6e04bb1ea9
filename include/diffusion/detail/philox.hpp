/// @file philox.hpp
/// Philox4x32-10, the counter-based generator of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as
/// 1, 2, 3" (SC 2011): 128 random bits as a function of a 128-bit counter and a 64-bit key. Integers only, so its words
/// are the same everywhere.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "simd.hpp"

namespace diffusion {
namespace detail {

/// The four words of every lane's counter, each in the low half of its 64 bits; the high half may hold anything.
using CounterBlock = std::array<Plane<std::uint64_t>, 4>;

/// Four random words of every lane.
using WordBlock = std::array<Plane<std::uint32_t>, 4>;

using PhiloxKey = std::array<std::uint32_t, 2>;

/// The key of the next round: k0 grows by the bits of the golden ratio, k1 by those of sqrt(3) - 1.
inline PhiloxKey next_round(PhiloxKey key) { return {key[0] + 0x9E3779B9u, key[1] + 0xBB67AE85u}; }

/// The state of one counter, or of a register full of them.
template <class Word>
struct PhiloxState {
  Word c0, c1, c2, c3;

  /// One of the ten rounds; hi and lo are the halves of a 64-bit product:
  ///     (c0, c1, c2, c3) <- (hi(M1 c2) ^ c1 ^ k0, lo(M1 c2), hi(M0 c0) ^ c3 ^ k1, lo(M0 c0))
  void round(Word k0, Word k1) {
    const Word product0 = product(c0, Word{} + 0xD2511F53u);
    const Word product1 = product(c2, Word{} + 0xCD9E8D57u);
    c0 = (product1 >> 32) ^ (c1 ^ k0);
    c1 = product1;
    c2 = (product0 >> 32) ^ (c3 ^ k1);
    c3 = product0;
  }
};

/// One counter. Its results are those of Random123's known-answer tests.
inline std::array<std::uint32_t, 4> philox4x32_10(const std::array<std::uint32_t, 4>& counter, PhiloxKey key) {
  PhiloxState<std::uint64_t> s{counter[0], counter[1], counter[2], counter[3]};
  for (int round = 0; round < 10; ++round, key = next_round(key)) s.round(key[0], key[1]);
  return {static_cast<std::uint32_t>(s.c0), static_cast<std::uint32_t>(s.c1), static_cast<std::uint32_t>(s.c2),
          static_cast<std::uint32_t>(s.c3)};
}

/// The keys of the ten rounds in every lane of a register.
struct PhiloxKeys {
  explicit PhiloxKeys(PhiloxKey key) {
    for (std::size_t round = 0; round < 10; ++round, key = next_round(key)) {
      k0[round] = Words{} + key[0];
      k1[round] = Words{} + key[1];
    }
  }
  Words k0[10], k1[10];
};

/// The words of a block of counters, which are used up.
inline void philox4x32_10(CounterBlock& counter, const PhiloxKeys& keys, WordBlock& words) {
  constexpr std::size_t width = sizeof(Words) / sizeof(std::uint64_t);
  const auto state = [&counter](std::size_t i) {
    return PhiloxState<Words>{load(counter[0].at + i), load(counter[1].at + i), load(counter[2].at + i),
                              load(counter[3].at + i)};
  };
  const auto keep = [&counter](std::size_t i, const PhiloxState<Words>& s) {
    store(counter[0].at + i, s.c0);
    store(counter[1].at + i, s.c1);
    store(counter[2].at + i, s.c2);
    store(counter[3].at + i, s.c3);
  };
  // Some rounds of all lanes, then the next, and two registers of each word at once: so that there is work which does not wait
  // for the product before it. With 8 lanes a register, storing costs more than waiting; hence more rounds.
  constexpr std::size_t rounds = width >= 8 ? 5 : 2;
  for (std::size_t first = 0; first < 10; first += rounds) {
    for (std::size_t i = 0; i < lanes; i += 2 * width) {
      PhiloxState<Words> s = state(i), t = state(i + width);
      for (std::size_t round = first; round < first + rounds; ++round) {
        s.round(keys.k0[round], keys.k1[round]);
        t.round(keys.k0[round], keys.k1[round]);
      }
      keep(i, s);
      keep(i + width, t);
    }
  }
  for (std::size_t k = 0; k < 4; ++k) {
    for (std::size_t i = 0; i < lanes; ++i) words[k].at[i] = static_cast<std::uint32_t>(counter[k].at[i]);
  }
}

}  // namespace detail
}  // namespace diffusion
