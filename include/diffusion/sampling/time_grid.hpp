/// @file time_grid.hpp
/// Where a run of sampling stops on its way from noise to data: levels of noise, and the path they lie on.
///
/// A level holds x = alpha x_0 + sigma epsilon. Three families of paths are in use:
///     variance preserving   alpha^2 + sigma^2 = 1    a GaussianDiffusion: timestep_grid, sigma_grid
///     variance exploding    alpha = 1                EDM: edm_grid
///     straight              alpha + sigma = 1        flow matching: flow_matching_grid
/// They differ in scale only: a point of one is a point of another times a number. What counts is sigma / alpha, or
/// lambda = log(alpha / sigma), half the log of the signal-to-noise ratio.
#pragma once

#include <Eigen/Core>
#include <cmath>    // std::abs, std::exp, std::floor, std::isfinite, std::log
#include <cstddef>  // std::size_t
#include <limits>
#include <stdexcept>  // std::invalid_argument, std::out_of_range
#include <type_traits>
#include <utility>  // std::move
#include <vector>

#include "../detail/check.hpp"
#include "../detail/error.hpp"
#include "../process/detail/interpolated_process.hpp"
#include "../process/gaussian_diffusion.hpp"
#include "../process/noise_level.hpp"
#include "sigmas.hpp"
#include "timesteps.hpp"

namespace diffusion {

/// The stops of a run and the path between them.
class TimeGrid {
 public:
  using Index = Eigen::Index;

  /// Throws std::invalid_argument unless there are two levels at least, alpha and sigma are not negative, and the noise falls
  /// from each level to the next. `targets`, if given, are where the steps end, one for each (see target).
  TimeGrid(std::vector<NoiseLevel> levels, NoisePath path, std::vector<NoiseLevel> targets = {})
      : TimeGrid(std::move(levels), std::move(path), std::move(targets), false) {}

  /// The levels, noisiest first (in a reversed() grid cleanest first); the last is where the run ends: {0, 1, 0} when clean.
  const std::vector<NoiseLevel>& levels() const { return levels_; }

  /// Steps: one fewer than levels.
  Index num_steps() const { return static_cast<Index>(levels_.size()) - 1; }

  /// The level that step i, which starts at levels()[i], ends at: levels()[i + 1], but for diffusers_ddim_grid. Throws
  /// std::out_of_range unless 0 <= i < num_steps().
  const NoiseLevel& target(Index i) const {
    if (i < 0 || i >= num_steps()) {
      detail::fail<std::out_of_range>("TimeGrid::target", "i = ", i, " is outside [0, ", num_steps(), ")");
    }
    const auto at = static_cast<std::size_t>(i);
    return targets_.empty() ? levels_[at + 1] : targets_[at];
  }

  /// How many steps of the whole grid starting_at and with_strength have cut off; 0 for any other grid. A sampler's Step has the
  /// index and count of the whole grid.
  Index num_skipped_steps() const { return static_cast<Index>(skipped_.size()); }

  /// Level i of the whole grid, the skipped ones included: levels()[i - num_skipped_steps()] from that index on. Throws
  /// std::out_of_range unless 0 <= i <= num_skipped_steps() + num_steps().
  const NoiseLevel& whole_level(Index i) const {
    const Index skipped = num_skipped_steps();
    if (i < 0 || i > skipped + num_steps()) {
      detail::fail<std::out_of_range>("TimeGrid::whole_level", "i = ", i, " is outside [0, ", skipped + num_steps(),
                                      "]");
    }
    return i < skipped ? skipped_[static_cast<std::size_t>(i)] : levels_[static_cast<std::size_t>(i - skipped)];
  }

  /// The level of the path with this lambda = log(alpha / sigma): second-order solvers look between two stops.
  [[nodiscard]] NoiseLevel at(double half_log_snr) const { return path_.at(half_log_snr); }
  /// The level of the path whose model time is t.
  [[nodiscard]] NoiseLevel at_time(double t) const { return path_.at_time(t); }

  /// The grid without its first steps: a run that starts at levels()[first], from x_0 with that much noise (add_noise). It
  /// takes the steps that the whole run would have taken from there: what depends on a step's place (lower_order_final,
  /// the blocks of DpmSolverSinglestep, churn) counts the whole grid's steps. Throws std::out_of_range unless
  /// 0 <= first < num_steps().
  [[nodiscard]] TimeGrid starting_at(Index first) const {
    if (first < 0 || first >= num_steps()) {
      detail::fail<std::out_of_range>("TimeGrid::starting_at", "first = ", first, " is outside [0, ", num_steps(), ")");
    }
    TimeGrid out = *this;
    out.skipped_.insert(out.skipped_.end(), levels_.begin(), levels_.begin() + first);
    out.levels_.erase(out.levels_.begin(), out.levels_.begin() + first);
    if (!targets_.empty()) out.targets_.erase(out.targets_.begin(), out.targets_.begin() + first);
    return out;
  }

  /// Image to image: the last floor(strength n) of the n steps. strength = 1 is the whole run, which keeps nothing of the
  /// picture. Throws std::invalid_argument unless strength is in (0, 1] and leaves a step.
  [[nodiscard]] TimeGrid with_strength(double strength) const {
    if (!(strength > 0.0 && strength <= 1.0)) {
      detail::fail<std::invalid_argument>("TimeGrid::with_strength", "strength = ", strength, " is outside (0, 1]");
    }
    const auto kept = static_cast<Index>(std::floor(static_cast<double>(num_steps()) * strength));
    if (kept < 1) {
      detail::fail<std::invalid_argument>("TimeGrid::with_strength", "strength = ", strength, " leaves none of ",
                                          num_steps(), " steps");
    }
    return starting_at(num_steps() - kept);
  }

  /// The same stops in the other direction, from data to noise, for inversion: a grid of its own, whose noise rises. (One that
  /// is reversed twice is the first again, without targets and skipped steps.) Ddim, Pndm, Ipndm and Lms can start at its
  /// clean level; other deterministic samplers throw std::domain_error there, and start at a level with noise
  /// (starting_at(1)). Samplers that add noise on the way down refuse any step up with std::invalid_argument.
  [[nodiscard]] TimeGrid reversed() const { return TimeGrid({levels_.rbegin(), levels_.rend()}, path_, {}, !rises_); }

  /// Whether the noise rises from each level to the next, as it does in a grid that was reversed().
  bool rises() const { return rises_; }

 private:
  TimeGrid(std::vector<NoiseLevel> levels, NoisePath path, std::vector<NoiseLevel> targets, bool rises)
      : levels_(std::move(levels)), targets_(std::move(targets)), path_(std::move(path)), rises_(rises) {
    check();
  }

  void check() const {
    constexpr const char* where = "TimeGrid";
    if (!path_.at || !path_.at_time) detail::fail<std::invalid_argument>(where, "path has no function for its levels");
    const auto size = static_cast<Index>(levels_.size());
    if (size < 2) detail::fail<std::invalid_argument>(where, "a grid needs 2 levels at least, not ", size);
    if (!targets_.empty() && static_cast<Index>(targets_.size()) != size - 1) {
      detail::fail<std::invalid_argument>(where, "there are ", static_cast<Index>(targets_.size()), " targets for ",
                                          size - 1, " steps");
    }
    for (Index i = 0; i < size; ++i) {
      detail::check_level(where, levels_[static_cast<std::size_t>(i)], "levels[" + detail::text(i) + "]");
    }
    for (Index i = 0; i + 1 < size; ++i) {
      const double from = noise_to_signal(levels_[static_cast<std::size_t>(i)]), to = noise_to_signal(target(i));
      if (!(rises_ ? from < to : to < from)) {
        detail::fail<std::invalid_argument>(where, "sigma / alpha must ", rises_ ? "rise" : "fall", ", but step ", i,
                                            " goes from ", from, " to ", to);
      }
    }
  }

  std::vector<NoiseLevel> levels_;   // noisiest first, cleanest first where the noise rises
  std::vector<NoiseLevel> skipped_;  // those before levels_[0] that a run which starts part-way does not visit
  std::vector<NoiseLevel> targets_;  // of each step; empty where they are the next levels
  NoisePath path_;
  bool rises_ = false;
};

// ---- timesteps of a process ----

/// Where the run ends, after its last timestep.
enum class Ending {
  clean,     // x_0: the level {0, 1, 0}
  sigma_min  // the least noise the process knows, its level at t = 0, where the last timestep may be already
};

namespace detail {

inline void check_grid_timestep(const char* where, double t, Index i, Index num_timesteps) {
  if (!(t >= 0.0 && t <= static_cast<double>(num_timesteps - 1))) {
    fail<std::out_of_range>(where, "timesteps[", i, "] = ", t, " is outside [0, ", num_timesteps, ")");
  }
}

inline constexpr NoiseLevel clean_level{0.0, 1.0, 0.0};

/// A zero-length step is given this relative length instead, so that solvers never divide by zero. It is well above the
/// rounding of alpha and sigma (1e-16).
inline constexpr double zero_length_factor = 1.0 - 1e-14;

/// The largest sigma / alpha of a level: its reciprocal, alpha at sigma = 1, still has all its digits.
inline constexpr double largest_sigma = 0x1p1022;

/// Checks the sigmas of a grid: at least two entries, strictly decreasing, within [0, most]. The last may repeat its
/// predecessor, up to rounding, which becomes a zero-length step.
inline Eigen::ArrayXd grid_sigmas(const char* where, Eigen::ArrayXd sigmas, double most) {
  const Eigen::Index size = sigmas.size();
  if (size < 2) fail<std::invalid_argument>(where, "sigmas has ", size, " entries; a grid needs 2 at least");
  const double before_last = sigmas[size - 2];
  if (std::abs(sigmas[size - 1] - before_last) <= 1e-14 * before_last)
    sigmas[size - 1] = before_last * zero_length_factor;
  for (Index i = 0; i < size; ++i) {
    if (!(sigmas[i] >= 0.0 && sigmas[i] <= most)) {
      fail<std::invalid_argument>(where, "sigmas[", i, "] = ", sigmas[i], " is outside [0, ", most, "]");
    }
    if (sigmas[i] > largest_sigma) {
      fail<std::invalid_argument>(where, "sigmas[", i, "] = ", sigmas[i], " is above ", largest_sigma,
                                  ", the largest whose reciprocal has all its digits");
    }
    if (i > 0 && !(sigmas[i] < sigmas[i - 1])) {
      fail<std::invalid_argument>(where, "sigmas[", i, "] = ", sigmas[i], " is not below sigmas[", i - 1,
                                  "] = ", sigmas[i - 1]);
    }
  }
  return sigmas;
}

}  // namespace detail

/// The levels of these timesteps of `process`, which fall and may lie between whole ones (there log sigma / alpha is
/// interpolated); then what `ending` says. Throws std::out_of_range for a timestep outside [0, T), std::invalid_argument
/// where they do not fall.
template <class Scalar>
[[nodiscard]] TimeGrid timestep_grid(const GaussianDiffusion<Scalar>& process, const std::vector<double>& timesteps,
                                     Ending ending = Ending::clean) {
  constexpr const char* where = "timestep_grid";
  const detail::InterpolatedProcess path(process);
  std::vector<NoiseLevel> levels;
  if (timesteps.empty()) detail::fail<std::invalid_argument>(where, "timesteps is empty");
  if (ending == Ending::sigma_min && timesteps.front() == 0.0) {
    detail::fail<std::invalid_argument>(where, "timesteps[0] = 0 leaves no step, for Ending::sigma_min ends there");
  }
  for (std::size_t i = 0; i < timesteps.size(); ++i) {
    const auto at = static_cast<Eigen::Index>(i);
    detail::check_grid_timestep(where, timesteps[i], at, process.num_timesteps());
    if (i > 0 && timesteps[i] >= timesteps[i - 1]) {
      detail::fail<std::invalid_argument>(where, "timesteps[", at, "] = ", timesteps[i], " is not below timesteps[",
                                          at - 1, "] = ", timesteps[i - 1]);
    }
    levels.push_back(detail::process_level(process, path, timesteps[i]));
  }
  if (ending == Ending::clean) {
    levels.push_back(detail::clean_level);
  } else if (timesteps.back() > 0.0) {
    levels.push_back(detail::process_level(process, path, 0.0));
  }
  return {std::move(levels), path};
}

/// The same for whole timesteps.
template <class Scalar, class Integer, std::enable_if_t<std::is_integral_v<Integer>, int> = 0>
[[nodiscard]] TimeGrid timestep_grid(const GaussianDiffusion<Scalar>& process, const std::vector<Integer>& timesteps,
                                     Ending ending = Ending::clean) {
  return timestep_grid(process, std::vector<double>(timesteps.begin(), timesteps.end()), ending);
}

/// The same for n timesteps that are spread over the process.
template <class Scalar>
[[nodiscard]] TimeGrid timestep_grid(const GaussianDiffusion<Scalar>& process, TimestepSpacing spacing, Eigen::Index n,
                                     Eigen::Index offset = 0, Ending ending = Ending::clean) {
  return timestep_grid(process, spaced_timesteps(process.num_timesteps(), spacing, n, offset), ending);
}

/// How many timesteps of `process`, from 0 on, have lambda = log(alpha / sigma) >= lambda_min. Pass it to
/// dpm_solver_timesteps to keep lambda-based solvers away from the noisiest steps of a cosine schedule, where lambda drops to
/// -10. Matches diffusers' lambda_min_clipped (-5.1 for those schedules), except for trailing spacing. Throws
/// std::invalid_argument if no timestep qualifies.
template <class Scalar>
[[nodiscard]] Eigen::Index num_timesteps_above(const GaussianDiffusion<Scalar>& process, double lambda_min) {
  Eigen::Index n = process.num_timesteps();
  while (n > 0 && !(-std::log(process.sqrt_recipm1_alphas_cumprod()[n - 1]) >= lambda_min)) --n;
  if (n == 0) {
    detail::fail<std::invalid_argument>("num_timesteps_above", "lambda_min = ", lambda_min,
                                        " is above lambda at t = 0, which is ",
                                        -std::log(process.sqrt_recipm1_alphas_cumprod()[0]));
  }
  return n;
}

/// The steps of diffusers' DDIM and PNDM: from timestep t not to the next of the list, but to t - floor(T / n), which differs
/// where n does not divide T and, for linspace, always. Only to reproduce its pictures; timestep_grid is right.
template <class Scalar>
[[nodiscard]] TimeGrid diffusers_ddim_grid(const GaussianDiffusion<Scalar>& process, TimestepSpacing spacing,
                                           Eigen::Index n, Eigen::Index offset = 0, Ending ending = Ending::clean) {
  const Eigen::Index num_timesteps = process.num_timesteps();
  const std::vector<double> timesteps = spaced_timesteps(num_timesteps, spacing, n, offset);
  std::vector<NoiseLevel> levels = timestep_grid(process, timesteps).levels(), targets;
  const detail::InterpolatedProcess path(process);
  if (ending == Ending::sigma_min) {
    levels.back() = detail::process_level(process, path, 0.0);
    // From timestep 0 to its own level x stays; but a prediction of x_0 that is clipped moves it.
    if (timesteps.back() == 0.0) levels.back().sigma *= detail::zero_length_factor;
  }
  for (const double t : timesteps) {
    const double to = t - static_cast<double>(num_timesteps / n);
    targets.push_back(to < 0.0 ? levels.back() : detail::process_level(process, path, to));
  }
  return {std::move(levels), path, std::move(targets)};
}

/// The levels of a process that have these values of sigma / alpha. The list must fall (sigmas.hpp makes such lists). It may
/// end with 0, or repeat its last entry as some runs of diffusers do: that last step keeps x, except in samplers that correct
/// x by one more prediction or draw all noise anew. The model time of a level is the timestep at which the process has that
/// much noise, interpolated in log sigma; beyond the ends of the process it is the timestep of the end. This and the grids
/// below throw std::invalid_argument if the sigmas do not fall or are out of range.
template <class Scalar>
[[nodiscard]] TimeGrid sigma_grid(const GaussianDiffusion<Scalar>& process, const Eigen::ArrayXd& sigmas) {
  const detail::InterpolatedProcess path(process);
  std::vector<NoiseLevel> levels;
  for (const double s : detail::grid_sigmas("sigma_grid", sigmas, std::numeric_limits<double>::infinity())) {
    levels.push_back(s == 0.0 ? detail::clean_level : path.at(-std::log(s)));
    // The level is of s itself, which the way through the logarithm would round.
    if (s > 0.0) levels.back() = variance_preserving_level(levels.back().t, s);
  }
  return {std::move(levels), path};
}

/// EDM's levels, alpha = 1, with the model time t = log(sigma) / 4; Karras et al. 2022, Table 1.
[[nodiscard]] inline TimeGrid edm_grid(const Eigen::ArrayXd& sigmas) {
  std::vector<NoiseLevel> levels;
  for (const double s : detail::grid_sigmas("edm_grid", sigmas, std::numeric_limits<double>::infinity())) {
    levels.push_back({s == 0.0 ? 0.0 : 0.25 * std::log(s), 1.0, s});
  }
  return {std::move(levels),
          {[](double half_log_snr) {
             return NoiseLevel{-0.25 * half_log_snr, 1.0, std::exp(-half_log_snr)};
           },
           [](double t) {
             return NoiseLevel{t, 1.0, std::exp(4.0 * t)};
           }}};
}

// ---- flow matching ----

/// The straight path x = (1 - sigma) x_0 + sigma epsilon at these sigmas in [0, 1]; Lipman et al. 2023; Liu et al. 2023.
/// The model time is t = time_scale sigma.
[[nodiscard]] inline TimeGrid flow_matching_grid(const Eigen::ArrayXd& sigmas, double time_scale = 1000.0) {
  detail::check_positive("flow_matching_grid", "time_scale", time_scale);
  const auto level = [time_scale](double sigma) { return NoiseLevel{time_scale * sigma, 1.0 - sigma, sigma}; };
  std::vector<NoiseLevel> levels;
  for (const double s : detail::grid_sigmas("flow_matching_grid", sigmas, 1.0)) levels.push_back(level(s));
  return {std::move(levels),
          {[level](double half_log_snr) { return level(1.0 / (1.0 + std::exp(half_log_snr))); },
           [level, time_scale](double t) { return level(t / time_scale); }}};
}

/// n steps of flow_matching_sigmas, shifted once.
[[nodiscard]] inline TimeGrid flow_matching_grid(Eigen::Index n, double shift = 1.0, double time_scale = 1000.0) {
  Eigen::ArrayXd sigmas = flow_matching_sigmas(n);
  for (double& s : sigmas) s = shifted_sigma(s, shift);
  return flow_matching_grid(sigmas, time_scale);
}

}  // namespace diffusion
