// Tests of diffusion/process/respacing.hpp.
#include "diffusion/process/respacing.hpp"

#include <array>
#include <cmath>
#include <cstdint>
#include <functional>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "diffusion/process/schedules.hpp"
#include "matchers.hpp"

namespace respacing_tests {

using diffusion::cosine_beta_schedule;
using diffusion::GaussianDiffusion;
using diffusion::linear_beta_schedule;
using diffusion::respace;
using diffusion::space_timesteps;
using Eigen::ArrayXd;
using Eigen::Index;
using Steps = std::vector<Index>;

namespace {

Steps integers(const Golden& g, const std::string& name) {
  const ArrayXd values = g.array(name);
  Steps out;
  for (const double value : values) out.push_back(static_cast<Index>(std::llround(value)));
  return out;
}

Steps every(Index T) {
  Steps out(static_cast<std::size_t>(T));
  std::iota(out.begin(), out.end(), Index(0));
  return out;
}

/// FNV-1a hash of the results of many calls, over 64-bit words. A list contributes its length and
/// its entries, an exception a word of all ones.
class Checksum {
 public:
  template <class F>
  void add(F f) {
    Steps steps;
    try {
      steps = f();
    } catch (const std::invalid_argument&) {
      return add(~std::uint64_t{0});
    }
    add(static_cast<std::uint64_t>(steps.size()));
    for (const Index step : steps) add(static_cast<std::uint64_t>(step));
  }
  std::uint64_t value() const { return value_; }

 private:
  void add(std::uint64_t word) { value_ = (value_ ^ word) * 1099511628211u; }
  std::uint64_t value_ = 14695981039346656037u;
};

/// The tables that a respaced process takes over from its base.
std::vector<std::function<const ArrayXd&(const GaussianDiffusion<double>&)>> abar_tables() {
  using P = GaussianDiffusion<double>;
  return {[](const P& p) -> const ArrayXd& { return p.alphas_cumprod(); },
          [](const P& p) -> const ArrayXd& { return p.one_minus_alphas_cumprod(); },
          [](const P& p) -> const ArrayXd& { return p.sqrt_alphas_cumprod(); },
          [](const P& p) -> const ArrayXd& { return p.sqrt_one_minus_alphas_cumprod(); },
          [](const P& p) -> const ArrayXd& { return p.log_one_minus_alphas_cumprod(); },
          [](const P& p) -> const ArrayXd& { return p.sqrt_recip_alphas_cumprod(); },
          [](const P& p) -> const ArrayXd& { return p.sqrt_recipm1_alphas_cumprod(); }};
}

ArrayXd picked(const ArrayXd& table, const Steps& steps) {
  ArrayXd out(static_cast<Index>(steps.size()));
  for (Index i = 0; i < out.size(); ++i) out[i] = table[steps[static_cast<std::size_t>(i)]];
  return out;
}

/// The betas that the reference started from, if they are recorded. The reference's cosine schedule
/// loses digits that ours keeps.
ArrayXd recorded_betas(Index schedule, Index T) {
  const Golden& g = golden("guided_schedules.txt");
  const std::string name = (schedule == 0 ? "linear_T" : "cosine_T") + std::to_string(T) + "/betas";
  return g.contains(name) ? g.array(name) : schedule == 0 ? linear_beta_schedule(T) : cosine_beta_schedule(T);
}

}  // namespace

// ---- space_timesteps ----

TEST_CASE("space_timesteps accepts and rejects the same counts as guided-diffusion", "[respacing]") {
  const Golden& g = golden("guided_reverse.txt");
  int compared = 0;
  for (const std::string kind : {"ok", "error"}) {
    const Index records = g.integer("space_timesteps/num_" + kind);
    for (Index i = 0; i < records; ++i) {
      const std::string record = "space_timesteps/" + kind + std::to_string(i) + "/";
      INFO(record);
      const Index T = g.integer(record + "num_timesteps");
      const Steps counts = integers(g, record + "counts");
      std::string text = g.integer(record + "is_ddim") == 1 ? "ddim" : "";
      for (std::size_t k = 0; k < counts.size(); ++k) text += (k > 0 ? "," : "") + std::to_string(counts[k]);
      if (kind == "ok") {
        REQUIRE(space_timesteps(T, text) == integers(g, record + "steps"));
        if (text[0] != 'd') REQUIRE(space_timesteps(T, counts) == integers(g, record + "steps"));
      } else {
        REQUIRE_THROWS_AS(space_timesteps(T, text), std::invalid_argument);
      }
      ++compared;
    }
  }
  REQUIRE(compared == 45);
}

// The checksums were computed in Python, with the round() and the floating-point sums that the
// reference uses.

TEST_CASE("space_timesteps equals the reference for every count and every T up to 300", "[respacing]") {
  const std::array<std::uint64_t, 6> expected = {0xec8deaa05253d402, 0x00cd6becc0217b88, 0x155ed79fc34fdaf8,
                                                 0x274e3f83af30d052, 0x0395c86442e4302a, 0x3e7ffc52e8c3f417};
  for (std::size_t block = 0; block < expected.size(); ++block) {
    Checksum sum;
    const Index first = static_cast<Index>(block) * 50 + 1;
    INFO("T from " << first << " to " << first + 49);
    for (Index T = first; T < first + 50; ++T) {
      for (Index count = 0; count <= T + 1; ++count) sum.add([&] { return space_timesteps(T, {count}); });
    }
    REQUIRE(sum.value() == expected[block]);
  }
}

TEST_CASE("space_timesteps equals the reference for every ddimN and every T up to 300", "[respacing]") {
  const std::array<std::uint64_t, 6> expected = {0x8c7ad0ab09771054, 0x575c9dce3cb44634, 0x9ca0dc55b21d0695,
                                                 0xbe17f91c53a06005, 0xd688646c464491a7, 0xd3c2a8f4f5196ed6};
  for (std::size_t block = 0; block < expected.size(); ++block) {
    Checksum sum;
    const Index first = static_cast<Index>(block) * 50 + 1;
    INFO("T from " << first << " to " << first + 49);
    for (Index T = first; T < first + 50; ++T) {
      for (Index count = 0; count <= T + 1; ++count) {
        sum.add([&] { return space_timesteps(T, "ddim" + std::to_string(count)); });
      }
    }
    REQUIRE(sum.value() == expected[block]);
  }
}

TEST_CASE("space_timesteps equals the reference for two and for four sections", "[respacing]") {
  Checksum pairs, fours;
  for (Index T = 1; T <= 40; ++T) {
    for (Index a = 0; a <= T; ++a) {
      for (Index b = 0; b <= T; ++b) pairs.add([&] { return space_timesteps(T, {a, b}); });
    }
  }
  REQUIRE(pairs.value() == 0xec1b07aeba48705f);
  for (Index T = 1; T <= 300; ++T) {
    for (Index k = 0; k < 12; ++k) {
      fours.add([&] {
        return space_timesteps(T, {T * k / 40, T * (11 - k) / 40, k % 3 == 0 ? T / 5 : 0, T * k * k / 400});
      });
    }
  }
  REQUIRE(fours.value() == 0xf12fff340e84e0d4);
}

TEST_CASE("space_timesteps takes any kind of string and ignores blanks around a count", "[respacing]") {
  const Steps expected = {0, 2, 4, 5, 7, 9};
  REQUIRE(space_timesteps(10, " 3, 3 ") == expected);
  REQUIRE(space_timesteps(10, std::string("3,3")) == expected);
  REQUIRE(space_timesteps(10, std::string_view("3,3")) == expected);
  REQUIRE(space_timesteps(10, {3, 3}) == expected);
}

TEST_CASE("space_timesteps names the count that it cannot take", "[respacing]") {
  using Error = std::invalid_argument;
  const std::string where = "diffusion::space_timesteps: ";
  REQUIRE(error_message<Error>([] { (void)space_timesteps(1000, "ddim300"); }) ==
          where + "section_counts = \"ddim300\": no stride from 1 to 999 gives 300 of 1000 timesteps");
  REQUIRE_THAT(error_message<Error>([] { (void)space_timesteps(1000, "ddim1"); }),
               ContainsSubstring("section_counts = \"ddim1\": no stride from 1 to 999 gives 1 of 1000"));
  REQUIRE_THAT(error_message<Error>([] { (void)space_timesteps(1, "ddim1"); }),
               StartsWith(where + "section_counts = \"ddim1\": no stride"));
  REQUIRE(error_message<Error>([] { (void)space_timesteps(10, {11}); }) ==
          where + "section_counts[0] = 11 is outside [0, 10]; section 0 has 10 of the 10 timesteps");
  REQUIRE(error_message<Error>([] { (void)space_timesteps(11, "6,6"); }) ==
          where + "section_counts[1] = 6 is outside [0, 5]; section 1 has 5 of the 11 timesteps");
  REQUIRE_THAT(error_message<Error>([] {
                 (void)space_timesteps(10, {3, -1});
               }),
               StartsWith(where + "section_counts[1] = -1 is outside [0, 5]"));
  REQUIRE(error_message<Error>([] { (void)space_timesteps(10, Steps()); }) == where + "section_counts is empty");
  for (const Index T : {Index(0), Index(-3)}) {
    const std::string rest = "num_timesteps = " + std::to_string(T) + " must be at least 1";
    REQUIRE(error_message<Error>([&] { (void)space_timesteps(T, {0}); }) == where + rest);
    REQUIRE(error_message<Error>([&] { (void)space_timesteps(T, "ddim5"); }) == where + rest);
  }
}

TEST_CASE("space_timesteps quotes a string that it cannot read", "[respacing]") {
  for (const char* const text :
       {"", "ddim", "10,", ",10", "10,,10", "1.5", "10;10", "ddim 5x", "DDIM5", "5 5", "9999999999999999999999"}) {
    REQUIRE(error_message<std::invalid_argument>([&] { (void)space_timesteps(100, text); }) ==
            std::string("diffusion::space_timesteps: section_counts = \"") + text +
                "\" is neither a list of counts such as \"10,15,20\" nor \"ddimN\"");
  }
}

// ---- respace ----

TEST_CASE("a respaced process has the abar tables of its base, bit for bit", "[respacing]") {
  for (const ArrayXd& betas : {linear_beta_schedule(1000), cosine_beta_schedule(300)}) {
    const GaussianDiffusion<double> base(betas);
    for (const Steps& steps : {space_timesteps(betas.size(), {27}), space_timesteps(betas.size(), "10,0,20"),
                               Steps{betas.size() - 1}, Steps{0}, Steps{3, 4, 5, 99, 100, 250}}) {
      const GaussianDiffusion<double> respaced = respace(base, steps);
      REQUIRE(respaced.num_timesteps() == static_cast<Index>(steps.size()));
      for (const auto& table : abar_tables()) REQUIRE_THAT(table(respaced), AllEqual(picked(table(base), steps)));
      REQUIRE(respaced.timestep_map() == steps);
      REQUIRE(respaced.original_num_timesteps() == betas.size());
    }
  }
}

TEST_CASE("betas and posterior tables of a respaced process equal their formulas", "[respacing]") {
  const GaussianDiffusion<double> base(cosine_beta_schedule(300));
  const Steps steps = space_timesteps(300, "3,20,40");
  const GaussianDiffusion<double> respaced = respace(base, steps);
  long double previous_abar = 1;
  long double abar = 1;
  Index t = 0;
  for (Index i = 0; i < respaced.num_timesteps(); ++i) {
    // beta_i = 1 - (product of the alphas since the previous step), without cancellation:
    // 1 - (1 - b)(1 - c) = b + (1 - b) c.
    long double beta = 0;
    for (; t <= steps[static_cast<std::size_t>(i)]; ++t) {
      const long double b = base.betas()[t];
      beta += (1 - beta) * b;
      abar *= 1 - b;
    }
    const long double before = 1 - previous_abar, after = 1 - abar;
    INFO("step " << i);
    REQUIRE_THAT(respaced.betas()[i], WithinRel(static_cast<double>(beta), tolerance::table));
    REQUIRE_THAT(respaced.posterior_variance()[i],
                 WithinRel(static_cast<double>(before / after * beta), tolerance::respaced));
    REQUIRE_THAT(respaced.posterior_mean_coef1()[i],
                 WithinRel(static_cast<double>(beta * std::sqrt(previous_abar) / after), tolerance::respaced));
    REQUIRE_THAT(respaced.posterior_mean_coef2()[i],
                 WithinRel(static_cast<double>(before * std::sqrt(abar / previous_abar) / after), tolerance::respaced));
    previous_abar = abar;
  }
}

TEST_CASE("respaced betas and abar equal guided-diffusion's", "[respacing]") {
  const Golden& g = golden("guided_reverse.txt");
  int compared = 0;
  for (const std::string& name : g.names()) {
    const std::string leaf = "/use_timesteps";
    if (name.size() < leaf.size() || name.substr(name.size() - leaf.size()) != leaf) continue;
    const std::string record = name.substr(0, name.size() - leaf.size() + 1);
    INFO(record);
    const GaussianDiffusion<double> base(recorded_betas(g.integer(record + "schedule"), g.integer(record + "T")));
    const GaussianDiffusion<double> respaced = respace(base, integers(g, name));
    REQUIRE_THAT(respaced.betas(), AllClose(g.array(record + "betas"), tolerance::reverse));
    REQUIRE_THAT(respaced.alphas_cumprod(),
                 AllClose(g.array(record + "alphas_cumprod"), tolerance::reverse, tolerance::rebuilt));
    ++compared;
  }
  REQUIRE(compared == 10);
}

TEST_CASE("respacing to every step gives the same tables, bit for bit", "[respacing]") {
  const GaussianDiffusion<double> base(linear_beta_schedule(1000));
  const GaussianDiffusion<double> respaced = respace(base, every(1000));
  for (const auto& table : abar_tables()) REQUIRE_THAT(table(respaced), AllEqual(table(base)));
  REQUIRE_THAT(respaced.betas(), AllEqual(base.betas()));
  REQUIRE_THAT(respaced.posterior_variance(), AllEqual(base.posterior_variance()));
  REQUIRE_THAT(respaced.posterior_log_variance_clipped(), AllEqual(base.posterior_log_variance_clipped()));
  REQUIRE_THAT(respaced.posterior_mean_coef1(), AllEqual(base.posterior_mean_coef1()));
  REQUIRE_THAT(respaced.posterior_mean_coef2(), AllEqual(base.posterior_mean_coef2()));
  REQUIRE(base.timestep_map() == every(1000));
  REQUIRE(base.original_num_timesteps() == 1000);
}

TEST_CASE("respacing twice equals respacing once with the composed map", "[respacing]") {
  const GaussianDiffusion<double> base(linear_beta_schedule(1000));
  const GaussianDiffusion<double> once = respace(base, space_timesteps(1000, {100}));
  const Steps again = space_timesteps(100, {7});
  const GaussianDiffusion<double> twice = respace(once, again);
  Steps composed;
  for (const Index i : again) composed.push_back(once.timestep_map()[static_cast<std::size_t>(i)]);
  REQUIRE(twice.timestep_map() == composed);
  REQUIRE(twice.original_num_timesteps() == 1000);
  const GaussianDiffusion<double> direct = respace(base, composed);
  for (const auto& table : abar_tables()) REQUIRE_THAT(table(twice), AllEqual(table(direct)));
  REQUIRE_THAT(twice.betas(), AllClose(direct.betas(), tolerance::table));
}

TEST_CASE("respace takes steps in any order", "[respacing]") {
  const GaussianDiffusion<double> base(linear_beta_schedule(100));
  REQUIRE(respace(base, {70, 3, 99}).timestep_map() == Steps{3, 70, 99});
}

TEST_CASE("one q_step of a respaced process equals the q_step of its base over the same range", "[respacing]") {
  const GaussianDiffusion<double> base(cosine_beta_schedule(100));
  const GaussianDiffusion<double> respaced = respace(base, {9, 40, 99});
  using Tensor = Eigen::Tensor<double, 2>;
  const Tensor x = random_tensor<Tensor>({3, 4}, 1), noise = random_tensor<Tensor>({3, 4}, 2);
  REQUIRE_THAT(respaced.q_step(x, 0, 1, noise), AllClose(base.q_step(x, 9, 40, noise), Tolerance<double>::rel));
  REQUIRE_THAT(respaced.q_step(x, 1, 2, noise), AllClose(base.q_step(x, 40, 99, noise), Tolerance<double>::rel));
}

TEST_CASE("respacing keeps a zero terminal SNR and throws for a step after it", "[respacing]") {
  const GaussianDiffusion<double> base(diffusion::rescale_zero_terminal_snr(linear_beta_schedule(100)));
  const GaussianDiffusion<double> respaced = respace(base, space_timesteps(100, {10}));
  REQUIRE(respaced.alphas_cumprod()[9] == 0.0);
  REQUIRE(respaced.betas()[9] == 1.0);
  ArrayXd betas(4);
  betas << 0.1, 1.0, 0.2, 0.3;
  REQUIRE(error_message<std::domain_error>([&] {
            (void)respace(GaussianDiffusion<double>(betas), {0, 1, 3});
          }) == "diffusion::respace: alphas_cumprod[1] = 0: keep no step after timestep 1, where no signal is left");
  REQUIRE_THROWS_AS(respace(GaussianDiffusion<double>(betas.tail(3)), {0, 2}), std::domain_error);
  betas << 0.3, 1e-20, 1e-60, 1e-60;  // 1 - abar is kept to 32 digits, so the last two betas do not change it
  REQUIRE_THROWS_AS(respace(GaussianDiffusion<double>(betas), {1, 3}), std::invalid_argument);
}

TEST_CASE("respace throws for empty steps, steps out of range and repeated steps", "[respacing]") {
  const GaussianDiffusion<float> base(linear_beta_schedule(50));
  const std::string where = "diffusion::respace: ";
  REQUIRE(error_message<std::invalid_argument>([&] { (void)respace(base, {}); }) == where + "steps is empty");
  REQUIRE(error_message<std::out_of_range>([&] {
            (void)respace(base, {0, 50});
          }) == where + "steps[1] = 50 is outside [0, 50)");
  REQUIRE(error_message<std::out_of_range>([&] { (void)respace(base, {-1}); }) ==
          where + "steps[0] = -1 is outside [0, 50)");
  REQUIRE(error_message<std::invalid_argument>([&] {
            (void)respace(base, {4, 2, 4});
          }) == where + "steps contains 4 twice");
}

TEST_CASE("space_timesteps selects from 2^50 timesteps and throws above 2^53", "[respacing]") {
  REQUIRE_THAT(error_message([] { (void)space_timesteps(Eigen::Index(1) << 62, {3}); }),
               StartsWith("diffusion::space_timesteps: num_timesteps = 4611686018427387904 is above 2^53"));
  const Eigen::Index many = Eigen::Index(1) << 50;
  REQUIRE(space_timesteps(many, {2}) == std::vector<Eigen::Index>{0, many - 1});
  const std::vector<Eigen::Index> strided = space_timesteps(many, "ddim4");  // the stride is computed, not searched for
  REQUIRE(strided.size() == 4);
  REQUIRE(strided[1] == many / 4);
}

}  // namespace respacing_tests
