/// Tests of diffusion/training/losses.hpp.
#include "diffusion/training/losses.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "diffusion/noise/philox_noise.hpp"
#include "diffusion/process/respacing.hpp"
#include "guided_model.hpp"
#include "matchers.hpp"
#include "samples.hpp"
#include "training_problem.hpp"

namespace losses_tests {

using diffusion::GaussianDiffusion;
using diffusion::Likelihood;
using diffusion::LossType;
using diffusion::ModelMeanType;
using diffusion::ModelVarType;
using diffusion::ReverseOptions;
using diffusion::Timesteps;
using diffusion::training_losses;
using diffusion::training_losses_from_output;
using diffusion::training_losses_gradient;
using diffusion::training_losses_gradient_into;
using diffusion::training_target;
using Eigen::Index;

namespace {

/// Compares every element of the gradient with the slope of the loss of its sample, by central
/// differences of fourth order.
template <class Problem>
void check_slopes(const Problem& problem, LossType type, Likelihood likelihood) {
  using Tensor = typename Problem::Tensor;
  const Tensor gradient = problem.gradient(type, likelihood);
  REQUIRE(gradient.dimensions() == problem.output.dimensions());
  // moved(h): the losses of all samples after value i of each sample has changed by h.
  const Index batch = problem.output.dimension(0), values = problem.output.size() / batch;
  const bool row_major = static_cast<int>(Tensor::Layout) == Eigen::RowMajor;
  const auto at = [&](Index n, Index i) { return row_major ? n * values + i : n + i * batch; };
  for (Index i = 0; i < values; ++i) {
    const auto moved = [&](double h) {
      Tensor output = problem.output;
      for (Index n = 0; n < batch; ++n) output.data()[at(n, i)] += h;
      return problem.losses(output, type, likelihood).loss;
    };
    constexpr double h = 1e-4;
    const auto far_below = moved(-2 * h), below = moved(-h), above = moved(h), far_above = moved(2 * h);
    for (Index n = 0; n < batch; ++n) {
      double largest = 0;
      for (Index k = 0; k < values; ++k) largest = (std::max)(largest, std::abs(gradient.data()[at(n, k)]));
      const double slope = (8 * (above(n) - below(n)) - (far_above(n) - far_below(n))) / (12 * h);
      INFO("t = " << problem.t(n) << ", value " << i << " of sample " << n);
      REQUIRE_THAT(gradient.data()[at(n, i)],
                   WithinRel(slope, tolerance::slope) || WithinAbs(slope, tolerance::slope_of_largest * largest));
    }
  }
}

GaussianDiffusion<double> cosine_process(Index T = 30) {
  return GaussianDiffusion<double>(diffusion::cosine_beta_schedule(T));
}

}  // namespace

// ---- targets ----

TEMPLATE_TEST_CASE("training_target returns the quantity that the mean type names", "[losses]", LAYOUTS) {
  using Scalar = typename TestType::Scalar;
  using Tensor = typename TestType::template Tensor<3>;
  const GaussianDiffusion<Scalar> process(diffusion::cosine_beta_schedule(20));
  const TrainingProblem<TestType, 3> p(process, ReverseOptions());
  const auto target = [&](ModelMeanType type) {
    return training_target(process, type, p.x_start, p.x_t, p.noise, p.t);
  };
  REQUIRE_THAT(target(ModelMeanType::previous_x),
               AllEqual(process.q_posterior_mean_variance(p.x_start, p.x_t, p.t).mean));
  REQUIRE_THAT(target(ModelMeanType::start_x), AllEqual(p.x_start));
  REQUIRE_THAT(target(ModelMeanType::epsilon), AllEqual(p.noise));
  REQUIRE_THAT(target(ModelMeanType::velocity), AllEqual(process.velocity(p.x_start, p.t, p.noise)));
  for (const ModelMeanType type : mean_types) {
    Tensor in_place = p.noise;
    REQUIRE(count_allocations([&] {
              diffusion::training_target_into(in_place, process, type, p.x_start, p.x_t, in_place, p.t);
            }) == 0);
    REQUIRE_THAT(in_place, AllEqual(target(type)));
    REQUIRE_THAT(training_target(process, type, p.x_start, p.x_t + p.x_t.constant(Scalar(0)), p.noise, p.t),
                 AllEqual(target(type)));
  }
}

TEST_CASE("targets of x_0 and epsilon are copies, whatever the other tensors hold", "[losses]") {
  using Tensor = DoubleRowMajor::Tensor<2>;
  const GaussianDiffusion<double> process(diffusion::linear_beta_schedule(20));
  const Tensor x = random_tensor<Tensor>({2, 3}, 1);
  for (const double value : {std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()}) {
    const Tensor other = x.constant(value);
    REQUIRE_THAT(training_target(process, ModelMeanType::start_x, x, other, other, 5), AllEqual(x));
    REQUIRE_THAT(training_target(process, ModelMeanType::epsilon, other, other, x, 5), AllEqual(x));
  }
}

// ---- identities ----

TEST_CASE("a loss is the sum of its parts and is rescaled by the number of steps", "[losses]") {
  const auto process = diffusion::respace(cosine_process(400), diffusion::space_timesteps(400, "25"));
  for (const ModelMeanType mean_type : mean_types) {
    for (const ModelVarType var_type : var_types) {
      const TrainingProblem<DoubleRowMajor, 3> p(process, {mean_type, var_type, true, false});
      const auto losses = [&](LossType type) { return p.losses(p.output, type, Likelihood::exact); };
      const auto mse = losses(LossType::mse), rescaled_mse = losses(LossType::rescaled_mse);
      const auto kl = losses(LossType::kl), rescaled_kl = losses(LossType::rescaled_kl);
      const bool learned = learns_variance(var_type);
      REQUIRE(mse.vb.size() == (learned ? 5 : 0));
      REQUIRE(kl.mse.size() == 0);
      REQUIRE_THAT(kl.vb, AllEqual(kl.loss));
      for (Index n = 0; n < 5; ++n) {
        REQUIRE_THAT(rescaled_kl.loss(n), WithinRel(25 * kl.loss(n), tolerance::exact_sum));
        REQUIRE(mse.loss(n) == mse.mse(n) + (learned ? mse.vb(n) : 0));
        REQUIRE(rescaled_mse.mse(n) == mse.mse(n));
        if (!learned) continue;
        REQUIRE(mse.vb(n) == kl.loss(n));  // the stop-gradient does not change the value
        REQUIRE_THAT(rescaled_mse.vb(n), WithinRel(0.025 * mse.vb(n), tolerance::exact_sum));
      }
      // The kl loss equals the term of the bound without clipping.
      const auto model_losses = training_losses(p.reverse, p.x_start, p.t, p.noise, LossType::kl, Likelihood::exact);
      const auto terms = diffusion::vb_terms_bpd(p.reverse, p.x_start, p.x_t, p.t, {false, Likelihood::exact});
      REQUIRE_THAT(model_losses.loss, AllEqual(terms.output));
    }
  }
}

TEST_CASE("training_losses accepts a noise source, and training_losses_from_output a computed output", "[losses]") {
  const GaussianDiffusion<float> process(diffusion::linear_beta_schedule(100));
  const TrainingProblem<FloatRowMajor, 4> p(process, {ModelMeanType::epsilon, ModelVarType::learned, true, true});
  FloatRowMajor::Tensor<4> noise = p.noise;
  diffusion::PhiloxNoise(5)(noise);
  const auto drawn = training_losses(p.reverse, p.x_start, p.t, diffusion::PhiloxNoise(5), LossType::mse);
  REQUIRE_THAT(drawn.loss, AllEqual(training_losses(p.reverse, p.x_start, p.t, noise, LossType::mse).loss));
  const auto x_t = process.q_sample(p.x_start, p.t, noise);
  const auto output = p.reverse.model_output(x_t, p.t);
  REQUIRE_THAT(training_losses_from_output(p.reverse, output, p.x_start, x_t, p.t, noise, LossType::mse).loss,
               AllEqual(drawn.loss));
  diffusion::PhiloxNoise source(5);
  (void)training_losses(p.reverse, p.x_start, p.t, source, LossType::kl);
  REQUIRE(source.call() == 1);
}

TEST_CASE("the mean over many values is accurate in float", "[losses]") {
  const GaussianDiffusion<float> process(diffusion::linear_beta_schedule(100));
  const auto reverse = guided_reverse<float, 2, Eigen::ColMajor>(process, ReverseOptions());
  Eigen::Tensor<float, 2> x(1, 3000000), noise(1, 3000000), output(1, 3000000);
  x.setZero();
  noise.setConstant(0.1f);
  output.setConstant(0.0f);
  const auto got = training_losses_from_output(reverse, output, x, x, 3, noise, LossType::mse);
  REQUIRE(got.loss(0) == 0.1f * 0.1f);
}

// ---- gradients ----

TEST_CASE("training_losses_gradient equals finite differences of the losses", "[losses]") {
  for (const ModelMeanType mean_type : mean_types) {
    for (const ModelVarType var_type : var_types) {
      for (const LossType type : {LossType::kl, LossType::rescaled_kl}) {
        for (const Likelihood likelihood : {Likelihood::approximate, Likelihood::exact}) {
          INFO("mean type " << static_cast<int>(mean_type) << ", variance type " << static_cast<int>(var_type)
                            << ", loss type " << static_cast<int>(type));
          const ReverseOptions options{mean_type, var_type, true, false};
          check_slopes(TrainingProblem<DoubleRowMajor, 3>(cosine_process(), options), type, likelihood);
          check_slopes(TrainingProblem<DoubleColMajor, 2>(cosine_process(), options), type, likelihood);
        }
      }
    }
  }
}

TEST_CASE("the bound trains only the variance where it is added to a mean squared error", "[losses]") {
  for (const ModelMeanType mean_type : mean_types) {
    for (const ModelVarType var_type : var_types) {
      INFO("mean type " << static_cast<int>(mean_type) << ", variance type " << static_cast<int>(var_type));
      const TrainingProblem<DoubleColMajor, 3> p(cosine_process(), {mean_type, var_type, true, false});
      const auto target = training_target(p.process, mean_type, p.x_start, p.x_t, p.noise, p.t);
      const Index channels = p.x_start.dimension(1), values = p.x_start.size() / p.x_start.dimension(0);
      for (const LossType type : {LossType::mse, LossType::rescaled_mse}) {
        const auto got = p.gradient(type), bound_gradient = p.gradient(LossType::kl);
        const double scale = type == LossType::mse ? 1.0 : 30 / 1000.0;
        for (Index n = 0; n < p.output.dimension(0); ++n) {
          for (Index c = 0; c < p.output.dimension(1); ++c) {
            for (Index i = 0; i < p.output.dimension(2); ++i) {
              const double expected = c < channels
                                          ? 2 * (p.output(n, c, i) - target(n, c, i)) / static_cast<double>(values)
                                          : scale * bound_gradient(n, c, i);
              REQUIRE_THAT(got(n, c, i),
                           WithinRel(expected, tolerance::exact_sum) || WithinAbs(expected, tolerance::exact_sum));
            }
          }
        }
      }
    }
  }
}

TEST_CASE("the gradient is 0 for a model that predicts the target", "[losses]") {
  for (const ModelMeanType mean_type : mean_types) {
    for (const LossType type : loss_types) {
      TrainingProblem<DoubleRowMajor, 2> p(cosine_process(), {mean_type, ModelVarType::learned_range, true, false});
      p.t.setConstant(12);
      p.x_t = p.process.q_sample(p.x_start, p.t, p.noise);
      const auto target = training_target(p.process, mean_type, p.x_start, p.x_t, p.noise, p.t);
      p.output = target.concatenate(target.constant(-1.0), 1);  // -1 selects the posterior variance
      REQUIRE_THAT(p.gradient(type), AllClose(p.output.constant(0.0).eval(), 0, tolerance::loss));
      const auto losses = p.losses(p.output, type, Likelihood::approximate);
      REQUIRE_THAT(losses.loss, AllClose(Eigen::Tensor<double, 1>(losses.loss.constant(0.0)), 0, tolerance::loss));
    }
  }
}

TEMPLATE_TEST_CASE("training_losses_gradient_into writes into tensors and maps, also in place", "[losses]", LAYOUTS) {
  using Scalar = typename TestType::Scalar;
  using Tensor = typename TestType::template Tensor<4>;
  const TrainingProblem<TestType, 4> p(GaussianDiffusion<Scalar>(diffusion::cosine_beta_schedule(30)),
                                       {ModelMeanType::velocity, ModelVarType::learned_range, true, false}, 70);
  for (const LossType type : loss_types) {
    const Tensor expected = p.gradient(type);
    Tensor out = p.output;
    REQUIRE(count_allocations([&] {
              training_losses_gradient_into(out, p.reverse, out, p.x_start, p.x_t, p.t, p.noise, type);
            }) == 0);
    REQUIRE_THAT(out, AllEqual(expected));
    out.setZero();
    Eigen::ThreadPool pool(2);
    training_losses_gradient_into(Eigen::TensorMap<Tensor>(out.data(), out.dimensions()), p.reverse, p.output,
                                  p.x_start, p.x_t, p.t, p.noise, type, Likelihood::approximate,
                                  Eigen::ThreadPoolDevice(&pool, 2));
    REQUIRE_THAT(out, AllEqual(expected));
    REQUIRE_THAT(training_losses_gradient(p.reverse, p.output * Scalar(1), p.x_start, p.x_t, p.t, p.noise, type),
                 AllEqual(expected));
  }
}

TEST_CASE("the losses of an empty batch are empty", "[losses]") {
  const auto reverse =
      guided_reverse<float, 3, Eigen::RowMajor>(GaussianDiffusion<float>(diffusion::linear_beta_schedule(50)),
                                                {ModelMeanType::epsilon, ModelVarType::learned, true, false});
  const FloatRowMajor::Tensor<3> x(0, 2, 3), output(0, 4, 3);
  REQUIRE(training_losses(reverse, x, Timesteps(0), x, LossType::mse).loss.size() == 0);
  REQUIRE(training_losses_gradient(reverse, output, x, x, 0, x, LossType::kl).size() == 0);
}

// ---- errors ----

TEST_CASE("losses and their gradients throw for invalid arguments", "[losses]") {
  using Invalid = std::invalid_argument;
  const GaussianDiffusion<float> process(diffusion::jsd_beta_schedule(10));
  const auto reverse = guided_reverse<float, 2, Eigen::RowMajor>(process, ReverseOptions());
  const auto learned =
      guided_reverse<float, 2, Eigen::RowMajor>(process, {ModelMeanType::epsilon, ModelVarType::learned, true, false});
  FloatRowMajor::Tensor<2> x(2, 3), y(2, 4);
  x.setZero();
  REQUIRE(error_message<Invalid>([&] { (void)training_target(process, ModelMeanType::epsilon, x, x, y, 1); }) ==
          "diffusion::training_target: noise has shape [2, 4], but x_start has [2, 3]");
  REQUIRE(error_message<Invalid>([&] { (void)training_losses(reverse, x, 1, y, LossType::mse); }) ==
          "diffusion::training_losses: noise has shape [2, 4], but x_start has [2, 3]");
  REQUIRE(error_message<Invalid>([&] { (void)training_losses_from_output(reverse, x, x, y, 1, x, LossType::kl); }) ==
          "diffusion::training_losses: x_t has shape [2, 4], but x_start has [2, 3]");
  REQUIRE(error_message<Invalid>([&] { (void)training_losses_from_output(learned, x, x, x, 1, x, LossType::kl); }) ==
          "diffusion::training_losses: output has shape [2, 3], but for x of shape [2, 3] it must have [2, 6]; for a "
          "model without learned variances set ReverseOptions::var_type to fixed_small or fixed_large");
  REQUIRE(
      error_message<Invalid>([&] { training_losses_gradient_into(y, reverse, x, x, x, 1, x, LossType::kl); }) ==
      "diffusion::training_losses_gradient: gradient has shape [2, 4], but for x of shape [2, 3] it must have [2, 3]");
  REQUIRE(error_message<std::out_of_range>([&] {
            (void)training_losses_gradient(reverse, x, x, x, -1, x, LossType::kl);
          }) == "diffusion::training_losses_gradient: t = -1 is outside [0, 10)");
  bool drawn = false;
  REQUIRE(error_message<std::out_of_range>([&] {
            (void)training_losses(
                reverse, x, 10, [&](auto&) { drawn = true; }, LossType::kl);
          }) == "diffusion::training_losses: t = 10 is outside [0, 10)");
  REQUIRE_FALSE(drawn);
  Timesteps t(2);
  t.setValues({1, 9});
  REQUIRE(
      error_message<std::domain_error>([&] { (void)training_losses_gradient(reverse, x, x, x, t, x, LossType::kl); }) ==
      "diffusion::training_losses_gradient: alphas_cumprod[9] = 0: epsilon does not determine x_0 (sample 1)");
  // A mean squared error does not need x_0.
  REQUIRE(training_losses(reverse, x, t, x, LossType::mse).loss.size() == 2);

  const auto flat =
      guided_reverse<float, 1, Eigen::RowMajor>(process, {ModelMeanType::start_x, ModelVarType::learned, true, false});
  const FloatRowMajor::Tensor<1> line(3);
  REQUIRE(
      error_message<Invalid>([&] { (void)training_losses_gradient(flat, line, line, line, 1, line, LossType::kl); }) ==
      "diffusion::training_losses_gradient: x_t has rank 1; learned variances are the second half of the channels, "
      "which "
      "are axis 1");
}

}  // namespace losses_tests
