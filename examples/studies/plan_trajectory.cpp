/// @file plan_trajectory.cpp
/// Plans by diffusion inside a control loop: a robot with 7 joints plans 16 waypoints ahead, moves
/// along some of them, and plans again.
///
/// The trajectories are Gaussian, N(mu, P^-1), and smooth from a start to a goal
/// (smooth_trajectories.hpp), so the exact model is known:
///
///     E[epsilon | x] = sigma U diag(1 / (alpha^2 v + sigma^2)) U^T (x - alpha mu)
///     U diag(v) U^T = P^-1
///
/// With --model, the model is a network in an ONNX file, such as onnx/policy.onnx, which was
/// trained on such trajectories (onnx/train.py) and is run by ONNX Runtime:
///
///     epsilon = network(x, timestep, observation), the observation being start and goal
///
/// A plan starts at an intermediate noise level from the last plan, shifted by the waypoints that
/// were executed (TimeGrid::with_strength, add_noise_into):
///
///     x = alpha last + sigma noise
///
/// The robot is already moving along the first waypoints h of the plan, so these must not change:
///
///     x_h = alpha last_h + sigma noise_h    before every step and at the end: Hooks::correct_x_t
///     x_{0,h} = last_h                      in every prediction: Hooks::correct_x_start
///
/// Only the first plan of each grid allocates memory: SamplingRun::restart reuses that of a run.
///
/// A plan is a sample, so it differs from the optimal plan by about one sigma. With few steps the
/// difference is smaller, because the samples spread too little. Just after the goal has jumped, it
/// is larger: the held waypoints influence the others only once the noise has fallen, so the plan
/// turns sharply behind the held waypoints. The next plans are smooth again.
#include <Eigen/Eigenvalues>
#include <algorithm>  // std::max, std::min, std::nth_element
#include <chrono>
#include <cmath>
#include <cstddef>  // std::ptrdiff_t, std::size_t
#include <cstdint>
#include <cstdio>
#include <diffusion/diffusion.hpp>
#include <functional>  // std::function, std::ref
#include <stdexcept>   // std::runtime_error
#include <string>
#include <vector>

#include "common/allocations.hpp"
#include "common/options.hpp"
#include "common/plot.hpp"
#include "common/smooth_trajectories.hpp"
#ifdef EXAMPLE_HAS_ONNXRUNTIME
#include "onnx/onnx_model.hpp"
#endif

using diffusion::NoiseLevel;
using Eigen::Index;
using namespace example;  // the names of smooth_trajectories.hpp

constexpr Index num_executed = 4;  // number of waypoints that are executed between two plans
constexpr Index num_held = 3;      // number of waypoints that are fixed in a plan

/// The goal of the robot; it changes every ten plans.
Posture goal_of(Index plan) {
  Posture goal;
  for (Index j = 0; j < D; ++j) goal(j) = 0.8F * std::sin(static_cast<float>((plan / 10 + 1) * (j + 2)));
  return goal;
}

#ifdef EXAMPLE_HAS_ONNXRUNTIME
/// A network that predicts the noise of a plan from the plan, its time and the observation.
struct Policy {
  example::OnnxModel network;
  Eigen::Tensor<float, 2, Eigen::RowMajor> observation{1, 2 * D};

  void observe(const Posture& start, const Posture& goal) {
    for (Index j = 0; j < D; ++j) observation(0, j) = start(j), observation(0, D + j) = goal(j);
  }
  void operator()(const Plan& x, const Eigen::Tensor<float, 1>& t, Plan& out) { network(x, t, out, observation); }
};
#endif

/// A model that measures its calls: their microseconds, and their allocations, which for a network
/// are those of its engine. Before each plan, observe() passes it the start of the plan and the
/// goal.
struct Measured {
  std::function<void(const Posture& start, const Posture& goal)> observe;
  std::function<void(const Plan& x, const Eigen::Tensor<float, 1>& t, Plan& out)> model;
  double microseconds = 0.0;
  long allocated = 0;

  void operator()(const Plan& x, const Eigen::Tensor<float, 1>& t, Plan& out) {
    const long allocations_before = allocations();
    const auto begin = std::chrono::steady_clock::now();
    model(x, t, out);
    microseconds += std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count();
    allocated += allocations() - allocations_before;
  }
};

/// A plan, the last plan from which it started, its goal and its cost. Allocations are those
/// outside the model.
struct Record {
  Waypoints plan, last;
  Posture goal;
  long allocations;
  double outside, inside;  // time outside and inside the model, in microseconds
};

/// Makes `replans` plans one after the other, and records them.
std::vector<Record> control_loop(const diffusion::AnySampler<Plan>& sampler, Index steps, Measured measured,
                                 double strength, Index replans, std::uint32_t seed) {
  const diffusion::GaussianDiffusion<float> process(diffusion::cosine_beta_schedule(100));
  const diffusion::TimeGrid full_grid = timestep_grid(process, diffusion::TimestepSpacing::trailing, steps);
  const diffusion::TimeGrid warm_start_grid = full_grid.with_strength(strength);
  diffusion::DenoiserOptions clip_options;
  clip_options.clip_min = -1.0, clip_options.clip_max = 1.0;
  const diffusion::Denoiser denoiser(std::ref(measured), diffusion::ModelMeanType::epsilon, clip_options);
  diffusion::PhiloxNoise noise_source(seed);

  Plan plan(1, H, D), last(1, H, D), noise(1, H, D);
  last.setZero();  // at rest
  diffusion::Hooks<Plan> hooks;
  hooks.correct_x_t = [&](Plan& x, const NoiseLevel& level) {
    const auto alpha = static_cast<float>(level.alpha), sigma = static_cast<float>(level.sigma);
    waypoints(x).topRows<num_held>() =
        alpha * waypoints(last).topRows<num_held>() + sigma * waypoints(noise).topRows<num_held>();
  };
  hooks.correct_x_start = [&](Plan& x, const NoiseLevel&) {
    waypoints(x).topRows<num_held>() = waypoints(last).topRows<num_held>();
  };
  // The first plan is made from pure noise, each other plan from the one before it.
  plan.setZero(), noise.setZero();
  diffusion::SamplingRun first_run(sampler, full_grid, plan, std::ref(noise_source), hooks);
  diffusion::SamplingRun warm_run(sampler, warm_start_grid, plan, std::ref(noise_source), hooks);
  diffusion::Prediction<Plan> prediction;

  std::vector<Record> records(static_cast<std::size_t>(replans));
  for (Index k = 0; k < replans; ++k) {
    Record& record = records[static_cast<std::size_t>(k)];
    record.goal = goal_of(k), record.last = waypoints(last);
    measured.microseconds = 0.0, measured.allocated = 0;
    const long allocations_before = allocations();
    const auto begin = std::chrono::steady_clock::now();

    measured.observe(waypoints(last).row(0), record.goal);
    noise_source(noise);
    auto& run = k == 0 ? first_run : warm_run;
    add_noise_into(plan, last, (k == 0 ? full_grid : warm_start_grid).levels().front(), noise);
    for (run.restart(plan); !run.done(); run.advance(prediction)) denoiser(run.x(), run.level(), prediction);
    plan = run.x();

    const std::chrono::duration<double, std::micro> time = std::chrono::steady_clock::now() - begin;
    record.allocations = allocations() - allocations_before - measured.allocated;
    record.inside = measured.microseconds, record.outside = time.count() - measured.microseconds;
    record.plan = waypoints(plan);
    // The robot moves along the plan. The next plan is initialised with this one, shifted, and with
    // the last waypoint repeated at its end.
    for (Index i = 0; i < H; ++i) waypoints(last).row(i) = waypoints(plan).row((std::min)(i + num_executed, H - 1));
  }
  return records;
}

constexpr const char* table_heading = R"(
      distance to the goal | change of the last plan |       rms | rms from optimal plan
 plan       now     at end |       held          all | accelera. |            in sigmas)";

/// Prints a line of the table: the quality of plan k. Given its held waypoints h, the other
/// waypoints r have the covariance P_rr^-1 and this mean, which is the optimal plan:
///
///     mu_r - P_rr^-1 P_rh (x_h - mu_h)
///
/// In sigmas, the deviations d of n coordinates from it have the rms sqrt(d^T P_rr d / n).
void print_plan(Index k, const Record& record, const SmoothTrajectories& model) {
  const Eigen::MatrixXd x = record.plan.cast<double>(), mu = model.mean(record.last.row(0), record.goal).cast<double>();
  const Eigen::MatrixXd from_mean = x - mu, held = from_mean.topRows(num_held);
  const Eigen::MatrixXd P_rr = model.P.bottomRightCorner(H - num_held, H - num_held);
  const Eigen::MatrixXd P_rh = model.P.bottomLeftCorner(H - num_held, num_held), product = P_rh * held;
  const Eigen::MatrixXd shift = example::inverse(Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>(P_rr)) * product;
  const Eigen::MatrixXd deviation = from_mean.bottomRows(H - num_held) + shift, weighted = P_rr * deviation;
  const Eigen::MatrixXd acceleration = x.topRows<H - 2>() - 2.0 * x.middleRows<H - 2>(1) + x.bottomRows<H - 2>();
  const auto rms = [](const Eigen::MatrixXd& y) { return std::sqrt(y.array().square().mean()); };
  const auto change = (record.plan - record.last).cwiseAbs();
  std::printf("%5ld %9.3f  %9.3f | %10.1e %12.3f | %9.4f | %9.4f %11.2f\n", long(k),
              double((record.plan.row(0) - record.goal).norm()), double((record.plan.row(H - 1) - record.goal).norm()),
              double(change.topRows<num_held>().maxCoeff()), double(change.topRows<H - num_executed>().maxCoeff()),
              rms(acceleration), rms(deviation), std::sqrt(deviation.cwiseProduct(weighted).mean()));
}

/// The q-quantile of the values.
double quantile(std::vector<double> values, double q) {
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(std::ceil(q * double(values.size()))) - 1;
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

/// Draws the motion of each joint, the plans and the goals.
void draw(const std::string& path, const std::vector<Record>& plans, const example::Theme& theme) {
  std::vector<example::PathPanel> panels;
  for (Index j = 0; j < D; ++j) {
    example::PathPanel panel{"joint " + std::to_string(j + 1), {}, {}, {}};
    for (const Record& record : plans) {
      std::vector<double> plan;
      for (Index i = 0; i < H; ++i) plan.push_back(double(record.plan(i, j)));
      panel.plans.emplace_back(double(panel.done.size()), plan);
      panel.done.insert(panel.done.end(), plan.begin(), plan.begin() + num_executed);
      panel.goal.insert(panel.goal.end(), num_executed, double(record.goal(j)));
    }
    panels.push_back(panel);
  }
  example::plot_paths(path, panels, "waypoints", theme);
}

int main(int argc, char** argv) {
  std::string sampler = "ddim", model_path, out = "plan_trajectory.png", theme = example::theme_names[0];
  Index replans = 50;
  double strength = 0.5;
  std::uint32_t seed = 1;

  example::Options options(
      "plan_trajectory", "Plans the motion of a robot in a control loop by diffusion, and allocates memory only once.");
  options.add_choice("--sampler", sampler, "ddim (10 steps) or dpmpp (DPM-Solver++, 8 steps)", {"ddim", "dpmpp"});
  options.add("--model", model_path, "ONNX file of a network to use instead of the exact model");
  options.add("--replans", replans, "number of plans", 3, 1000000);
  options.add("--strength", strength, "fraction of the steps that a plan takes if it starts from the last plan", 0.125,
              1.0);
  options.add_seed(seed, "seed of the noise");
  options.add("--out", out, "PNG file to draw the first 50 plans to");
  options.add_choice("--theme", theme, "colours of the picture", example::theme_names);

  return options.run(argc, argv, [&] {
    example::check_writable(out);
    SmoothTrajectories exact(diffusion::GaussianDiffusion<float>(diffusion::cosine_beta_schedule(100)));
    const auto plan_with = [&](auto& model) {
      const Measured measured{[&](const Posture& start, const Posture& goal) { model.observe(start, goal); },
                              std::ref(model)};
      return sampler == "ddim" ? control_loop(diffusion::Ddim{}, 10, measured, strength, replans, seed)
                               : control_loop(diffusion::DpmSolverPP{}, 8, measured, strength, replans, seed);
    };
    std::vector<Record> plans;
    if (model_path.empty()) {
      plans = plan_with(exact);
    } else {
#ifdef EXAMPLE_HAS_ONNXRUNTIME
      Policy policy{example::OnnxModel(model_path, 1)};
      plans = plan_with(policy);
#else
      throw std::runtime_error("--model needs ONNX Runtime, which was not found when this example was built");
#endif
    }
    std::printf(
        "%ld plans by %s with %s; each has %ld waypoints of %ld joints; the first %ld are held, "
        "%ld are executed before the next plan\n",
        long(replans), sampler.c_str(), model_path.empty() ? "the exact model" : model_path.c_str(), long(H), long(D),
        long(num_held), long(num_executed));
    std::puts(table_heading);
    long later_allocations = 0;
    float largest_move = 0.0F;
    std::vector<double> outside, inside;
    for (std::size_t k = 0; k < plans.size(); ++k) {
      if (k % 10 < 3 || k % 10 == 9) print_plan(Index(k), plans[k], exact);
      largest_move =
          (std::max)(largest_move, (plans[k].plan - plans[k].last).topRows<num_held>().cwiseAbs().maxCoeff());
      if (k < 2) continue;
      later_allocations += plans[k].allocations;
      outside.push_back(plans[k].outside), inside.push_back(plans[k].inside);
    }
    std::printf("\nallocations outside the model: %ld for the first two plans, %ld for the other %ld plans\n",
                plans[0].allocations + plans[1].allocations, later_allocations, long(replans - 2));
    std::printf(
        "microseconds per plan outside the model: median %.1f, 99%% quantile %.1f; inside: median %.1f, 99%% quantile "
        "%.1f\n",
        quantile(outside, 0.5), quantile(outside, 0.99), quantile(inside, 0.5), quantile(inside, 0.99));
    const bool good = largest_move == 0.0F && later_allocations == 0;
    std::printf("%s\n", good ? "Held waypoints stayed in place, and only the first two plans allocated memory."
                             : "Held waypoints MOVED, or a later plan ALLOCATED memory.");
    draw(out, {plans.begin(), plans.begin() + (std::min)(std::ptrdiff_t(50), std::ptrdiff_t(replans))},
         example::theme(theme));
    std::printf("Wrote the picture to %s\n", out.c_str());
    return good ? 0 : 1;
  });
}
