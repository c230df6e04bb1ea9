/// Tests of diffusion/detail/math/random_bits.hpp.
#include "diffusion/detail/math/random_bits.hpp"

#include <cstdint>

#include "catch.hpp"

TEST_CASE("bits_in returns floor(log2(x + 1))", "[random_bits]") {
  using diffusion::detail::bits_in;
  CHECK(bits_in(1) == 1);
  CHECK(bits_in(2) == 1);
  CHECK(bits_in(3) == 2);
  CHECK(bits_in(2147483645) == 30);
  CHECK(bits_in(0xFFFFFFFF) == 32);
  CHECK(bits_in(~std::uint64_t{0} - 1) == 63);
  CHECK(bits_in(~std::uint64_t{0}) == 64);
}
