/// @file names.hpp
/// Samplers and sigmas by the names that other programs give them: k-diffusion, ComfyUI,
/// stable-diffusion.cpp, the AUTOMATIC1111 web UI and diffusers. It is not part of diffusion.hpp,
/// because it compiles every sampler.
#pragma once

#include <Eigen/Core>
#include <algorithm>  // std::max, std::min, std::min_element, std::reverse
#include <cmath>
#include <cstddef>  // std::size_t
#include <functional>
#include <limits>
#include <stdexcept>  // std::invalid_argument
#include <string>
#include <string_view>
#include <utility>  // std::move
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

/// The letters and digits of a name, in lower case, with p for +. "DPM++ 2M", "dpm++2m" and
/// "dpmpp_2m" are the same name.
inline std::string plain_name(std::string_view name) {
  std::string out;
  for (const char c : name) {
    if (c >= 'A' && c <= 'Z') out += static_cast<char>(c - 'A' + 'a');
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) out += c;
    if (c == '+') out += 'p';
  }
  return out;
}

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
  constexpr std::size_t longest = 64;  // of a name that is compared and quoted
  const std::string shown(name.substr(0, longest)), plain = plain_name(shown);
  const auto distance = [&plain](const std::string& other) { return edit_distance(plain, plain_name(other)); };
  const auto nearest = std::min_element(known.begin(), known.end(), [&](const std::string& a, const std::string& b) {
    return distance(a) < distance(b);
  });
  std::string list;
  for (const std::string& other : known) list += (list.empty() ? "" : ", ") + other;
  fail<std::invalid_argument>(where, "there is no \"", shown, "\"; the nearest name is \"", *nearest,
                              "\". Known names: ", list);
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
      {{"dpm_2", "dpm2"}, Dpm2{}},
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
      {{"plms", "pndm"}, Pndm{}},
      {{"uni_pc", "unipc"}, UniPc{3, UniPc::B::bh1}},
      {{"uni_pc_bh2"}, UniPc{3, UniPc::B::bh2}},
      {{"lcm"}, Lcm{10.0, 0.0}},
      {{"tcd"}, Tcd{}},
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

/// Returns the sampler that other programs call `name`. Case, spaces, hyphens and underscores do
/// not matter, and + is p: "DPM++ 2M SDE" is "dpmpp_2m_sde". The README has the table.
///
///     AnySampler<Image> sampler = named_sampler<Image>("dpmpp_2m_sde");
///     const Image image = sample(sampler, grid, denoiser, x, noise);
///
/// A name of k-diffusion, ComfyUI, A1111 or stable-diffusion.cpp gives the sampler with the default
/// parameters that ComfyUI uses; the name of a class of diffusers gives that of its default
/// arguments. The grid is yours to choose: named_sigmas has the schedules.
///
/// ComfyUI's ipndm and deis are other methods than Ipndm and Deis, which are diffusers', so they
/// are not known. On a flow matching grid, ComfyUI's res_multistep has another result, because it
/// takes -log(sigma) for the half log-SNR there.
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
  const std::string plain = detail::plain_name(name.substr(0, 64));
  std::vector<std::string> known;
  for (const auto& row : detail::sampler_names<Tensor>()) {
    for (const std::string& other : row.names) {
      if (detail::plain_name(other) == plain) return row.sampler;
    }
    known.push_back(row.names.front());
  }
  const auto ends_with = [&plain](const std::string& end) {
    return plain.size() > end.size() && plain.compare(plain.size() - end.size(), end.size(), end) == 0;
  };
  if (ends_with("cfgpp")) {
    detail::fail<std::invalid_argument>(where, "\"", std::string(name.substr(0, 64)),
                                        "\" is a sampler with guidance; use the sampler without _cfg_pp, and "
                                        "cfg_plus_plus as its denoiser (guidance/cfg_plus_plus.hpp)");
  }
  if (plain == "dpmfast") {
    detail::fail<std::invalid_argument>(where, "dpm_fast needs its number of model calls; use DpmSolverFast{calls}");
  }
  for (const char* schedule : {"karras", "exponential", "polyexponential", "sgmuniform", "simple", "beta"}) {
    if (ends_with(schedule)) {
      detail::fail<std::invalid_argument>(where, "\"", std::string(name.substr(0, 64)),
                                          "\" names a sampler and its "
                                          "sigmas; give the end, ",
                                          schedule, ", to named_sigmas instead");
    }
  }
  detail::fail_unknown_name(where, name, known);
}

/// The noise levels of a flow matching model by name; see named_sigmas.
struct FlowSchedule {
  double shift = 1.0;  ///< Shift towards more noise, positive: 3 for Stable Diffusion 3; see shifted_sigma.
  Eigen::Index num_timesteps = 1000;  ///< T, at least 2; 10000 for ComfyUI's Flux.
};

namespace detail {

/// The noise levels of a model in ComfyUI's terms.
struct NamedSigmas {
  Eigen::ArrayXd sigmas;                         // at timesteps 0 to T - 1
  std::function<double(double timestep)> sigma;  // also between two timesteps
  std::function<double(double sigma)> timestep;  // of one of the sigmas

  Eigen::Index T() const { return sigmas.size(); }
  double least() const { return sigmas[0]; }
  double most() const { return sigmas[T() - 1]; }
  /// n sigmas at evenly spaced timesteps from `first` to `last`.
  Eigen::ArrayXd evenly(double first, double last, Eigen::Index n) const {
    Eigen::ArrayXd out = linspace(first, last, n);
    for (double& value : out) value = sigma(value);
    return out;
  }
};

/// The list with a 0 at its end.
inline Eigen::ArrayXd with_zero(const Eigen::ArrayXd& sigmas) {
  Eigen::ArrayXd out = Eigen::ArrayXd::Zero(sigmas.size() + 1);
  out.head(sigmas.size()) = sigmas;
  return out;
}

/// The sigmas at these timesteps, then 0.
inline Eigen::ArrayXd at_timesteps(const NamedSigmas& model, const std::vector<Eigen::Index>& timesteps) {
  Eigen::ArrayXd out(static_cast<Eigen::Index>(timesteps.size()));
  for (std::size_t i = 0; i < timesteps.size(); ++i) out[static_cast<Eigen::Index>(i)] = model.sigmas[timesteps[i]];
  return with_zero(out);
}

/// ComfyUI's linear_quadratic: 1 - s is linear in the first half of the steps, up to the threshold,
/// and quadratic in the second half, with the same slope where they meet.
inline Eigen::ArrayXd linear_quadratic_sigmas(double sigma_max, Eigen::Index n) {
  constexpr double threshold = 0.025;
  const Eigen::Index half = n / 2;
  const double linear = static_cast<double>(half), rest = static_cast<double>(n - half);
  const double missing = linear - threshold * static_cast<double>(n);
  Eigen::ArrayXd out(n);
  for (Eigen::Index i = 0; i < n; ++i) {
    const double k = static_cast<double>(i), square = n == 1 ? 0.0 : missing / (linear * rest * rest);
    const double slope = n == 1 ? 0.0 : threshold / linear - 2.0 * missing / (rest * rest);
    out[i] =
        sigma_max * (1.0 - (i < half ? k * threshold / linear : square * k * k + slope * k + square * linear * linear));
  }
  return with_zero(out);
}

inline Eigen::ArrayXd sigmas_by_name(std::string_view name, const NamedSigmas& model, Eigen::Index n) {
  constexpr const char* where = "named_sigmas";
  using Timesteps = std::vector<Eigen::Index>;
  using Row = std::pair<const char*, std::function<Eigen::ArrayXd()>>;
  check_in<Eigen::Index>(where, "n", n, 1, model.T());
  const double steps = static_cast<double>(n), T = static_cast<double>(model.T());
  const double first = model.timestep(model.most()), last = model.timestep(model.least());
  const Row rows[] = {
      {"karras", [&] { return karras_sigmas(n, model.least(), model.most()); }},
      {"exponential", [&] { return exponential_sigmas(n, model.least(), model.most()); }},
      {"polyexponential", [&] { return polyexponential_sigmas(n, model.least(), model.most()); }},
      {"vp", [&] { return vp_sigmas(n); }},
      {"normal", [&] { return with_zero(model.evenly(first, last, n)); }},
      {"sgm_uniform", [&] { return with_zero(model.evenly(first, last, n + 1).head(n)); }},
      {"simple",
       [&] {
         Timesteps t;
         for (Eigen::Index i = 0; i < n; ++i) {
           t.push_back(model.T() - 1 - static_cast<Eigen::Index>(static_cast<double>(i) * (T / steps)));
         }
         return at_timesteps(model, t);
       }},
      {"ddim_uniform",
       [&] {
         Timesteps t;
         for (Eigen::Index i = 1; i < model.T(); i += model.T() / n) t.push_back(i);
         std::reverse(t.begin(), t.end());
         return at_timesteps(model, t);
       }},
      {"beta",
       [&] {
         Timesteps t;
         for (Eigen::Index i = 0; i < n; ++i) {
           const double quantile = beta_quantile(1.0 - static_cast<double>(i) / steps, 0.6, 0.6);
           const auto next = static_cast<Eigen::Index>(std::nearbyint(quantile * (T - 1.0)));
           if (t.empty() || next != t.back()) t.push_back(next);
         }
         return at_timesteps(model, t);
       }},
      {"beta_sigmas", [&] { return beta_sigmas(n, model.least(), model.most()); }},
      {"linear_quadratic", [&] { return linear_quadratic_sigmas(model.most(), n); }},
      {"kl_optimal",
       [&] {
         if (n == 1) return with_zero(Eigen::ArrayXd::Constant(1, model.most()));
         Eigen::ArrayXd out(n);
         for (Eigen::Index i = 0; i < n; ++i) {
           const double u = static_cast<double>(i) / (steps - 1.0);
           out[i] = std::tan(u * std::atan(model.least()) + (1.0 - u) * std::atan(model.most()));
         }
         return with_zero(out);
       }},
      {"ays", [&] { return ays_sigmas(AysModel::stable_diffusion, n); }},
      {"ays_sdxl", [&] { return ays_sigmas(AysModel::stable_diffusion_xl, n); }},
      {"ays_svd", [&] { return ays_sigmas(AysModel::stable_video_diffusion, n); }},
  };
  std::vector<std::string> known;
  for (const auto& [other, sigmas] : rows) {
    if (plain_name(other) == plain_name(name.substr(0, 64))) return sigmas();
    known.push_back(other);
  }
  fail_unknown_name(where, name, known);
}

}  // namespace detail

/// Returns the sigmas of n steps that ComfyUI computes under this name, for a model that was
/// trained with `process`. Pass them to sigma_grid(process, sigmas). The last entry is 0.
///
///     karras, exponential, polyexponential    between the sigmas of the process; see sigmas.hpp
///     vp, ays, ays_sdxl, ays_svd              fixed lists; see vp_sigmas and ays_sigmas
///     normal             evenly spaced timesteps from T - 1 to 0
///     sgm_uniform        the first n of n + 1 such timesteps; "trailing" of some programs
///     simple             the timesteps T - 1 - floor(i T / n)
///     ddim_uniform       the timesteps 1, 1 + floor(T / n), ..., without T - 1
///     beta               quantiles of Beta(0.6, 0.6) as timesteps; Lee et al. 2024
///     beta_sigmas        the same quantiles as sigmas: use_beta_sigmas of diffusers
///     linear_quadratic   slow at first; of sigma_max
///     kl_optimal         evenly spaced in atan(sigma); Sabour et al. 2024
///
/// As in ComfyUI, two of these may have another number of steps: ddim_uniform has
/// ceil((T - 1) / floor(T / n)), and beta leaves out timesteps that repeat.
///
/// Case, spaces, hyphens and underscores do not matter. Throws std::invalid_argument for an unknown
/// name, with the known ones and the nearest of them, and unless 1 <= n <= T.
template <class Scalar>
[[nodiscard]] Eigen::ArrayXd named_sigmas(std::string_view name, const GaussianDiffusion<Scalar>& process,
                                          Eigen::Index n) {
  const Eigen::Index T = process.num_timesteps();
  const Eigen::ArrayXd sigmas = (process.one_minus_alphas_cumprod() / process.alphas_cumprod()).sqrt();
  const auto between = [logs = Eigen::ArrayXd(sigmas.log())](double t) {
    const auto low = static_cast<Eigen::Index>(std::floor(t)), high = static_cast<Eigen::Index>(std::ceil(t));
    const double part = t - std::floor(t);
    return std::exp((1.0 - part) * logs[low] + part * logs[high]);
  };
  return detail::sigmas_by_name(
      name, {sigmas, between, [=](double sigma) { return sigma == sigmas[0] ? 0.0 : static_cast<double>(T - 1); }}, n);
}

/// Returns the sigmas of n steps that ComfyUI computes under this name for a flow matching model.
/// Pass them to flow_matching_grid(sigmas).
///
/// As in ComfyUI, the last timestep of `normal` and `sgm_uniform` is that of a sigma which is
/// shifted already, so that the shift is applied to it twice. Also throws std::invalid_argument
/// unless shift is positive and num_timesteps at least 2. See above for the names.
[[nodiscard]] inline Eigen::ArrayXd named_sigmas(std::string_view name, const FlowSchedule& flow, Eigen::Index n) {
  detail::check_at_least<Eigen::Index>("named_sigmas", "num_timesteps", flow.num_timesteps, 2);
  const double T = static_cast<double>(flow.num_timesteps);
  const auto sigma = [flow, T](double t) { return shifted_sigma(t / T, flow.shift); };
  Eigen::ArrayXd sigmas(flow.num_timesteps);
  for (Eigen::Index t = 0; t < sigmas.size(); ++t) sigmas[t] = sigma(static_cast<double>(t + 1));
  return detail::sigmas_by_name(name, {sigmas, sigma, [T](double s) { return s * T; }}, n);
}

}  // namespace diffusion
