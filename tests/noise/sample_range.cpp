// Tests of diffusion/noise/sample_range.hpp.
#include <diffusion/noise/sample_range.hpp>
#include <stdexcept>

#include "matchers.hpp"

namespace sample_range_tests {

using diffusion::sample_range;
using Eigen::Index;

TEST_CASE("sample_range gives every sample to one rank, in order, in equal shares up to one", "[sample_range]") {
  for (const Index count : {0, 1, 2, 7, 64, 1000}) {
    for (const Index size : {1, 2, 3, 5, 64, 1001}) {
      Index next = 0;
      for (Index rank = 0; rank < size; ++rank) {
        const auto range = sample_range(count, rank, size);
        REQUIRE(range.begin == next);
        REQUIRE((range.size() == count / size || range.size() == count / size + 1));
        next = range.end;
      }
      REQUIRE(next == count);
    }
  }
  const Index huge = Index(1) << 62;
  CHECK(sample_range(huge, 99999, 100000).end == huge);
}

TEST_CASE("sample_range refuses counts and ranks that are out of range", "[sample_range]") {
  CHECK_THAT(error_message<std::invalid_argument>([&] { (void)sample_range(-1, 0, 1); }),
             ContainsSubstring("sample_range: count = -1"));
  CHECK_THAT(error_message<std::invalid_argument>([&] { (void)sample_range(1, 0, 0); }),
             ContainsSubstring("sample_range: size = 0"));
  CHECK_THAT(error_message<std::out_of_range>([&] { (void)sample_range(1, 2, 2); }),
             ContainsSubstring("sample_range: rank = 2 is outside [0, 2)"));
  CHECK_THAT(error_message<std::out_of_range>([&] { (void)sample_range(1, -1, 2); }), ContainsSubstring("rank = -1"));
}

}  // namespace sample_range_tests
