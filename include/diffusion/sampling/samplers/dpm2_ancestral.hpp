/// @file dpm2_ancestral.hpp
#pragma once

#include "../../detail/check.hpp"
#include "../detail/midpoint_step.hpp"

namespace diffusion {

/// The midpoint step of Dpm2 to a lower level, then up to the next by noise, as EulerAncestral; k-diffusion's
/// sample_dpm_2_ancestral.
struct Dpm2Ancestral {
  double eta = 1.0;
  double s_noise = 1.0;

  template <class Tensor>
  using State = TwoCallState<Tensor>;

  void check() const {
    detail::check_not_negative("Dpm2Ancestral", "eta", eta);
    detail::check_not_negative("Dpm2Ancestral", "s_noise", s_noise);
  }

  template <class Tensor, class Denoise, class Noise>
  void step(const Step& step, Tensor& x, const Denoise& denoise, const Noise& noise, State<Tensor>& state) const {
    const auto [down, up] = ancestral_step(step.from, step.to, eta);
    detail::midpoint_step(x, step, step.from, down, denoise, state);
    add_step_noise(x, up * s_noise, noise, state.noise);
  }
};

}  // namespace diffusion
