// Fuzzes what reads names: any text is refused by std::invalid_argument, or is a name. Lists of
// timesteps rise within the process, and sigmas fall to 0.
#include <diffusion/diffusion.hpp>
#include <diffusion/interop/names.hpp>

#include "fuzz.hpp"

using namespace diffusion;
using namespace fuzz;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using Tensor = Eigen::Tensor<float, 2>;
  static const GaussianDiffusion<float> process(scaled_linear_beta_schedule(1000));
  Input in(data, size);
  const Index what = index(in, 0, 3), n = index(in, 0, 1) == 0 ? index(in, 1, 40) : in.ConsumeIntegral<Index>();
  const std::string text = in.ConsumeRemainingBytesAsString();
  documented([&] {
    switch (what) {
      case 0: {
        const auto timesteps = space_timesteps((std::min)(n, Index(100000)), text);
        for (std::size_t i = 0; i < timesteps.size(); ++i) {
          require(timesteps[i] >= 0 && timesteps[i] < n && (i == 0 || timesteps[i] > timesteps[i - 1]),
                  "timesteps do not rise within [0, T)");
        }
        break;
      }
      case 1: {
        const Eigen::ArrayXd betas = named_beta_schedule(text, (std::min)(n, Index(100000)));
        require((betas > 0.0).all() && (betas <= 1.0).all(), "betas are outside (0, 1]");
        break;
      }
      case 2: {
        const AnySampler<Tensor> sampler = named_sampler<Tensor>(text);
        static_cast<void>(sampler);
        break;
      }
      default: {
        const Eigen::ArrayXd sigmas = named_sigmas(text, process, (std::min)(n, Index(100000)));
        for (Index i = 1; i < sigmas.size(); ++i) require(sigmas[i] <= sigmas[i - 1], "sigmas do not fall");
        require(sigmas[sigmas.size() - 1] >= 0.0, "a sigma is negative");
      }
    }
  });
  return 0;
}
