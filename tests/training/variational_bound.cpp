/// Tests of diffusion/training/variational_bound.hpp.
#include "diffusion/training/variational_bound.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "diffusion/noise/philox_noise.hpp"
#include "diffusion/noise/recorded_noise.hpp"
#include "diffusion/process/respacing.hpp"
#include "guided_model.hpp"
#include "matchers.hpp"
#include "samples.hpp"
#include "training_problem.hpp"

namespace variational_bound_tests {

using diffusion::BoundOptions;
using diffusion::calc_bpd_loop;
using diffusion::GaussianDiffusion;
using diffusion::Likelihood;
using diffusion::ModelMeanType;
using diffusion::ModelVarType;
using diffusion::prior_bpd;
using diffusion::RecordedNoise;
using diffusion::ReverseOptions;
using diffusion::ReverseProcess;
using diffusion::Timesteps;
using diffusion::vb_terms_bpd;
using Eigen::Index;

// ---- definitions ----

TEST_CASE("a term is the KL divergence of the posterior from the model or, at t = 0, the negative log-likelihood",
          "[variational_bound]") {
  using Tensor = DoubleRowMajor::Tensor<3>;
  const GaussianDiffusion<double> process(diffusion::cosine_beta_schedule(30));
  const Tensor x_start = random_tensor<Tensor>({4, 2, 3}, 1);
  Tensor x_t = random_tensor<Tensor>({4, 2, 3}, 2);
  x_t(0, 1, 1) = 0.0;
  Timesteps t(4);
  t.setValues({0, 1, 14, 29});
  const auto posterior = process.q_posterior_mean_variance(x_start, x_t, t);
  for (const ModelMeanType mean_type : mean_types) {
    for (const ModelVarType var_type : var_types) {
      for (const bool clip : {false, true}) {
        for (const Likelihood likelihood : {Likelihood::approximate, Likelihood::exact}) {
          const auto reverse = guided_reverse<double, 3, Eigen::RowMajor>(process, {mean_type, var_type, clip, false});
          const auto model = reverse.p_mean_variance(x_t, t);
          const Tensor kl =
              diffusion::normal_kl(posterior.mean, posterior.log_variance, model.mean, model.log_variance);
          const Tensor nll = -diffusion::discretized_gaussian_log_likelihood(x_start, model.mean,
                                                                             0.5 * model.log_variance, likelihood);
          const auto got = vb_terms_bpd(reverse, x_start, x_t, t, {clip, likelihood});
          for (Index n = 0; n < 4; ++n) {
            const Tensor nats = sample_of(t(n) == 0 ? nll : kl, n);
            const double expected = mean_of(nats) / std::log(2.0);
            REQUIRE_THAT(got.output(n), WithinRel(expected, tolerance::loss) || WithinAbs(expected, tolerance::loss));
          }
          REQUIRE_THAT(got.pred_xstart, AllClose(model.pred_xstart, tolerance::loss, tolerance::loss));
        }
      }
    }
  }
}

TEST_CASE("the whole bound is the sum of its terms and the prior", "[variational_bound]") {
  using Tensor = DoubleColMajor::Tensor<2>;
  const GaussianDiffusion<double> base(diffusion::linear_beta_schedule(100));
  const GaussianDiffusion<double> process = diffusion::respace(base, diffusion::space_timesteps(100, "7"));
  const auto reverse = guided_reverse<double, 2, Eigen::ColMajor>(
      process, {ModelMeanType::velocity, ModelVarType::learned_range, true, true});
  const Tensor x_start = random_tensor<Tensor>({3, 4}, 3);
  std::vector<Tensor> draws;
  for (unsigned k = 0; k < 7; ++k) draws.push_back(random_tensor<Tensor>({3, 4}, 10 + k));
  RecordedNoise<Tensor> noise(draws);
  const auto all = calc_bpd_loop(reverse, x_start, noise);
  REQUIRE(noise.call() == 7);
  for (Index n = 0; n < 3; ++n) {
    double total = all.prior_bpd(n);
    for (Index column = 0; column < 7; ++column) total += all.vb(n, column);
    REQUIRE_THAT(all.total_bpd(n), WithinRel(total, tolerance::exact_sum));
  }
  for (Index column = 0; column < 7; ++column) {
    const Index t = 6 - column;
    const Tensor& z = draws[static_cast<std::size_t>(column)];
    const Tensor x_t = process.q_sample(x_start, t, z);
    const auto term = vb_terms_bpd(reverse, x_start, x_t, t);
    const Tensor error = (term.pred_xstart - x_start).square();
    const Tensor eps_error = (process.predict_eps_from_xstart(x_t, t, term.pred_xstart) - z).square();
    for (Index n = 0; n < 3; ++n) {
      REQUIRE(all.vb(n, column) == term.output(n));
      REQUIRE_THAT(all.xstart_mse(n, column), WithinRel(mean_of(sample_of(error, n)), tolerance::exact_sum));
      REQUIRE_THAT(all.mse(n, column), WithinRel(mean_of(sample_of(eps_error, n)), tolerance::loss));
    }
  }
}

TEST_CASE("the bound of a process of one step is its prior and the term at t = 0", "[variational_bound]") {
  using Tensor = DoubleRowMajor::Tensor<2>;
  for (const double beta : {0.3, 1.0}) {
    INFO(beta);
    const GaussianDiffusion<double> process(Eigen::ArrayXd::Constant(1, beta));
    const auto reverse = guided_reverse<double, 2, Eigen::RowMajor>(
        process, {ModelMeanType::start_x, ModelVarType::fixed_large, true, false});
    const Tensor x_start = random_tensor<Tensor>({2, 3}, 1), z = random_tensor<Tensor>({2, 3}, 2);
    const auto all = calc_bpd_loop(reverse, x_start, RecordedNoise(std::vector<Tensor>{z}));
    REQUIRE(all.vb.dimension(1) == 1);
    const Tensor x_t = process.q_sample(x_start, 0, z);
    const auto model = reverse.p_mean_variance(x_t, 0);
    // beta_0 is the variance of fixed_large. The prior is that of N(sqrt(abar) x_0, 1 - abar).
    const Tensor nll = -diffusion::discretized_gaussian_log_likelihood(x_start, model.mean, 0.5 * std::log(beta));
    const Tensor prior = diffusion::normal_kl(x_start * std::sqrt(1 - beta), std::log(beta), 0, 0);
    for (Index n = 0; n < 2; ++n) {
      const double last = mean_of(sample_of(nll, n)) / std::log(2.0),
                   first = mean_of(sample_of(prior, n)) / std::log(2.0);
      REQUIRE_THAT(all.vb(n, 0), WithinRel(last, tolerance::loss));
      REQUIRE_THAT(all.total_bpd(n), WithinRel(last + first, tolerance::loss));
    }
  }
}

TEST_CASE("the bound clips the prediction of x_0 by default", "[variational_bound]") {
  REQUIRE(BoundOptions{}.clip_denoised);
  REQUIRE(BoundOptions{}.likelihood == Likelihood::approximate);
}

TEST_CASE("the prior term is accurate where almost no signal is left", "[variational_bound]") {
  // abar_T = 1e-9: the term is 1/2 (abar x^2 - abar - log(1 - abar)) / log 2, whose last two
  // summands add up to abar^2/2 + abar^3/3.
  Eigen::ArrayXd betas(2);
  betas << 0.5, 1 - 2e-9;
  const GaussianDiffusion<double> process(betas);
  const double abar = process.alphas_cumprod()[1];
  Eigen::Tensor<double, 1> x_start(2);
  x_start.setValues({0.0, 0.75});
  const auto got = prior_bpd(process, x_start);
  const double last_two = 0.5 * abar * abar * (1 + 2.0 / 3.0 * abar);
  REQUIRE_THAT(got(0), WithinRel(0.5 * last_two / std::log(2.0), tolerance::exact_sum));
  REQUIRE_THAT(got(1), WithinRel(0.5 * (abar * 0.5625 + last_two) / std::log(2.0), tolerance::exact_sum));
}

TEST_CASE("the formulas for t = 0 and t > 0 do not affect each other", "[variational_bound]") {
  using Tensor = DoubleRowMajor::Tensor<2>;
  // This model predicts x_t with variance e^-800. The term is 0 at t = 0 and infinite at t > 0.
  const auto model = [](const Tensor& x, const Eigen::Tensor<double, 1>&) {
    const Tensor log_variance = x.constant(-800.0);
    return Tensor(x.concatenate(log_variance, 1));
  };
  const ReverseProcess reverse(GaussianDiffusion<double>(diffusion::linear_beta_schedule(50)), model,
                               {ModelMeanType::previous_x, ModelVarType::learned, true, false});
  Tensor x(2, 1);
  x.setConstant(3.0 / 255.0);
  Timesteps t(2);
  t.setValues({0, 5});
  for (const Likelihood likelihood : {Likelihood::approximate, Likelihood::exact}) {
    const auto got = vb_terms_bpd(reverse, x, x, t, {true, likelihood});
    REQUIRE(got.output(0) == 0.0);
    REQUIRE(got.output(1) == std::numeric_limits<double>::infinity());
  }
}

TEST_CASE("the bound ignores denoised_fn and cond_fn", "[variational_bound]") {
  using Tensor = FloatRowMajor::Tensor<2>;
  const auto reverse = guided_reverse<float, 2, Eigen::RowMajor>(
      GaussianDiffusion<float>(diffusion::linear_beta_schedule(50)), ReverseOptions());
  const auto other = reverse.with_denoised_fn([](Tensor& x) { x.setZero(); })
                         .with_cond_fn([](const Tensor& x, const Eigen::Tensor<float, 1>&) { return x; });
  const Tensor x_start = random_tensor<Tensor>({2, 3}, 1), x_t = random_tensor<Tensor>({2, 3}, 2);
  REQUIRE_THAT(vb_terms_bpd(other, x_start, x_t, 3).output, AllEqual(vb_terms_bpd(reverse, x_start, x_t, 3).output));
}

// ---- batches ----

namespace {

template <class Case, int Rank>
void check_batch_independence() {
  INFO("rank " << Rank);
  using Scalar = typename Case::Scalar;
  using Tensor = typename Case::template Tensor<Rank>;
  using Other = Eigen::Tensor<Scalar, Rank, Case::layout == Eigen::RowMajor ? Eigen::ColMajor : Eigen::RowMajor, Index>;
  const auto process = diffusion::respace(GaussianDiffusion<Scalar>(diffusion::cosine_beta_schedule(40)),
                                          diffusion::space_timesteps(40, "12"));
  const ReverseOptions options{ModelMeanType::epsilon,
                               Rank == 1 ? ModelVarType::fixed_large : ModelVarType::learned_range, true, false};
  const auto reverse = guided_reverse<Scalar, Rank, Case::layout>(process, options);
  const auto x_start = random_tensor<Tensor>(shape_of_rank<Rank>(67), 1),
             x_t = random_tensor<Tensor>(shape_of_rank<Rank>(67), 2);
  const auto z = random_tensor<Tensor>(shape_of_rank<Rank>(67), 3);
  Timesteps t(67);
  for (Index n = 0; n < 67; ++n) t(n) = n * 5 % 12;
  const auto same_noise = [&](const auto& noise) {
    return RecordedNoise(std::vector<std::decay_t<decltype(noise)>>(12, noise));
  };
  const auto all = vb_terms_bpd(reverse, x_start, x_t, t);
  const auto bpd = calc_bpd_loop(reverse, x_start, same_noise(z));
  for (const Index n : {0, 1, 12, 63, 64, 66}) {
    const Tensor x = sample_of(x_start, n);
    const auto one = vb_terms_bpd(reverse, x, sample_of(x_t, n), t(n));
    REQUIRE(one.output(0) == all.output(n));
    REQUIRE_THAT(one.pred_xstart, AllEqual(sample_of(all.pred_xstart, n)));
    const auto one_bpd = calc_bpd_loop(reverse, x, same_noise(sample_of(z, n)));
    REQUIRE(one_bpd.total_bpd(0) == bpd.total_bpd(n));
    REQUIRE(one_bpd.mse(0, 3) == bpd.mse(n, 3));
  }
  const auto mirrored = guided_reverse<Scalar, Rank, Other::Layout>(process, options);
  const auto turned = [](const Tensor& x) { return with_layout<Other::Layout>(x); };
  REQUIRE_THAT(vb_terms_bpd(mirrored, turned(x_start), turned(x_t), t).output, AllEqual(all.output));
  const auto mirrored_bpd = calc_bpd_loop(mirrored, turned(x_start), same_noise(turned(z)));
  REQUIRE_THAT(mirrored_bpd.total_bpd, AllEqual(bpd.total_bpd));
  REQUIRE_THAT(mirrored_bpd.xstart_mse, AllEqual(bpd.xstart_mse));
}

}  // namespace

TEST_CASE("the bound of a sample does not depend on its batch or on the layout", "[variational_bound]") {
  check_batch_independence<DoubleRowMajor, 1>();
  check_batch_independence<FloatColMajor, 2>();
  check_batch_independence<DoubleColMajor, 4>();
}

TEST_CASE("the bound accepts tensors of rank 1 and empty batches", "[variational_bound]") {
  const GaussianDiffusion<double> process(diffusion::linear_beta_schedule(50));
  const auto reverse = guided_reverse<double, 1, Eigen::ColMajor>(process, ReverseOptions());
  const auto columns = guided_reverse<double, 2, Eigen::ColMajor>(process, ReverseOptions());
  Eigen::Tensor<double, 1> x(3), x_t(3);
  x.setValues({0.1, -0.2, 0.3});
  x_t.setValues({0.3, -0.1, 0.5});
  const Eigen::array<Index, 2> column{3, 1};
  REQUIRE_THAT(vb_terms_bpd(reverse, x, x_t, 7).output,
               AllEqual(vb_terms_bpd(columns, x.reshape(column), x_t.reshape(column), 7).output));
  REQUIRE(vb_terms_bpd(reverse, x.slice(Eigen::array<Index, 1>{0}, Eigen::array<Index, 1>{0}),
                       x_t.slice(Eigen::array<Index, 1>{0}, Eigen::array<Index, 1>{0}), 7)
              .output.size() == 0);
  const auto bpd = calc_bpd_loop(reverse, Eigen::Tensor<double, 1>(0), diffusion::PhiloxNoise(1));
  REQUIRE(bpd.total_bpd.size() == 0);
  REQUIRE(bpd.vb.dimension(1) == 50);
}

// ---- errors ----

TEST_CASE("the bound throws for invalid arguments", "[variational_bound]") {
  using Invalid = std::invalid_argument;
  const auto reverse = guided_reverse<float, 2, Eigen::RowMajor>(
      GaussianDiffusion<float>(diffusion::jsd_beta_schedule(10)), ReverseOptions());
  const FloatRowMajor::Tensor<2> x(2, 3), y(2, 4), none(2, 0);
  Timesteps t(3);
  t.setConstant(1);
  REQUIRE(error_message<Invalid>([&] { (void)vb_terms_bpd(reverse, x, y, 1); }) ==
          "diffusion::vb_terms_bpd: x_t has shape [2, 4], but x_start has [2, 3]");
  REQUIRE(error_message<Invalid>([&] { (void)vb_terms_bpd(reverse, x, x, t); }) ==
          "diffusion::vb_terms_bpd: t has 3 entries for a batch of 2 samples");
  REQUIRE(error_message<std::out_of_range>([&] { (void)vb_terms_bpd(reverse, x, x, 10); }) ==
          "diffusion::vb_terms_bpd: t = 10 is outside [0, 10)");
  REQUIRE(error_message<Invalid>([&] { (void)prior_bpd(reverse.process(), none); }) ==
          "diffusion::prior_bpd: x_start has shape [2, 0]: its samples have no values");
  REQUIRE(error_message<std::domain_error>([&] { (void)vb_terms_bpd(reverse, x, x, 9); }) ==
          "diffusion::vb_terms_bpd: alphas_cumprod[9] = 0: epsilon does not determine x_0 (sample 0)");
  int calls = 0;
  const auto counting = [&](auto&) { ++calls; };
  REQUIRE(error_message<std::domain_error>([&] { (void)calc_bpd_loop(reverse, x, counting); }) ==
          "diffusion::calc_bpd_loop: alphas_cumprod[9] = 0: epsilon does not determine x_0 (sample 0)");
  REQUIRE(calls == 0);
}

}  // namespace variational_bound_tests
