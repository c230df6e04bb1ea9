// Tests of diffusion/sampling/samplers/*.hpp and sigmas.hpp: whole runs compared with
// k-diffusion's, on x = x_0 + sigma epsilon.
#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <diffusion/diffusion.hpp>

#include "matchers.hpp"

namespace k_diffusion_golden_tests {

using diffusion::NoiseLevel;
using diffusion::TimeGrid;
using Eigen::ArrayXd;
using Eigen::Index;

namespace {

using Tensor = Eigen::Tensor<double, 3, Eigen::RowMajor, Index>;
using Prediction = diffusion::Prediction<Tensor>;
using Denoiser = std::function<void(const Tensor&, const NoiseLevel&, Prediction&)>;

const Golden& records() { return golden("k_diffusion.txt"); }

/// Returns a denoiser that appends the s of each of its calls to `sigmas`:
///
///     D(x, s) = x / (1 + s^2) + 0.2 s^2 / (1 + s^2) sin(x / sqrt(1 + s^2)) + 0.05 cos(s / (1 + s))
Denoiser denoiser(std::vector<double>& sigmas) {
  return [&sigmas](const Tensor& x, const NoiseLevel& level, Prediction& out) {
    const double s = level.sigma, n = 1 + s * s;
    sigmas.push_back(s);
    out.x_start = out.epsilon = x;
    for (Index i = 0; i < x.size(); ++i) {
      const double value = x.data()[i];
      out.x_start.data()[i] =
          value / n + 0.2 * (s * s / n) * std::sin(value / std::sqrt(n)) + 0.05 * std::cos(s / (1 + s));
      out.epsilon.data()[i] = (value - out.x_start.data()[i]) / s;
    }
  };
}

TimeGrid recorded_grid(const std::string& name) {
  const ArrayXd sigmas = records().array("sample/" + name + "/sigmas");
  const bool rises = sigmas[0] < sigmas[sigmas.size() - 1];
  return rises ? diffusion::edm_grid(sigmas.reverse()).reversed() : diffusion::edm_grid(sigmas);
}

/// n steps, even in log sigma, between the ends of the recorded sigmas.
TimeGrid even_grid(const std::string& name, Index n) {
  const ArrayXd sigmas = records().array("sample/" + name + "/sigmas");
  return diffusion::edm_grid(diffusion::lu_sigmas(n + 1, sigmas[sigmas.size() - 1], sigmas[0]).head(n + 1));
}

/// Compares a run from x_init with the record. The noise also comes from the record, which has
/// `draws` draws for each step: k-diffusion draws them whether the step uses them or not.
template <class Sampler>
void check_run(const std::string& name, const Sampler& sampler, const TimeGrid& grid, Index draws = 1,
               double allowed = tolerance::sampler) {
  INFO(name);
  const std::string record = "sample/" + name + "/";
  const Tensor x = records().tensor<float, 3>(record + "x_init").cast<double>();
  ArrayXd noise;
  if (records().contains(record + "noise")) noise = records().array(record + "noise").cast<float>().cast<double>();
  Index step = -1, draw = 0;
  diffusion::Hooks<Tensor> hooks;
  hooks.correct_x_t = [&](Tensor&, const NoiseLevel&) { ++step, draw = 0; };
  const auto source = [&](Tensor& z) {
    for (Index i = 0; i < z.size(); ++i) z.data()[i] = noise[(step * draws + draw) * z.size() + i];
    ++draw;
  };
  std::vector<double> model_sigmas;
  const auto denoise = denoiser(model_sigmas);
  const Tensor out = diffusion::sample(sampler, grid, denoise, x, source, hooks);
  CHECK_THAT(out, AllClose(records().tensor<double, 3>(record + "final"), allowed, allowed));
  CHECK_THAT(ArrayXd(Eigen::Map<const ArrayXd>(model_sigmas.data(), static_cast<Index>(model_sigmas.size()))),
             AllClose(records().array(record + "model_sigmas"), allowed));
}

template <class Sampler>
void check_run(const std::string& name, const Sampler& sampler, Index draws = 1) {
  check_run(name, sampler, recorded_grid(name), draws);
}

}  // namespace

TEST_CASE("lists of sigmas equal k-diffusion's", "[sigmas]") {
  std::size_t lists = 0;
  for (const std::string& name : records().names()) {
    if (name.rfind("sigmas/", 0) != 0 || name.find("/n") == std::string::npos) continue;
    INFO(name);
    const std::string kind = name.substr(7, name.find("/n") - 7);
    const Index n = std::stoll(name.substr(name.find("/n") + 2));
    const double low = records().scalar("sigmas/sigma_min"), high = records().scalar("sigmas/sigma_max");
    const ArrayXd sigmas = kind == "karras"                 ? diffusion::karras_sigmas(n, low, high)
                           : kind == "karras_rho5"          ? diffusion::karras_sigmas(n, 0.002, 80.0, 5.0)
                           : kind == "exponential"          ? diffusion::exponential_sigmas(n, low, high)
                           : kind == "polyexponential_rho1" ? diffusion::polyexponential_sigmas(n, low, high)
                           : kind == "polyexponential_rho2" ? diffusion::polyexponential_sigmas(n, low, high, 2.0)
                           : kind == "vp"                   ? diffusion::vp_sigmas(n)
                                                            : diffusion::vp_sigmas(n, 15.0, 0.2, 1e-4);
    CHECK_THAT(sigmas, AllClose(records().array(name), tolerance::reference_sigma));
    ++lists;
  }
  REQUIRE(lists > 20);
}

TEST_CASE("ancestral_step equals k-diffusion's get_ancestral_step", "[steps]") {
  for (int i = 0; i < 5; ++i) {
    const ArrayXd c = records().array("ancestral_step/case" + std::to_string(i));  // from, to, eta, down, up
    const auto step = diffusion::ancestral_step({0, 1, c[0]}, {0, 1, c[1]}, c[2]);
    ArrayXd expected = c.tail(2), got(2);
    got << step.down.sigma, step.up;
    CHECK_THAT(got, AllClose(expected, tolerance::sampler, tolerance::sampler));
  }
}

TEST_CASE("every run of k-diffusion is reproduced", "[samplers]") {
  using namespace diffusion;
  const Churn churn{5.0, 0.05, 50.0, 1.003};
  for (const std::string grid : {"karras", "exponential", "nozero", "ascending", "churn"}) {
    const Churn run_churn = grid == "churn" ? churn : Churn{};
    check_run("euler_" + grid, Euler{run_churn});
    check_run("heun_" + grid, Heun{run_churn});
    check_run("dpm_2_" + grid, Dpm2{run_churn});
  }
  check_run("euler_ancestral_eta1", EulerAncestral{});
  check_run("euler_ancestral_eta0.5", EulerAncestral{0.5, 1.01});
  check_run("euler_ancestral_eta0", EulerAncestral{0.0});
  check_run("dpm_2_ancestral_eta1", Dpm2Ancestral{});
  check_run("dpm_2_ancestral_eta0.5", Dpm2Ancestral{0.5, 1.01});
  check_run("dpmpp_2s_ancestral_eta1", DpmSolverPP2SAncestral{});
  check_run("dpmpp_2s_ancestral_eta0.5", DpmSolverPP2SAncestral{0.5, 1.01});
  check_run("dpmpp_sde_eta1", DpmSolverPPSde{}, 2);
  check_run("dpmpp_sde_eta0.5", DpmSolverPPSde{0.5, 1.01}, 2);
  check_run("dpmpp_sde_r0.25", DpmSolverPPSde{1.0, 1.0, 0.25}, 2);
  for (int order = 1; order <= 4; ++order) check_run("lms_o" + std::to_string(order), Lms{order});

  const auto multistep = [](int order, DpmSolverType type, double eta, double s_noise = 1.0) {
    return DpmSolverPP{order, type, eta, s_noise, false, false};
  };
  for (const std::string grid : {"karras", "exponential", "nozero"}) {
    check_run("dpmpp_2m_" + grid, multistep(2, DpmSolverType::midpoint, 0.0));
  }
  for (const bool heun : {false, true}) {
    const std::string name = std::string("dpmpp_2m_sde_") + (heun ? "heun" : "midpoint");
    const DpmSolverType type = heun ? DpmSolverType::heun : DpmSolverType::midpoint;
    check_run(name + "_eta1", multistep(2, type, 1.0));
    check_run(name + "_eta0.5", multistep(2, type, 0.5, 0.99));
    check_run(name + "_eta0", multistep(2, type, 0.0));
  }
  check_run("dpmpp_3m_sde_eta1", multistep(3, DpmSolverType::heun, 1.0));
  check_run("dpmpp_3m_sde_eta0", multistep(3, DpmSolverType::heun, 0.0));

  for (const Index calls : {6, 9, 10, 11}) {
    const std::string name = "dpm_fast_nfe" + std::to_string(calls);
    check_run(name, DpmSolverFast{calls}, even_grid(name, calls / 3 + 1));
  }
  check_run("dpm_fast_nfe13_eta0.5", DpmSolverFast{13, 0.5}, even_grid("dpm_fast_nfe13_eta0.5", 5));
  check_run("dpm_fast_nfe5_eta1", DpmSolverFast{5, 1.0, 1.01}, even_grid("dpm_fast_nfe5_eta1", 2));
  for (const int order : {2, 3}) {
    const std::string name = "dpm_adaptive_o" + std::to_string(order);
    check_run(name, DpmSolverAdaptive{order}, even_grid(name, 1), 1, tolerance::adaptive_sampler);
  }
}

}  // namespace k_diffusion_golden_tests
