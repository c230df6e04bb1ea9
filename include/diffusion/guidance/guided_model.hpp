/// @file guided_model.hpp
/// A model made of others, whose samples follow a condition more closely than those of the
/// conditional model alone.
///
/// A guided model is used wherever the library takes a model. It is called as guided(x, t, out),
/// which writes, or as guided(x, t), which returns a tensor of x's shape; t is an
/// Eigen::Tensor<Scalar, 1> of shape [N]. The models it is made of are called in the same way, are
/// held by value (std::ref holds a reference), and all predict the same quantity: epsilon, x_0 or
/// v. (A model that returns an expression must not refer to its local variables in it: they are
/// gone when it is evaluated. Write, or return a plain tensor.) Models of learned variances have twice the channels of x (axis 1): the first half is guided,
/// however many channels there are, and the second half is that of the conditional model.
///
/// A guided model is not const when called, because it keeps its memory from call to call: the
/// writing form allocates nothing after the first call with a shape, unless a model does. So one
/// object serves one thread at a time (copies are independent), and a ReverseProcess, which calls
/// its model as const, takes it as std::ref(guided).
///
/// Any rank, both layouts. Statistics of a sample are computed in double; the result of a sample
/// does not depend on the rest of its batch, bit for bit, if those of the models do not. Throws
/// std::invalid_argument where shapes differ or a parameter is out of range.
#pragma once

#include <any>
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>  // std::move

#include "../detail/shape.hpp"
#include "../model/detail/call.hpp"
#include "detail/two_outputs.hpp"

namespace diffusion {

/// The model that guided_model() makes. Models provides the two outputs; Guidance combines them and
/// is a struct with the members of ClassifierFreeGuidance: scale, guide(), and a State for what it
/// keeps from call to call.
template <class Models, class Guidance>
class GuidedModel {
 public:
  /// guided_model and guided_model_of_doubled_batch make these.
  GuidedModel(Models models, Guidance guidance) : models_(std::move(models)), guidance_(std::move(guidance)) {}

  template <class X, class T>
  [[nodiscard]] PlainTensor<X> operator()(const X& x, const T& t) {
    return detail::returned(x, [&](auto& out, const auto& in) { (*this)(in, t, out); });
  }
  /// out: of x's shape or, of learned variances, with twice the channels. It may not be x.
  template <class X, class T, class Out>
  void operator()(const X& x, const T& t, Out& out) {
    constexpr const char* where = "GuidedModel";
    constexpr bool plain = std::is_same_v<Out, PlainTensor<Out>> && detail::becomes<X, Out>();
    static_assert(plain, "diffusion: a guided model writes an Eigen::Tensor of x's scalar type, rank and layout");
    if constexpr (plain) {
      const auto& in = detail::evaluated(x);
      const auto& model_t = detail::evaluated(t);
      detail::check_model_time(where, in, model_t);
      detail::has_variances(where, out, in);  // or throws
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

  /// Forgets the run, which matters to momentum; and gives back the memory.
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

/// Returns a model guided by a conditional and an unconditional one: guided_model(cond, uncond,
/// ClassifierFreeGuidance{7.5}).
template <class Cond, class Uncond, class Guidance>
[[nodiscard]] GuidedModel<detail::TwoModels<Cond, Uncond>, Guidance> guided_model(Cond cond, Uncond uncond,
                                                                                  Guidance guidance) {
  return {{std::move(cond), std::move(uncond)}, std::move(guidance)};
}

/// The same for one model that is called once, with [x, x] and [t, t] along the batch: the first
/// half of its output is the conditional one, the second half the unconditional one.
template <class Model, class Guidance>
[[nodiscard]] GuidedModel<detail::DoubledBatch<Model>, Guidance> guided_model_of_doubled_batch(Model model,
                                                                                               Guidance guidance) {
  return {{std::move(model)}, std::move(guidance)};
}

}  // namespace diffusion
