/// @file guided_model.hpp
/// The model with which guided-diffusion's results were recorded, and the settings in a record's
/// name.
#pragma once

#include <cmath>  // std::sin, std::cos
#include <string>
#include <unsupported/Eigen/CXX11/Tensor>

#include "diffusion/detail/kernel/multiply_add.hpp"
#include "diffusion/process/gaussian_diffusion.hpp"
#include "diffusion/process/schedules.hpp"
#include "diffusion/sampling/reverse_process.hpp"
#include "layout.hpp"

/// The model of the recorded runs. Its output is
///
///     m = 0.1 sin(x) + 0.9 x + 0.05 cos(0.01 t)
///
/// For learned variances the second half of the channels is sin(0.7 x + 0.02 t), minus 3 for
/// ModelVarType::learned.
template <class Scalar, int Rank, int Layout>
struct GuidedModel {
  using Tensor = Eigen::Tensor<Scalar, Rank, Layout, Eigen::Index>;

  diffusion::ModelVarType var_type;

  Tensor operator()(const Tensor& x, const Eigen::Tensor<Scalar, 1>& t) const {
    using diffusion::ModelVarType;
    using diffusion::detail::multiply_add;
    const bool learned = var_type == ModelVarType::learned || var_type == ModelVarType::learned_range;
    const auto in = with_layout<Eigen::RowMajor>(x);
    auto shape = in.dimensions();
    const Eigen::Index batch = shape[0], size = batch == 0 ? 0 : in.size() / batch, halves = learned ? 2 : 1;
    if constexpr (Rank >= 2) shape[1] *= halves;
    Eigen::Tensor<Scalar, Rank, Eigen::RowMajor, Eigen::Index> out(shape);
    for (Eigen::Index n = 0; n < batch; ++n) {
      for (Eigen::Index i = 0; i < size; ++i) {
        const Scalar value = in.data()[n * size + i];
        Scalar* const to = out.data() + n * halves * size + i;
        // multiply_add, because a compiler may fuse different products of this sum in each layout.
        *to = multiply_add(Scalar(0.1), std::sin(value),
                           multiply_add(Scalar(0.9), value, Scalar(0.05) * std::cos(Scalar(0.01) * t(n))));
        if (learned) {
          to[size] = std::sin(multiply_add(Scalar(0.7), value, Scalar(0.02) * t(n))) -
                     Scalar(var_type == ModelVarType::learned ? 3 : 0);
        }
      }
    }
    return with_layout<Layout>(out);
  }
};

/// The settings in a record's name, such as "vb_terms/eps_fixed_small_clip1_cosine_T30".
struct GuidedSettings {
  explicit GuidedSettings(const std::string& name) {
    using diffusion::ModelMeanType;
    using diffusion::ModelVarType;
    const auto has = [&name](const char* word) { return name.find(word) != std::string::npos; };
    options.mean_type = has("xprev_")    ? ModelMeanType::previous_x
                        : has("xstart_") ? ModelMeanType::start_x
                                         : ModelMeanType::epsilon;
    options.var_type = has("_fixed_small_")   ? ModelVarType::fixed_small
                       : has("_fixed_large_") ? ModelVarType::fixed_large
                       : has("_range_")       ? ModelVarType::learned_range
                                              : ModelVarType::learned;
    options.clip_denoised = has("_clip1");
    options.rescale_timesteps = has("_rescale1");
    betas = diffusion::named_beta_schedule(has("cosine_T") ? "cosine" : "linear",
                                           std::stol(name.substr(name.rfind("_T") + 2)));
  }

  template <class Scalar>
  diffusion::GaussianDiffusion<Scalar> process() const {
    return diffusion::GaussianDiffusion<Scalar>(betas);
  }

  diffusion::ReverseOptions options;
  Eigen::ArrayXd betas;
};

/// The reverse process of GuidedModel for one scalar type, rank and layout.
template <class Scalar, int Rank, int Layout>
auto guided_reverse(const diffusion::GaussianDiffusion<Scalar>& process, const diffusion::ReverseOptions& options) {
  return diffusion::ReverseProcess(process, GuidedModel<Scalar, Rank, Layout>{options.var_type}, options);
}
