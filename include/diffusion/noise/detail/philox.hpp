/// @file philox.hpp
/// Philox4x32-10, a counter-based generator: 128 random bits as a function of a 128-bit counter and
/// a 64-bit key. It uses integers only, so that its words are the same on every platform. Source:
/// Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "simd.hpp"

namespace diffusion {
namespace detail {

/// A block of counters: four words per lane.
using CounterBlock = std::array<Lanes<std::uint32_t>, 4>;

/// The random words of a block of counters: four per lane.
using WordBlock = std::array<Lanes<std::uint32_t>, 4>;

/// A 64-bit key, low word first.
using PhiloxKey = std::array<std::uint32_t, 2>;

/// The key of the next round. The fractional bits of the golden ratio are added to k0, and those of
/// sqrt(3) - 1 to k1.
inline PhiloxKey next_round(PhiloxKey key) { return {key[0] + 0x9E3779B9u, key[1] + 0xBB67AE85u}; }

/// The state of one counter, or of one counter per lane of a register.
template <class Word>
struct PhiloxState {
  Word c0, c1, c2, c3;

  /// One of the ten rounds; hi and lo are the halves of a 64-bit product:
  ///
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

/// The random words of one counter. They agree with the known-answer tests of Random123.
inline std::array<std::uint32_t, 4> philox4x32_10(const std::array<std::uint32_t, 4>& counter, PhiloxKey key) {
  PhiloxState<std::uint64_t> s{counter[0], counter[1], counter[2], counter[3]};
  for (int round = 0; round < 10; ++round, key = next_round(key)) s.round(key[0], key[1]);
  return {static_cast<std::uint32_t>(s.c0), static_cast<std::uint32_t>(s.c1), static_cast<std::uint32_t>(s.c2),
          static_cast<std::uint32_t>(s.c3)};
}

/// The keys of the ten rounds, each repeated in every lane of a register of type Words.
template <class Words = detail::Words>
struct PhiloxKeys {
  explicit PhiloxKeys(PhiloxKey key) {
    for (std::size_t round = 0; round < 10; ++round, key = next_round(key)) {
      k0[round] = Words{} + key[0];
      k1[round] = Words{} + key[1];
    }
  }
  Words k0[10], k1[10];
};

/// The random words of a block of counters. Not inlined, because g++ runs out of registers when
/// this is part of a larger function.
template <class Words>
[[gnu::noinline]] void philox4x32_10(const CounterBlock& counter, const PhiloxKeys<Words>& keys, WordBlock& words) {
  // A register of 32-bit words is split into two of 64-bit lanes, for the words in even and in odd
  // places. The work on one hides the latency of the other's products. AVX-512 has enough registers
  // for two such pairs.
  constexpr std::size_t width = sizeof(Words) / sizeof(std::uint32_t), pairs = sizeof(Words) == 64 ? 2 : 1;
  for (std::size_t i = 0; i < lane_count; i += pairs * width) {
    std::array<PhiloxState<Words>, pairs> even, odd;
    for (std::size_t p = 0; p < pairs; ++p) {
      const auto word = [&](std::size_t k) { return read_as<Words>(counter[k].at + i + p * width); };
      even[p] = {word(0), word(1), word(2), word(3)};
      odd[p] = {word(0) >> 32, word(1) >> 32, word(2) >> 32, word(3) >> 32};
    }
    for (std::size_t round = 0; round < 10; ++round) {
      for (std::size_t p = 0; p < pairs; ++p) {
        even[p].round(keys.k0[round], keys.k1[round]);
        odd[p].round(keys.k0[round], keys.k1[round]);
      }
    }
    for (std::size_t p = 0; p < pairs; ++p) {
      const auto keep = [&](std::size_t k, Words e, Words o) {
        write(words[k].at + i + p * width, (e & 0xFFFFFFFFu) | (o << 32));
      };
      keep(0, even[p].c0, odd[p].c0);
      keep(1, even[p].c1, odd[p].c1);
      keep(2, even[p].c2, odd[p].c2);
      keep(3, even[p].c3, odd[p].c3);
    }
  }
}

}  // namespace detail
}  // namespace diffusion
