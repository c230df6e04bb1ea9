/// @file any_sampler.hpp
/// A sampler whose type is chosen at run time.
#pragma once

#include <any>
#include <memory>  // std::make_shared, std::shared_ptr
#include <optional>
#include <stdexcept>  // std::invalid_argument
#include <type_traits>
#include <utility>  // std::move

#include "../detail/error.hpp"
#include "detail/sampler_contract.hpp"
#include "steps.hpp"

namespace diffusion {

/// Holds any sampler for one tensor type, so that runs with different samplers have one type, and a
/// program can choose a sampler by name (interop/names.hpp). It is a sampler itself: sample() and
/// SamplingRun take it, with the same results as for the sampler that it holds.
///
/// @code{.cpp}
/// #include <diffusion/diffusion.hpp>
/// #include <vector>
///
/// int main() {
///   using Image = Eigen::Tensor<float, 4>;
///   const diffusion::GaussianDiffusion<float> process(diffusion::cosine_beta_schedule(1000));
///   const auto grid = diffusion::timestep_grid(process, diffusion::TimestepSpacing::trailing, 10);
///   const auto model = [](const Image& x, const auto&) { return x.constant(0.5f); };  // x_0 = 0.5
///   const diffusion::Denoiser denoiser(model, diffusion::ModelMeanType::start_x);
///   Image x(1, 3, 8, 8);
///   diffusion::PhiloxNoise{1}(x);
///
///   const std::vector<diffusion::AnySampler<Image>> samplers = {diffusion::Ddim{},
///                                                               diffusion::DpmSolverPP{}};
///   for (const auto& sampler : samplers) {
///     const Image image = diffusion::sample(sampler, grid, denoiser, x);
///     if (image(0, 0, 0, 0) != 0.5f) return 1;
///   }
/// }
/// @endcode
///
/// A step costs one virtual call more. Copies share the sampler, which does not change. The memory
/// of a run is allocated at its first step.
template <class Tensor>
class AnySampler {
 public:
  /// Holds this sampler. Throws what its check() throws.
  template <class Sampler,
            std::enable_if_t<!std::is_same_v<Sampler, AnySampler> && detail::is_sampler_v<Sampler, Tensor>, int> = 0>
  AnySampler(Sampler sampler) {
    static_assert(detail::is_complete_sampler<Sampler, Tensor>());
    if constexpr (detail::has_check_v<const Sampler>) sampler.check();
    held_ = std::make_shared<const Held<Sampler>>(std::move(sampler));
  }

  /// Copies share the sampler. A move is a copy.
  AnySampler(const AnySampler&) = default;
  /// Assigns the sampler of another one.
  AnySampler& operator=(const AnySampler&) = default;

  /// Memory of a run: the State of the sampler that is held. T is Tensor.
  template <class T>
  struct State {
    static_assert(std::is_same_v<T, Tensor>, "diffusion: an AnySampler<Tensor> samples tensors of that type only");
    std::any memory;  ///< empty before the first step
  };

  /// Calls begin() of the sampler, if it has one.
  NoiseLevel begin(const Step& step, Tensor& x, const detail::StepNoise<Tensor>& noise, State<Tensor>& state) const {
    return held_->begin(step, x, noise, state.memory);
  }
  /// Calls advance() of the sampler.
  std::optional<NoiseLevel> advance(const Step& step, const ModelCall& call, Tensor& x, Prediction<Tensor>& prediction,
                                    const detail::StepNoise<Tensor>& noise, State<Tensor>& state) const {
    return held_->advance(step, call, x, prediction, noise, state.memory);
  }

 private:
  using Noise = detail::StepNoise<Tensor>;

  struct Interface {
    virtual ~Interface() = default;
    virtual NoiseLevel begin(const Step&, Tensor&, const Noise&, std::any& memory) const = 0;
    virtual std::optional<NoiseLevel> advance(const Step&, const ModelCall&, Tensor&, Prediction<Tensor>&, const Noise&,
                                              std::any& memory) const = 0;
  };

  template <class Sampler>
  struct Held final : Interface {
    explicit Held(Sampler held) : sampler(std::move(held)) {}

    NoiseLevel begin(const Step& step, Tensor& x, const Noise& noise, std::any& memory) const override {
      if constexpr (detail::has_begin_v<const Sampler, Tensor>) {
        return sampler.begin(step, x, noise, state(memory));
      } else {
        return step.from;
      }
    }
    std::optional<NoiseLevel> advance(const Step& step, const ModelCall& call, Tensor& x,
                                      Prediction<Tensor>& prediction, const Noise& noise,
                                      std::any& memory) const override {
      if constexpr (std::is_void_v<detail::AdvanceResult<Sampler, Tensor>>) {
        sampler.advance(step, call, x, prediction, noise, state(memory));
        return {};
      } else {
        return sampler.advance(step, call, x, prediction, noise, state(memory));
      }
    }

    using SamplerState = typename Sampler::template State<Tensor>;
    static_assert(std::is_copy_constructible_v<SamplerState>,
                  "diffusion: the State of a sampler in an AnySampler must be copyable, as copies of a run are");
    static SamplerState& state(std::any& memory) {
      if (!memory.has_value()) memory = SamplerState();
      auto* const state = std::any_cast<SamplerState>(&memory);
      if (!state) detail::fail<std::invalid_argument>("AnySampler", "the state belongs to another sampler");
      return *state;
    }

    Sampler sampler;
  };

  std::shared_ptr<const Interface> held_;
};

}  // namespace diffusion
