/// Tests of diffusion/noise/jax_noise.hpp. The expected values were printed by JAX or come from its
/// tests.
#include "diffusion/noise/jax_noise.hpp"

#include <array>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "lists.hpp"
#include "matchers.hpp"
#include "tolerance.hpp"

namespace jax_noise_tests {

using diffusion::JaxNoise;
using diffusion::JaxThreefry;
using Eigen::ArrayXd;
using Eigen::Index;

namespace {

using Key = std::array<std::uint32_t, 2>;

/// jax.random.normal(key), with shape ().
double scalar(JaxNoise noise) {
  Eigen::Tensor<float, 0> x;
  noise(x);
  return static_cast<double>(x());
}

AllClose is_jax_f32(const ArrayXd& expected) { return AllClose(expected, tolerance::noise_f32, tolerance::noise_f32); }
AllClose is_jax_f64(const ArrayXd& expected) { return AllClose(expected, tolerance::jax_f64, tolerance::jax_f64); }

}  // namespace

TEST_CASE("Threefry-2x32 gives the known answers of Random123", "[jax_noise]") {
  using diffusion::detail::threefry2x32;
  REQUIRE(threefry2x32({0, 0}, {0, 0}) == Key{0x6b200159, 0x99ba4efe});
  REQUIRE(threefry2x32({0xFFFFFFFF, 0xFFFFFFFF}, {0xFFFFFFFF, 0xFFFFFFFF}) == Key{0x1cb996fc, 0xbb002be7});
  REQUIRE(threefry2x32({0x13198a2e, 0x03707344}, {0x243f6a88, 0x85a308d3}) == Key{0xc4923a9c, 0x483df7a0});
}

TEST_CASE("the first call of JaxNoise equals jax.random.normal(jax.random.key(seed), shape)", "[jax_noise]") {
  REQUIRE_THAT(
      draw<float>(JaxNoise(0), 16),
      is_jax_f32(list({1.6226422, 2.0252647, -0.43359444, -0.07861735, 0.1760909, -0.97208923, -0.49529874, 0.4943786,
                       0.6643493, -0.9501635, 2.1795304, -1.9551506, 0.35857072, 0.15779513, 1.2770847, 1.5104648})));
  REQUIRE_THAT(draw<double>(JaxNoise(0), 6),
               is_jax_f64(list({-0.2058421394796434, -0.7847657764467411, 1.8160866726679836, 0.1878440128937887,
                                0.08086788103743275, -0.3721107933346203})));
  REQUIRE_THAT(scalar(JaxNoise(0)), WithinAbs(1.6226422, 2e-6));
  REQUIRE_THAT(scalar(JaxNoise(42)), WithinAbs(-0.028304616, 2e-6));
}

TEST_CASE("the first call in the original mode equals JAX with jax_threefry_partitionable off", "[jax_noise]") {
  const JaxThreefry mode = JaxThreefry::original;
  REQUIRE_THAT(scalar(JaxNoise(0, mode)), WithinAbs(-0.20584226, 2e-6));
  REQUIRE_THAT(scalar(JaxNoise(42, mode)), WithinAbs(-0.18471177, 2e-6));
  REQUIRE_THAT(draw<float>(JaxNoise(123, mode), 3), is_jax_f32(list({-0.1470326, 0.5524756, 1.648498})));
}

TEST_CASE("the original mode has the random bits of JAX's tests for an odd size and for 64 bits", "[jax_noise]") {
  const auto uniforms = [](const ArrayXd& z) {
    return z.unaryExpr([](double x) { return std::erfc(-x / std::sqrt(2)) / 2; });
  };
  REQUIRE_THAT(uniforms(draw<float>(JaxNoise(1701, JaxThreefry::original), 3)).eval(),
               AllClose((list({56197195, 4200222568, 961309823}) / 4294967296.0).eval(), 0, 2e-6));
  REQUIRE_THAT(uniforms(draw<double>(JaxNoise(1701, JaxThreefry::original), 3)).eval(),
               AllClose((list({3982329540505020460.0, 16822122385914693683.0, 7882654074788531506.0}) * 0x1p-64).eval(),
                        0, 1e-15));
}

TEST_CASE("the original mode pairs the first half of the elements with the second", "[jax_noise]") {
  for (const Index n : {4, 5}) {
    const Index h = (n + 1) / 2;
    const JaxNoise noise(3, JaxThreefry::original);
    const ArrayXd z = draw<float>(JaxNoise(noise), n);
    for (Index i = 0; i < n; ++i) {
      const auto word = [&](Index k) { return static_cast<std::uint32_t>(k < n ? k : 0); };
      const Key words = diffusion::detail::threefry2x32(noise.key(), {word(i % h), word(i % h + h)});
      const double u = words[i < h ? 0 : 1] * 0x1p-32;
      REQUIRE_THAT(std::erfc(-z[i] / std::sqrt(2)) / 2, WithinAbs(u, tolerance::noise_f32));
    }
  }
}

TEST_CASE("the largest of many floats equal the formula up to JAX's own error", "[jax_noise]") {
  const JaxNoise noise(1);
  const ArrayXd z = draw<float>(JaxNoise(noise), 30000);
  int below = 0, above = 0;
  for (Index i = 0; i < z.size(); ++i) {
    if (std::abs(z[i]) < 3.7) continue;
    const Key words = diffusion::detail::threefry2x32(noise.key(), {0, static_cast<std::uint32_t>(i)});
    const double u = static_cast<double>((words[0] ^ words[1]) >> 9) * 0x1p-23;
    REQUIRE_THAT(z[i],
                 WithinRel(std::sqrt(2.0) * diffusion::detail::erf_inv(2 * u - 1 + 0x1p-24), tolerance::jax_tail_f32));
    ++(z[i] < 0 ? below : above);
  }
  REQUIRE(below > 0);
  REQUIRE(above > 0);
}

TEST_CASE("JaxNoise::split equals jax.random.split", "[jax_noise]") {
  JaxNoise key(42);
  const JaxNoise sub = key.split();
  REQUIRE(key.key() == Key{1832780943, 270669613});
  REQUIRE(sub.key() == Key{64467757, 2916123636});
  REQUIRE_THAT(scalar(sub), WithinAbs(0.605764, 2e-6));
  REQUIRE_THAT(draw<float>(JaxNoise(key.key()), 2), AllClose(list({0.075926, -0.486343}), 0, 1e-6));

  JaxNoise original(42, JaxThreefry::original);
  const JaxNoise original_sub = original.split();
  REQUIRE(original.key() == Key{2465931498, 3679230171});
  REQUIRE(original_sub.key() == Key{255383827, 267815257});
  REQUIRE_THAT(scalar(original_sub), WithinAbs(1.3694694, 2e-6));

  JaxNoise nine(9, JaxThreefry::original);
  REQUIRE(nine.split().key() == Key{4109519897, 3077142452});
  REQUIRE(nine.split().key() == Key{3656642974, 2192743943});
}

TEST_CASE("JaxNoise::fold_in equals jax.random.fold_in, and fold_in(1) gives the key of a partitionable split",
          "[jax_noise]") {
  REQUIRE(JaxNoise(42).fold_in(1).key() == Key{64467757, 2916123636});
  REQUIRE(JaxNoise(42, JaxThreefry::original).fold_in(1).key() == Key{64467757, 2916123636});
}

TEST_CASE("each later call of JaxNoise splits the key and draws from the new one", "[jax_noise]") {
  for (const JaxThreefry mode : {JaxThreefry::partitionable, JaxThreefry::original}) {
    JaxNoise noise(7, mode), key(7, mode);
    REQUIRE_THAT(draw<float>(noise, 5), AllEqual(draw<float>(JaxNoise(7, mode), 5)));
    REQUIRE_THAT(draw<double>(noise, 6), AllEqual(draw<double>(key.split(), 6)));
    REQUIRE_THAT(draw<float>(noise, 5), AllEqual(draw<float>(key.split(), 5)));
    draw<float>(noise, 0);
    (void)key.split();
    REQUIRE_THAT(draw<float>(noise, 4), AllEqual(draw<float>(key.split(), 4)));
    REQUIRE(noise.key() == key.key());
  }
}

TEST_CASE("a value depends on the size of its tensor only in the original mode", "[jax_noise]") {
  REQUIRE_THAT(draw<float>(JaxNoise(3), 10).head(7).eval(), AllEqual(draw<float>(JaxNoise(3), 7)));
  const JaxThreefry mode = JaxThreefry::original;
  REQUIRE(draw<float>(JaxNoise(3, mode), 10)[0] != draw<float>(JaxNoise(3, mode), 7)[0]);
}

TEST_CASE("the high half of a JaxNoise seed is the first word of the key", "[jax_noise]") {
  REQUIRE(JaxNoise(0x0123456789ABCDEF).key() == Key{0x01234567, 0x89ABCDEF});
}

TEST_CASE("a copy of a JaxNoise continues like the original", "[jax_noise]") {
  JaxNoise noise(5);
  draw<float>(noise, 3);
  JaxNoise copy = noise;
  REQUIRE_THAT(draw<double>(copy, 4), AllEqual(draw<double>(noise, 4)));
  REQUIRE_THAT(draw<float>(copy, 4), AllEqual(draw<float>(noise, 4)));
}

TEMPLATE_TEST_CASE("a tensor gets JAX's values at the same indices in both layouts", "[jax_noise]", LAYOUTS) {
  for (const JaxThreefry mode : {JaxThreefry::partitionable, JaxThreefry::original}) {
    typename TestType::template Tensor<3> x(3, 5, 7);
    JaxNoise noise(8, mode);
    noise(x);
    REQUIRE_THAT(flat(x), AllEqual(draw<typename TestType::Scalar>(JaxNoise(8, mode), 105)));
  }
  Eigen::Tensor<double, 2, TestType::layout, int> of_int(4, 3);
  std::vector<double> memory(12);
  Eigen::TensorMap<Eigen::Tensor<double, 2, TestType::layout>> map(memory.data(), 4, 3);
  JaxNoise(1).operator()(of_int);
  JaxNoise(1).operator()(map);
  REQUIRE_THAT(flat(of_int), AllEqual(draw<double>(JaxNoise(1), 12)));
  REQUIRE_THAT(flat(map), AllEqual(flat(of_int)));
}

TEST_CASE("the inverse error function for float has the rounding errors of XLA", "[jax_noise]") {
  // Printed by XLA. The second value is 8.6e-6 below the exact one.
  const std::vector<std::pair<float, double>> printed = {{0.9990000129f, 2.3267577},
                                                         {0.9998999834f, 2.7510269},
                                                         {0.9999899864f, 3.1232049},
                                                         {0.9999989867f, 3.4570746},
                                                         {0.9999998212f, 3.6911771}};
  for (const auto& [y, x] : printed) {
    REQUIRE_THAT(static_cast<double>(diffusion::detail::erf_inv(y)), WithinAbs(x, 1e-6));
    REQUIRE(diffusion::detail::erf_inv(-y) == -diffusion::detail::erf_inv(y));
  }
}

TEST_CASE("the inverse error function for float inverts erf where the square of its argument is exact", "[jax_noise]") {
  // y has 12 bits, so that y^2 fits in a float. w = -log(1 - y^2) runs from 0 to 7.6, past the
  // change of polynomials at 5.
  for (int k = 0; k < 4096; ++k) {
    const double y = k / 4096.0, x = static_cast<double>(diffusion::detail::erf_inv(static_cast<float>(y)));
    const double slope = 2 / std::sqrt(3.141592653589793) * std::exp(-x * x);
    const double error = ((1 - y) - std::erfc(x)) / slope;
    if (std::abs(error) > tolerance::noise_f32) FAIL("at y = " << y << " the result is off by " << error);
  }
}

TEST_CASE("the inverse error function for double is accurate to the last digits", "[jax_noise]") {
  // Computed with 50 digits.
  const std::vector<std::pair<double, double>> exact = {
      {1e-10, 8.8622692545275804594e-11},   {0.001, 0.00088622715746655212301},   {0.1, 0.088855990494257691974},
      {0.4999, 0.47682502362542779535},     {0.5, 0.47693627620446987338},        {0.9, 1.1630871536766741628},
      {0.9999, 2.7510639057120796917},      {1 - 0x1p-20, 3.4655050258033307173}, {1 - 0x1p-24, 3.8325068569007109095},
      {1 - 0x1p-40, 5.0512540852493899671}, {1 - 0x1p-53, 5.8635847487551679272}};
  for (const auto& [y, x] : exact) {
    REQUIRE_THAT(diffusion::detail::erf_inv(y), WithinRel(x, 8.9e-16));
    REQUIRE_THAT(diffusion::detail::erf_inv(-y), WithinRel(-x, 8.9e-16));
  }
  REQUIRE(diffusion::detail::erf_inv(0.0) == 0);
}

TEST_CASE("JaxNoise allocates no memory", "[jax_noise]") {
  Eigen::Tensor<float, 2> x(30, 11);
  JaxNoise noise(1);
  noise(x);
  REQUIRE(count_allocations([&] { noise(x); }) == 0);
}

TEST_CASE("JaxNoise throws std::invalid_argument for a tensor too large for the original mode", "[jax_noise]") {
  if (sizeof(Index) < 8) return;  // a tensor cannot be that large
  // JaxNoise throws before it writes anything, so the memory need not exist.
  Eigen::TensorMap<Eigen::Tensor<float, 2>> floats(nullptr, 65535, 65537);
  Eigen::TensorMap<Eigen::Tensor<double, 2>> doubles(nullptr, 32768, 65536);
  JaxNoise noise(0, JaxThreefry::original);
  REQUIRE(
      error_message([&] { noise(floats); }) ==
      "diffusion::JaxNoise: x has 4294967295 values; JaxThreefry::original supports fewer than 2^32 - 1 floats or 2^31 "
      "doubles");
  REQUIRE_THAT(error_message([&] { noise(doubles); }), StartsWith("diffusion::JaxNoise: x has 2147483648 values"));
  REQUIRE_THAT(draw<float>(noise, 3), AllEqual(draw<float>(JaxNoise(0, JaxThreefry::original), 3)));
}

}  // namespace jax_noise_tests
