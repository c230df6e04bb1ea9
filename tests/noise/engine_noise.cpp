/// Tests of diffusion/noise/engine_noise.hpp.
#include "diffusion/noise/engine_noise.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <random>
#include <type_traits>

#include "matchers.hpp"
#include "noise_reference.hpp"

namespace engine_noise_tests {

using diffusion::EngineNoise;
using Eigen::ColMajor;
using Eigen::Index;
using Eigen::RowMajor;
using noise_reference::box_muller;
using noise_reference::filled;
using noise_reference::Tensor;
using noise_reference::ulps;

namespace {

/// The random integers that EngineNoise forms from each engine, written out by hand.
std::uint64_t uniform(std::mt19937& engine, int bits) {
  const std::uint64_t first = engine();
  return bits == 32 ? first : first << 32 | engine();
}
std::uint64_t uniform(std::mt19937_64& engine, int bits) { return engine() >> (64 - bits); }
std::uint64_t uniform(std::minstd_rand& engine, int bits) {
  // minstd_rand gives 1 .. 2^31 - 2. x - 1 gives 30 bits; values of 2^30 or more are skipped.
  const auto thirty = [&engine] {
    std::uint64_t x = engine() - 1;
    while (x >= 1u << 30) x = engine() - 1;
    return x;
  };
  const std::uint64_t a = thirty(), b = thirty();
  return bits == 32 ? a << 2 | b >> 28 : a << 34 | b << 4 | thirty() >> 26;
}

template <class T, class Engine>
void check_engine_noise() {
  constexpr int bits = std::is_same_v<T, float> ? 32 : 64;
  Engine engine(17);
  EngineNoise noise{Engine(17)};
  for (const Index columns : {Index(1), Index(6), Index(301)}) {
    const auto x = filled<Tensor<T, 2>>(noise, 3, columns);
    double worst = 0;
    std::array<long double, 2> pair{};
    for (Index i = 0; i < x.size(); ++i) {
      if (i % 2 == 0) {
        const std::uint64_t u = uniform(engine, bits), v = uniform(engine, bits);
        pair = box_muller(u, v, bits);
      }
      worst = (std::max)(worst, ulps(x.data()[i], pair[static_cast<std::size_t>(i % 2)]));
    }
    CHECK(worst < 4);
    CHECK(noise.engine() == engine);
  }
}

}  // namespace

TEMPLATE_TEST_CASE("EngineNoise draws the documented values", "[engine_noise]", std::mt19937, std::mt19937_64,
                   std::minstd_rand) {
  check_engine_noise<float, TestType>();
  check_engine_noise<double, TestType>();
}

TEST_CASE("EngineNoise draws in row-major order in both layouts", "[engine_noise]") {
  EngineNoise row_noise(std::mt19937(18)), column_noise(std::mt19937(18));
  CHECK_THAT((filled<Tensor<float, 3, ColMajor>>(column_noise, 5, 7, 11)),
             AllEqual(filled<Tensor<float, 3, RowMajor>>(row_noise, 5, 7, 11)));
}

}  // namespace engine_noise_tests
