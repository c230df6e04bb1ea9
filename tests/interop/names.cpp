// Tests of diffusion/interop/names.hpp.
#include <cmath>
#include <cstddef>
#include <diffusion/interop/names.hpp>
#include <map>
#include <string>
#include <vector>

#include <diffusion/diffusion.hpp>

#include "matchers.hpp"
#include "tolerance.hpp"

namespace names_tests {

using diffusion::AnySampler;
using diffusion::named_sampler;
using diffusion::NoiseLevel;
using Eigen::ArrayXd;
using Eigen::Index;

namespace {

using Tensor = Eigen::Tensor<double, 3, Eigen::RowMajor, Index>;

const Golden& records() { return golden("comfy.txt"); }

const diffusion::GaussianDiffusion<double>& stable_diffusion() {
  static const diffusion::GaussianDiffusion<double> process(
      diffusion::scaled_linear_beta_schedule(1000, 0.00085, 0.012));
  return process;
}

/// The models of the recorded runs, on x = x_0 + s epsilon and on x = (1 - s) x_0 + s epsilon.
void denoise(const Tensor& x, const NoiseLevel& level, diffusion::Prediction<Tensor>& out) {
  const double s = level.sigma, n = 1 + s * s;
  out.x_start = out.epsilon = x;
  for (Index i = 0; i < x.size(); ++i) {
    const double v = x.data()[i];
    out.x_start.data()[i] = level.alpha == 1.0
                                ? v / n + 0.2 * (s * s / n) * std::sin(v / std::sqrt(n)) + 0.05 * std::cos(s / (1 + s))
                                : v - s * (0.3 * std::sin(v) + 0.4 * v + 0.05 * std::cos(10 * s));
    out.epsilon.data()[i] = (v - level.alpha * out.x_start.data()[i]) / s;
  }
}

/// The guided model of the recorded runs with CFG++: the unconditional x_0 is
/// 0.9 x_0 + 0.02 sin(x).
void denoise_with_cfg_plus_plus(const Tensor& x, const NoiseLevel& level, diffusion::Prediction<Tensor>& out) {
  denoise(x, level, out);
  for (Index i = 0; i < x.size(); ++i) {
    const double v = x.data()[i], unconditional = 0.9 * out.x_start.data()[i] + 0.02 * std::sin(v);
    out.epsilon.data()[i] = (v - level.alpha * unconditional) / level.sigma;
  }
}

/// Compares a run with ComfyUI's.
void check_run(const AnySampler<Tensor>& sampler, const std::string& record, bool cfg_plus_plus = false) {
  INFO(record);
  constexpr double allowed = tolerance::sampler;
  const std::string path = "sample/" + record + "/";
  const ArrayXd sigmas = records().array(path + "sigmas");
  const bool flow = record.find("/flow") != std::string::npos;
  ArrayXd draws;
  if (records().contains(path + "noise")) draws = records().array(path + "noise").cast<float>().cast<double>();
  Index at = 0;
  const auto noise = [&](Tensor& z) {
    for (Index i = 0; i < z.size(); ++i) z.data()[i] = draws[at++];
  };
  std::vector<double> model_sigmas;
  const auto model = [&](const Tensor& x, const NoiseLevel& level, diffusion::Prediction<Tensor>& out) {
    model_sigmas.push_back(level.sigma);
    (cfg_plus_plus ? denoise_with_cfg_plus_plus : denoise)(x, level, out);
  };
  const Tensor x = records().tensor<float, 3>(path + "x_init").cast<double>();
  const Tensor out =
      sample(sampler, flow ? diffusion::flow_matching_grid(sigmas) : diffusion::edm_grid(sigmas), model, x, noise);
  CHECK_THAT(out, AllClose(records().tensor<double, 3>(path + "final"), allowed, allowed));
  CHECK_THAT(ArrayXd(Eigen::Map<const ArrayXd>(model_sigmas.data(), static_cast<Index>(model_sigmas.size()))),
             AllClose(records().array(path + "model_sigmas"), tolerance::sampler));
}

}  // namespace

TEST_CASE("named samplers equal ComfyUI's", "[names]") {
  for (const std::string record : {"euler_ancestral/ve", "dpmpp_sde/ve", "dpmpp_2m_sde/ve", "dpmpp_2m_sde/flow_partial",
                                   "dpmpp_3m_sde/ve", "dpmpp_3m_sde/flow_partial", "ddpm/ve", "lcm/ve", "lcm/flow",
                                   "ipndm/ve", "res_multistep/ve", "res_multistep/ve_nozero"}) {
    check_run(named_sampler<Tensor>(record.substr(0, record.find('/'))), record);
  }
  check_run(diffusion::Ddim{}, "euler_cfg_pp/ve", true);
  check_run(diffusion::Ddim{}, "euler_cfg_pp/flow", true);
  check_run(diffusion::Ddim{1.0}, "euler_ancestral_cfg_pp/ve", true);
  check_run(diffusion::Ddim{1.0}, "euler_ancestral_cfg_pp/flow_partial", true);
}

TEST_CASE("every name gives its sampler", "[names]") {
  using namespace diffusion;
  constexpr auto heun = DpmSolverType::heun, midpoint = DpmSolverType::midpoint;
  const DpmSolverPP multistep{2, midpoint, 0.0, 1.0, false}, sde{2, midpoint, 1.0, 1.0, false},
      sde_heun{2, heun, 1.0, 1.0, false};
  const std::map<std::string, AnySampler<Tensor>> expected = {
      {"euler", Euler{}},
      {"euler_ancestral", EulerAncestral{}},
      {"euler_a", EulerAncestral{}},
      {"heun", Heun{}},
      {"dpm_2", Dpm2{}},
      {"dpm_2_ancestral", Dpm2Ancestral{}},
      {"dpm2_a", Dpm2Ancestral{}},
      {"lms", Lms{}},
      {"dpm_adaptive", DpmSolverAdaptive{}},
      {"dpmpp_2s_ancestral", DpmSolverPP2SAncestral{}},
      {"dpmpp_2s_a", DpmSolverPP2SAncestral{}},
      {"dpmpp_sde", DpmSolverPPSde{}},
      {"dpmpp_sde_gpu", DpmSolverPPSde{}},
      {"dpmpp_2m", multistep},
      {"dpmpp_2m_sde", sde},
      {"dpmpp_2m_sde_gpu", sde},
      {"dpmpp_2m_sde_heun", sde_heun},
      {"dpmpp_2m_sde_heun_gpu", sde_heun},
      {"dpmpp_3m_sde", DpmSolverPP{3, heun, 1.0, 1.0, false}},
      {"dpmpp_3m_sde_gpu", DpmSolverPP{3, heun, 1.0, 1.0, false}},
      {"res_multistep", DpmSolverPP{2, heun, 0.0, 1.0, false}},
      {"ddpm", Ddpm{}},
      {"ddim", Ddim{}},
      {"ddim_trailing", Ddim{}},
      {"plms", Pndm{}},
      {"pndm", Pndm{}},
      {"ipndm", Ipndm{4, true}},
      {"uni_pc", UniPc{3, UniPc::B::bh1}},
      {"uni_pc_bh2", UniPc{3, UniPc::B::bh2}},
      {"lcm", Lcm{10.0, 0.0}},
      {"tcd", Tcd{0.0}},
      {"DDIMScheduler", Ddim{}},
      {"DDIMInverseScheduler", Ddim{}},
      {"DDPMScheduler", Ddpm{}},
      {"PNDMScheduler", Pndm{false}},
      {"DPMSolverMultistepScheduler", DpmSolverPP{}},
      {"EDMDPMSolverMultistepScheduler", DpmSolverPP{}},
      {"CosineDPMSolverMultistepScheduler", DpmSolverPP{2, midpoint, 1.0}},
      {"DPMSolverSinglestepScheduler", DpmSolverSinglestep{2, midpoint, 0.0, 1.0, true, false}},
      {"DPMSolverSDEScheduler", DpmSolverPPSde{}},
      {"UniPCMultistepScheduler", UniPc{}},
      {"DEISMultistepScheduler", Deis{2}},
      {"EulerDiscreteScheduler", Euler{}},
      {"EDMEulerScheduler", Euler{}},
      {"FlowMatchEulerDiscreteScheduler", Euler{}},
      {"EulerAncestralDiscreteScheduler", EulerAncestral{}},
      {"HeunDiscreteScheduler", Heun{}},
      {"KDPM2DiscreteScheduler", Dpm2{}},
      {"KDPM2AncestralDiscreteScheduler", Dpm2Ancestral{}},
      {"LMSDiscreteScheduler", Lms{}},
      {"IPNDMScheduler", Ipndm{}},
      {"LCMScheduler", Lcm{}},
      {"TCDScheduler", Tcd{}},
      {"FlowMatchHeunDiscreteScheduler", FlowHeun{}}};
  const auto network = [](const Tensor& x, const auto&) { return x * 0.3 + 0.1; };
  const Denoiser denoiser(network, ModelMeanType::epsilon);
  const Tensor x_T = random_tensor<Tensor>({2, 3, 2}, 1);
  std::map<std::string, int> plain;
  for (const auto& row : detail::sampler_names<Tensor>()) {
    for (const std::string& name : row.names) {
      INFO(name);
      REQUIRE(expected.count(name) == 1);
      CHECK(++plain[detail::plain_name(name)] == 1);
      for (const Index n : {7, 20}) {  // a run of 7 steps shows lower_order_final
        const auto grid = timestep_grid(stable_diffusion(), TimestepSpacing::trailing, n);
        CHECK_THAT(sample(named_sampler<Tensor>(name), grid, denoiser, x_T, PhiloxNoise(2)),
                   AllEqual(sample(expected.at(name), grid, denoiser, x_T, PhiloxNoise(2))));
      }
    }
  }
  CHECK(plain.size() == expected.size());
}

TEST_CASE("a name is found in any spelling", "[names]") {
  for (const char* name : {"DPM++ 2M SDE Heun", "dpm++2s_a", "Euler a", "Uni-PC", "sample_dpmpp_2m", "DPM2 a"}) {
    INFO(name);
    CHECK_NOTHROW(named_sampler<Tensor>(name));
  }
}

TEST_CASE("named_sampler refuses unknown names, and says what to use", "[names]") {
  const auto message = [](const std::string& name) {
    return error_message([&] { (void)named_sampler<Tensor>(name); });
  };
  CHECK_THAT(message("dpmpp_2n"), ContainsSubstring("there is no \"dpmpp_2n\"; the nearest name is \"dpmpp_2m\""));
  CHECK_THAT(message(""), ContainsSubstring("Known names: euler, euler_ancestral, "));
  CHECK_THAT(message("euler_cfg_pp"), ContainsSubstring("is Ddim{} with cfg_plus_plus as the denoiser"));
  CHECK_THAT(message("Euler a CFG++"), ContainsSubstring("is Ddim{1.0} with cfg_plus_plus as the denoiser"));
  CHECK_THAT(message("dpmpp_2m_cfg_pp"), ContainsSubstring("there is no \"dpmpp_2m_cfg_pp\""));
  CHECK_THAT(message("dpm_fast"), ContainsSubstring("DpmSolverFast{calls}"));
  CHECK_THAT(message("DPM++ 2M Karras"), ContainsSubstring("give the end, karras, to named_sigmas"));
  CHECK_THAT(message("DPM++ 2M Polyexponential"), ContainsSubstring("give the end, polyexponential, to named_sigmas"));
  CHECK_THAT(message("alphabeta"), ContainsSubstring("there is no \"alphabeta\""));
  CHECK_THAT(message("euler" + std::string(60, ' ') + "garbage"), ContainsSubstring("there is no \"euler"));
  CHECK_THAT(message(std::string("euler\0", 6)), ContainsSubstring("there is no"));
  CHECK(message(std::string(100000, 'x')).size() < 2000);
}

}  // namespace names_tests
