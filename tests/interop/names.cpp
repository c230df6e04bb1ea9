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

using diffusion::FlowSchedule;
using diffusion::named_sampler;
using diffusion::named_sigmas;
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

/// Compares a run of the named sampler with ComfyUI's.
void check_run(const std::string& name, const std::string& record, double allowed = tolerance::sampler) {
  INFO(name << ", " << record);
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
    denoise(x, level, out);
  };
  const Tensor x = records().tensor<float, 3>(path + "x_init").cast<double>();
  const Tensor out =
      sample(named_sampler<Tensor>(name), flow ? diffusion::flow_matching_grid(sigmas) : diffusion::edm_grid(sigmas),
             model, x, noise);
  CHECK_THAT(out, AllClose(records().tensor<double, 3>(path + "final"), allowed, allowed));
  CHECK_THAT(ArrayXd(Eigen::Map<const ArrayXd>(model_sigmas.data(), static_cast<Index>(model_sigmas.size()))),
             AllClose(records().array(path + "model_sigmas"), tolerance::sampler));
}

}  // namespace

TEST_CASE("named_sigmas equals ComfyUI's schedules", "[names]") {
  std::map<std::string, int> lists;
  for (const std::string& record : records().names()) {
    if (record.rfind("schedule/", 0) != 0) continue;
    INFO(record);
    const std::size_t first = record.find('/') + 1, second = record.find('/', first) + 1;
    const std::string model = record.substr(first, second - first - 1);
    const std::string name = record.substr(second, record.find('/', second) - second);
    const Index n = std::stoll(record.substr(record.rfind('n') + 1));
    const ArrayXd sigmas = model == "sd" ? named_sigmas(name, stable_diffusion(), n)
                                         : named_sigmas(name, FlowSchedule{model == "flow_shift3" ? 3.0 : 1.0}, n);
    CHECK_THAT(sigmas, AllClose(records().array(record), tolerance::sampler, tolerance::sampler));
    ++lists[model + "/" + name];
  }
  REQUIRE(lists.size() == 21);
}

TEST_CASE("named_sigmas knows the functions of sigmas.hpp", "[names]") {
  using namespace diffusion;
  const ArrayXd all = (stable_diffusion().one_minus_alphas_cumprod() / stable_diffusion().alphas_cumprod()).sqrt();
  const double low = all[0], high = all[999];
  CHECK_THAT(named_sigmas("karras", stable_diffusion(), 7), AllEqual(karras_sigmas(7, low, high)));
  CHECK_THAT(named_sigmas("Exponential", stable_diffusion(), 7), AllEqual(exponential_sigmas(7, low, high)));
  CHECK_THAT(named_sigmas("polyexponential", stable_diffusion(), 7), AllEqual(polyexponential_sigmas(7, low, high)));
  CHECK_THAT(named_sigmas("beta_sigmas", stable_diffusion(), 7), AllEqual(beta_sigmas(7, low, high)));
  CHECK_THAT(named_sigmas("vp", stable_diffusion(), 7), AllEqual(vp_sigmas(7)));
  CHECK_THAT(named_sigmas("ays", stable_diffusion(), 10), AllEqual(ays_sigmas(AysModel::stable_diffusion)));
  CHECK_THAT(named_sigmas("AYS SDXL", stable_diffusion(), 10), AllEqual(ays_sigmas(AysModel::stable_diffusion_xl)));
  CHECK_THAT(named_sigmas("ays_svd", stable_diffusion(), 5), AllEqual(ays_sigmas(AysModel::stable_video_diffusion, 5)));
}

TEST_CASE("named_sigmas gives lists for grids, for every name and number of steps", "[names]") {
  for (const std::string name :
       {"karras", "exponential", "polyexponential", "vp", "normal", "sgm_uniform", "simple", "ddim_uniform", "beta",
        "beta_sigmas", "linear_quadratic", "kl_optimal", "ays", "ays_sdxl"}) {
    for (const Index n : {1, 2, 3, 7, 50, 333}) {
      INFO(name << ", " << n << " steps");
      const auto grid = diffusion::sigma_grid(stable_diffusion(), named_sigmas(name, stable_diffusion(), n));
      CHECK(grid.levels().back().sigma == 0.0);
      if (name != "ddim_uniform" && name != "beta") CHECK(grid.num_steps() == n);
      if (name == "vp" || name == "ays" || name == "ays_sdxl") continue;  // not sigmas of a flow
      const auto flow = diffusion::flow_matching_grid(named_sigmas(name, FlowSchedule{3.0}, n));
      CHECK(flow.levels().front().sigma <= 1.0);
    }
  }
}

TEST_CASE("named_sigmas refuses unknown names and numbers of steps, and says what is known", "[names]") {
  const auto message = [](const std::string& name, Index n = 5) {
    return error_message([&] { (void)named_sigmas(name, stable_diffusion(), n); });
  };
  CHECK_THAT(message("karas"),
             ContainsSubstring("named_sigmas: there is no \"karas\"; the nearest name is \"karras\""));
  CHECK_THAT(message("sgm uniforn"), ContainsSubstring("nearest name is \"sgm_uniform\""));
  CHECK_THAT(message(""), ContainsSubstring("Known names: karras, exponential, "));
  CHECK_THAT(message(std::string(100000, 'x')), ContainsSubstring("there is no \"xxx"));
  CHECK(message(std::string(100000, 'x')).size() < 1000);
  CHECK_THAT(message("karras", 0), ContainsSubstring("named_sigmas: n = 0"));
  CHECK_THAT(message("karras", 1001), ContainsSubstring("named_sigmas: n = 1001"));
  CHECK_THAT(error_message([] { (void)named_sigmas("simple", FlowSchedule{0.0}, 5); }), ContainsSubstring("shift"));
  CHECK_THAT(error_message([] {
               (void)named_sigmas("simple", FlowSchedule{1.0, 1}, 5);
             }),
             ContainsSubstring("num_timesteps = 1"));
}

TEST_CASE("named samplers equal ComfyUI's", "[names]") {
  check_run("euler_ancestral", "euler_ancestral/ve");
  check_run("dpmpp_sde", "dpmpp_sde/ve");
  check_run("dpmpp_2m_sde", "dpmpp_2m_sde/ve");
  check_run("dpmpp_2m_sde", "dpmpp_2m_sde/flow_partial");
  check_run("dpmpp_3m_sde", "dpmpp_3m_sde/ve");
  check_run("dpmpp_3m_sde", "dpmpp_3m_sde/flow_partial");
  check_run("ddpm", "ddpm/ve");
  check_run("lcm", "lcm/ve");
  check_run("res_multistep", "res_multistep/ve");
  check_run("res_multistep", "res_multistep/ve_nozero");
}

TEST_CASE("a name is found in any spelling", "[names]") {
  for (const auto& row : diffusion::detail::sampler_names<Tensor>()) {
    for (const std::string& name : row.names) CHECK_NOTHROW(named_sampler<Tensor>(name));
  }
  CHECK_NOTHROW(named_sampler<Tensor>("DPM++ 2M SDE Heun"));
  CHECK_NOTHROW(named_sampler<Tensor>("dpm++2s_a"));
  CHECK_NOTHROW(named_sampler<Tensor>("Euler a"));
  CHECK_NOTHROW(named_sampler<Tensor>("UniPC"));
}

TEST_CASE("named_sampler refuses unknown names, and says what to use", "[names]") {
  const auto message = [](const std::string& name) {
    return error_message([&] { (void)named_sampler<Tensor>(name); });
  };
  CHECK_THAT(message("dpmpp_2n"), ContainsSubstring("there is no \"dpmpp_2n\"; the nearest name is \"dpmpp_2m\""));
  CHECK_THAT(message(""), ContainsSubstring("Known names: euler, euler_ancestral, "));
  CHECK_THAT(message("euler_cfg_pp"), ContainsSubstring("guidance/cfg_plus_plus.hpp"));
  CHECK_THAT(message("dpm_fast"), ContainsSubstring("DpmSolverFast{calls}"));
  CHECK_THAT(message("DPM++ 2M Karras"), ContainsSubstring("give the end, karras, to named_sigmas"));
  CHECK(message(std::string(100000, 'x')).size() < 2000);
}
