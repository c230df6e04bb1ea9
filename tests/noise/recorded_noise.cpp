/// Tests of diffusion/noise/recorded_noise.hpp.
#include "diffusion/noise/recorded_noise.hpp"

#include <stdexcept>
#include <vector>

#include "matchers.hpp"
#include "noise_reference.hpp"

namespace recorded_noise_tests {

using diffusion::RecordedNoise;
using Eigen::ColMajor;
using Eigen::Index;
using Eigen::RowMajor;
using noise_reference::filled;
using noise_reference::Tensor;

TEST_CASE("RecordedNoise replays one tensor per call into both layouts", "[recorded_noise]") {
  const auto a = random_tensor<Tensor<float, 3>>({2, 3, 4}, 1), b = random_tensor<Tensor<float, 3>>({1, 5, 2}, 2);
  RecordedNoise noise{std::vector{a, b}};
  CHECK(noise.size() == 2);
  CHECK_THAT((filled<Tensor<float, 3, ColMajor>>(noise, 2, 3, 4)), AllEqual(a));
  CHECK(noise.call() == 1);
  CHECK_THAT((filled<Tensor<float, 3>>(noise, 1, 5, 2)), AllEqual(b));

  const auto c = with_layout<ColMajor>(a);
  RecordedNoise columns{std::vector{c}};
  CHECK_THAT((filled<Eigen::Tensor<float, 3, RowMajor, int>>(columns, 2, 3, 4)), AllEqual(a));
}

TEST_CASE("RecordedNoise replays the slices of one tensor along its first axis", "[recorded_noise]") {
  const auto calls = random_tensor<Tensor<float, 3, ColMajor>>({2, 3, 4}, 3);
  RecordedNoise noise(calls);
  CHECK(noise.size() == 2);
  for (Index k = 0; k < 2; ++k) {
    const Tensor<float, 2, ColMajor> call = calls.chip(k, 0);
    CHECK_THAT((filled<Tensor<float, 2>>(noise, 3, 4)), AllEqual(call));
  }
}

TEST_CASE("RecordedNoise throws for another shape and when no tensor is left", "[recorded_noise]") {
  Tensor<double, 2> recorded(2, 3), other(3, 2);
  recorded.setConstant(1);
  RecordedNoise noise{std::vector{recorded, recorded}};
  noise(recorded);
  REQUIRE_THROWS_AS(noise(other), std::invalid_argument);
  REQUIRE_THROWS_WITH(noise(other),
                      "diffusion::RecordedNoise: at call 1 x has shape [3, 2], but the recorded tensor has [2, 3]");
  CHECK(noise.call() == 1);  // a call that throws is not counted
  noise(recorded);
  REQUIRE_THROWS_AS(noise(recorded), std::out_of_range);
  REQUIRE_THROWS_WITH(
      noise(recorded),
      "diffusion::RecordedNoise: no tensor is left for call 2 (counted from 0); 2 tensors were recorded");
}

TEST_CASE("RecordedNoise writes nothing for an empty tensor", "[recorded_noise]") {
  RecordedNoise noise{std::vector{Tensor<double, 2>(0, 3)}};
  double memory[] = {1, 2};
  Eigen::TensorMap<Tensor<double, 2>> empty(memory + 1, 0, 3);
  noise(empty);
  CHECK(noise.call() == 1);
  CHECK(memory[0] == 1);
  CHECK(memory[1] == 2);
}

}  // namespace recorded_noise_tests
