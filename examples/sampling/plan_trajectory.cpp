/// @file plan_trajectory.cpp
/// Diffusion inside a control loop: a robot with 7 joints plans 16 waypoints ahead, moves along a few of them and plans again.
///
/// The model is exact, for what it must know of trajectories is a Gaussian N(mu, P^-1), smooth from a start to a goal
/// (smooth_trajectories.hpp):
///     E[epsilon | x] = sigma U diag(1 / (alpha^2 v + sigma^2)) U^T (x - alpha mu),   U diag(v) U^T = P^-1
///
/// A plan begins at a part-way level of noise, from the last one moved forth by the waypoints that were executed,
///     x = alpha last + sigma noise                                                  TimeGrid::with_strength, add_noise_into
/// and its first waypoints h, on which the robot is already moving, must stay what they were:
///     x_h = alpha last_h + sigma noise_h   before every step, and at the end        Hooks::correct_x_t
///     x_{0,h} = last_h                     wherever the model is asked              Hooks::correct_x_start
/// All memory is taken for the first plan (sample_into, which is given the State of the run before).
///
/// A plan being a sample, it is about one sigma off the best one, or less, as few steps spread too little. It is more where the goal
/// has just jumped: what the held waypoints then ask of the others the model sees only as the noise on them falls, and the plan turns
/// sharply behind them. The next ones are smooth again.
#include <Eigen/Cholesky>
#include <Eigen/Eigenvalues>
#include <Eigen/LU>   // inverse
#include <algorithm>  // std::max, std::min, std::nth_element
#include <chrono>
#include <cmath>
#include <cstddef>  // std::ptrdiff_t, std::size_t
#include <cstdint>
#include <cstdio>
#include <diffusion/diffusion.hpp>
#include <functional>  // std::ref
#include <string>
#include <vector>

#include "common/allocations.hpp"
#include "common/options.hpp"
#include "common/smooth_trajectories.hpp"

using diffusion::NoiseLevel;
using Eigen::Index;
using namespace example;  // what smooth_trajectories.hpp has

constexpr Index executed = 4, held = 3;  // waypoints: done between two plans, fixed in a plan

/// Where the robot is to go: another posture every ten plans.
Posture goal_of(Index plan) {
  Posture goal;
  for (Index j = 0; j < D; ++j) goal(j) = 0.8F * std::sin(static_cast<float>((plan / 10 + 1) * (j + 2)));
  return goal;
}

/// What is kept of a plan: it, what it began from, its cost.
struct Record {
  Waypoints plan, last;
  Posture goal;
  long allocations;
  double outside, inside;  // the model, in microseconds
};

template <class Sampler>
std::vector<Record> control_loop(const Sampler& sampler, Index steps, double strength, Index replans,
                                 std::uint32_t seed) {
  const diffusion::GaussianDiffusion<float> process(diffusion::cosine_beta_schedule(100));
  const diffusion::TimeGrid whole = timestep_grid(process, diffusion::TimestepSpacing::trailing, steps);
  const diffusion::TimeGrid warm = whole.with_strength(strength);
  SmoothTrajectories model(process);
  diffusion::DenoiserOptions clipped;
  clipped.clip_min = -1.0, clipped.clip_max = 1.0;
  const diffusion::Denoiser denoiser(std::ref(model), diffusion::ModelMeanType::epsilon, clipped);
  diffusion::PhiloxNoise source(seed);

  Plan plan(1, H, D), last(1, H, D), noise(1, H, D);
  last.setZero();  // at rest
  diffusion::Hooks<Plan> hooks;
  hooks.correct_x_t = [&](Plan& x, const NoiseLevel& level) {
    const auto alpha = static_cast<float>(level.alpha), sigma = static_cast<float>(level.sigma);
    waypoints(x).topRows<held>() = alpha * waypoints(last).topRows<held>() + sigma * waypoints(noise).topRows<held>();
  };
  hooks.correct_x_start = [&](Plan& x, const NoiseLevel&) {
    waypoints(x).topRows<held>() = waypoints(last).topRows<held>();
  };
  typename Sampler::template State<Plan> state;

  std::vector<Record> records(static_cast<std::size_t>(replans));
  for (Index k = 0; k < replans; ++k) {
    Record& record = records[static_cast<std::size_t>(k)];
    record.goal = goal_of(k), record.last = waypoints(last), model.time = model.time.zero();
    const long allocated = allocations();
    const auto begin = std::chrono::steady_clock::now();

    model.mu = model.mean(waypoints(last).row(0), record.goal);
    source(noise);
    const diffusion::TimeGrid& grid = k == 0 ? whole : warm;
    add_noise_into(plan, last, grid.levels().front(), noise);
    sample_into(plan, sampler, grid, denoiser, source, hooks, state);

    const std::chrono::duration<double, std::micro> time = std::chrono::steady_clock::now() - begin;
    record.allocations = allocations() - allocated;
    record.inside = model.time.count(), record.outside = (time - model.time).count();
    record.plan = waypoints(plan);
    // The robot moves along the plan; beyond its end the next one is guessed to stay.
    for (Index i = 0; i < H; ++i) waypoints(last).row(i) = waypoints(plan).row((std::min)(i + executed, H - 1));
  }
  return records;
}

constexpr const char* table_heading = R"(
      distance to the goal | change of the last plan |       rms | rms off the best plan
 plan       now     at end |       held          all | accelera. |            in sigmas)";

/// A line of the table: what plan k is worth. The best one there is with its first waypoints is the mean of the others given these:
/// mu_r - P_rr^-1 P_rh (x_h - mu_h), and P_rr^-1 is the covariance around it.
void print_plan(Index k, const Record& record, const SmoothTrajectories& model) {
  const Eigen::MatrixXd x = record.plan.cast<double>(), mu = model.mean(record.last.row(0), record.goal).cast<double>();
  const Eigen::LLT<Eigen::MatrixXd> P_rr(model.P.bottomRightCorner<H - held, H - held>());
  const Eigen::MatrixXd P_rh = model.P.bottomLeftCorner<H - held, held>();
  const Eigen::MatrixXd off = (x - mu).bottomRows<H - held>() + P_rr.solve(P_rh * (x - mu).topRows<held>());
  const Eigen::MatrixXd acceleration = x.topRows<H - 2>() - 2.0 * x.middleRows<H - 2>(1) + x.bottomRows<H - 2>();
  const auto rms = [](const Eigen::MatrixXd& y) { return std::sqrt(y.array().square().mean()); };
  const auto changed = (record.plan - record.last).cwiseAbs();
  std::printf("%5ld %9.3f  %9.3f | %10.1e %12.3f | %9.4f | %9.4f %11.2f\n", long(k),
              double((record.plan.row(0) - record.goal).norm()), double((record.plan.row(H - 1) - record.goal).norm()),
              double(changed.topRows<held>().maxCoeff()), double(changed.topRows<H - executed>().maxCoeff()),
              rms(acceleration), rms(off), rms(P_rr.matrixU() * off));
}

double quantile(std::vector<double> values, double q) {
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(std::ceil(q * double(values.size()))) - 1;
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

int main(int argc, char** argv) {
  std::string sampler = "ddim";
  Index replans = 50;
  double strength = 0.5;
  std::uint32_t seed = 1;

  CLI::App app("Plans a robot's way again and again by diffusion, with memory that is taken once.", "plan_trajectory");
  app.add_option("--sampler", sampler, "ddim: 10 steps; dpmpp: DPM-Solver++, 8 steps")
      ->check(CLI::IsMember({"ddim", "dpmpp"}))
      ->capture_default_str();
  app.add_option("--replans", replans, "how many plans")->check(CLI::Range(2, 1000000))->capture_default_str();
  app.add_option("--strength", strength, "the share of the steps that a plan makes which begins from the last one")
      ->check(CLI::Range(0.125, 1.0))
      ->capture_default_str();
  app.add_option("--seed", seed, "of the noise")->check(CLI::Range(Index(0), Index(4294967295)))->capture_default_str();

  return example::run(app, argc, argv, [&] {
    const std::vector<Record> plans = sampler == "ddim"
                                          ? control_loop(diffusion::Ddim{}, 10, strength, replans, seed)
                                          : control_loop(diffusion::DpmSolverPP{}, 8, strength, replans, seed);
    const SmoothTrajectories model(diffusion::GaussianDiffusion<float>(diffusion::cosine_beta_schedule(100)));
    std::printf(
        "%ld plans by %s, each of %ld waypoints of %ld joints, the first %ld held; %ld are executed between two\n",
        long(replans), sampler.c_str(), long(H), long(D), long(held), long(executed));
    std::puts(table_heading);
    long allocated = 0;
    float moved = 0.0F;
    std::vector<double> outside, inside;
    for (std::size_t k = 0; k < plans.size(); ++k) {
      if (k % 10 < 3 || k % 10 == 9) print_plan(Index(k), plans[k], model);
      moved = (std::max)(moved, (plans[k].plan - plans[k].last).topRows<held>().cwiseAbs().maxCoeff());
      if (k == 0) continue;
      allocated += plans[k].allocations;
      outside.push_back(plans[k].outside), inside.push_back(plans[k].inside);
    }
    std::printf("\nallocations: %ld for the first plan, %ld for the %ld others\n", plans[0].allocations, allocated,
                long(replans - 1));
    std::printf("microseconds for a plan, outside the model: median %.1f, 99%% %.1f; inside: median %.1f, 99%% %.1f\n",
                quantile(outside, 0.5), quantile(outside, 0.99), quantile(inside, 0.5), quantile(inside, 0.99));
    const bool good = moved == 0.0F && allocated == 0;
    std::printf("%s\n", good ? "Held waypoints stayed, and no plan but the first took memory."
                             : "Held waypoints MOVED, or a plan after the first TOOK memory.");
    return good ? 0 : 1;
  });
}
