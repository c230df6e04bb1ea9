// Test ../../include/diffusion/sampling/reverse_step.hpp
#include "diffusion/sampling/reverse_step.hpp"

#include "matchers.hpp"

using namespace diffusion;

TEST_CASE("by default a ReverseProcess reads its model as guided-diffusion does", "[reverse_step]") {
  const ReverseOptions options;
  REQUIRE(options.mean_type == ModelMeanType::epsilon);
  REQUIRE(options.var_type == ModelVarType::fixed_small);
  REQUIRE(options.clip_denoised);
  REQUIRE_FALSE(options.rescale_timesteps);
}
