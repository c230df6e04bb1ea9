// Fuzzes schedules and processes: hostile betas and parameters are refused by a documented
// exception, or give tables in their ranges. A respaced process has the abar of the timesteps that
// it keeps.
#include <diffusion/diffusion.hpp>

#include "fuzz.hpp"

using namespace diffusion;
using namespace fuzz;

namespace {

Eigen::ArrayXd betas(Input& in) {
  const Index T = index(in, 0, 12) == 0 ? index(in, -1, 5) : index(in, 1, 60);
  switch (index(in, 0, 11)) {
    case 0:
      return linear_beta_schedule(T, hostile(in), hostile(in));
    case 1:
      return scaled_linear_beta_schedule(T, hostile(in), hostile(in));
    case 2:
      return cosine_beta_schedule(T, hostile(in));
    case 3:
      return sigmoid_beta_schedule(T, hostile(in), hostile(in));
    case 4:
      return jabri_sigmoid_beta_schedule(T, hostile(in), hostile(in), hostile(in));
    case 5:
      return constant_beta_schedule(T, hostile(in));
    case 6:
      return warmup_beta_schedule(T, hostile(in), hostile(in), hostile(in));
    case 7:
      return jsd_beta_schedule(T);
    case 8:
      return linear_beta_schedule(T);
    case 9: {
      Eigen::ArrayXd abar(index(in, 0, 12));
      for (double& a : abar) a = hostile(in);
      return betas_from_alphas_cumprod(abar);
    }
    case 10:
      return rescale_zero_terminal_snr(betas(in));
    default: {
      Eigen::ArrayXd out(index(in, 0, 12));
      for (double& beta : out) beta = hostile(in);
      return out;
    }
  }
}

template <class Scalar>
void check(Input& in) {
  const Eigen::ArrayXd b = betas(in);
  const GaussianDiffusion<Scalar> process(b);
  const Index T = process.num_timesteps();
  require(T == b.size(), "T is not the number of betas");
  const Eigen::ArrayXd& abar = process.alphas_cumprod();
  for (Index t = 0; t < T; ++t) {
    require(b[t] > 0.0 && b[t] <= 1.0, "a beta outside (0, 1] was accepted");
    require(abar[t] >= 0.0 && abar[t] <= 1.0 && (t == 0 || abar[t] <= abar[t - 1]), "abar does not fall within [0, 1]");
    const double variance = process.posterior_variance()[t];
    require(variance >= 0.0 && variance <= 1.0, "posterior_variance is outside [0, 1]");
  }
  std::vector<Index> kept;
  for (Index t = 0; t < T; ++t) {
    if (in.ConsumeBool()) kept.push_back(t);
  }
  const auto respaced = respace(process, kept);
  for (Index i = 0; i < respaced.num_timesteps(); ++i) {
    const double was = abar[kept[static_cast<std::size_t>(i)]], is = respaced.alphas_cumprod()[i];
    require(std::abs(is - was) <= 1e-12 * was + 1e-300, "respacing changes abar");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input in(data, size);
  documented([&] { in.ConsumeBool() ? check<float>(in) : check<double>(in); });
  return 0;
}
