/// Tests of diffusion/model/prediction.hpp: a Prediction can be reused.
#include "diffusion/model/prediction.hpp"

#include "diffusion/model/denoiser.hpp"
#include "matchers.hpp"

namespace prediction_tests {

namespace {

using Tensor = Eigen::Tensor<double, 2, Eigen::RowMajor>;

struct Half {
  void operator()(const Tensor& x, const Eigen::Tensor<double, 1>&, Tensor& out) const { out = 0.5 * x; }
};

}  // namespace

TEST_CASE("a Prediction reuses its memory between calls", "[prediction]") {
  const diffusion::Denoiser denoiser(Half{}, diffusion::ModelMeanType::velocity);
  const diffusion::NoiseLevel level{10.0, 0.8, 0.6};
  const Tensor x = random_tensor<Tensor>({2, 3}, 1), y = random_tensor<Tensor>({2, 3}, 2);
  diffusion::Prediction<Tensor> prediction;
  denoiser(x, level, prediction);
  const diffusion::Prediction<Tensor> copy = prediction;
  REQUIRE(count_allocations([&] { denoiser(y, level, prediction); }) == 0);
  REQUIRE_THAT(copy.x_start, AllEqual(denoiser(x, level).x_start));
  REQUIRE_THAT(copy.epsilon, AllEqual(denoiser(x, level).epsilon));
  REQUIRE_THAT(prediction.x_start, AllEqual(denoiser(y, level).x_start));
  REQUIRE_THAT(prediction.epsilon, AllEqual(denoiser(y, level).epsilon));
}

}  // namespace prediction_tests
