/// @file names.hpp
/// Samplers by the names that other programs give them: k-diffusion, ComfyUI, stable-diffusion.cpp,
/// the AUTOMATIC1111 web UI and diffusers. It includes sigma_names.hpp for the names of their lists
/// of sigmas, and is not part of diffusion.hpp, because few programs need it.
#pragma once

#include <stdexcept>  // std::invalid_argument
#include <string>
#include <string_view>
#include <vector>

#include "../detail/error.hpp"
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
#include "detail/name_lookup.hpp"
#include "sigma_names.hpp"

namespace diffusion {

namespace detail {

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
    detail::fail<std::invalid_argument>(where, detail::in_quotes(name), " is ",
                                        guided == "euler" || guided == "ddim" ? "Ddim{}" : "Ddim{1.0}",
                                        " with cfg_plus_plus as the denoiser (guidance/cfg_plus_plus.hpp)");
  }
  if (plain == "dpmfast") {
    detail::fail<std::invalid_argument>(where, "dpm_fast needs its number of model calls; use DpmSolverFast{calls}");
  }
  for (const detail::SigmaName& row : detail::sigma_names()) {
    if (find(without_end(detail::plain_name(row.name)))) {
      detail::fail<std::invalid_argument>(where, detail::in_quotes(name),
                                          " names a sampler and its sigmas; give the end, ", row.name,
                                          ", to named_sigmas instead");
    }
  }
  std::vector<std::string> known;
  for (const auto& row : detail::sampler_names<Tensor>()) known.push_back(row.names.front());
  detail::fail_unknown_name(where, name, known);
}

}  // namespace diffusion
