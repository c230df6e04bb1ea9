/// @file guided_model.hpp
/// A model that combines a conditional and an unconditional model, so that samples follow the
/// condition more closely.
#pragma once

#include <any>
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>  // std::move

#include "../detail/shape.hpp"
#include "../model/detail/call.hpp"
#include "detail/two_outputs.hpp"

namespace diffusion {

/// A model that combines the outputs of other models; made by guided_model() or
/// guided_model_of_doubled_batch().
///
/// Use it wherever the library takes a model. guided(x, t, out) writes the output. guided(x, t)
/// returns a tensor of x's shape. t is an `Eigen::Tensor<Scalar, 1>` of shape [N], the model time
/// of each sample.
///
/// A guided model reuses its workspace between calls, so its call is not const. Use one object per
/// thread, and pass it as std::ref(guided) to a Denoiser and to a ReverseProcess alike, because
/// both call their model as const. Copies have separate workspaces. The writing form allocates
/// nothing after the first call with a shape, unless a model does.
///
/// The models that it combines are called in the same way and held by value (std::ref holds a
/// reference). They must all predict the same quantity: epsilon, x_0 or v. A returned expression
/// must not refer to local variables of the model, which no longer exist when it is evaluated.
/// Return a plain tensor or write to out.
///
/// With learned variances, outputs have twice the channels of x (axis 1). The first half is guided,
/// for any number of channels, and the second half is that of the conditional model. Such models
/// need the writing form.
///
/// Tensors have any rank and either layout. Statistics of a sample are computed in double. A
/// sample's result does not depend on the rest of its batch, bit for bit, if the models' results do
/// not. Throws std::invalid_argument if shapes differ or a parameter is out of range.
///
/// Models provides the two outputs. Guidance combines them; it is a struct with the members of
/// ClassifierFreeGuidance: scale, guide() and a State for the data kept between calls.
template <class Models, class Guidance>
class GuidedModel {
 public:
  /// Use guided_model() or guided_model_of_doubled_batch() instead.
  GuidedModel(Models models, Guidance guidance) : models_(std::move(models)), guidance_(std::move(guidance)) {}

  /// Returns the guided output for x at model time t, a tensor of x's shape.
  template <class X, class T>
  [[nodiscard]] PlainTensor<X> operator()(const X& x, const T& t) {
    return detail::returned(x, [&](auto& out, const auto& in) { (*this)(in, t, out); });
  }
  /// Writes the guided output to `out`, which must have x's shape, or twice the channels for
  /// learned variances, and must not alias x.
  template <class X, class T, class Out>
  void operator()(const X& x, const T& t, Out& out) {
    constexpr const char* where = "GuidedModel";
    constexpr bool plain = std::is_same_v<Out, PlainTensor<Out>> && detail::becomes<X, Out>();
    static_assert(plain,
                  "diffusion: `out` of a guided model must be an Eigen::Tensor of x's scalar type, rank and layout");
    if constexpr (plain) {
      const auto& in = detail::evaluated(x);
      const auto& model_t = detail::evaluated(t);
      detail::check_model_time(where, in, model_t);
      detail::has_variances(where, out, in);  // throws if the shape of out is wrong
      auto& memory = detail::workspace<Workspace<PlainTensor<X>, PlainTensor<T>, Out>>(workspace_);
      detail::resize(memory.scales, detail::shape(model_t));
      bool guided = false;
      for (Eigen::Index n = 0; n < memory.scales.size(); ++n) {
        memory.scales(n) = guidance_.scale(static_cast<double>(model_t.data()[n]));
        guided = guided || memory.scales(n) != 1.0;
      }
      models_.evaluate(where, in, model_t, guided, out, memory.uncond, memory.models);
      if (!guided) return;
      Out& cond = detail::prediction_in(where, out, in, memory.half);
      Out& uncond = detail::prediction_in(where, memory.uncond, in, memory.uncond_half);
      guidance_.guide(cond, uncond, memory.scales, memory.state);
      detail::set_prediction(out, cond);
    }
  }

  /// Discards the momentum of the last run and frees the workspace.
  void reset() { workspace_.reset(); }

 private:
  template <class X, class T, class Out>
  struct Workspace {
    Eigen::Tensor<double, 1> scales;
    Out uncond, half, uncond_half;
    typename Models::template Workspace<X, T, Out> models;
    typename Guidance::template State<Out> state;
  };

  Models models_;
  Guidance guidance_;
  std::any workspace_;
};

/// Returns a model that combines a conditional and an unconditional model:
///
///     guided_model(cond, uncond, ClassifierFreeGuidance{7.5})
///
/// It does not call `uncond` if the guidance scale is 1 for the whole batch.
template <class Cond, class Uncond, class Guidance>
[[nodiscard]] GuidedModel<detail::TwoModels<Cond, Uncond>, Guidance> guided_model(Cond cond, Uncond uncond,
                                                                                  Guidance guidance) {
  return {{std::move(cond), std::move(uncond)}, std::move(guidance)};
}

/// Returns a guided model that calls one model once, on a doubled batch: [x, x] and [t, t],
/// concatenated along the batch axis.
///
/// The conditional half comes first: the model must condition the first half of the batch and leave
/// the second half unconditional. diffusers does the opposite: its pipelines put the unconditional
/// half first. The model is called with both halves even if the guidance scale is 1.
template <class Model, class Guidance>
[[nodiscard]] GuidedModel<detail::DoubledBatch<Model>, Guidance> guided_model_of_doubled_batch(Model model,
                                                                                               Guidance guidance) {
  return {{std::move(model)}, std::move(guidance)};
}

}  // namespace diffusion
