/// Tests of diffusion/detail/math/random_bits.hpp.
#include "diffusion/detail/math/random_bits.hpp"

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "catch.hpp"

namespace random_bits_tests {

namespace {

/// An engine of the numbers 7 to 2^31 + 7, of which the last is one too many for 31 bits.
struct Engine31 {
  static constexpr std::uint32_t min() { return 7; }
  static constexpr std::uint32_t max() { return 0x80000007u; }
  std::uint32_t operator()() { return numbers[calls++] + 7; }

  std::vector<std::uint32_t> numbers;  // without min
  std::size_t calls = 0;
};

}  // namespace

TEST_CASE("bits_in returns floor(log2(x + 1))", "[random_bits]") {
  using diffusion::detail::bits_in;
  CHECK(bits_in(0) == 0);
  CHECK(bits_in(1) == 1);
  CHECK(bits_in(2) == 1);
  CHECK(bits_in(3) == 2);
  CHECK(bits_in(2147483645) == 30);
  CHECK(bits_in(0xFFFFFFFF) == 32);
  CHECK(bits_in(~std::uint64_t{0} - 1) == 63);
  CHECK(bits_in(~std::uint64_t{0}) == 64);
}

TEST_CASE("random_bits concatenates draws, takes the highest bits of the last one and rejects those of 2^m or more",
          "[random_bits]") {
  using diffusion::detail::random_bits;
  Engine31 engine{{0x40000000u, 0x80000000u, 0x3FFFFFFFu, 0x55555555u, 0x80000000u, 0x40000001u, 0x7FFFFFFFu, 1u}};
  CHECK(random_bits(engine, 0) == 0);
  CHECK(engine.calls == 0);
  CHECK(random_bits(engine, 1) == 1);  // the highest of 31 bits
  CHECK(random_bits(engine, 1) == 0);  // after a rejected draw
  CHECK(engine.calls == 3);
  CHECK(random_bits(engine, 32) == 0xAAAAAAABu);  // 31 bits, a rejected draw, and 1 bit
  CHECK(engine.calls == 6);
  CHECK(random_bits(engine, 62) == (std::uint64_t{0x7FFFFFFF} << 31 | 1));
}

TEST_CASE("random_bits takes up to 64 bits from one draw of 64 bits", "[random_bits]") {
  for (const int bits : {1, 32, 53, 63, 64}) {
    INFO(bits << " bits");
    std::mt19937_64 engine, same;
    CHECK(diffusion::detail::random_bits(engine, bits) == same() >> (64 - bits));
    CHECK(engine == same);
  }
}

}  // namespace random_bits_tests
