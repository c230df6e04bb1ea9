// Tests of diffusion/sampling/time_grid.hpp
#include "diffusion/sampling/time_grid.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "diffusion/process/respacing.hpp"
#include "diffusion/process/schedules.hpp"
#include "matchers.hpp"

namespace time_grid_tests {

using namespace diffusion;
using Eigen::ArrayXd;
using Eigen::Index;

namespace {

const GaussianDiffusion<double>& process() {
  static const GaussianDiffusion<double> process(scaled_linear_beta_schedule(1000));
  return process;
}

bool same(const NoiseLevel& a, const NoiseLevel& b) { return a.t == b.t && a.alpha == b.alpha && a.sigma == b.sigma; }

constexpr double infinity = std::numeric_limits<double>::infinity();

}  // namespace

TEST_CASE("timestep_grid takes alpha and sigma from the tables of the process", "[time_grid]") {
  const TimeGrid grid = timestep_grid(process(), TimestepSpacing::trailing, 4);
  REQUIRE(grid.num_steps() == 4);
  const Index times[] = {999, 749, 499, 249};
  for (std::size_t i = 0; i < 4; ++i) {
    const NoiseLevel level = grid.levels()[i];
    REQUIRE(level.t == static_cast<double>(times[i]));
    REQUIRE(level.alpha == process().sqrt_alphas_cumprod()[times[i]]);
    REQUIRE(level.sigma == process().sqrt_one_minus_alphas_cumprod()[times[i]]);
    REQUIRE(same(grid.target(static_cast<Index>(i)), grid.levels()[i + 1]));
  }
  REQUIRE(same(grid.levels()[4], {0, 1, 0}));
  const TimeGrid listed = timestep_grid(process(), std::vector<Index>{999, 749, 499, 249});
  for (std::size_t i = 0; i <= 4; ++i) REQUIRE(same(listed.levels()[i], grid.levels()[i]));
}

TEST_CASE("a grid with Ending::sigma_min ends at the level of timestep 0", "[time_grid]") {
  const NoiseLevel least{0, process().sqrt_alphas_cumprod()[0], process().sqrt_one_minus_alphas_cumprod()[0]};
  const TimeGrid trailing = timestep_grid(process(), TimestepSpacing::trailing, 3, 0, Ending::sigma_min);
  REQUIRE(trailing.num_steps() == 3);
  REQUIRE(same(trailing.levels().back(), least));
  const TimeGrid leading = timestep_grid(process(), TimestepSpacing::leading, 3, 0, Ending::sigma_min);
  REQUIRE(leading.num_steps() == 2);  // the last timestep is 0 already
  REQUIRE(same(leading.levels().back(), least));
}

TEST_CASE("the model times of a respaced process are the timesteps of the original process", "[time_grid]") {
  const auto respaced = respace(process(), {0, 500, 999});
  const TimeGrid grid = timestep_grid(respaced, std::vector<double>{2, 1.5, 0});
  REQUIRE(grid.levels()[0].t == 999);
  REQUIRE(grid.levels()[1].t == 749.5);
  REQUIRE(grid.levels()[2].t == 0);
  REQUIRE(std::abs(grid.levels()[0].alpha - process().sqrt_alphas_cumprod()[999]) < tolerance::respaced);
}

TEST_CASE("log(sigma / alpha) is linear between timesteps, and TimeGrid::at inverts it", "[time_grid]") {
  const TimeGrid grid = timestep_grid(process(), std::vector<double>{700.25, 3.5});
  const auto log_sigma = [](Index t) { return std::log(process().sqrt_recipm1_alphas_cumprod()[t]); };
  REQUIRE(grid.levels()[0].t == 700.25);
  const double expected = 0.75 * log_sigma(700) + 0.25 * log_sigma(701);
  REQUIRE(std::abs(-half_log_snr(grid.levels()[0]) - expected) < tolerance::level);
  for (const NoiseLevel& level : {grid.levels()[0], grid.levels()[1], grid.at_time(123), grid.at_time(998.5)}) {
    const NoiseLevel found = grid.at(half_log_snr(level));
    REQUIRE(std::abs(found.t - level.t) < 1000 * tolerance::level);
    REQUIRE(std::abs(found.alpha - level.alpha) < tolerance::level);
    REQUIRE(std::abs(found.sigma - level.sigma) < tolerance::level);
    REQUIRE(std::abs(level.alpha * level.alpha + level.sigma * level.sigma - 1) < tolerance::level);
  }
  // Beyond the ends of the process, the model time is that of the end.
  REQUIRE(grid.at(-10).t == 999);
  REQUIRE(grid.at(10).t == 0);
}

TEST_CASE("the model time in a sigma_grid is the timestep at which the process has that sigma", "[time_grid]") {
  const double high = process().sqrt_recipm1_alphas_cumprod()[999],
               middle = process().sqrt_recipm1_alphas_cumprod()[400];
  ArrayXd sigmas(4);
  sigmas << high, middle, 0.1, 0;
  const TimeGrid grid = sigma_grid(process(), sigmas);
  REQUIRE(std::abs(grid.levels()[0].t - 999) < 1000 * tolerance::level);
  REQUIRE(std::abs(grid.levels()[1].t - 400) < 1000 * tolerance::level);
  REQUIRE(std::abs(noise_to_signal(grid.levels()[2]) - 0.1) < tolerance::level);
  REQUIRE(same(grid.levels()[3], {0, 1, 0}));
}

TEST_CASE("edm_grid and flow_matching_grid have the levels and model times of their paths", "[time_grid]") {
  ArrayXd sigmas(3);
  sigmas << 80, 0.5, 0;
  const TimeGrid edm = edm_grid(sigmas);
  REQUIRE(same(edm.levels()[0], {0.25 * std::log(80.0), 1, 80}));
  REQUIRE(same(edm.levels()[2], {0, 1, 0}));
  for (const double s : {3.0, 0.2}) {
    REQUIRE(std::abs(edm.at(-std::log(s)).sigma - s) < 4 * tolerance::level);
    REQUIRE(std::abs(edm.at(-std::log(s)).t - 0.25 * std::log(s)) < tolerance::level);
    REQUIRE(edm.at_time(0.25 * std::log(s)).t == 0.25 * std::log(s));
  }
  REQUIRE(std::abs(edm.at_time(0.25 * std::log(3.0)).sigma - 3) < 4 * tolerance::level);

  const TimeGrid flow = flow_matching_grid(4, 3.0);
  REQUIRE(flow.num_steps() == 4);
  REQUIRE(same(flow.levels()[0], {1000, 0, 1}));
  REQUIRE(same(flow.levels()[4], {0, 1, 0}));
  for (const NoiseLevel& level : {flow.levels()[1], flow.at(0.3), flow.at_time(250)}) {
    REQUIRE(std::abs(level.alpha + level.sigma - 1) < tolerance::level);
    REQUIRE(std::abs(level.t - 1000 * level.sigma) < 1000 * tolerance::level);
  }
  REQUIRE(std::abs(half_log_snr(flow.at(0.3)) - 0.3) < tolerance::level);
  REQUIRE(same(flow.at_time(250), {250, 0.75, 0.25}));
  REQUIRE(same(flow_matching_grid(4, 3.0, 8.0).at_time(2), {2, 0.75, 0.25}));
  // By default sigmas are not shifted.
  const TimeGrid unshifted = flow_matching_grid(4), shifted_by_one = flow_matching_grid(4, 1.0);
  for (std::size_t i = 0; i <= 4; ++i) {
    const double sigma = flow_matching_sigmas(4)[static_cast<Index>(i)];
    REQUIRE(std::abs(unshifted.levels()[i].sigma - sigma) < tolerance::level);
    REQUIRE(same(unshifted.levels()[i], shifted_by_one.levels()[i]));
  }
}

TEST_CASE("the grid of a zero-terminal-SNR process begins at a level without signal", "[time_grid]") {
  const GaussianDiffusion<double> zero(rescale_zero_terminal_snr(scaled_linear_beta_schedule(1000)));
  const TimeGrid grid = timestep_grid(zero, TimestepSpacing::trailing, 5);
  REQUIRE(same(grid.levels()[0], {999, 0, 1}));
  REQUIRE(noise_to_signal(grid.levels()[0]) == infinity);
  const NoiseLevel beyond = grid.at(half_log_snr(grid.levels()[1]) - 1);
  REQUIRE(beyond.t > grid.levels()[1].t);
  REQUIRE(beyond.t < 999);
  // Between the last two timesteps log(sigma / alpha) is infinite, but not at the last but one.
  const NoiseLevel last_but_one = timestep_grid(zero, std::vector<Index>{998}).levels()[0];
  REQUIRE(std::abs(half_log_snr(grid.at_time(998)) - half_log_snr(last_but_one)) < tolerance::level);
  REQUIRE(grid.at_time(998).t == 998);
  REQUIRE(grid.at_time(998.5).alpha == 0);
  REQUIRE(grid.at_time(999).alpha == 0);
  REQUIRE(grid.at(half_log_snr(last_but_one) - 1).t == 998);
}

TEST_CASE("starting_at and with_strength cut the first steps off, and reversed turns a grid around", "[time_grid]") {
  const TimeGrid grid = timestep_grid(process(), TimestepSpacing::trailing, 10);
  REQUIRE(same(grid.starting_at(4).levels()[0], grid.levels()[4]));
  REQUIRE(grid.starting_at(4).num_steps() == 6);
  for (const auto& [strength, num_steps] :
       {std::pair<double, Index>{1, 10}, {0.75, 7}, {0.5, 5}, {0.1, 1}, {0.19, 1}}) {
    INFO(strength);
    REQUIRE(grid.with_strength(strength).num_steps() == num_steps);
    REQUIRE(same(grid.with_strength(strength).levels().back(), grid.levels().back()));
  }
  const TimeGrid up = grid.reversed();
  REQUIRE(up.num_steps() == 10);
  REQUIRE(same(up.levels()[0], {0, 1, 0}));
  REQUIRE(same(up.levels()[10], grid.levels()[0]));

  REQUIRE(error_message<std::out_of_range>([&] { (void)grid.starting_at(10); }) ==
          "diffusion::TimeGrid::starting_at: first = 10 is outside [0, 10)");
  REQUIRE(error_message<std::out_of_range>([&] { (void)grid.starting_at(-1); }) ==
          "diffusion::TimeGrid::starting_at: first = -1 is outside [0, 10)");
  REQUIRE(grid.starting_at(0).num_steps() == 10);
  REQUIRE(error_message<std::invalid_argument>([&] { (void)grid.with_strength(0); }) ==
          "diffusion::TimeGrid::with_strength: strength = 0 is outside (0, 1]");
  REQUIRE(error_message<std::invalid_argument>([&] { (void)grid.with_strength(1.125); }) ==
          "diffusion::TimeGrid::with_strength: strength = 1.125 is outside (0, 1]");
  REQUIRE(error_message<std::invalid_argument>([&] { (void)grid.with_strength(0.05); }) ==
          "diffusion::TimeGrid::with_strength: strength = 0.05 leaves no step; it must be at least 1 / 10");
}

TEST_CASE("diffusers_ddim_grid steps to t - floor(T / n), and timestep_grid to the next timestep", "[time_grid]") {
  const TimeGrid theirs = diffusers_ddim_grid(process(), TimestepSpacing::linspace, 10);
  REQUIRE(theirs.levels()[0].t == 999);
  REQUIRE(theirs.target(0).t == 899);
  REQUIRE(theirs.levels()[1].t == 888);
  REQUIRE(theirs.starting_at(1).target(0).t == 788);
  REQUIRE(timestep_grid(process(), TimestepSpacing::linspace, 10).target(0).t == 888);
}

TEST_CASE("grids throw for timesteps, sigmas and levels that do not fall or are out of range", "[time_grid]") {
  REQUIRE(error_message<std::invalid_argument>([] { (void)timestep_grid(process(), {}, Ending::sigma_min); }) ==
          "diffusion::timestep_grid: timesteps is empty");
  REQUIRE(error_message<std::out_of_range>([] {
            (void)timestep_grid(process(), {1000, 5});
          }) == "diffusion::timestep_grid: timesteps[0] = 1000 is outside [0, 1000)");
  REQUIRE(error_message<std::out_of_range>([] {
            (void)timestep_grid(process(), {999, -1});
          }) == "diffusion::timestep_grid: timesteps[1] = -1 is outside [0, 1000)");
  REQUIRE(error_message<std::out_of_range>([] { (void)timestep_grid(process(), {std::nan("")}); }) ==
          "diffusion::timestep_grid: timesteps[0] = nan is outside [0, 1000)");
  REQUIRE(error_message<std::out_of_range>([] { (void)timestep_grid(process(), TimestepSpacing::leading, 1000, 1); }) ==
          "diffusion::timestep_grid: timesteps[0] = 1000 is outside [0, 1000)");
  REQUIRE(error_message<std::invalid_argument>([] {
            (void)timestep_grid(process(), {500, 500});
          }) == "diffusion::timestep_grid: timesteps[1] = 500 is not below timesteps[0] = 500");
  REQUIRE(error_message<std::invalid_argument>([] {
            (void)timestep_grid(process(), {900, 400, 500});
          }) == "diffusion::timestep_grid: timesteps[2] = 500 is not below timesteps[1] = 400");
  ArrayXd rising(2), negative(2);
  rising << 0.1, 3;
  negative << 3, -1;
  REQUIRE(error_message<std::invalid_argument>([&] { (void)edm_grid(rising); }) ==
          "diffusion::edm_grid: sigmas[1] = 3 is not below sigmas[0] = 0.1");
  REQUIRE(error_message<std::invalid_argument>([&] { (void)edm_grid(negative); }) ==
          "diffusion::edm_grid: sigmas[1] = -1 is outside [0, inf]");
  REQUIRE(error_message<std::invalid_argument>([&] { (void)sigma_grid(process(), negative.head(1)); }) ==
          "diffusion::sigma_grid: sigmas has size 1; a grid needs at least 2");
  REQUIRE(error_message<std::invalid_argument>([&] {
            (void)sigma_grid(process(), ArrayXd::Constant(3, std::nan("")));
          }) == "diffusion::sigma_grid: sigmas[0] = nan is outside [0, inf]");
  ArrayXd above(2);
  above << 1.5, 0;
  REQUIRE(error_message<std::invalid_argument>([&] { (void)flow_matching_grid(above); }) ==
          "diffusion::flow_matching_grid: sigmas[0] = 1.5 is outside [0, 1]");
  for (const double time_scale : {0.0, -1.0, std::nan("")}) {
    REQUIRE_THAT(error_message<std::invalid_argument>([&] { (void)flow_matching_grid(4, 1.0, time_scale); }),
                 StartsWith("diffusion::flow_matching_grid: time_scale = "));
  }

  const NoisePath path = detail::InterpolatedProcess(process());
  const auto levels_error = [&](const std::vector<NoiseLevel>& levels) {
    return error_message<std::invalid_argument>([&] { (void)TimeGrid(levels, path); });
  };
  REQUIRE(levels_error({{0, 1, 0}}) == "diffusion::TimeGrid: levels has size 1; a grid needs at least 2");
  REQUIRE(levels_error({{1, 1, 1}, {0, 1, 2}}) ==
          "diffusion::TimeGrid: sigma / alpha must fall, but step 0 goes from 1 to 2");
  REQUIRE(levels_error({{2, 1, 2}, {1, 0.5, 0.5}, {0, 1, 1}}) ==
          "diffusion::TimeGrid: sigma / alpha must fall, but step 1 goes from 1 to 1");
  REQUIRE_THAT(levels_error({{1, -1, 1}, {0, 1, 0}}),
               StartsWith("diffusion::TimeGrid: levels[0] has alpha = -1 and sigma = 1"));
  REQUIRE_THAT(levels_error({{1, 1, 1}, {0, 0, 0}}),
               StartsWith("diffusion::TimeGrid: levels[1] has alpha = 0 and sigma = 0"));
  REQUIRE(error_message([&] {
            (void)TimeGrid({{2, 1, 2}, {1, 1, 1}, {0, 1, 0}}, path, {{1, 1, 1}});
          }) == "diffusion::TimeGrid: targets has size 1; it must be empty or have one level for each of the 2 steps");
  REQUIRE(error_message([&] {
            (void)TimeGrid({{2, 1, 2}, {1, 1, 1}, {0, 1, 0}}, path, {{1, 1, 1.5}, {0, 1, 1.25}});
          }) == "diffusion::TimeGrid: sigma / alpha must fall, but step 1 goes from 1 to 1.25");
  for (const auto& set : {NoisePath{path.at, nullptr}, NoisePath{nullptr, path.at_time}}) {
    REQUIRE_THROWS_AS(TimeGrid({{1, 1, 1}, {0, 1, 0}}, set), std::invalid_argument);
  }
  REQUIRE(error_message([] { (void)timestep_grid(process(), {0}, Ending::sigma_min); }) ==
          "diffusion::timestep_grid: timesteps[0] = 0 leaves no step: Ending::sigma_min ends at timestep 0");
  REQUIRE(error_message<std::out_of_range>([] { (void)timestep_grid(process(), std::vector<Index>{1000}); }) ==
          "diffusion::timestep_grid: timesteps[0] = 1000 is outside [0, 1000)");
  REQUIRE_FALSE(TimeGrid({{1, 1, 1}, {0, 1, 0}}, path).rises());
  REQUIRE_THAT(levels_error({{1, 1, 1}, {0, 1, -1}}),
               StartsWith("diffusion::TimeGrid: levels[1] has alpha = 1 and sigma = -1"));
  REQUIRE(error_message<std::invalid_argument>([] {
            (void)TimeGrid({{1, 1, 1}, {0, 1, 0}}, NoisePath());
          }) == "diffusion::TimeGrid: path.at and path.at_time must be set");
  const TimeGrid four = timestep_grid(process(), TimestepSpacing::trailing, 4);
  for (const Index i : {-1, 4}) {
    REQUIRE_THAT(error_message<std::out_of_range>([&] { (void)four.target(i); }),
                 StartsWith("diffusion::TimeGrid::target: i = "));
  }
}

TEST_CASE("a repeated last sigma becomes a step of nearly zero length", "[time_grid]") {
  ArrayXd sigmas(4), almost(4);
  sigmas << 5, 1, 0.25, 0.25;
  almost << 5, 1, 0.25, std::nextafter(0.25, 1.0);
  for (const ArrayXd& list : {sigmas, almost}) {
    for (const TimeGrid& grid : {sigma_grid(process(), list), edm_grid(list), flow_matching_grid(list / 5)}) {
      REQUIRE(grid.num_steps() == 3);
      const double before = noise_to_signal(grid.levels()[2]), last = noise_to_signal(grid.levels()[3]);
      REQUIRE(last < before);
      REQUIRE(last > before * (1 - tolerance::no_length));
    }
  }
  ArrayXd close(3);
  close << 1, 2e-6, 2e-6 * (1 - 1e-6);
  for (const TimeGrid& grid : {edm_grid(close), flow_matching_grid(close)}) {
    const NoiseLevel &before = grid.levels()[1], &last = grid.levels()[2];
    REQUIRE_THAT(1 - last.sigma / before.sigma, WithinRel(1e-6, tolerance::level * 1e6));
  }
  // On a variance-preserving path, alpha and sigma are rounded independently.
  for (double s = 0.01; s < 100; s *= 1.005) {
    sigmas << 2 * s, 1.5 * s, s, s;
    const TimeGrid grid = sigma_grid(process(), sigmas);
    REQUIRE(half_log_snr(grid.levels()[3]) > half_log_snr(grid.levels()[2]));
  }
  for (const Index n : {1, 10}) {
    const TimeGrid theirs = diffusers_ddim_grid(process(), TimestepSpacing::leading, n, 0, Ending::sigma_min);
    REQUIRE(theirs.num_steps() == n);
    REQUIRE(theirs.target(n - 1).t == 0);
    REQUIRE(std::abs(theirs.target(n - 1).sigma - process().sqrt_one_minus_alphas_cumprod()[0]) < tolerance::no_length);
  }
}

TEST_CASE("num_timesteps_above counts the timesteps whose lambda is at least lambda_min", "[time_grid]") {
  const GaussianDiffusion<double> cosine(cosine_beta_schedule(1000));
  const Index n = num_timesteps_above(cosine, -5.1);
  REQUIRE(n == 996);  // as in diffusers
  REQUIRE(half_log_snr(timestep_grid(cosine, std::vector<Index>{n - 1}).levels()[0]) >= -5.1);
  REQUIRE(half_log_snr(timestep_grid(cosine, std::vector<Index>{n}).levels()[0]) < -5.1);
  REQUIRE(num_timesteps_above(cosine, -infinity) == 1000);
  REQUIRE(num_timesteps_above(cosine, -std::log(cosine.sqrt_recipm1_alphas_cumprod()[500])) == 501);
  REQUIRE(num_timesteps_above(GaussianDiffusion<double>(linear_beta_schedule(20)), -100) ==
          19);  // the last has no signal
  REQUIRE_THAT(error_message<std::invalid_argument>([&] { (void)num_timesteps_above(cosine, 10); }),
               StartsWith("diffusion::num_timesteps_above: lambda_min = 10 is above lambda at t = 0, which is 5."));
  REQUIRE_THROWS_AS(num_timesteps_above(cosine, std::nan("")), std::invalid_argument);
}

TEST_CASE("a grid that starts part-way keeps the levels of the skipped steps", "[time_grid]") {
  const GaussianDiffusion<double> process(cosine_beta_schedule(100));
  const TimeGrid whole = timestep_grid(process, TimestepSpacing::trailing, 10);
  REQUIRE(whole.num_skipped_steps() == 0);
  const TimeGrid part = whole.starting_at(2).starting_at(3).with_strength(0.8);
  REQUIRE(part.num_skipped_steps() == 6);
  REQUIRE(part.num_steps() == 4);
  for (Eigen::Index i = 0; i <= 10; ++i) {
    REQUIRE(part.whole_level(i).t == whole.levels()[static_cast<std::size_t>(i)].t);
  }
  REQUIRE(error_message<std::out_of_range>([&] { (void)part.whole_level(11); }) ==
          "diffusion::TimeGrid::whole_level: i = 11 is outside [0, 10]");
  REQUIRE(error_message<std::out_of_range>([&] { (void)part.whole_level(-1); }) ==
          "diffusion::TimeGrid::whole_level: i = -1 is outside [0, 10]");
}

TEST_CASE("a reversed grid rises, and a grid that is reversed twice falls", "[time_grid]") {
  const TimeGrid down = edm_grid(karras_sigmas(5, 0.002, 80));
  const TimeGrid up = down.reversed(), again = up.reversed();
  REQUIRE(!down.rises());
  REQUIRE(up.rises());
  REQUIRE(!again.rises());
  REQUIRE(up.num_steps() == 5);
  for (std::size_t i = 0; i < 6; ++i) {
    REQUIRE(up.levels()[i].sigma == down.levels()[5 - i].sigma);
    REQUIRE(again.levels()[i].sigma == down.levels()[i].sigma);
  }
  REQUIRE(down.starting_at(2).reversed().num_skipped_steps() == 0);
}

TEST_CASE("grids throw for sigmas whose reciprocal is not a normal number", "[time_grid]") {
  ArrayXd sigmas(3);
  sigmas << std::numeric_limits<double>::max(), 1, 0;
  REQUIRE(error_message([&] { (void)edm_grid(sigmas); }) ==
          "diffusion::edm_grid: sigmas[0] = 1.7976931348623157e+308 is above 4.49423283715579e+307, the largest sigma "
          "whose reciprocal is a normal double");
  REQUIRE_THAT(error_message([&] { (void)sigma_grid(GaussianDiffusion<double>(cosine_beta_schedule(10)), sigmas); }),
               StartsWith("diffusion::sigma_grid: sigmas[0] = 1.7976931348623157e+308"));
  sigmas[0] = 0x1p1022;
  REQUIRE(edm_grid(sigmas).levels()[0].sigma == 0x1p1022);
}

TEST_CASE("flow_matching_grid begins at sigma = 1 for every shift", "[time_grid]") {
  for (int i = 1; i <= 1000; ++i) REQUIRE(flow_matching_grid(10, 0.01 * i).levels()[0].sigma == 1);
}

TEST_CASE("the levels of a sigma_grid have exactly its sigmas", "[time_grid]") {
  for (double s = 0.01; s < 20; s *= 1.1) {
    ArrayXd sigmas(2);
    sigmas << s, 0;
    const NoiseLevel level = sigma_grid(process(), sigmas).levels()[0], exact = variance_preserving_level(level.t, s);
    REQUIRE(same(level, exact));
  }
}

}  // namespace time_grid_tests
