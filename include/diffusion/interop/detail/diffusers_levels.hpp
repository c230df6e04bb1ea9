/// @file diffusers_levels.hpp
/// The noise levels of the schedulers of diffusers.
#pragma once

#include <Eigen/Core>
#include <algorithm>  // std::max
#include <cmath>
#include <cstddef>  // std::size_t
#include <limits>
#include <string>
#include <utility>  // std::move
#include <vector>

#include "../../detail/math/linspace.hpp"
#include "../../process/detail/interpolated_process.hpp"
#include "../../process/gaussian_diffusion.hpp"
#include "../../process/noise_level.hpp"
#include "../../sampling/sigmas.hpp"
#include "../../sampling/time_grid.hpp"
#include "../../sampling/timesteps.hpp"
#include "diffusers_arguments.hpp"
#include "diffusers_classes.hpp"
#include "diffusers_process.hpp"

namespace diffusion {
namespace detail {

using Eigen::ArrayXd;

/// The levels of a run of one scheduler: a function for each family.
class DiffusersLevels {
 public:
  /// `arguments` are those of set_timesteps. n is not used if they have a list.
  DiffusersLevels(const DiffusersArguments& config, const DiffusersArguments& arguments, DiffusersFamily family,
                  const GaussianDiffusion<double>* process, bool compatible, Eigen::Index n)
      : config_(config),
        arguments_(arguments),
        family_(family),
        process_(process),
        compatible_(compatible),
        T_(config.integer("num_train_timesteps")),
        n_(n) {
    const bool has_list = arguments.given("timesteps") || arguments.given("sigmas");
    if (!has_list && arguments.given("num_inference_steps") && arguments.integer("num_inference_steps") != n) {
      arguments.refuse("num_inference_steps = ", arguments.integer("num_inference_steps"), " differs from ", n,
                       ", the argument of grid()");
    }
    if (arguments.given("mu") && arguments.given("image_seq_len")) {
      arguments.refuse("give mu or image_seq_len, not both");
    }
    arguments.check_count("num_train_timesteps", T_);
    if (process) {
      table_ = process->sqrt_recipm1_alphas_cumprod();
      if (keeps_signal(config)) table_[T_ - 1] = std::sqrt(0x1p24 - 1.0);
      log_table_ = table_.log();
    }
    for (const char* key : {"timesteps", "sigmas"}) {
      if (!arguments.given(key)) continue;
      n_ = static_cast<Eigen::Index>(arguments.list(key).size());
      if (n_ == 0) arguments.refuse(key, " is empty");
    }
    // The sigmas of EulerDiscreteScheduler include the end.
    if (arguments.given("sigmas") && family == DiffusersFamily::sigma && n_ > 1) --n_;
    if (arguments.given("timesteps") && arguments.given("sigmas") && family != DiffusersFamily::flow) {
      arguments.refuse("give timesteps or sigmas, not both");
    }
    const Eigen::Index most = process || family == DiffusersFamily::consistency ? T_ : 1000000;
    if (has_list && n_ > most) arguments.refuse("a list of ", n_, " steps is longer than ", most);
    if (n_ < 1 || n_ > most) arguments.refuse("num_inference_steps = ", n_, " is outside [1, ", most, "]");
  }

  TimeGrid grid() const {
    switch (family_) {
      case DiffusersFamily::ddpm:
        return timestep_grid(*process_, arguments_.given("timesteps") ? arguments_.list("timesteps")
                                                                      : spaced_timesteps(T_, spacing(), n_, offset()));
      case DiffusersFamily::unclip:
        return timestep_grid(*process_, unclip_timesteps());
      case DiffusersFamily::repaint:
        return diffusers_ddim_grid(*process_, TimestepSpacing::leading, n_);
      case DiffusersFamily::ddim:
        return diffusers_ddim_grid(*process_, spacing(), n_, offset(), ending());
      case DiffusersFamily::pndm:
        if (!compatible_ && spacing() != TimestepSpacing::leading)
          return timestep_grid(*process_, spacing(), n_, offset(), ending());
        return diffusers_ddim_grid(*process_, spacing(), n_, offset(), ending());
      case DiffusersFamily::ddim_inverse:
        return ddim_inverse_grid();
      case DiffusersFamily::lcm:
        return lcm_grid();
      case DiffusersFamily::dpm:
        return config_.flag("use_flow_sigmas") ? dpm_flow_grid() : dpm_grid();
      case DiffusersFamily::sigma:
        return sigma_family_grid();
      case DiffusersFamily::edm:
        return edm_family_grid();
      case DiffusersFamily::consistency:
        return consistency_grid();
      case DiffusersFamily::ipndm:
        return ipndm_grid();
      case DiffusersFamily::flow:
        break;
    }
    return flow_grid();
  }

 private:
  // ---- what several families use ----

  TimestepSpacing spacing() const {
    const std::string name = config_.text("timestep_spacing", "linspace");
    return name == "leading"    ? TimestepSpacing::leading
           : name == "trailing" ? TimestepSpacing::trailing
                                : TimestepSpacing::linspace;
  }
  Eigen::Index offset() const { return config_.integer("steps_offset"); }
  Ending ending() const { return config_.flag("set_alpha_to_one") ? Ending::clean : Ending::sigma_min; }
  bool is(const char* name) const { return config_.function() == name; }

  /// A list that set_timesteps was given.
  ArrayXd list_of(const char* key) const {
    const std::vector<double> list = arguments_.list(key);
    return Eigen::Map<const ArrayXd>(list.data(), static_cast<Eigen::Index>(list.size()));
  }
  /// The sigmas that set_timesteps was given, without a 0 at the end.
  ArrayXd sigmas_before_end() const {
    const ArrayXd sigmas = list_of("sigmas");
    return sigmas[sigmas.size() - 1] == 0.0 ? ArrayXd(sigmas.head(sigmas.size() - 1)) : sigmas;
  }

  /// Interpolates sigma / alpha linearly at these timesteps, not its logarithm.
  ArrayXd sigmas_at(const std::vector<double>& times) const {
    ArrayXd sigmas(static_cast<Eigen::Index>(times.size()));
    for (Eigen::Index i = 0; i < sigmas.size(); ++i) {
      const double t = times[static_cast<std::size_t>(i)];
      check_grid_timestep(where, t, i, T_);
      const auto below = static_cast<Eigen::Index>(t);
      const double weight = t - static_cast<double>(below);
      sigmas[i] = weight == 0.0 ? table_[below] : (1.0 - weight) * table_[below] + weight * table_[below + 1];
    }
    return sigmas;
  }

  /// The timestep with this sigma / alpha, interpolated in log(sigma / alpha); 0 or T - 1 beyond
  /// the table. An integer up to rounding is exactly that integer, because some schedulers round
  /// down.
  double timestep_of(double s) const {
    const double x = std::log(s);
    const Eigen::Index last = T_ - 1;
    if (x >= log_table_[last]) return static_cast<double>(last);
    // The table rises, except that a zero signal-to-noise ratio may have lowered its last entry.
    const auto above = std::upper_bound(log_table_.begin(), log_table_.begin() + last, x) - log_table_.begin();
    if (above == 0) return 0.0;
    const Eigen::Index low = above - 1;
    const double weight = (x - log_table_[low]) / (log_table_[above] - log_table_[low]);
    const double t = static_cast<double>(low) + weight, nearest = std::round(t);
    return std::abs(t - nearest) < 1e-9 ? nearest : t;
  }

  /// n sigmas between these ends if a flag asks for them, without an end; otherwise none.
  ArrayXd spread_sigmas(Eigen::Index n, double sigma_min, double sigma_max) const {
    sigma_min = config_.number("sigma_min", sigma_min);
    sigma_max = config_.number("sigma_max", sigma_max);
    if (n == 1 && spreads()) return ArrayXd::Constant(1, sigma_max);
    if (config_.flag("use_karras_sigmas")) return karras_sigmas(n, sigma_min, sigma_max).head(n);
    if (config_.flag("use_lu_lambdas")) return lu_sigmas(n, sigma_min, sigma_max).head(n);
    if (config_.flag("use_exponential_sigmas")) return exponential_sigmas(n, sigma_min, sigma_max).head(n);
    if (config_.flag("use_beta_sigmas")) return beta_sigmas(n, sigma_min, sigma_max).head(n);
    return {};
  }
  bool spreads() const { return config_.spreads() > 0; }
  void check_no_list(const char* key) const {
    if (arguments_.given(key) && spreads()) {
      arguments_.refuse(key,
                        " cannot be given together with use_karras_sigmas, use_exponential_sigmas, use_beta_sigmas or "
                        "use_lu_lambdas");
    }
  }

  static ArrayXd with_end(const ArrayXd& sigmas, double end) {
    ArrayXd out(sigmas.size() + 1);
    out << sigmas, end;
    return out;
  }

  /// The grid of these values of sigma / alpha, the last of which ends the run, on the path of the
  /// process. times are the model times of all but the last.
  TimeGrid process_grid(const ArrayXd& sigmas, const std::vector<double>& times) const {
    const ArrayXd checked = grid_sigmas(where, sigmas, std::numeric_limits<double>::infinity());
    std::vector<NoiseLevel> levels;
    for (Eigen::Index i = 0; i < checked.size(); ++i) {
      const auto at = static_cast<std::size_t>(i);
      levels.push_back(variance_preserving_level(at < times.size() ? times[at] : 0.0, checked[i]));
    }
    return {std::move(levels), InterpolatedProcess(*process_)};
  }

  // ---- timesteps ----

  std::vector<double> unclip_timesteps() const {
    const double stride = n_ == 1 ? 0.0 : static_cast<double>(T_ - 1) / static_cast<double>(n_ - 1);
    std::vector<double> times;
    for (Eigen::Index i = n_ - 1; i >= 0; --i) {
      times.push_back(static_cast<double>(round_half_even(static_cast<double>(i) * stride)));
    }
    return times;
  }

  /// The model is called with the timestep at which a step ends.
  TimeGrid ddim_inverse_grid() const {
    const InterpolatedProcess path(*process_);
    const std::vector<double> times = spaced_timesteps(T_, spacing(), n_, offset());
    const double stride = static_cast<double>(T_ / n_);
    const bool clean =
        config_.given("set_alpha_to_zero") ? config_.flag("set_alpha_to_zero") : config_.flag("set_alpha_to_one");
    std::vector<NoiseLevel> levels = {process_level(*process_, path, checked_timestep(times.front(), 0))};
    for (const double t : times) {
      const double before = t - stride;
      levels.push_back(before >= 0.0 ? process_level(*process_, path, before)
                       : clean       ? clean_level
                                     : process_level(*process_, path, 0.0));
      levels.back().t = t;
      const NoiseLevel& above = levels[levels.size() - 2];  // of a step of zero length, if both are timestep 0
      if (levels.back().sigma == above.sigma) levels.back().sigma *= zero_length_factor;
    }
    return TimeGrid(std::move(levels), path).reversed();
  }
  double checked_timestep(double t, Eigen::Index i) const {
    check_grid_timestep(where, t, i, T_);
    return t;
  }

  /// The timesteps of a distillation. TCD with original_inference_steps takes all T timesteps.
  TimeGrid lcm_grid() const {
    const double strength = arguments_.number("strength", 1.0);
    std::vector<double> times;
    if (arguments_.given("timesteps")) {
      times = arguments_.list("timesteps");
      const auto kept = static_cast<std::ptrdiff_t>(std::floor(static_cast<double>(n_) * strength));
      if (kept == 0) arguments_.refuse("strength = ", strength, " leaves no step");
      times.erase(times.begin(), times.end() - kept);
    } else {
      const Eigen::Index original =
          arguments_.integer("original_inference_steps", config_.integer("original_inference_steps"));
      const bool all = is("TCDScheduler") && arguments_.given("original_inference_steps");
      if (original < 1 || (original > T_ && !all)) {
        arguments_.refuse("original_inference_steps = ", original, " is outside [1, ", T_, "]");
      }
      const auto part = [strength](Eigen::Index steps) {
        return static_cast<Eigen::Index>(std::floor(static_cast<double>(steps) * strength));
      };
      const Eigen::Index kept = part(all ? T_ : original), stride = all ? 1 : T_ / original;
      if (kept < n_) {
        arguments_.refuse("num_inference_steps = ", n_, " is more than the ", kept, " steps to choose from");
      }
      times = lcm_timesteps(kept * stride, kept, n_);
    }
    return timestep_grid(*process_, times, is("TCDScheduler") ? Ending::sigma_min : Ending::clean);
  }

  // ---- DPM-Solver, UniPC, DEIS ----

  /// The last sigma / alpha. DEIS, and UniPC with a list, end at the last sigma of the list.
  double final_sigma(const ArrayXd& sigmas) const {
    if (config_.text("final_sigmas_type", "sigma_min") == "zero") return 0.0;
    const bool has_list = spreads() || config_.flag("use_flow_sigmas");
    const bool ends_with_list = is("DEISMultistepScheduler") || is("UniPCMultistepScheduler");
    return has_list && ends_with_list ? sigmas[sigmas.size() - 1] : table_[0];
  }

  std::vector<double> dpm_timesteps() const {
    const bool clips = config_.given("lambda_min_clipped");
    const Eigen::Index above = clips ? num_timesteps_above(*process_, config_.number("lambda_min_clipped")) : T_;
    if (spacing() != TimestepSpacing::trailing || above == T_)
      return dpm_solver_timesteps(above, spacing(), n_, offset());
    // The distance of the timesteps does not take the limit into account, so there are fewer.
    const double start = static_cast<double>(above), stride = static_cast<double>(T_) / static_cast<double>(n_);
    const double step = rounded(start - stride) - start;
    std::vector<double> times;
    for (Eigen::Index i = 0; static_cast<double>(i) < std::ceil(start / stride); ++i) {
      const double t = static_cast<double>(round_half_even(start + rounded(static_cast<double>(i) * step)) - 1);
      if (t >= 0.0) times.push_back(t);
    }
    return times;
  }

  TimeGrid dpm_grid() const {
    check_no_list("timesteps");
    for (const char* key : {"sigmas", "mu"}) {
      if (arguments_.given(key)) arguments_.refuse(key, " needs use_flow_sigmas");
    }
    if (!spreads()) {
      std::vector<double> times = arguments_.given("timesteps") ? arguments_.list("timesteps") : dpm_timesteps();
      for (double& t : times) t = std::floor(t);
      for (std::size_t i = 1; i < times.size(); ++i) {
        if (times[i] >= times[i - 1])
          arguments_.refuse("timestep ", times[i], " follows ", times[i - 1], "; use fewer steps");
      }
      const ArrayXd sigmas = sigmas_at(times);
      return process_grid(with_end(sigmas, final_sigma(sigmas)), times);
    }
    const ArrayXd sigmas = spread_sigmas(n_, table_[0], table_[T_ - 1]);
    return process_grid(with_end(sigmas, final_sigma(sigmas)), whole_times_of(sigmas));
  }

  /// The model times of spread sigmas, which become integers. Most schedulers round them, but
  /// DPM-Solver multistep not for the cosine schedule.
  std::vector<double> whole_times_of(const ArrayXd& sigmas) const {
    const bool multistep = is("DPMSolverMultistepScheduler");
    const bool rounds = (config_.flag("use_karras_sigmas") || config_.flag("use_lu_lambdas")) &&
                        !(multistep && config_.text("beta_schedule") == "squaredcos_cap_v2");
    std::vector<double> times;
    for (const double s : sigmas) {
      const double t = timestep_of(s);
      times.push_back(rounds ? static_cast<double>(round_half_even(t)) : std::floor(t));
    }
    return times;
  }

  /// The straight path, x = (1 - sigma) x_0 + sigma epsilon. DPM-Solver and DEIS go from 1 - 1 / T
  /// to 0, UniPC from 1; its last sigma, 1 / T, is replaced by the end.
  TimeGrid dpm_flow_grid() const {
    check_no_list("timesteps");
    check_no_list("sigmas");
    if (arguments_.given("timesteps")) arguments_.refuse("timesteps cannot be given together with use_flow_sigmas");
    const double T = static_cast<double>(T_), mu = shift_mu();
    const bool unipc = is("UniPCMultistepScheduler"), dynamic = config_.flag("use_dynamic_shifting");
    if (!std::isnan(mu) && !unipc && !(dynamic && config_.text("time_shift_type") == "exponential")) {
      arguments_.refuse("mu needs use_dynamic_shifting, and time_shift_type = \"exponential\"");
    }
    if (unipc && dynamic && std::isnan(mu)) arguments_.refuse("mu is needed, because of use_dynamic_shifting");
    const double shift = dynamic && !std::isnan(mu) ? shift_of(mu) : config_.number("flow_shift");

    ArrayXd sigmas = spread_sigmas(n_, table_[0], table_[T_ - 1]);
    std::vector<double> times;
    if (spreads() && compatible_ && sigmas[0] < 1.0 && !(unipc && config_.flag("use_karras_sigmas"))) {
      times = whole_times_of(sigmas);  // diffusers takes sigma / alpha for sigma
    } else if (spreads()) {
      sigmas = sigmas / (1.0 + sigmas);
    } else if (unipc) {
      sigmas = arguments_.given("sigmas") ? list_of("sigmas") : ArrayXd(linspace(1.0, 1.0 / T, n_ + 1).head(n_));
      shift_all(sigmas, shift);
      const double terminal = config_.number("shift_terminal");
      if (terminal != 0.0) sigmas = stretched_to_terminal(sigmas, terminal);
      if (std::abs(sigmas[0] - 1.0) < 1e-6) sigmas[0] -= 1e-6;
    } else {
      sigmas = (1.0 - linspace(1.0, 1.0 / T, n_ + 1)).reverse().head(n_).eval();
      shift_all(sigmas, shift);
    }
    sigmas = grid_sigmas(where, with_end(sigmas, final_sigma(sigmas)), 1.0);
    std::vector<NoiseLevel> levels;
    for (const double s : sigmas) levels.push_back({std::floor(rounded(s * T)), 1.0 - s, s});
    for (std::size_t i = 0; i < times.size(); ++i) levels[i].t = times[i];
    levels.back().t = 0.0;
    return {std::move(levels), straight_path(T)};
  }
  /// sigma' = shift sigma / (1 + (shift - 1) sigma), rounded as in diffusers, because the model
  /// times are rounded down
  static void shift_all(ArrayXd& sigmas, double shift) {
    for (double& s : sigmas) s = rounded(shift * s) / (1.0 + rounded((shift - 1.0) * s));
  }

  // ---- schedulers that hold x at alpha = 1 ----

  TimeGrid sigma_family_grid() const {
    if (arguments_.given("sigmas")) return given_sigmas_grid();
    check_no_list("timesteps");
    const auto T = arguments_.integer("num_train_timesteps", T_);
    std::vector<double> times;
    if (arguments_.given("timesteps")) {
      times = arguments_.list("timesteps");
    } else if (spacing() == TimestepSpacing::linspace) {
      const ArrayXd even = linspace(0.0, static_cast<double>(T - 1), n_).reverse();
      times.assign(even.begin(), even.end());
    } else {
      times = spaced_timesteps(T, spacing(), n_, offset());
    }
    ArrayXd sigmas = sigmas_at(times);
    const bool log_linear = config_.text("interpolation_type") == "log_linear";
    const ArrayXd spread =
        spread_sigmas(n_, log_linear ? table_[0] : sigmas[n_ - 1], log_linear ? table_[T_ - 1] : sigmas[0]);
    if (spread.size() > 0) {
      sigmas = spread;
      const bool rounds = config_.flag("use_karras_sigmas") && config_.function().rfind("KDPM2", 0) == 0;
      for (Eigen::Index i = 0; i < n_; ++i) {
        const double t = timestep_of(sigmas[i]);
        times[static_cast<std::size_t>(i)] = rounds ? static_cast<double>(round_half_even(t)) : t;
      }
    }
    if (log_linear && spread.size() == 0) {  // ends at sigma_min, whatever final_sigmas_type is
      sigmas = exponential_sigmas(n_ + 1, table_[0], table_[T_ - 1]).head(n_ + 1);
    } else {
      sigmas = with_end(sigmas, config_.text("final_sigmas_type", "zero") == "zero" ? 0.0 : table_[0]);
    }
    return process_grid(sigmas, continuous_times(sigmas, std::move(times)));
  }

  /// EulerDiscreteScheduler: the list includes the end.
  TimeGrid given_sigmas_grid() const {
    const ArrayXd sigmas = list_of("sigmas");
    std::vector<double> times;
    for (Eigen::Index i = 0; i + 1 < sigmas.size(); ++i) times.push_back(timestep_of(sigmas[i]));
    return process_grid(sigmas, continuous_times(sigmas, std::move(times)));
  }

  /// Model times log(sigma) / 4 if timestep_type is "continuous", otherwise these.
  std::vector<double> continuous_times(const ArrayXd& sigmas, std::vector<double> times) const {
    if (config_.text("timestep_type") == "continuous" && config_.text("prediction_type") == "v_prediction") {
      for (std::size_t i = 0; i < times.size(); ++i) times[i] = 0.25 * std::log(sigmas[static_cast<Eigen::Index>(i)]);
    }
    return times;
  }

  // ---- EDM ----

  TimeGrid edm_family_grid() const {
    const double low = config_.number("sigma_min"), high = config_.number("sigma_max"), rho = config_.number("rho");
    const bool karras = config_.text("sigma_schedule") == "karras";
    ArrayXd sigmas = karras ? karras_sigmas(n_, low, high, rho).head(n_) : exponential_sigmas(n_, low, high).head(n_);
    if (arguments_.given("sigmas")) {
      const ArrayXd list = list_of("sigmas");
      if (!compatible_) {
        sigmas = sigmas_before_end();
      } else if (karras) {  // diffusers takes the list for the ramp
        sigmas = (std::pow(high, 1.0 / rho) + list * (std::pow(low, 1.0 / rho) - std::pow(high, 1.0 / rho))).pow(rho);
      }
    }
    if (compatible_ && !karras && n_ == 1) sigmas[0] = low;
    if (sigmas.size() == 0) arguments_.refuse("sigmas has no positive entry");
    const bool ends_clean = config_.text("final_sigmas_type") == "zero";
    const double last = is("EDMEulerScheduler") ? sigmas[sigmas.size() - 1] : low;
    sigmas = with_end(sigmas, ends_clean ? 0.0 : last);
    if (!is("CosineDPMSolverMultistepScheduler")) return edm_grid(sigmas);
    return timed_edm_grid(
        sigmas, [](double s) { return std::atan(s) * 2.0 / pi; }, [](double t) { return std::tan(0.5 * pi * t); });
  }

  TimeGrid consistency_grid() const {
    const double stride = static_cast<double>(T_ / n_), last = static_cast<double>((std::max)(T_ - 1, Eigen::Index(1)));
    const double low = config_.number("sigma_min"), high = config_.number("sigma_max"), rho = config_.number("rho");
    std::vector<double> ramp = arguments_.list("timesteps");
    for (Eigen::Index i = n_ - 1; i >= 0 && !arguments_.given("timesteps"); --i) {
      ramp.push_back(static_cast<double>(i) * stride);
    }
    ArrayXd sigmas(n_);
    for (Eigen::Index i = 0; i < n_; ++i) {
      const double u = checked_timestep(ramp[static_cast<std::size_t>(n_ - 1 - i)], n_ - 1 - i) / last;
      sigmas[i] = std::pow((1.0 - u) * std::pow(high, 1.0 / rho) + u * std::pow(low, 1.0 / rho), rho);
    }
    return timed_edm_grid(
        with_end(sigmas, low), [](double s) { return 250.0 * std::log(s); },
        [](double t) { return std::exp(t / 250.0); });
  }

  /// The grid of these sigmas with alpha = 1 and another model time.
  template <class TimeOf, class SigmaOf>
  TimeGrid timed_edm_grid(const ArrayXd& sigmas, const TimeOf& time_of, const SigmaOf& sigma_of) const {
    std::vector<NoiseLevel> levels = edm_grid(sigmas).levels();
    for (NoiseLevel& level : levels) level.t = level.sigma > 0.0 ? time_of(level.sigma) : 0.0;
    return {std::move(levels),
            {[time_of](double half_log_snr) {
               const double sigma = std::exp(-half_log_snr);
               return NoiseLevel{time_of(sigma), 1.0, sigma};
             },
             [sigma_of](double t) {
               return NoiseLevel{t, 1.0, sigma_of(t)};
             }}};
  }

  // ---- IPNDM ----

  /// sigma = sin(pi u / 2)^2 for even u from 1 to 0, or trained_betas; the model time is the angle
  /// of the level, 1 without signal.
  TimeGrid ipndm_grid() const {
    ArrayXd sigmas = linspace(1.0, 0.0, n_ + 1);
    for (double& s : sigmas) s = std::sin(s * pi / 2.0) * std::sin(s * pi / 2.0);
    if (config_.given("trained_betas")) {
      const std::vector<double> list = config_.list("trained_betas");
      if (static_cast<Eigen::Index>(list.size()) != n_ + 1) {
        arguments_.refuse("trained_betas has ", static_cast<Eigen::Index>(list.size()), " entries, but a run of ", n_,
                          " steps needs ", n_ + 1);
      }
      sigmas = Eigen::Map<const ArrayXd>(list.data(), n_ + 1);
    }
    std::vector<NoiseLevel> levels;
    for (const double s : sigmas) {
      if (!(s >= 0.0 && s <= 1.0)) arguments_.refuse("trained_betas must be in [0, 1]");
      const double alpha = std::sqrt((1.0 - s) * (1.0 + s));
      levels.push_back({std::atan2(s, alpha) * 2.0 / pi, alpha, s});
    }
    return {std::move(levels),
            {[](double half_log_snr) {
               const double s = std::exp(-half_log_snr);
               return variance_preserving_level(std::atan(s) * 2.0 / pi, s);
             },
             [](double t) {
               return NoiseLevel{t, std::cos(0.5 * pi * t), std::sin(0.5 * pi * t)};
             }}};
  }

  // ---- flow matching ----

  /// mu of dynamic shifting, or NaN: given, or from the number of tokens of a picture.
  double shift_mu() const {
    if (!arguments_.given("image_seq_len")) {
      return arguments_.number("mu", std::numeric_limits<double>::quiet_NaN());
    }
    const double low = config_.number("base_image_seq_len"), high = config_.number("max_image_seq_len");
    if (!(low < high)) arguments_.refuse("image_seq_len needs base_image_seq_len below max_image_seq_len");
    const double slope = (config_.number("max_shift") - config_.number("base_shift")) / (high - low);
    return config_.number("base_shift") + slope * (arguments_.number("image_seq_len") - low);
  }
  double shift_of(double mu) const {
    const double shift = config_.text("time_shift_type") == "linear" ? mu : std::exp(mu);
    if (!(shift > 0.0 && std::isfinite(shift))) arguments_.refuse("mu = ", mu, " gives a shift of ", shift);
    return shift;
  }

  TimeGrid flow_grid() const {
    const double T = static_cast<double>(T_), mu = shift_mu();
    const bool dynamic = config_.flag("use_dynamic_shifting");
    if (dynamic && std::isnan(mu)) {
      arguments_.refuse("mu or image_seq_len is needed, because of use_dynamic_shifting");
    }
    const double shift = dynamic ? shift_of(mu) : config_.number("shift");
    // As in diffusers, the constructor has shifted the least sigma already.
    const double least = dynamic ? 1.0 / T : shifted_sigma(1.0 / T, shift);
    ArrayXd sigmas = arguments_.given("sigmas")      ? sigmas_before_end()
                     : arguments_.given("timesteps") ? ArrayXd(list_of("timesteps") / T)
                                                     : linspace(1.0, least, n_);
    if (sigmas.size() == 0) arguments_.refuse("sigmas has no positive entry");
    for (Eigen::Index i = 0; i < sigmas.size(); ++i) {
      if (!(sigmas[i] > 0.0 && sigmas[i] <= 1.0))
        arguments_.refuse("sigma ", i, " = ", sigmas[i], " is outside (0, 1]");
      sigmas[i] = shifted_sigma(sigmas[i], shift);
    }
    if (config_.number("shift_terminal") != 0.0) {
      sigmas = stretched_to_terminal(sigmas, config_.number("shift_terminal"));
    }
    const Eigen::Index n = sigmas.size();
    if (spreads()) sigmas = spread_sigmas(n, sigmas[n - 1], sigmas[0]);
    sigmas = with_end(sigmas.min(1.0), 0.0);  // rounding may have put the first above 1
    TimeGrid grid = flow_matching_grid(sigmas, T);
    const bool own_times = is("FlowMatchLCMScheduler") && arguments_.given("timesteps");
    if (!config_.flag("invert_sigmas") && !own_times) return grid;
    std::vector<NoiseLevel> levels = grid.levels();
    if (own_times) {
      const std::vector<double> times = arguments_.list("timesteps");
      if (times.size() != levels.size() - 1) arguments_.refuse("timesteps and sigmas must have the same length");
      for (std::size_t i = 0; i < times.size(); ++i) levels[i].t = times[i];
    }
    if (!config_.flag("invert_sigmas")) return {std::move(levels), straight_path(T)};
    const auto inverted = [T](NoiseLevel level) {
      level.t = T - level.t;
      return level;
    };
    for (NoiseLevel& level : levels) level.t = T * (1.0 - level.sigma);
    const NoisePath path = straight_path(T);
    return {std::move(levels),
            {[path, inverted](double half_log_snr) { return inverted(path.at(half_log_snr)); },
             [path, inverted, T](double t) { return inverted(path.at_time(T - t)); }}};
  }

  static constexpr double pi = 3.14159265358979323846;
  static constexpr const char* where = "DiffusersConfig::grid";

  const DiffusersArguments& config_;
  const DiffusersArguments& arguments_;
  DiffusersFamily family_;
  const GaussianDiffusion<double>* process_;  // null if the scheduler has none
  ArrayXd table_, log_table_;                 // sigma / alpha of the process at each timestep, and its log
  bool compatible_;
  Eigen::Index T_, n_;
};

}  // namespace detail
}  // namespace diffusion
