/// Tests of diffusion/sampling/history.hpp.
#include "diffusion/sampling/history.hpp"

#include "matchers.hpp"

namespace history_tests {

namespace {

using Tensor = Eigen::Tensor<float, 2>;

Tensor filled(float value) {
  Tensor x(2, 3);
  x.setConstant(value);
  return x;
}

}  // namespace

TEST_CASE("a history holds the last predictions, newest first", "[history]") {
  diffusion::History<Tensor, 3> history;
  REQUIRE(history.size() == 0);
  for (int i = 1; i <= 5; ++i) {
    Tensor x = filled(static_cast<float>(i));
    history.push(x, 10.0 * i);
    REQUIRE(history.size() == static_cast<std::size_t>(i < 3 ? i : 3));
    for (int k = 0; k < (i < 3 ? i : 3); ++k) {
      REQUIRE_THAT(history[static_cast<std::size_t>(k)], AllEqual(filled(static_cast<float>(i - k))));
      REQUIRE(history.place(static_cast<std::size_t>(k)) == 10.0 * (i - k));
    }
  }
  history.clear();
  REQUIRE(history.size() == 0);
}

TEST_CASE("a history allocates only at its first push", "[history]") {
  diffusion::History<Tensor, 3> history;
  Tensor x = filled(1.0f);
  history.push(x, 0.0);
  REQUIRE(count_allocations([&] {
            for (int i = 0; i < 6; ++i) {
              x.setConstant(2.0f);  // x has the storage of the evicted prediction
              history.push(x, i);
            }
          }) == 0);
}

}  // namespace history_tests
