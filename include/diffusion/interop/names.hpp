/// @file names.hpp
/// Samplers and sigmas by the names that other programs give them: k-diffusion, ComfyUI,
/// stable-diffusion.cpp, the AUTOMATIC1111 web UI and diffusers. It is not part of diffusion.hpp,
/// because few programs need it.
#pragma once

#include <Eigen/Core>
#include <algorithm>  // std::min, std::min_element, std::reverse
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
#include "../sampling/any_sampler.hpp"
#include "../sampling/samplers/ddim.hpp"
#include "../sampling/samplers/ddpm.hpp"
#include "../sampling/samplers/deis.hpp"
#include "../sampling/samplers/dpm2.hpp"
#include "../sampling/samplers/dpm2_ancestral.hpp"
#include "../sampling/samplers/dpm_solver_adaptive.hpp"
#include "../sampling/samplers/dpm_solver_pp.hpp"
#include "../sampling/samplers/dpm_solver_pp_2s.hpp"
#include "../sampling/samplers/dpm_solver_pp_sde.hpp"
#include "../sampling/samplers/dpm_solver_singlestep.hpp"
#include "../sampling/samplers/euler.hpp"
#include "../sampling/samplers/euler_ancestral.hpp"
#include "../sampling/samplers/flow_heun.hpp"
#include "../sampling/samplers/heun.hpp"
#include "../sampling/samplers/ipndm.hpp"
#include "../sampling/samplers/lcm.hpp"
#include "../sampling/samplers/lms.hpp"
#include "../sampling/samplers/pndm.hpp"
#include "../sampling/samplers/tcd.hpp"
#include "../sampling/samplers/uni_pc.hpp"
#include "../sampling/sigmas.hpp"

namespace diffusion {

namespace detail {

/// A name in lower case, with p for + and without spaces, hyphens and underscores. "DPM++ 2M",
/// "dpm++2m" and "dpmpp_2m" are the same name.
inline std::string plain_name(std::string_view name) {
  std::string out;
  for (const char c : name) {
    if (c == ' ' || c == '-' || c == '_') continue;
    out += c == '+' ? 'p' : c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return out;
}

/// The beginning of a name, for a message.
inline std::string quoted(std::string_view name) { return "\"" + std::string(name.substr(0, 64)) + "\""; }

/// The number of letters that must be inserted, removed or replaced to make b of a.
inline std::size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<std::size_t> row(b.size() + 1);  // distances of the first letters of a from those of b
  for (std::size_t j = 0; j < row.size(); ++j) row[j] = j;
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = (std::min)({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

/// Throws std::invalid_argument for a name that is not one of `known`, with the nearest of them.
[[noreturn]] inline void fail_unknown_name(const char* where, std::string_view name,
                                           const std::vector<std::string>& known) {
  const std::string plain = plain_name(name.substr(0, 64));
  const auto distance = [&plain](const std::string& other) { return edit_distance(plain, plain_name(other)); };
  const auto nearest = std::min_element(known.begin(), known.end(), [&](const std::string& a, const std::string& b) {
    return distance(a) < distance(b);
  });
  std::string list;
  for (const std::string& other : known) list += (list.empty() ? "" : ", ") + other;
  fail<std::invalid_argument>(where, "there is no ", quoted(name), "; the nearest name is \"", *nearest,
                              "\". Known names: ", list);
}

/// The noise levels of a model in ComfyUI's terms.
struct NamedLevels {
  Eigen::Index T;                             // number of sigmas in the table
  std::function<double(Eigen::Index)> table;  // the sigmas, which rise
  std::function<double(double)> sigma;        // sigma at a timestep, also between two
  double first, last;                         // the timesteps of the largest and of the least sigma
  bool flow;

  double least() const { return table(0); }
  double most() const { return table(T - 1); }
  /// n sigmas at evenly spaced timesteps from `first` to `last`.
  Eigen::ArrayXd evenly(Eigen::Index n) const {
    Eigen::ArrayXd out = linspace(first, last, n);
    for (double& value : out) value = sigma(value);
    return out;
  }
  /// The sigmas at these places of the table, then 0.
  Eigen::ArrayXd at(const std::vector<Eigen::Index>& places) const {
    Eigen::ArrayXd out = Eigen::ArrayXd::Zero(static_cast<Eigen::Index>(places.size()) + 1);
    for (std::size_t i = 0; i < places.size(); ++i) out[static_cast<Eigen::Index>(i)] = table(places[i]);
    return out;
  }
};

/// The list with a 0 at its end.
inline Eigen::ArrayXd with_zero(const Eigen::ArrayXd& sigmas) {
  Eigen::ArrayXd out = Eigen::ArrayXd::Zero(sigmas.size() + 1);
  out.head(sigmas.size()) = sigmas;
  return out;
}

inline Eigen::ArrayXd simple_sigmas(const NamedLevels& model, Eigen::Index n) {
  const double length = static_cast<double>(model.T) / static_cast<double>(n);
  std::vector<Eigen::Index> places;
  for (Eigen::Index i = 0; i < n; ++i) {
    places.push_back(model.T - 1 - static_cast<Eigen::Index>(static_cast<double>(i) * length));
  }
  return model.at(places);
}

inline Eigen::ArrayXd ddim_uniform_sigmas(const NamedLevels& model, Eigen::Index n) {
  std::vector<Eigen::Index> places;
  for (Eigen::Index i = 1; i < model.T; i += model.T / n) places.push_back(i);
  if (places.empty()) fail<std::invalid_argument>("named_sigmas", "ddim_uniform needs at least 2 timesteps");
  std::reverse(places.begin(), places.end());
  return model.at(places);
}

inline Eigen::ArrayXd beta_timestep_sigmas(const NamedLevels& model, Eigen::Index n) {
  std::vector<Eigen::Index> places;
  for (Eigen::Index i = 0; i < n; ++i) {
    const double quantile = beta_quantile(1.0 - static_cast<double>(i) / static_cast<double>(n), 0.6, 0.6);
    const Eigen::Index place = round_half_even(quantile * static_cast<double>(model.T - 1));
    if (places.empty() || place != places.back()) places.push_back(place);
  }
  return model.at(places);
}

/// 1 - sigma / sigma_max is linear in the first half of the steps, up to the threshold, and
/// quadratic in the second half, with the same slope where they meet.
inline Eigen::ArrayXd linear_quadratic_sigmas(const NamedLevels& model, Eigen::Index n) {
  if (n == 1) return with_zero(Eigen::ArrayXd::Constant(1, model.most()));
  constexpr double threshold = 0.025;
  const Eigen::Index half = n / 2;
  const double linear = static_cast<double>(half), rest = static_cast<double>(n - half);
  const double missing = linear - threshold * static_cast<double>(n);
  const double square = missing / (linear * rest * rest), slope = threshold / linear - 2.0 * missing / (rest * rest);
  Eigen::ArrayXd out(n);
  for (Eigen::Index i = 0; i < n; ++i) {
    const double k = static_cast<double>(i);
    const double done = i < half ? k * threshold / linear : square * k * k + slope * k + square * linear * linear;
    out[i] = model.most() * (1.0 - done);
  }
  return with_zero(out);
}

inline Eigen::ArrayXd kl_optimal_sigmas(const NamedLevels& model, Eigen::Index n) {
  if (n == 1) return with_zero(Eigen::ArrayXd::Constant(1, model.most()));
  Eigen::ArrayXd out(n);
  for (Eigen::Index i = 0; i < n; ++i) {
    const double u = static_cast<double>(i) / static_cast<double>(n - 1);
    out[i] = std::tan(u * std::atan(model.least()) + (1.0 - u) * std::atan(model.most()));
  }
  return with_zero(out);
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

inline const std::vector<SigmaName>& sigma_names() {
  using Model = NamedLevels;
  using Eigen::Index;
  static const std::vector<SigmaName> table = {
      {"karras", [](const Model& m, Index n) { return karras_sigmas(n, m.least(), m.most()); }},
      {"polyexponential", [](const Model& m, Index n) { return polyexponential_sigmas(n, m.least(), m.most()); }},
      {"exponential", [](const Model& m, Index n) { return exponential_sigmas(n, m.least(), m.most()); }},
      {"normal", [](const Model& m, Index n) { return with_zero(m.evenly(n)); }},
      {"sgm_uniform", [](const Model& m, Index n) { return with_zero(m.evenly(n + 1).head(n)); }},
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

/// A sampler and the names by which others know it, the first of which is ours.
template <class Tensor>
struct SamplerNames {
  std::vector<std::string> names;
  AnySampler<Tensor> sampler;
};

/// The table of named_sampler. A new name is a new word in a row, or a row.
template <class Tensor>
const std::vector<SamplerNames<Tensor>>& sampler_names() {
  constexpr auto heun = DpmSolverType::heun, midpoint = DpmSolverType::midpoint;
  // k-diffusion and ComfyUI keep the order in the last steps, diffusers lowers it in short runs.
  const auto multistep = [](int order, DpmSolverType type, double eta) {
    return DpmSolverPP{order, type, eta, 1.0, false};
  };
  static const std::vector<SamplerNames<Tensor>> table = {
      // k-diffusion, ComfyUI; A1111, stable-diffusion.cpp
      {{"euler"}, Euler{}},
      {{"euler_ancestral", "euler_a"}, EulerAncestral{}},
      {{"heun"}, Heun{}},
      {{"dpm_2"}, Dpm2{}},
      {{"dpm_2_ancestral", "dpm2_a"}, Dpm2Ancestral{}},
      {{"lms"}, Lms{}},
      {{"dpm_adaptive"}, DpmSolverAdaptive{}},
      {{"dpmpp_2s_ancestral", "dpmpp_2s_a"}, DpmSolverPP2SAncestral{}},
      {{"dpmpp_sde", "dpmpp_sde_gpu"}, DpmSolverPPSde{}},
      {{"dpmpp_2m"}, multistep(2, midpoint, 0.0)},
      {{"dpmpp_2m_sde", "dpmpp_2m_sde_gpu"}, multistep(2, midpoint, 1.0)},
      {{"dpmpp_2m_sde_heun", "dpmpp_2m_sde_heun_gpu"}, multistep(2, heun, 1.0)},
      {{"dpmpp_3m_sde", "dpmpp_3m_sde_gpu"}, multistep(3, heun, 1.0)},
      {{"res_multistep"}, multistep(2, heun, 0.0)},
      {{"ddpm"}, Ddpm{}},
      {{"ddim", "ddim_trailing"}, Ddim{}},
      {{"ipndm"}, Ipndm{4, true}},
      {{"plms", "pndm"}, Pndm{}},
      {{"uni_pc"}, UniPc{3, UniPc::B::bh1}},
      {{"uni_pc_bh2"}, UniPc{3, UniPc::B::bh2}},
      {{"lcm"}, Lcm{10.0, 0.0}},
      {{"tcd"}, Tcd{0.0}},
      // the classes of diffusers, with their default arguments
      {{"DDIMScheduler", "DDIMInverseScheduler"}, Ddim{}},
      {{"DDPMScheduler"}, Ddpm{}},
      {{"PNDMScheduler"}, Pndm{false}},
      {{"DPMSolverMultistepScheduler", "EDMDPMSolverMultistepScheduler"}, DpmSolverPP{}},
      {{"CosineDPMSolverMultistepScheduler"}, DpmSolverPP{2, midpoint, 1.0}},
      {{"DPMSolverSinglestepScheduler"}, DpmSolverSinglestep{2, midpoint, 0.0, 1.0, true, false}},
      {{"DPMSolverSDEScheduler"}, DpmSolverPPSde{}},
      {{"UniPCMultistepScheduler"}, UniPc{}},
      {{"DEISMultistepScheduler"}, Deis{2}},
      {{"EulerDiscreteScheduler", "EDMEulerScheduler", "FlowMatchEulerDiscreteScheduler"}, Euler{}},
      {{"EulerAncestralDiscreteScheduler"}, EulerAncestral{}},
      {{"HeunDiscreteScheduler"}, Heun{}},
      {{"KDPM2DiscreteScheduler"}, Dpm2{}},
      {{"KDPM2AncestralDiscreteScheduler"}, Dpm2Ancestral{}},
      {{"LMSDiscreteScheduler"}, Lms{}},
      {{"IPNDMScheduler"}, Ipndm{}},
      {{"LCMScheduler"}, Lcm{}},
      {{"TCDScheduler"}, Tcd{}},
      {{"FlowMatchHeunDiscreteScheduler"}, FlowHeun{}},
  };
  return table;
}

}  // namespace detail

/// Chooses a sampler at run time, by the name that another program gives it. Case, spaces, hyphens
/// and underscores do not matter, and + is p: "DPM++ 2M SDE" is "dpmpp_2m_sde". The README has the
/// table.
///
///     AnySampler<Image> sampler = named_sampler<Image>("dpmpp_2m_sde");
///     const Image image = sample(sampler, grid, denoiser, x, noise);
///
/// A name of ComfyUI or k-diffusion gives their default parameters, tcd and ddim_trailing those of
/// stable-diffusion.cpp, plms that of A1111, and the name of a class of diffusers its default
/// arguments. The grid is yours to choose: named_sigmas has the schedules. Differences that remain:
///
///   - dpm_adaptive chooses its own steps between two levels. Give it a grid of sigma_max,
///     sigma_min and 0, such as that of named_sigmas("karras", process, 2).
///   - uni_pc of ComfyUI ends at 0.001 instead of 0.
///   - deis of ComfyUI is another method than Deis, which is diffusers', and is not known.
///   - On a flow matching grid only euler, ddim, lcm, and dpmpp_2m_sde and dpmpp_3m_sde from a
///     sigma below 1 are ComfyUI's. Its other samplers take sigma for sigma / alpha there, or have
///     another meaning of eta.
///
/// Every sampler is compiled for Tensor, which takes some seconds. To compile them once, call it in
/// one source file of yours only: declare `AnySampler<Image> my_sampler(const std::string& name);`
/// elsewhere.
///
/// Throws std::invalid_argument for an unknown name, with the known ones and the nearest of them.
/// It says what to use instead for the names of CFG++ samplers, of dpm_fast, and of a sampler with
/// a schedule ("DPM++ 2M Karras").
template <class Tensor>
[[nodiscard]] AnySampler<Tensor> named_sampler(std::string_view name) {
  constexpr const char* where = "named_sampler";
  std::string plain = detail::plain_name(name);
  if (plain.rfind("sample", 0) == 0) plain.erase(0, 6);  // the names of k-diffusion's functions
  const auto find = [](const std::string& wanted) -> const AnySampler<Tensor>* {
    for (const auto& row : detail::sampler_names<Tensor>()) {
      for (const std::string& other : row.names) {
        if (detail::plain_name(other) == wanted) return &row.sampler;
      }
    }
    return nullptr;
  };
  if (const auto* found = find(plain)) return *found;

  const auto without_end = [&plain](const std::string& end) {
    const bool has_end = plain.size() > end.size() && plain.compare(plain.size() - end.size(), end.size(), end) == 0;
    return has_end ? plain.substr(0, plain.size() - end.size()) : std::string();
  };
  const std::string guided = without_end("cfgpp");
  if (guided == "euler" || guided == "ddim" || guided == "eulera" || guided == "eulerancestral") {
    detail::fail<std::invalid_argument>(where, detail::quoted(name), " is ",
                                        guided == "euler" || guided == "ddim" ? "Ddim{}" : "Ddim{1.0}",
                                        " with cfg_plus_plus as the denoiser (guidance/cfg_plus_plus.hpp)");
  }
  if (plain == "dpmfast") {
    detail::fail<std::invalid_argument>(where, "dpm_fast needs its number of model calls; use DpmSolverFast{calls}");
  }
  for (const detail::SigmaName& row : detail::sigma_names()) {
    if (find(without_end(detail::plain_name(row.name)))) {
      detail::fail<std::invalid_argument>(where, detail::quoted(name),
                                          " names a sampler and its sigmas; give the end, ", row.name,
                                          ", to named_sigmas instead");
    }
  }
  std::vector<std::string> known;
  for (const auto& row : detail::sampler_names<Tensor>()) known.push_back(row.names.front());
  detail::fail_unknown_name(where, name, known);
}

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
