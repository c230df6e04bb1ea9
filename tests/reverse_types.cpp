// Test ../include/diffusion/reverse_types.hpp
#include "diffusion/reverse_types.hpp"

#include <stdexcept>

#include "diffusion/losses.hpp"
#include "diffusion/reverse_process.hpp"
#include "diffusion/schedules.hpp"
#include "matchers.hpp"

using namespace diffusion;

TEST_CASE("by default a ReverseProcess reads its model as guided-diffusion does", "[reverse_types]") {
  const ReverseOptions options;
  REQUIRE(options.mean_type == ModelMeanType::epsilon);
  REQUIRE(options.var_type == ModelVarType::fixed_small);
  REQUIRE(options.clip_denoised);
  REQUIRE_FALSE(options.rescale_timesteps);
}

TEST_CASE("a ReverseProcess and its losses refuse what only a Denoiser can read", "[reverse_types]") {
  const GaussianDiffusion<double> process(linear_beta_schedule(100));
  const Eigen::Tensor<double, 2> x = random_tensor<Eigen::Tensor<double, 2>>({2, 3}, 1);
  const auto model = [](const Eigen::Tensor<double, 2>& at, const Eigen::Tensor<double, 1>&) { return at; };
  for (const ModelMeanType type : {ModelMeanType::score, ModelMeanType::flow_velocity, ModelMeanType::edm}) {
    const std::string reason = "mean_type must be previous_x, start_x, epsilon or velocity; a Denoiser takes others";
    ReverseOptions options;
    options.mean_type = type;
    REQUIRE(refusal([&] { (void)ReverseProcess(process, model, options); }) == "diffusion::ReverseProcess: " + reason);
    REQUIRE(refusal([&] { (void)training_target(process, type, x, x, x, 5); }) ==
            "diffusion::training_target: " + reason);
  }
}
