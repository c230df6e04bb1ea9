// Tests of diffusion/process/schedules.hpp.
#include "diffusion/process/schedules.hpp"

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "catch.hpp"
#include "golden.hpp"
#include "lists.hpp"
#include "matchers.hpp"
#include "tolerance.hpp"

namespace schedules_tests {

using diffusion::betas_for_alpha_bar;
using diffusion::betas_from_alphas_cumprod;
using diffusion::constant_beta_schedule;
using diffusion::cosine_beta_schedule;
using diffusion::jabri_sigmoid_beta_schedule;
using diffusion::jsd_beta_schedule;
using diffusion::linear_beta_schedule;
using diffusion::named_beta_schedule;
using diffusion::rescale_zero_terminal_snr;
using diffusion::scaled_linear_beta_schedule;
using diffusion::sigmoid_beta_schedule;
using diffusion::warmup_beta_schedule;
using Eigen::ArrayXd;
using Eigen::Index;

namespace {

constexpr double pi = 3.14159265358979323846;

ArrayXd alphas_cumprod(const ArrayXd& betas) {
  ArrayXd out = 1.0 - betas;
  for (Index i = 1; i < out.size(); ++i) out[i] *= out[i - 1];
  return out;
}

/// Replaces Eigen's sqrt, for which g++ 12 gives a false warning at -O3 with AVX-512.
ArrayXd square_root(const ArrayXd& x) {
  return x.unaryExpr([](double y) { return std::sqrt(y); });
}

/// Betas at a few indices, computed with 50 digits.
using Exact = std::map<Index, double>;

void require_exact(const ArrayXd& betas, const Exact& exact) {
  for (const auto& [i, expected] : exact) {
    INFO("beta " << i << " of " << betas.size());
    REQUIRE_THAT(list({betas[i]}), AllClose(list({expected}), tolerance::schedule));
  }
}

const double not_a_number = std::numeric_limits<double>::quiet_NaN();
const double infinity = std::numeric_limits<double>::infinity();

const std::array<const char*, 11> all_names = {"linear",  "scaled_linear", "cosine",  "squaredcos_cap_v2",
                                               "sigmoid", "jabri_sigmoid", "quad",    "const",
                                               "jsd",     "warmup10",      "warmup50"};

}  // namespace

// ---- recorded references ----

TEST_CASE("linear betas equal guided-diffusion's bit for bit", "[schedules]") {
  const Golden& g = golden("guided_schedules.txt");
  for (const Index T : {50, 1000}) {
    const std::string name = "linear_T" + std::to_string(T);
    INFO(name);
    REQUIRE_THAT(linear_beta_schedule(T), AllEqual(g.array(name + "/betas")));
  }
  const Golden& truth = golden("schedules_truth.txt");
  const std::string record = "linear_T100000/betas/";
  REQUIRE_THAT(at(linear_beta_schedule(100000), truth.array(record + "index")),
               AllEqual(truth.array(record + "betas_input_at_index")));
}

TEST_CASE("cosine betas equal guided-diffusion's up to the digits that it loses by cancellation", "[schedules]") {
  const Golden& g = golden("guided_schedules.txt");
  for (const Index T : {10, 1000}) {
    const std::string name = "cosine_T" + std::to_string(T);
    INFO(name);
    REQUIRE_THAT(cosine_beta_schedule(T), AllClose(g.array(name + "/betas"), tolerance::reference_schedule));
  }
}

TEST_CASE("linear and cosine betas equal the exact formula", "[schedules]") {
  const Golden& g = golden("schedules_truth.txt");
  for (const char* const name :
       {"linear_T50", "linear_T1000", "linear_T4000", "linear_T100000", "cosine_T10", "cosine_T1000", "cosine_T4000"}) {
    INFO(name);
    const std::string record = name;
    const ArrayXd betas = named_beta_schedule(record.substr(0, record.find('_')), g.integer(record + "/T"));
    REQUIRE_THAT(at(betas, g.array(record + "/formula/index")),
                 AllClose(g.array(record + "/formula/betas"), tolerance::schedule));
  }
}

TEST_CASE("betas equal diffusers'", "[schedules]") {
  const Golden& g = golden("diffusers_schedulers.txt");
  for (const Index T : {50, 1000}) {
    const std::map<std::string, ArrayXd> schedules = {
        {"linear", linear_beta_schedule(T, 0.00085, 0.012)},
        {"scaled_linear", scaled_linear_beta_schedule(T, 0.00085, 0.012)},
        {"squaredcos_cap_v2", cosine_beta_schedule(T)},
        {"sigmoid", sigmoid_beta_schedule(T, 0.00085, 0.012)},
    };
    for (const auto& [name, betas] : schedules) {
      const std::string record = "betas/" + name + "_T" + std::to_string(T) + "_zsnr0/";
      INFO(record);
      REQUIRE_THAT(at(betas, g.array(record + "index")),
                   AllClose(g.array(record + "betas"), tolerance::reference_schedule));
    }
  }
}

TEST_CASE("betas rescaled to zero terminal SNR equal diffusers'", "[schedules]") {
  const Golden& g = golden("diffusers_schedulers.txt");
  for (const char* const name : {"linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace"}) {
    INFO(name);
    const std::string record = std::string("betas/") + name + "_T50_zsnr";
    REQUIRE_THAT(rescale_zero_terminal_snr(g.array(record + "0/betas")),
                 AllClose(g.array(record + "1/betas"), tolerance::reference_schedule));
  }
  const std::string record = "betas/scaled_linear_T1000_zsnr1/";
  const ArrayXd rescaled = rescale_zero_terminal_snr(scaled_linear_beta_schedule(1000));
  REQUIRE_THAT(at(rescaled, g.array(record + "index")),
               AllClose(g.array(record + "betas"), tolerance::reference_schedule));
}

// ---- values computed with 50 digits ----

TEST_CASE("cosine betas lose no digits at the ends or in the middle", "[schedules]") {
  require_exact(cosine_beta_schedule(30000), {{0, 1.29790698178816710485e-6},
                                              {1, 1.30330424593832866847e-6},
                                              {100, 1.83767278485297148492e-6},
                                              {15000, 0.000105191860387177482641},
                                              {29000, 0.00199720536082811540404},
                                              {29990, 0.189999986158168559583},
                                              {29998, 0.749999999325446826427},
                                              {29999, 0.999}});
  require_exact(cosine_beta_schedule(2), {{0, 0.506156409559362286683}, {1, 0.999}});
  require_exact(cosine_beta_schedule(1), {{0, 0.999}});
}

TEST_CASE("scaled linear betas equal the exact formula", "[schedules]") {
  require_exact(scaled_linear_beta_schedule(1000), {{0, 0.00085},
                                                    {1, 0.000854698655405686354773},
                                                    {500, 0.0048149541417118789836},
                                                    {998, 0.0119823763330833640325},
                                                    {999, 0.012}});
  require_exact(scaled_linear_beta_schedule(1000, 0.0001, 0.02),
                {{0, 0.0001}, {1, 0.000102648364350834014913}, {500, 0.00574207106768848370828}, {999, 0.02}});
}

TEST_CASE("sigmoid betas equal the exact formula", "[schedules]") {
  require_exact(sigmoid_beta_schedule(1000), {{0, 0.000149205200817032009248},
                                              {250, 0.00104647829470014364368},
                                              {499, 0.0100201202099389843214},
                                              {500, 0.0100798797900610156786},
                                              {999, 0.0199507947991829679908}});
  require_exact(
      sigmoid_beta_schedule(999, 0.5, 0.01),
      {{0, 0.498788414653248960577}, {499, 0.255}, {996, 0.0112410001428761830898}, {998, 0.0112115853467510396313}});
}

TEST_CASE("Jabri's sigmoid betas equal the exact formula", "[schedules]") {
  require_exact(jabri_sigmoid_beta_schedule(1000), {{0, 0.000300279199749186014302},
                                                    {500, 0.00331436423586079397996},
                                                    {990, 0.102451932858760081731},
                                                    {998, 0.501356902918181210976},
                                                    {999, 0.999}});
  require_exact(jabri_sigmoid_beta_schedule(1000, 0, 3, 0.75),
                {{0, 0.00207462667528693345394}, {500, 0.00414294287682093888531}, {998, 0.500963884720472292621}});
  require_exact(jabri_sigmoid_beta_schedule(1000, -3, -1, 0.5),
                {{0, 0.0000846883602747984460776}, {500, 0.000699362888589589759547}, {998, 0.499237568190507221374}});
}

TEST_CASE("Jabri's schedule does not overflow or vanish for a steep sigmoid", "[schedules]") {
  // exp(9 * 1024) is far above the largest double, but the ratio of two sigmoids is not.
  require_exact(
      jabri_sigmoid_beta_schedule(8, -9, -8.5, 1.0 / 1024),
      {{0, 2.72943092159424253158e-195}, {4, 4.12533740461518440279e-84}, {6, 1.60381089054863785298e-28}, {7, 0.999}});
}

TEST_CASE("rescaled betas equal the exact formula", "[schedules]") {
  require_exact(rescale_zero_terminal_snr(list({0.125, 0.25, 0.375, 0.5})),
                {{0, 0.125}, {1, 0.451959693000736962809}, {2, 0.724288459602029282968}, {3, 1.0}});
  require_exact(rescale_zero_terminal_snr(linear_beta_schedule(1000)), {{0, 0.0001},
                                                                        {1, 0.000120686635510617122935},
                                                                        {500, 0.01029261742639173841},
                                                                        {990, 0.197384881172670242251},
                                                                        {998, 0.752267231150468960476},
                                                                        {999, 1.0}});
}

TEST_CASE("rescaling loses no digits if abar stays near 1 or underflows", "[schedules]") {
  require_exact(rescale_zero_terminal_snr(constant_beta_schedule(1000, std::ldexp(1.0, -30))),
                {{0, 9.31322574615478515625e-10},
                 {1, 0.00200100046372753219016},
                 {500, 0.00399600046380052289148},
                 {998, 0.750000000116415321868},
                 {999, 1.0}});
  // A plain sum of 100000 rounded logarithms would miss this tolerance.
  const ArrayXd tiny = constant_beta_schedule(100000, 1e-9);
  require_exact(rescale_zero_terminal_snr(tiny), {{0, 1e-9},
                                                  {1, 0.0000200005999941665858334},
                                                  {100, 0.0000200204198138721804432},
                                                  {38965, 0.0000327683154356235922093},
                                                  {50000, 0.0000400000999820835541644},
                                                  {90000, 0.000199990499900421687484},
                                                  {99990, 0.190000000405000000422},
                                                  {99998, 0.750000000125000000047},
                                                  {99999, 1.0}});
  require_exact(rescale_zero_terminal_snr(constant_beta_schedule(2000, 0.75)),
                {{0, 0.75}, {1, 0.75}, {1000, 0.75}, {1997, 40.0 / 49}, {1998, 8.0 / 9}, {1999, 1.0}});
}

// ---- identities ----

TEST_CASE("betas of every named schedule are positive, at most 1 and never decrease", "[schedules]") {
  for (const char* const name : all_names) {
    for (const Index T : {1, 2, 3, 19, 20, 50, 1000, 4000, 100000}) {
      if (T < 20 && name == std::string("linear")) continue;
      INFO(name << ", T = " << T);
      const ArrayXd betas = named_beta_schedule(name, T);
      REQUIRE(betas.size() == T);
      REQUIRE((betas > 0.0 && betas <= 1.0).all());
      REQUIRE((betas.tail(T - 1) >= betas.head(T - 1)).all());
    }
  }
}

TEST_CASE("named_beta_schedule equals the function with its defaults", "[schedules]") {
  for (const Index T : {20, 1000}) {
    const std::map<std::string, ArrayXd> direct = {
        {"linear", linear_beta_schedule(T)},
        {"scaled_linear", scaled_linear_beta_schedule(T, 0.00085, 0.012)},
        {"quad", scaled_linear_beta_schedule(T, 0.0001, 0.02)},
        {"cosine", cosine_beta_schedule(T, 0.999)},
        {"squaredcos_cap_v2", cosine_beta_schedule(T, 0.999)},
        {"sigmoid", sigmoid_beta_schedule(T, 0.0001, 0.02)},
        {"jabri_sigmoid", jabri_sigmoid_beta_schedule(T, -3, 3, 1, 0.999)},
        {"const", constant_beta_schedule(T, 0.02)},
        {"warmup10", warmup_beta_schedule(T, 0.0001, 0.02, 0.1)},
        {"warmup50", warmup_beta_schedule(T, 0.0001, 0.02, 0.5)},
        {"jsd", jsd_beta_schedule(T)},
    };
    REQUIRE(direct.size() == all_names.size());
    for (const char* const name : all_names) {
      INFO(name << ", T = " << T);
      REQUIRE_THAT(named_beta_schedule(name, T), AllEqual(direct.at(name)));
    }
  }
}

TEST_CASE("linear betas have exact ends, and a single one is beta_start", "[schedules]") {
  const ArrayXd betas = linear_beta_schedule(7, 0.1, 0.3);
  REQUIRE(betas[0] == 0.1);
  REQUIRE(betas[6] == 0.3);
  REQUIRE_THAT(linear_beta_schedule(1, 0.1, 0.3), AllEqual(list({0.1})));
  REQUIRE_THAT(linear_beta_schedule(3, 0.5, 0.25), AllEqual(list({0.5, 0.375, 0.25})));
}

TEST_CASE("linear betas scaled with T equal DDPM's at T = 1000 and end at 1 at T = 20", "[schedules]") {
  REQUIRE_THAT(linear_beta_schedule(1000), AllEqual(linear_beta_schedule(1000, 0.0001, 0.02)));
  REQUIRE(linear_beta_schedule(20)[19] == 1.0);
}

TEST_CASE("scaled linear betas have equally spaced square roots", "[schedules]") {
  REQUIRE_THAT(scaled_linear_beta_schedule(5, 0.01, 0.09),
               AllClose(list({0.01, 0.0225, 0.04, 0.0625, 0.09}), tolerance::schedule));
}

TEST_CASE("max_beta caps cosine betas and leaves smaller ones unchanged", "[schedules]") {
  const ArrayXd free = cosine_beta_schedule(100, 1.0), capped = cosine_beta_schedule(100, 0.05);
  REQUIRE(free[99] == 1.0);
  REQUIRE_THAT(capped, AllEqual(free.min(0.05)));
}

TEST_CASE("betas_for_alpha_bar of the cosine's abar equals the cosine schedule up to cancellation", "[schedules]") {
  const auto alpha_bar = [](double t) { return std::pow(std::cos((t + 0.008) / 1.008 * pi / 2), 2); };
  for (const Index T : {1, 2, 10, 1000}) {
    INFO("T = " << T);
    REQUIRE_THAT(betas_for_alpha_bar(T, alpha_bar), AllClose(cosine_beta_schedule(T), tolerance::reference_schedule));
  }
}

TEST_CASE("betas_for_alpha_bar of Jabri's abar equals Jabri's schedule", "[schedules]") {
  const double start = -3, end = 2, tau = 0.7;
  const auto sigmoid = [](double u) { return 1 / (1 + std::exp(-u)); };
  const auto alpha_bar = [&](double t) {
    return (sigmoid(end / tau) - sigmoid((t * (end - start) + start) / tau)) /
           (sigmoid(end / tau) - sigmoid(start / tau));
  };
  REQUIRE_THAT(jabri_sigmoid_beta_schedule(200, start, end, tau),
               AllClose(betas_for_alpha_bar(200, alpha_bar), tolerance::reference_schedule));
}

TEST_CASE("betas_for_alpha_bar calls alpha_bar once at each of 0, 1/T, ..., 1", "[schedules]") {
  std::vector<double> calls;
  auto alpha_bar = [&calls](double t) mutable {
    calls.push_back(t);
    return 1 - t;
  };
  REQUIRE_THAT(betas_for_alpha_bar(3, alpha_bar, 1.0), AllClose(jsd_beta_schedule(3), tolerance::schedule));
  REQUIRE(calls == std::vector<double>{0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0});
}

TEST_CASE("betas_for_alpha_bar caps the last beta if abar falls below 0", "[schedules]") {
  const ArrayXd betas = betas_for_alpha_bar(4, [](double t) { return 1 - std::sqrt(t + 0.0001); });
  REQUIRE(betas[2] < 0.999);
  REQUIRE(betas[3] == 0.999);
}

TEST_CASE("betas_from_alphas_cumprod recovers the betas", "[schedules]") {
  REQUIRE_THAT(betas_from_alphas_cumprod(list({0.75, 0.375, 0.0})), AllEqual(list({0.25, 0.5, 1.0})));
  const ArrayXd betas = cosine_beta_schedule(1000);
  REQUIRE_THAT(betas_from_alphas_cumprod(alphas_cumprod(betas)), AllClose(betas, tolerance::reference_schedule));
}

TEST_CASE("jsd betas erase 1/T of the signal's variance in each step and end at 1", "[schedules]") {
  const Index T = 1000;
  const ArrayXd betas = jsd_beta_schedule(T);
  REQUIRE(betas[T - 1] == 1.0);
  const ArrayXd expected = (static_cast<double>(T) - ArrayXd::LinSpaced(T, 1.0, static_cast<double>(T))) / T;
  REQUIRE_THAT(alphas_cumprod(betas), AllClose(expected, tolerance::reference_schedule));
}

TEST_CASE("warmup betas are a ramp followed by a constant", "[schedules]") {
  const ArrayXd betas = warmup_beta_schedule(100, 0.001, 0.05, 0.25);
  REQUIRE_THAT(betas.head(25), AllEqual(linear_beta_schedule(25, 0.001, 0.05)));
  REQUIRE_THAT(betas.tail(75), AllEqual(constant_beta_schedule(75, 0.05)));
  REQUIRE_THAT(warmup_beta_schedule(9, 0.001, 0.05, 0.1), AllEqual(constant_beta_schedule(9, 0.05)));
  REQUIRE_THAT(warmup_beta_schedule(9, 0.001, 0.05, 0.0), AllEqual(constant_beta_schedule(9, 0.05)));
  REQUIRE_THAT(warmup_beta_schedule(9, 0.001, 0.05, 1.0), AllEqual(linear_beta_schedule(9, 0.001, 0.05)));
  REQUIRE_THAT(warmup_beta_schedule(3, 0.001, 0.05, 0.5), AllEqual(list({0.001, 0.05, 0.05})));  // a ramp of one beta
}

TEST_CASE("rescaling ends at abar = 0, keeps the first beta and maps sqrt(abar) linearly", "[schedules]") {
  const ArrayXd betas = scaled_linear_beta_schedule(1000), rescaled = rescale_zero_terminal_snr(betas);
  REQUIRE(rescaled[0] == betas[0]);
  REQUIRE(rescaled[999] == 1.0);
  REQUIRE((rescaled > 0.0 && rescaled <= 1.0).all());
  const ArrayXd before = square_root(alphas_cumprod(betas)), after = square_root(alphas_cumprod(rescaled));
  REQUIRE(after[999] == 0.0);
  const ArrayXd line = (before - before[999]) * (before[0] / (before[0] - before[999]));
  REQUIRE_THAT(after, AllClose(line, tolerance::reference_schedule));
}

TEST_CASE("rescaling returns betas that contain a 1 unchanged", "[schedules]") {
  for (const ArrayXd& betas : {jsd_beta_schedule(100), linear_beta_schedule(20), list({0.1, 1.0, 0.2}),
                               list({1.0, 0.5}), rescale_zero_terminal_snr(cosine_beta_schedule(50))}) {
    REQUIRE_THAT(rescale_zero_terminal_snr(betas), AllEqual(betas));
  }
}

// ---- exceptions ----

TEST_CASE("every schedule throws for a number of timesteps below 1", "[schedules]") {
  for (const Index T : {0, -3}) {
    const std::string rest = ": num_timesteps = " + std::to_string(T) + " must be at least 1";
    REQUIRE(error_message([&] { (void)linear_beta_schedule(T); }) == "diffusion::linear_beta_schedule" + rest);
    REQUIRE(error_message([&] { (void)linear_beta_schedule(T, 0.1, 0.2); }) ==
            "diffusion::linear_beta_schedule" + rest);
    REQUIRE(error_message([&] { (void)scaled_linear_beta_schedule(T); }) ==
            "diffusion::scaled_linear_beta_schedule" + rest);
    REQUIRE(error_message([&] { (void)cosine_beta_schedule(T); }) == "diffusion::cosine_beta_schedule" + rest);
    REQUIRE(error_message([&] { (void)sigmoid_beta_schedule(T); }) == "diffusion::sigmoid_beta_schedule" + rest);
    REQUIRE(error_message([&] { (void)jabri_sigmoid_beta_schedule(T); }) ==
            "diffusion::jabri_sigmoid_beta_schedule" + rest);
    REQUIRE(error_message([&] { (void)constant_beta_schedule(T); }) == "diffusion::constant_beta_schedule" + rest);
    REQUIRE(error_message([&] { (void)warmup_beta_schedule(T); }) == "diffusion::warmup_beta_schedule" + rest);
    REQUIRE(error_message([&] { (void)jsd_beta_schedule(T); }) == "diffusion::jsd_beta_schedule" + rest);
    REQUIRE(error_message([&] { (void)betas_for_alpha_bar(T, [](double t) { return 1 - t; }); }) ==
            "diffusion::betas_for_alpha_bar" + rest);
    for (const char* const name : all_names) {
      REQUIRE_THAT(error_message([&] { (void)named_beta_schedule(name, T); }), EndsWith(rest));
    }
  }
}

TEST_CASE("linear_beta_schedule without ends throws for fewer than 20 timesteps", "[schedules]") {
  REQUIRE_THAT(error_message([] { (void)linear_beta_schedule(19); }),
               StartsWith("diffusion::linear_beta_schedule: num_timesteps = 19 is below 20: the last beta, "
                          "20 / num_timesteps, would exceed 1; pass beta_start and beta_end"));
  REQUIRE_THAT(error_message([] { (void)named_beta_schedule("linear", 1); }),
               StartsWith("diffusion::linear_beta_schedule: num_timesteps = 1 is below 20"));
}

TEST_CASE("schedules name an end or cap outside its range", "[schedules]") {
  const std::map<std::string, double> bad = {{"0", 0.0},        {"-0.25", -0.25},   {"1.5", 1.5}, {"nan", not_a_number},
                                             {"inf", infinity}, {"-inf", -infinity}};
  for (const auto& [text, value] : bad) {
    const double b = value;
    const std::string rest = " = " + text + " is outside (0, 1]";
    REQUIRE(error_message([&] { (void)linear_beta_schedule(9, b, 0.1); }) ==
            "diffusion::linear_beta_schedule: beta_start" + rest);
    REQUIRE(error_message([&] { (void)linear_beta_schedule(9, 0.1, b); }) ==
            "diffusion::linear_beta_schedule: beta_end" + rest);
    REQUIRE(error_message([&] { (void)scaled_linear_beta_schedule(9, b, 0.1); }) ==
            "diffusion::scaled_linear_beta_schedule: beta_start" + rest);
    REQUIRE(error_message([&] { (void)scaled_linear_beta_schedule(9, 0.1, b); }) ==
            "diffusion::scaled_linear_beta_schedule: beta_end" + rest);
    REQUIRE(error_message([&] { (void)sigmoid_beta_schedule(9, b, 0.1); }) ==
            "diffusion::sigmoid_beta_schedule: beta_start" + rest);
    REQUIRE(error_message([&] { (void)sigmoid_beta_schedule(9, 0.1, b); }) ==
            "diffusion::sigmoid_beta_schedule: beta_end" + rest);
    REQUIRE(error_message([&] { (void)warmup_beta_schedule(9, b, 0.1); }) ==
            "diffusion::warmup_beta_schedule: beta_start" + rest);
    REQUIRE(error_message([&] { (void)warmup_beta_schedule(9, 0.1, b); }) ==
            "diffusion::warmup_beta_schedule: beta_end" + rest);
    REQUIRE(error_message([&] { (void)constant_beta_schedule(9, b); }) ==
            "diffusion::constant_beta_schedule: beta" + rest);
    REQUIRE(error_message([&] { (void)cosine_beta_schedule(9, b); }) ==
            "diffusion::cosine_beta_schedule: max_beta" + rest);
    REQUIRE(error_message([&] { (void)jabri_sigmoid_beta_schedule(9, -3, 3, 1, b); }) ==
            "diffusion::jabri_sigmoid_beta_schedule: max_beta" + rest);
    REQUIRE(error_message([&] {
              (void)betas_for_alpha_bar(
                  9, [](double t) { return 1 - t; }, b);
            }) == "diffusion::betas_for_alpha_bar: max_beta" + rest);
    REQUIRE(error_message([&] {
              (void)rescale_zero_terminal_snr(list({0.1, 0.2, b}));
            }) == "diffusion::rescale_zero_terminal_snr: betas[2]" + rest);
  }
}

TEST_CASE("Jabri's schedule throws unless the sigmoid rises and no beta underflows", "[schedules]") {
  const std::string where = "diffusion::jabri_sigmoid_beta_schedule: ";
  REQUIRE(error_message([] { (void)jabri_sigmoid_beta_schedule(9, 3, -3); }) ==
          where + "start = 3 must be less than end = -3, and end - start must be finite");
  REQUIRE(error_message([] { (void)jabri_sigmoid_beta_schedule(9, 2, 2); }) ==
          where + "start = 2 must be less than end = 2, and end - start must be finite");
  REQUIRE(error_message([] { (void)jabri_sigmoid_beta_schedule(9, not_a_number, 3); }) ==
          where + "start = nan must be less than end = 3, and end - start must be finite");
  REQUIRE(error_message([] { (void)jabri_sigmoid_beta_schedule(9, -3, infinity); }) ==
          where + "start = -3 must be less than end = inf, and end - start must be finite");
  for (const double tau : {0.0, -1.0, not_a_number, infinity}) {
    REQUIRE_THAT(error_message([&] { (void)jabri_sigmoid_beta_schedule(9, -3, 3, tau); }),
                 StartsWith(where + "tau = "));
  }
  // The first beta, about exp(-3000), is below the smallest double.
  REQUIRE(error_message([] { (void)jabri_sigmoid_beta_schedule(9, -3, 3, 0.001); }) ==
          where + "betas[0] = 0 is outside (0, 1]");
}

TEST_CASE("warmup_beta_schedule throws for a fraction below 0 or above 1", "[schedules]") {
  const std::string where = "diffusion::warmup_beta_schedule: ";
  REQUIRE(error_message([] { (void)warmup_beta_schedule(9, 0.1, 0.2, 1.5); }) ==
          where + "warmup_fraction = 1.5 is outside [0, 1]");
  REQUIRE(error_message([] { (void)warmup_beta_schedule(9, 0.1, 0.2, -1); }) ==
          where + "warmup_fraction = -1 is outside [0, 1]");
  REQUIRE(error_message([] { (void)warmup_beta_schedule(9, 0.1, 0.2, not_a_number); }) ==
          where + "warmup_fraction = nan is outside [0, 1]");
}

TEST_CASE("betas_for_alpha_bar throws unless abar decreases and is positive before its end", "[schedules]") {
  const std::string where = "diffusion::betas_for_alpha_bar: ";
  REQUIRE(error_message([] { (void)betas_for_alpha_bar(4, [](double t) { return 1 + t; }); }) ==
          where + "betas[0] = -0.25 is outside (0, 1]");
  REQUIRE(error_message([] { (void)betas_for_alpha_bar(4, [](double) { return 1.0; }); }) ==
          where + "betas[0] = 0 is outside (0, 1]");
  REQUIRE(error_message([] { (void)betas_for_alpha_bar(4, [](double t) { return 0.5 - t; }); }) ==
          where + "alpha_bar(0.5) = 0 must be positive and finite");
  REQUIRE(error_message([] { (void)betas_for_alpha_bar(4, [](double) { return not_a_number; }); }) ==
          where + "alpha_bar(0) = nan must be positive and finite");
  REQUIRE(error_message([] { (void)betas_for_alpha_bar(4, [](double t) { return t < 1 ? 1 - t : not_a_number; }); }) ==
          where + "betas[3] = nan is outside (0, 1]");
}

TEST_CASE("betas_from_alphas_cumprod throws unless abar decreases from below 1 to at least 0", "[schedules]") {
  const std::string where = "diffusion::betas_from_alphas_cumprod: ";
  REQUIRE(error_message([] { (void)betas_from_alphas_cumprod(ArrayXd()); }) == where + "alphas_cumprod is empty");
  REQUIRE(error_message([] {
            (void)betas_from_alphas_cumprod(list({1.0, 0.5}));
          }) == where + "alphas_cumprod[0] = 1 is outside [0, 1)");
  REQUIRE(error_message([] {
            (void)betas_from_alphas_cumprod(list({0.5, -0.25}));
          }) == where + "alphas_cumprod[1] = -0.25 is outside [0, 1)");
  REQUIRE(error_message([] {
            (void)betas_from_alphas_cumprod(list({0.5, not_a_number}));
          }) == where + "alphas_cumprod[1] = nan is outside [0, 1)");
  REQUIRE(error_message([] {
            (void)betas_from_alphas_cumprod(list({0.5, 0.25, 0.25}));
          }) == where + "alphas_cumprod[2] = 0.25 is not below alphas_cumprod[1] = 0.25");
  REQUIRE(error_message([] {
            (void)betas_from_alphas_cumprod(list({0.5, 0.0, 0.0}));
          }) == where + "alphas_cumprod[2] = 0 is not below alphas_cumprod[1] = 0");
}

TEST_CASE("rescaling throws for fewer than two betas and for betas that underflow", "[schedules]") {
  const std::string where = "diffusion::rescale_zero_terminal_snr: ";
  REQUIRE(error_message([] { (void)rescale_zero_terminal_snr(ArrayXd()); }) == where + "betas is empty");
  REQUIRE_THAT(error_message([] { (void)rescale_zero_terminal_snr(list({0.5})); }),
               StartsWith(where + "betas has one entry; at least two are needed"));
  const double least = std::numeric_limits<double>::denorm_min();
  REQUIRE_THAT(error_message([&] {
                 (void)rescale_zero_terminal_snr(list({least, least, least}));
               }),
               StartsWith(where + "betas[1] = "));
}

TEST_CASE("named_beta_schedule lists all names if it throws for an unknown one", "[schedules]") {
  const std::string message = error_message([] { (void)named_beta_schedule("Linear", 100); });
  REQUIRE_THAT(message, StartsWith("diffusion::named_beta_schedule: name = \"Linear\" is not one of "));
  for (const char* const name : all_names) REQUIRE_THAT(message, ContainsSubstring(name));
  REQUIRE_THAT(error_message([] { (void)named_beta_schedule("", 100); }),
               StartsWith("diffusion::named_beta_schedule: name = \"\""));
}

TEST_CASE("sigmoid betas do not exceed the larger of their ends", "[schedules]") {
  for (const double end : {0.3, 0.7, 0.9, 1.0}) {
    for (const Eigen::Index T : {1, 2, 12, 100, 1000}) {
      REQUIRE((sigmoid_beta_schedule(T, end, end) <= end).all());
      REQUIRE((sigmoid_beta_schedule(T, 1e-4, end) <= end).all());
    }
  }
}

TEST_CASE("schedules throw for more than 2^53 timesteps", "[schedules]") {
  if (sizeof(Index) < 8) return;  // T cannot be that large
  const auto huge = static_cast<Eigen::Index>(std::int64_t{1} << 62);
  REQUIRE(error_message([&] { (void)linear_beta_schedule(huge); }) ==
          "diffusion::linear_beta_schedule: num_timesteps = 4611686018427387904 is above 2^53; a double does not "
          "represent every larger integer");
  REQUIRE_THAT(error_message([&] { (void)cosine_beta_schedule(huge); }),
               StartsWith("diffusion::cosine_beta_schedule: num_"));
}

}  // namespace schedules_tests
