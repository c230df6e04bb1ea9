// Tests of diffusion/sampling/reverse_step.hpp
#include "diffusion/sampling/reverse_step.hpp"

#include "matchers.hpp"

namespace reverse_step_tests {

using namespace diffusion;

TEST_CASE("by default a ReverseProcess reads epsilon, with fixed_small variances and clipping", "[reverse_step]") {
  const ReverseOptions options;
  REQUIRE(options.mean_type == ModelMeanType::epsilon);
  REQUIRE(options.var_type == ModelVarType::fixed_small);
  REQUIRE(options.clip_denoised);
  REQUIRE_FALSE(options.rescale_timesteps);
}

}  // namespace reverse_step_tests
