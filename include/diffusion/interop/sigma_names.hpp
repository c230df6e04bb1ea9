/// @file sigma_names.hpp
/// Lists of sigmas by the names that ComfyUI and other programs give them.
#pragma once

#include <Eigen/Core>
#include <algorithm>  // std::reverse
#include <cmath>
#include <cstddef>  // std::size_t
#include <functional>
#include <stdexcept>  // std::invalid_argument
#include <string>
#include <string_view>
#include <vector>

#include "../detail/check.hpp"
#include "../detail/error.hpp"
#include "../detail/math/beta_quantile.hpp"
#include "../detail/math/linspace.hpp"
#include "../process/gaussian_diffusion.hpp"
#include "../sampling/sigmas.hpp"
#include "detail/name_lookup.hpp"

namespace diffusion {

namespace detail {

/// The noise levels of a model, as ComfyUI's schedules see them: a table of T sigmas, and sigma as
/// a function of the timestep.
struct NamedLevels {
  Eigen::Index T;                             // number of sigmas in the table
  std::function<double(Eigen::Index)> table;  // the sigmas, which rise
  std::function<double(double)> sigma;        // sigma at a timestep, also between two
  double first, last;                         // the timesteps of the largest and of the least sigma
  bool flow;

  double least() const { return table(0); }
  double most() const { return table(T - 1); }
  /// The sigmas at these places of the table, then 0.
  Eigen::ArrayXd at(const std::vector<Eigen::Index>& places) const {
    Eigen::ArrayXd out = Eigen::ArrayXd::Zero(static_cast<Eigen::Index>(places.size()) + 1);
    for (std::size_t i = 0; i < places.size(); ++i) out[static_cast<Eigen::Index>(i)] = table(places[i]);
    return out;
  }
};

/// Sigmas at evenly spaced timesteps, down to the last one:
///
///     sigma_i = sigma(first + (last - first) i / (n - 1))
inline Eigen::ArrayXd normal_sigmas(const NamedLevels& model, Eigen::Index n) {
  return sigmas_along(n, model.first, model.last, model.sigma);
}

/// The first n of n + 1 such sigmas.
inline Eigen::ArrayXd sgm_uniform_sigmas(const NamedLevels& model, Eigen::Index n) {
  Eigen::ArrayXd out = normal_sigmas(model, n + 1).head(n + 1);
  out[n] = 0.0;
  return out;
}

/// The places T - 1 - floor(i T / n) of the table.
inline Eigen::ArrayXd simple_sigmas(const NamedLevels& model, Eigen::Index n) {
  const double length = static_cast<double>(model.T) / static_cast<double>(n);
  std::vector<Eigen::Index> places;
  for (Eigen::Index i = 0; i < n; ++i) {
    places.push_back(model.T - 1 - static_cast<Eigen::Index>(static_cast<double>(i) * length));
  }
  return model.at(places);
}

/// The places 1, 1 + floor(T / n), ... below T, from the last to the first.
inline Eigen::ArrayXd ddim_uniform_sigmas(const NamedLevels& model, Eigen::Index n) {
  std::vector<Eigen::Index> places;
  for (Eigen::Index i = 1; i < model.T; i += model.T / n) places.push_back(i);
  if (places.empty()) fail<std::invalid_argument>("named_sigmas", "ddim_uniform needs at least 2 timesteps");
  std::reverse(places.begin(), places.end());
  return model.at(places);
}

/// The places quantile(1 - i / n) (T - 1) of the table, rounded, without repetitions; the quantile
/// is that of Beta(0.6, 0.6).
inline Eigen::ArrayXd beta_timestep_sigmas(const NamedLevels& model, Eigen::Index n) {
  std::vector<Eigen::Index> places;
  for (Eigen::Index i = 0; i < n; ++i) {
    const double quantile = beta_quantile(1.0 - static_cast<double>(i) / static_cast<double>(n), 0.6, 0.6);
    const Eigen::Index place = round_half_even(quantile * static_cast<double>(model.T - 1));
    if (places.empty() || place != places.back()) places.push_back(place);
  }
  return model.at(places);
}

/// A fall from sigma_max that is linear in the first h = floor(n / 2) steps and quadratic in the
/// other r = n - h, with c = 0.025 and m = h - c n:
///
///     1 - sigma_i / sigma_max = c i / h                                           for i < h
///                             = m / (h r^2) (i^2 + h^2) + (c / h - 2 m / r^2) i   for i >= h
inline Eigen::ArrayXd linear_quadratic_sigmas(const NamedLevels& model, Eigen::Index n) {
  constexpr double c = 0.025;
  const double h = static_cast<double>(n / 2), r = static_cast<double>(n) - h, m = h - c * static_cast<double>(n);
  Eigen::ArrayXd out = Eigen::ArrayXd::Zero(n + 1);
  out[0] = model.most();
  for (Eigen::Index k = 1; k < n; ++k) {
    const double i = static_cast<double>(k);
    const double fall = i < h ? c * i / h : m / (h * r * r) * (i * i + h * h) + (c / h - 2.0 * m / (r * r)) * i;
    out[k] = model.most() * (1.0 - fall);
  }
  return out;
}

/// Evenly spaced angles:
///
///     sigma_i = tan(u atan(sigma_min) + (1 - u) atan(sigma_max)),   u = i / (n - 1)
inline Eigen::ArrayXd kl_optimal_sigmas(const NamedLevels& model, Eigen::Index n) {
  const double low = std::atan(model.least()), high = std::atan(model.most());
  return sigmas_along(n, 0.0, 1.0, [=](double u) { return std::tan(u * low + (1.0 - u) * high); });
}

/// Returns sigmas that do not depend on the model; flow matching, whose sigmas are at most 1, has
/// no use for them.
inline Eigen::ArrayXd fixed_sigmas(const NamedLevels& model, const char* name, const Eigen::ArrayXd& sigmas) {
  if (model.flow) fail<std::invalid_argument>("named_sigmas", name, " is a list for models that are not flow matching");
  return sigmas;
}

/// A list of sigmas and its name. A new list is a new row of the table.
struct SigmaName {
  const char* name;
  Eigen::ArrayXd (*sigmas)(const NamedLevels& model, Eigen::Index n);
};

/// The table of named_sigmas.
inline const std::vector<SigmaName>& sigma_names() {
  using Model = NamedLevels;
  using Eigen::Index;
  static const std::vector<SigmaName> table = {
      {"karras", [](const Model& m, Index n) { return karras_sigmas(n, m.least(), m.most()); }},
      {"polyexponential", [](const Model& m, Index n) { return polyexponential_sigmas(n, m.least(), m.most()); }},
      {"exponential", [](const Model& m, Index n) { return exponential_sigmas(n, m.least(), m.most()); }},
      {"normal", normal_sigmas},
      {"sgm_uniform", sgm_uniform_sigmas},
      {"simple", simple_sigmas},
      {"ddim_uniform", ddim_uniform_sigmas},
      {"beta", beta_timestep_sigmas},
      {"beta_sigmas", [](const Model& m, Index n) { return beta_sigmas(n, m.least(), m.most()); }},
      {"linear_quadratic", linear_quadratic_sigmas},
      {"kl_optimal", kl_optimal_sigmas},
      {"vp", [](const Model& m, Index n) { return fixed_sigmas(m, "vp", vp_sigmas(n)); }},
      {"ays",
       [](const Model& m, Index n) { return fixed_sigmas(m, "ays", ays_sigmas(AysModel::stable_diffusion, n)); }},
      {"ays_sdxl", [](const Model& m,
                      Index n) { return fixed_sigmas(m, "ays_sdxl", ays_sigmas(AysModel::stable_diffusion_xl, n)); }},
      {"ays_svd", [](const Model& m,
                     Index n) { return fixed_sigmas(m, "ays_svd", ays_sigmas(AysModel::stable_video_diffusion, n)); }},
  };
  return table;
}

/// Returns the list of this name. Throws std::invalid_argument as named_sigmas does.
inline Eigen::ArrayXd sigmas_by_name(std::string_view name, const NamedLevels& model, Eigen::Index n) {
  constexpr const char* where = "named_sigmas";
  check_in<Eigen::Index>(where, "n", n, 1, model.T);
  for (const SigmaName& row : sigma_names()) {
    if (plain_name(row.name) == plain_name(name)) return row.sigmas(model, n);
  }
  std::vector<std::string> known;
  for (const SigmaName& row : sigma_names()) known.push_back(row.name);
  fail_unknown_name(where, name, known);
}

}  // namespace detail

/// The noise levels of a flow matching model by name; see named_sigmas.
struct FlowSchedule {
  double shift = 1.0;  ///< Shift towards more noise, positive: 3 for Stable Diffusion 3; see shifted_sigma.
  Eigen::Index num_timesteps = 1000;  ///< T, at least 2; 10000 for ComfyUI's Flux.
};

/// Computes the sigmas of n steps that ComfyUI computes under this name, for a model that was
/// trained with `process`. Pass them to sigma_grid(process, sigmas). The last entry is 0.
///
///     karras, exponential, polyexponential    between the sigmas of the process; see sigmas.hpp
///     normal             evenly spaced timesteps from T - 1 to 0
///     sgm_uniform        the first n of n + 1 such timesteps
///     simple             timesteps T - 1 - floor(i T / n); the trailing ones if n divides T
///     ddim_uniform       timesteps 1, 1 + floor(T / n), ... below T
///     beta               quantiles of Beta(0.6, 0.6) as timesteps; Lee et al. 2024
///     linear_quadratic   slow at first; a part of sigma_max
///     kl_optimal         evenly spaced in atan(sigma); Sabour et al. 2024
///
/// Other names are not ComfyUI's:
///
///     beta_sigmas               quantiles as sigmas: use_beta_sigmas of diffusers
///     ays, ays_sdxl, ays_svd    the published values, from which ComfyUI's differ by up to 0.3 %
///     vp                        vp_sigmas(n)
///
/// As in ComfyUI, two lists may have another number of steps: ddim_uniform has
/// ceil((T - 1) / floor(T / n)), and beta leaves out timesteps that repeat.
///
/// Case, spaces, hyphens and underscores do not matter. Throws std::invalid_argument for an unknown
/// name, with the known ones and the nearest of them; unless 1 <= n <= T; and if the process has no
/// signal at its last timestep, where sigma is infinite.
template <class Scalar>
[[nodiscard]] Eigen::ArrayXd named_sigmas(std::string_view name, const GaussianDiffusion<Scalar>& process,
                                          Eigen::Index n) {
  const Eigen::Index T = process.num_timesteps();
  const Eigen::ArrayXd& table = process.sqrt_recipm1_alphas_cumprod();
  if (!std::isfinite(table[T - 1])) {
    detail::fail<std::invalid_argument>("named_sigmas", "the process has no signal at timestep ", T - 1,
                                        ", so its sigma is infinite; use timestep_grid");
  }
  const auto between = [&table](double t) {
    const auto low = static_cast<Eigen::Index>(std::floor(t)), high = static_cast<Eigen::Index>(std::ceil(t));
    const double part = t - std::floor(t);
    return std::exp((1.0 - part) * std::log(table[low]) + part * std::log(table[high]));
  };
  return detail::sigmas_by_name(
      name, {T, [&table](Eigen::Index t) { return table[t]; }, between, static_cast<double>(T - 1), 0.0, false}, n);
}

/// Computes the sigmas of n steps that ComfyUI computes under this name for a flow matching model.
/// Pass them to flow_matching_grid(sigmas). The names are those of named_sigmas for a process,
/// without vp and ays; place t of its list of T sigmas is the time t + 1.
///
/// As in ComfyUI, the last timestep of `normal` and `sgm_uniform` is that of a sigma which is
/// shifted already, so that the shift is applied to it twice. Also throws std::invalid_argument
/// unless shift is positive and finite, and 2 <= num_timesteps <= 10^9.
[[nodiscard]] inline Eigen::ArrayXd named_sigmas(std::string_view name, const FlowSchedule& flow, Eigen::Index n) {
  detail::check_in<Eigen::Index>("named_sigmas", "num_timesteps", flow.num_timesteps, 2, 1000000000);
  const double T = static_cast<double>(flow.num_timesteps);
  const auto sigma = [flow, T](double t) { return shifted_sigma(t / T, flow.shift); };
  const auto table = [sigma](Eigen::Index t) { return sigma(static_cast<double>(t + 1)); };
  return detail::sigmas_by_name(name, {flow.num_timesteps, table, sigma, T, T * table(0), true}, n);
}

}  // namespace diffusion
