/// @file time_grid.hpp
/// The noise levels at which a sampling run calls its model, and the path on which they lie.
///
/// At a level, x = alpha x_0 + sigma epsilon. Three families of paths are in use:
///
///     variance preserving   alpha^2 + sigma^2 = 1    GaussianDiffusion: timestep_grid, sigma_grid
///     variance exploding    alpha = 1                EDM: edm_grid
///     straight              alpha + sigma = 1        flow matching: flow_matching_grid
///
/// They differ only in the scale of x. A level is characterised by sigma / alpha, or by
/// lambda = log(alpha / sigma), which is half the log of the signal-to-noise ratio.
#pragma once

#include <Eigen/Core>
#include <cmath>    // std::abs, std::exp, std::floor, std::isfinite, std::log
#include <cstddef>  // std::size_t
#include <limits>
#include <memory>     // std::make_shared
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

/// The noise levels of a sampling run in the order in which it visits them, and the path through
/// them. Step i goes from levels()[i] to target(i). The functions below make the usual grids.
///
/// @code{.cpp}
/// #include <diffusion/diffusion.hpp>
///
/// int main() {
///   const diffusion::GaussianDiffusion<float> process(diffusion::cosine_beta_schedule(1000));
///   // 20 steps from timestep 999 to clean data.
///   const auto spacing = diffusion::TimestepSpacing::trailing;
///   const diffusion::TimeGrid grid = diffusion::timestep_grid(process, spacing, 20);
///   // Image to image: the last 10 of these steps, from add_noise(image, start, noise).
///   const diffusion::TimeGrid last_half = grid.with_strength(0.5);
///   const diffusion::NoiseLevel start = last_half.levels().front();
///   return last_half.num_steps() == 10 && start.t == 499 ? 0 : 1;
/// }
/// @endcode
class TimeGrid {
 public:
  using Index = Eigen::Index;  ///< type of step indices

  /// A grid of these levels on `path`, from the noisiest to the cleanest. `targets`, if given, are
  /// the levels at which the steps end, one per step (see target). Throws std::invalid_argument
  /// unless path.at and path.at_time are set, there are at least two levels, alpha and sigma of
  /// each level are finite, not negative and not both zero, and sigma / alpha falls in each step.
  TimeGrid(std::vector<NoiseLevel> levels, NoisePath path, std::vector<NoiseLevel> targets = {})
      : TimeGrid(std::move(levels), std::move(path), std::move(targets), false) {}

  /// The levels, noisiest first (cleanest first in a reversed() grid). The run ends at the last
  /// one, which is {0, 1, 0} for clean data.
  const std::vector<NoiseLevel>& levels() const { return levels_; }

  /// Number of steps, one fewer than levels.
  Index num_steps() const { return static_cast<Index>(levels_.size()) - 1; }

  /// The level at which step i ends. It is levels()[i + 1], except in a grid with targets, such as
  /// diffusers_ddim_grid's. Throws std::out_of_range unless 0 <= i < num_steps().
  const NoiseLevel& target(Index i) const {
    if (i < 0 || i >= num_steps()) {
      detail::fail<std::out_of_range>("TimeGrid::target", "i = ", i, " is outside [0, ", num_steps(), ")");
    }
    const auto at = static_cast<std::size_t>(i);
    return targets_.empty() ? levels_[at + 1] : targets_[at];
  }

  /// Number of steps that starting_at and with_strength have removed from the whole grid; 0 for any
  /// other grid. Step::index and Step::count refer to the whole grid.
  Index num_skipped_steps() const { return static_cast<Index>(skipped_.size()); }

  /// Level i of the whole grid, including the skipped levels. For i >= num_skipped_steps() it is
  /// levels()[i - num_skipped_steps()]. Throws std::out_of_range unless i is in
  /// [0, num_skipped_steps() + num_steps()].
  const NoiseLevel& whole_level(Index i) const {
    const Index skipped = num_skipped_steps();
    if (i < 0 || i > skipped + num_steps()) {
      detail::fail<std::out_of_range>("TimeGrid::whole_level", "i = ", i, " is outside [0, ", skipped + num_steps(),
                                      "]");
    }
    return i < skipped ? skipped_[static_cast<std::size_t>(i)] : levels_[static_cast<std::size_t>(i - skipped)];
  }

  /// The level of the path at this lambda = log(alpha / sigma). Second-order solvers call the model
  /// between two levels of the grid.
  [[nodiscard]] NoiseLevel at(double half_log_snr) const { return path_->at(half_log_snr); }
  /// The level of the path whose model time is t, not necessarily a level of the grid.
  [[nodiscard]] NoiseLevel at_time(double t) const { return path_->at_time(t); }

  /// The grid without its first `first` steps, for a run that starts at levels()[first]: pass
  /// sample() the result of add_noise() for that level. The run takes the same steps as the whole
  /// run from there on. Sampler features that depend on the place of a step (lower_order_final, the
  /// blocks of DpmSolverSinglestep, churn) count the steps of the whole grid. Throws
  /// std::out_of_range unless 0 <= first < num_steps().
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

  /// The last floor(strength n) of the n steps, for image-to-image sampling; see starting_at.
  /// strength = 1 is the whole run, which keeps nothing of the picture. Throws
  /// std::invalid_argument unless strength is in (0, 1] and leaves at least one step.
  [[nodiscard]] TimeGrid with_strength(double strength) const {
    if (!(strength > 0.0 && strength <= 1.0)) {
      detail::fail<std::invalid_argument>("TimeGrid::with_strength", "strength = ", strength, " is outside (0, 1]");
    }
    const auto kept = static_cast<Index>(std::floor(static_cast<double>(num_steps()) * strength));
    if (kept < 1) {
      detail::fail<std::invalid_argument>("TimeGrid::with_strength", "strength = ", strength,
                                          " leaves no step; it must be at least 1 / ", num_steps());
    }
    return starting_at(num_steps() - kept);
  }

  /// The same levels in the opposite order, from data to noise, for inversion. Targets and skipped
  /// steps are not kept, so reversing twice restores the levels only.
  ///
  /// Ddim, Pndm, Ipndm and Lms can start at the clean level. Other deterministic samplers throw
  /// std::domain_error there; let them start at a noisy level with reversed().starting_at(1).
  /// Ddpm, RePaint, DpmSolverAdaptive and all samplers with eta > 0 except Tcd throw
  /// std::invalid_argument for a step up.
  [[nodiscard]] TimeGrid reversed() const { return TimeGrid({levels_.rbegin(), levels_.rend()}, *path_, {}, !rises_); }

  /// True if the noise rises from each level to the next, as in a reversed() grid.
  bool rises() const { return rises_; }

 private:
  TimeGrid(std::vector<NoiseLevel> levels, NoisePath path, std::vector<NoiseLevel> targets, bool rises)
      : levels_(std::move(levels)),
        targets_(std::move(targets)),
        path_(std::make_shared<const NoisePath>(std::move(path))),
        rises_(rises) {
    check();
  }

  void check() const {
    constexpr const char* where = "TimeGrid";
    if (!path_->at || !path_->at_time)
      detail::fail<std::invalid_argument>(where, "path.at and path.at_time must be set");
    const auto size = static_cast<Index>(levels_.size());
    if (size < 2) detail::fail<std::invalid_argument>(where, "levels has size ", size, "; a grid needs at least 2");
    if (!targets_.empty() && static_cast<Index>(targets_.size()) != size - 1) {
      detail::fail<std::invalid_argument>(where, "targets has size ", static_cast<Index>(targets_.size()),
                                          "; it must be empty or have one level for each of the ", size - 1, " steps");
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

  std::vector<NoiseLevel> levels_;         // noisiest first, or cleanest first if rises_
  std::vector<NoiseLevel> skipped_;        // levels of the whole grid before levels_[0]
  std::vector<NoiseLevel> targets_;        // one per step; empty if every step ends at the next level
  std::shared_ptr<const NoisePath> path_;  // shared by copies, because it may hold the tables of a process
  bool rises_ = false;
};

// ---- timesteps of a process ----

/// The level at which a run ends, after its last timestep.
enum class Ending {
  clean,     ///< x_0, the level {0, 1, 0}
  sigma_min  ///< the level of timestep 0, the lowest of the process; adds no step if the last timestep is 0
};

namespace detail {

/// Throws std::out_of_range unless 0 <= t <= num_timesteps - 1.
inline void check_grid_timestep(const char* where, double t, Index i, Index num_timesteps) {
  if (!(t >= 0.0 && t <= static_cast<double>(num_timesteps - 1))) {
    fail<std::out_of_range>(where, "timesteps[", i, "] = ", t, " is outside [0, ", num_timesteps, ")");
  }
}

/// The level of x_0, at model time 0.
inline constexpr NoiseLevel clean_level{0.0, 1.0, 0.0};

/// A step of zero length ends at this factor times the sigma at which it starts, so that solvers
/// never divide by zero. The difference from 1 is well above the rounding error of alpha and sigma,
/// 1e-16.
inline constexpr double zero_length_factor = 1.0 - 1e-14;

/// The largest sigma / alpha of a level. Its reciprocal is the smallest normal double; smaller
/// reciprocals lose digits.
inline constexpr double largest_sigma = 0x1p1022;

/// Returns the sigmas of a grid after checking them: at least two entries, strictly decreasing,
/// within [0, most] and at most largest_sigma. The last may repeat its predecessor up to rounding;
/// it is then multiplied by zero_length_factor.
inline Eigen::ArrayXd grid_sigmas(const char* where, Eigen::ArrayXd sigmas, double most) {
  const Eigen::Index size = sigmas.size();
  if (size < 2) fail<std::invalid_argument>(where, "sigmas has size ", size, "; a grid needs at least 2");
  const double before_last = sigmas[size - 2];
  if (std::abs(sigmas[size - 1] - before_last) <= 1e-14 * before_last)
    sigmas[size - 1] = before_last * zero_length_factor;
  for (Index i = 0; i < size; ++i) {
    if (!(sigmas[i] >= 0.0 && sigmas[i] <= most)) {
      fail<std::invalid_argument>(where, "sigmas[", i, "] = ", sigmas[i], " is outside [0, ", most, "]");
    }
    if (sigmas[i] > largest_sigma) {
      fail<std::invalid_argument>(where, "sigmas[", i, "] = ", sigmas[i], " is above ", largest_sigma,
                                  ", the largest sigma whose reciprocal is a normal double");
    }
    if (i > 0 && !(sigmas[i] < sigmas[i - 1])) {
      fail<std::invalid_argument>(where, "sigmas[", i, "] = ", sigmas[i], " is not below sigmas[", i - 1,
                                  "] = ", sigmas[i - 1]);
    }
  }
  return sigmas;
}

}  // namespace detail

/// Returns the grid of the levels of `process` at these timesteps, followed by the level of
/// `ending`. Between two integer timesteps, log(sigma / alpha) is interpolated linearly. The model
/// time of a level is its timestep in the original process (see GaussianDiffusion::timestep_map).
///
/// Throws std::out_of_range for a timestep outside [0, T - 1]. Throws std::invalid_argument if the
/// timesteps do not fall, if there are none, and if timesteps[0] = 0 with Ending::sigma_min, which
/// leaves no step.
template <class Scalar>
[[nodiscard]] TimeGrid timestep_grid(const GaussianDiffusion<Scalar>& process, const std::vector<double>& timesteps,
                                     Ending ending = Ending::clean) {
  constexpr const char* where = "timestep_grid";
  const detail::InterpolatedProcess path(process);
  std::vector<NoiseLevel> levels;
  if (timesteps.empty()) detail::fail<std::invalid_argument>(where, "timesteps is empty");
  if (ending == Ending::sigma_min && timesteps.front() == 0.0) {
    detail::fail<std::invalid_argument>(where, "timesteps[0] = 0 leaves no step: Ending::sigma_min ends at timestep 0");
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

/// Returns the grid of these integer timesteps, as above.
template <class Scalar, class Integer, std::enable_if_t<std::is_integral_v<Integer>, int> = 0>
[[nodiscard]] TimeGrid timestep_grid(const GaussianDiffusion<Scalar>& process, const std::vector<Integer>& timesteps,
                                     Ending ending = Ending::clean) {
  return timestep_grid(process, std::vector<double>(timesteps.begin(), timesteps.end()), ending);
}

/// Returns the grid of spaced_timesteps(T, spacing, n, offset), as above. Also throws what
/// spaced_timesteps throws.
template <class Scalar>
[[nodiscard]] TimeGrid timestep_grid(const GaussianDiffusion<Scalar>& process, TimestepSpacing spacing, Eigen::Index n,
                                     Eigen::Index offset = 0, Ending ending = Ending::clean) {
  return timestep_grid(process, spaced_timesteps(process.num_timesteps(), spacing, n, offset), ending);
}

/// Number n of the timesteps 0, ..., n - 1 of `process` at which lambda = log(alpha / sigma) is at
/// least lambda_min. Pass n to dpm_solver_timesteps as num_timesteps, so that DPM-Solvers avoid the
/// noisiest steps of a cosine schedule, where lambda drops to -10. This matches diffusers'
/// lambda_min_clipped (-5.1 for those schedules), except for trailing spacing. Throws
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

/// Returns a grid with the steps of diffusers' DDIM and PNDM, to reproduce their pictures. They
/// step from timestep t to t - floor(T / n) instead of the next timestep of the list. The two
/// differ if n does not divide T, and always for linspace. For any other purpose use timestep_grid.
/// Throws what timestep_grid throws.
template <class Scalar>
[[nodiscard]] TimeGrid diffusers_ddim_grid(const GaussianDiffusion<Scalar>& process, TimestepSpacing spacing,
                                           Eigen::Index n, Eigen::Index offset = 0, Ending ending = Ending::clean) {
  const Eigen::Index num_timesteps = process.num_timesteps();
  const std::vector<double> timesteps = spaced_timesteps(num_timesteps, spacing, n, offset);
  std::vector<NoiseLevel> levels = timestep_grid(process, timesteps).levels(), targets;
  const detail::InterpolatedProcess path(process);
  if (ending == Ending::sigma_min) {
    levels.back() = detail::process_level(process, path, 0.0);
    // A step from timestep 0 ends at the level at which it starts. It moves x only if the
    // prediction of x_0 is clipped, but it must not have zero length.
    if (timesteps.back() == 0.0) levels.back().sigma *= detail::zero_length_factor;
  }
  for (const double t : timesteps) {
    const double to = t - static_cast<double>(num_timesteps / n);
    targets.push_back(to < 0.0 ? levels.back() : detail::process_level(process, path, to));
  }
  return {std::move(levels), path, std::move(targets)};
}

/// Returns the grid of the levels of `process` with these values of sigma / alpha; sigmas.hpp makes
/// such lists. The model time of a level is the timestep at which the process has that much noise,
/// interpolated in log(sigma / alpha). Beyond the ends of the process it is the timestep of the
/// end.
///
/// The sigmas must fall; they may end with 0. The last may repeat its predecessor, as in some runs
/// of diffusers. Such a last step keeps x, except in samplers that correct x with one more
/// prediction or redraw all noise.
///
/// Throws std::invalid_argument unless there are at least two sigmas and they fall within
/// [0, 2^1022].
template <class Scalar>
[[nodiscard]] TimeGrid sigma_grid(const GaussianDiffusion<Scalar>& process, const Eigen::ArrayXd& sigmas) {
  const detail::InterpolatedProcess path(process);
  std::vector<NoiseLevel> levels;
  for (const double s : detail::grid_sigmas("sigma_grid", sigmas, std::numeric_limits<double>::infinity())) {
    levels.push_back(s == 0.0 ? detail::clean_level : path.at(-std::log(s)));
    // The level has exactly this s; path.at would round it in exp(log(s)).
    if (s > 0.0) levels.back() = variance_preserving_level(levels.back().t, s);
  }
  return {std::move(levels), path};
}

/// Returns the grid of these sigmas on the path of EDM; Karras et al 2022, Table 1:
///
///     x = x_0 + sigma epsilon,   model time t = log(sigma) / 4
///
/// The last sigma may be 0 or repeat its predecessor, as in sigma_grid. Throws
/// std::invalid_argument unless there are at least two sigmas and they fall within [0, 2^1022].
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

namespace detail {

/// Level of the straight path with this sigma, which is also its model time divided by time_scale.
inline NoiseLevel straight_level(double sigma, double time_scale) { return {time_scale * sigma, 1.0 - sigma, sigma}; }
/// The straight path, on which alpha + sigma = 1.
inline NoisePath straight_path(double time_scale) {
  return {
      [time_scale](double half_log_snr) { return straight_level(1.0 / (1.0 + std::exp(half_log_snr)), time_scale); },
      [time_scale](double t) { return straight_level(t / time_scale, time_scale); }};
}

}  // namespace detail

/// Returns the grid of these sigmas on the straight path; Lipman et al 2023; Liu et al 2023:
///
///     x = (1 - sigma) x_0 + sigma epsilon,   model time t = time_scale sigma
///
/// The last sigma may be 0 or repeat its predecessor, as in sigma_grid. Throws
/// std::invalid_argument unless there are at least two sigmas, they fall within [0, 1], and
/// time_scale is positive and finite.
[[nodiscard]] inline TimeGrid flow_matching_grid(const Eigen::ArrayXd& sigmas, double time_scale = 1000.0) {
  detail::check_positive("flow_matching_grid", "time_scale", time_scale);
  std::vector<NoiseLevel> levels;
  for (const double s : detail::grid_sigmas("flow_matching_grid", sigmas, 1.0)) {
    levels.push_back(detail::straight_level(s, time_scale));
  }
  return {std::move(levels), detail::straight_path(time_scale)};
}

/// Returns the grid of n steps of flow_matching_sigmas(n), each shifted by shifted_sigma. The last
/// step begins at sigma = 1e-3, before the shift. Flux steps from 1 / n to 0 instead: shift
/// flow_matching_sigmas(n, 1.0 / n) and pass these sigmas. Throws std::invalid_argument unless
/// 1 <= n <= 2^53 and shift and time_scale are positive and finite.
[[nodiscard]] inline TimeGrid flow_matching_grid(Eigen::Index n, double shift = 1.0, double time_scale = 1000.0) {
  Eigen::ArrayXd sigmas = flow_matching_sigmas(n);
  for (double& s : sigmas) s = shifted_sigma(s, shift);
  return flow_matching_grid(sigmas, time_scale);
}

}  // namespace diffusion
