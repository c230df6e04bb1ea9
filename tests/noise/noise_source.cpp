/// Tests of diffusion/noise/noise_source.hpp. tests/tensor.cpp checks how operations use a source,
/// and that they pass the device to it.
#include "diffusion/noise/noise_source.hpp"

#include "matchers.hpp"

namespace noise_source_tests {

namespace {

using Tensor = Eigen::Tensor<float, 2>;

}  // namespace

TEST_CASE("any callable that fills a tensor is a noise source", "[noise_source]") {
  const auto source = [](auto& x) { x.setConstant(1.0f); };
  Tensor x(2, 3);
  diffusion::detail::draw(source, x, Eigen::DefaultDevice());
  REQUIRE_THAT(x, AllEqual(Tensor(x.constant(1.0f))));
}

TEST_CASE("noise can be float, double, long double, half or bfloat16, but not int", "[noise_source]") {
  using diffusion::detail::is_scalar_v;
  STATIC_REQUIRE((is_scalar_v<float> && is_scalar_v<double> && is_scalar_v<long double>));
  STATIC_REQUIRE((is_scalar_v<Eigen::half> && is_scalar_v<Eigen::bfloat16>));
  STATIC_REQUIRE_FALSE(is_scalar_v<int>);
}

}  // namespace noise_source_tests
