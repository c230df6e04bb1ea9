/// @file training_problem.hpp
/// A training problem for the tests of losses.
#pragma once

#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>  // std::declval

#include "diffusion/training/losses.hpp"
#include "guided_model.hpp"
#include "matchers.hpp"
#include "samples.hpp"

inline constexpr diffusion::ModelMeanType mean_types[] = {
    diffusion::ModelMeanType::previous_x, diffusion::ModelMeanType::start_x, diffusion::ModelMeanType::epsilon,
    diffusion::ModelMeanType::velocity};
inline constexpr diffusion::ModelVarType var_types[] = {
    diffusion::ModelVarType::learned, diffusion::ModelVarType::fixed_small, diffusion::ModelVarType::fixed_large,
    diffusion::ModelVarType::learned_range};
inline constexpr diffusion::LossType loss_types[] = {diffusion::LossType::mse, diffusion::LossType::rescaled_mse,
                                                     diffusion::LossType::kl, diffusion::LossType::rescaled_kl};

inline bool learns_variance(diffusion::ModelVarType type) {
  return type == diffusion::ModelVarType::learned || type == diffusion::ModelVarType::learned_range;
}

/// A training problem: noised data, and the output of a model that is close to the target.
template <class Case, int Rank>
struct TrainingProblem {
  using Scalar = typename Case::Scalar;
  using Tensor = typename Case::template Tensor<Rank>;

  TrainingProblem(const diffusion::GaussianDiffusion<Scalar>& forward_process, const diffusion::ReverseOptions& options,
                  Eigen::Index batch = 5)
      : process(forward_process),
        reverse(guided_reverse<Scalar, Rank, Case::layout>(forward_process, options)),
        x_start(random_tensor<Tensor>(shape_of_rank<Rank>(batch), 1)),
        noise(random_tensor<Tensor>(shape_of_rank<Rank>(batch), 2)),
        t(batch) {
    for (Eigen::Index n = 0; n < batch; ++n)
      t(n) = n == 1 ? forward_process.num_timesteps() - 1 : n * 7 % forward_process.num_timesteps();
    // Values in the outermost bins of the discretised likelihood.
    x_start.data()[0] = Scalar(-1);
    x_start.data()[x_start.size() - 1] = Scalar(1);
    x_t = process.q_sample(x_start, t, noise);
    output = diffusion::training_target(process, options.mean_type, x_start, x_t, noise, t);
    output += Scalar(0.02) * random_tensor<Tensor>(shape_of_rank<Rank>(batch), 3);
    if constexpr (Rank >= 2) {
      if (learns_variance(options.var_type)) {
        const Scalar shift = options.var_type == diffusion::ModelVarType::learned ? Scalar(-3) : Scalar(0);
        const Tensor v = random_tensor<Tensor>(shape_of_rank<Rank>(batch), 4) + output.constant(shift);
        output = Tensor(output.concatenate(v, 1));
      }
    }
  }

  diffusion::TrainingLosses<Scalar> losses(const Tensor& model_output, diffusion::LossType type,
                                           diffusion::Likelihood likelihood) const {
    return diffusion::training_losses_from_output(reverse, model_output, x_start, x_t, t, noise, type, likelihood);
  }
  Tensor gradient(diffusion::LossType type,
                  diffusion::Likelihood likelihood = diffusion::Likelihood::approximate) const {
    return diffusion::training_losses_gradient(reverse, output, x_start, x_t, t, noise, type, likelihood);
  }

  diffusion::GaussianDiffusion<Scalar> process;
  decltype(guided_reverse<Scalar, Rank, Case::layout>(std::declval<diffusion::GaussianDiffusion<Scalar>>(),
                                                      diffusion::ReverseOptions())) reverse;
  Tensor x_start, noise, x_t, output;
  diffusion::Timesteps t;
};
