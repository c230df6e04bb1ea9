// Tests of diffusion/interop/sigma_names.hpp and detail/name_lookup.hpp.
#include <cmath>
#include <cstddef>
#include <diffusion/interop/sigma_names.hpp>
#include <map>
#include <string>
#include <vector>

#include <diffusion/diffusion.hpp>

#include "matchers.hpp"
#include "tolerance.hpp"

namespace sigma_names_tests {

using diffusion::FlowSchedule;
using diffusion::named_sigmas;
using Eigen::ArrayXd;
using Eigen::Index;

namespace {

const Golden& records() { return golden("comfy.txt"); }

const diffusion::GaussianDiffusion<double>& stable_diffusion() {
  static const diffusion::GaussianDiffusion<double> process(
      diffusion::scaled_linear_beta_schedule(1000, 0.00085, 0.012));
  return process;
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
  CHECK_THAT(named_sigmas("karras", stable_diffusion(), 7),
             AllClose(karras_sigmas(7, low, high), tolerance::reference_sigma));
  CHECK_THAT(named_sigmas("Exponential", stable_diffusion(), 7),
             AllClose(exponential_sigmas(7, low, high), tolerance::reference_sigma));
  CHECK_THAT(named_sigmas("simple", FlowSchedule{}, 7), AllEqual(named_sigmas("simple", FlowSchedule{1.0, 1000}, 7)));
  CHECK_THAT(named_sigmas("polyexponential", stable_diffusion(), 7),
             AllClose(polyexponential_sigmas(7, low, high), tolerance::reference_sigma));
  CHECK_THAT(named_sigmas("beta_sigmas", stable_diffusion(), 7),
             AllClose(beta_sigmas(7, low, high), tolerance::reference_sigma));
  CHECK_THAT(named_sigmas("vp", stable_diffusion(), 7), AllClose(vp_sigmas(7), tolerance::reference_sigma));
  CHECK_THAT(named_sigmas("ays", stable_diffusion(), 10),
             AllClose(ays_sigmas(AysModel::stable_diffusion), tolerance::reference_sigma));
  CHECK_THAT(named_sigmas("AYS SDXL", stable_diffusion(), 10),
             AllClose(ays_sigmas(AysModel::stable_diffusion_xl), tolerance::reference_sigma));
  CHECK_THAT(named_sigmas("ays_svd", stable_diffusion(), 5),
             AllClose(ays_sigmas(AysModel::stable_video_diffusion, 5), tolerance::reference_sigma));
}

TEST_CASE("named_sigmas gives lists for grids, for every name and number of steps", "[names]") {
  for (const std::string name :
       {"karras", "exponential", "polyexponential", "vp", "normal", "sgm_uniform", "simple", "ddim_uniform", "beta",
        "beta_sigmas", "linear_quadratic", "kl_optimal", "ays", "ays_sdxl"}) {
    for (const Index n : {1, 2, 3, 7, 50, 333, 1000}) {
      INFO(name << ", " << n << " steps");
      const auto grid = diffusion::sigma_grid(stable_diffusion(), named_sigmas(name, stable_diffusion(), n));
      CHECK(grid.levels().back().sigma == 0.0);
      if (name != "ddim_uniform" && name != "beta") CHECK(grid.num_steps() == n);
      if (name == "vp" || name.rfind("ays", 0) == 0) continue;  // not sigmas of a flow
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
  CHECK_THAT(message(""), ContainsSubstring("Known names: karras, polyexponential, exponential, "));
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

TEST_CASE("named_sigmas refuses what its model cannot have", "[names]") {
  using diffusion::GaussianDiffusion;
  const auto sigmas = [](const std::string& name, const auto& model, Index n) {
    return error_message([&] { (void)named_sigmas(name, model, n); });
  };
  const GaussianDiffusion<double> no_signal(
      diffusion::rescale_zero_terminal_snr(diffusion::scaled_linear_beta_schedule(1000)));
  CHECK_THAT(sigmas("normal", no_signal, 5), ContainsSubstring("no signal at timestep 999"));
  CHECK_THAT(sigmas("vp", FlowSchedule{}, 5), ContainsSubstring("vp is a list for models that are not flow matching"));
  CHECK_THAT(sigmas("simple", FlowSchedule{std::nan(""), 1000}, 5), ContainsSubstring("shift"));
  CHECK_THAT(sigmas("simple", FlowSchedule{1.0, Index(1) << 60}, 5), ContainsSubstring("num_timesteps"));
  const GaussianDiffusion<double> one_step(diffusion::constant_beta_schedule(1, 0.5)),
      two_steps(diffusion::constant_beta_schedule(2, 0.5));
  CHECK_THAT(sigmas("ddim_uniform", one_step, 1), ContainsSubstring("needs at least 2 timesteps"));
  CHECK_THAT(named_sigmas("simple", one_step, 1)[0], WithinAbs(1.0, tolerance::sampler));
  CHECK_THAT(named_sigmas("normal", two_steps, 2), AllClose(named_sigmas("simple", two_steps, 2), tolerance::sampler));
  CHECK_THAT(named_sigmas("normal", stable_diffusion(), 1000),
             AllClose(named_sigmas("simple", stable_diffusion(), 1000), tolerance::sampler));
  const GaussianDiffusion<Eigen::half> half(diffusion::scaled_linear_beta_schedule(1000));
  CHECK_THAT(named_sigmas("karras", half, 9),
             AllClose(named_sigmas("karras", stable_diffusion(), 9), tolerance::reference_sigma));
}

TEST_CASE("a FlowSchedule has at most 10^9 timesteps", "[names]") {
  CHECK(named_sigmas("simple", FlowSchedule{1.0, 1000000000}, 2)[0] == 1.0);
  CHECK(error_message([] {
          (void)named_sigmas("simple", FlowSchedule{1.0, 1000000001}, 2);
        }) == "diffusion::named_sigmas: num_timesteps = 1000000001 is outside [2, 1000000000]");
}

TEST_CASE("plain names have lower case, p for + and no spaces, hyphens and underscores", "[names]") {
  using diffusion::detail::plain_name;
  CHECK(plain_name("AbYZ az09") == "abyzaz09");
  CHECK(plain_name("DPM++_2M - ") == "dpmpp2m");
  CHECK(plain_name("@[`{") == "@[`{");  // the neighbours of A, Z, a and z
}

TEST_CASE("edit_distance counts the letters to insert, remove or replace", "[names]") {
  using diffusion::detail::edit_distance;
  CHECK(edit_distance("kitten", "sitting") == 3);
  CHECK(edit_distance("sunday", "saturday") == 3);
  CHECK(edit_distance("flaw", "lawn") == 2);
  CHECK(edit_distance("karras", "karras") == 0);
  CHECK(edit_distance("abc", "xyz") == 3);
  CHECK(edit_distance("abc", "a") == 2);
  CHECK(edit_distance("a", "abc") == 2);
  CHECK(edit_distance("abc", "") == 3);
  CHECK(edit_distance("", "abcd") == 4);
  CHECK(edit_distance("", "") == 0);
  CHECK(edit_distance("ab", "ba") == 2);
}

TEST_CASE("the message for an unknown name shows and compares its first 64 letters", "[names]") {
  const std::string a(64, 'a'), b = a + 'b', c = a.substr(0, 63);
  const auto message = [](const std::string& name, const std::vector<std::string>& known) {
    return error_message([&] { diffusion::detail::fail_unknown_name("f", name, known); });
  };
  CHECK(message(b, {b, c, a}) == "diffusion::f: there is no \"" + a + "\"; the nearest name is \"" + a +
                                     "\". Known names: " + b + ", " + c + ", " + a);
  CHECK_THAT(message(a, {b, c, a}),
             StartsWith("diffusion::f: there is no \"" + a + "\"; the nearest name is \"" + a + "\""));
}

}  // namespace sigma_names_tests
