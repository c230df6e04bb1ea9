// Tests of diffusion/sampling/reverse_process.hpp against exact answers. For data x_0 ~ N(m, s^2)
// the optimal model has a closed form:
//
//     E[x_0 | x_t] = m + g (x_t - sqrt(abar) m),   g = sqrt(abar) s^2 / (abar s^2 + 1 - abar)
//
// It is affine in x_t, and so is every sampler that uses it. For Gaussian x_T and noise, the result
// of a loop is therefore Gaussian. A few deterministic runs determine its mean and variance: one
// from 0, one from 1, and one for each draw of noise.
#include <array>
#include <cmath>
#include <vector>

#include "diffusion/process/respacing.hpp"
#include "diffusion/process/schedules.hpp"
#include "diffusion/sampling/reverse_process.hpp"
#include "matchers.hpp"
#include "reverse_models.hpp"

namespace reverse_oracles_tests {

using diffusion::GaussianDiffusion;
using diffusion::linear_beta_schedule;
using diffusion::ModelMeanType;
using diffusion::ModelVarType;
using diffusion::respace;
using diffusion::ReverseOptions;
using diffusion::ReverseProcess;
using diffusion::space_timesteps;
using Eigen::ArrayXd;
using Eigen::Index;

namespace {

using Process = GaussianDiffusion<double>;
using Matrix = Eigen::Tensor<double, 2, Eigen::RowMajor, Index>;

struct Data {
  double m, s;
  double mean(double alpha_bar) const { return std::sqrt(alpha_bar) * m; }
  double variance(double alpha_bar) const { return alpha_bar * s * s + (1 - alpha_bar); }
  double variance_of_xstart(double alpha_bar) const { return s * s * (1 - alpha_bar) / variance(alpha_bar); }
  double xstart(double x, double alpha_bar) const {
    return m + std::sqrt(alpha_bar) * s * s / variance(alpha_bar) * (x - mean(alpha_bar));
  }
};

/// The optimal model of the data for one value per sample, in any parameterisation. For learned
/// variances it also predicts the true variance of p(x_{t-1} | x_t).
struct Optimal {
  Process process;
  Data data;
  ReverseOptions options;

  void operator()(const Matrix& x, const Eigen::Tensor<double, 1>& t, Matrix& out) const {
    for (Index n = 0; n < x.dimension(0); ++n) {
      Index i = 0;  // the timestep of the process whose model time is t(n)
      while (static_cast<double>(process.timestep_map()[static_cast<std::size_t>(i)]) != t(n)) ++i;
      const double alpha_bar = process.alphas_cumprod()[i], sigma = process.sqrt_one_minus_alphas_cumprod()[i];
      const double x_0 = data.xstart(x(n, 0), alpha_bar), coef1 = process.posterior_mean_coef1()[i];
      const double eps = (x(n, 0) - std::sqrt(alpha_bar) * x_0) / sigma;
      switch (options.mean_type) {
        case ModelMeanType::previous_x:
          out(n, 0) = coef1 * x_0 + process.posterior_mean_coef2()[i] * x(n, 0);
          break;
        case ModelMeanType::start_x:
          out(n, 0) = x_0;
          break;
        case ModelMeanType::epsilon:
          out(n, 0) = eps;
          break;
        case ModelMeanType::velocity:
          out(n, 0) = std::sqrt(alpha_bar) * eps - sigma * x_0;
          break;
        default:  // a ReverseProcess throws for the others
          break;
      }
      if (out.dimension(1) == 2) {
        out(n, 1) = std::log(process.posterior_variance()[i] + coef1 * coef1 * data.variance_of_xstart(alpha_bar));
      }
    }
  }
};

ReverseProcess<double, Optimal> optimal(const Process& process, const Data& data, ModelMeanType mean_type,
                                        ModelVarType var_type = ModelVarType::fixed_small) {
  const ReverseOptions options{mean_type, var_type, false, false};
  return {process, Optimal{process, data, options}, options};
}

/// x_T of the deterministic runs, the probes, in a batch. Sample 1 starts at 1, all others at 0.
/// In step k only sample 2 + k gets noise, which is 1.
Matrix probes(Index T) {
  Matrix x(T + 2, 1);
  x.setZero();
  x(1, 0) = 1;
  return x;
}

auto probing_noise() {
  return [step = Index(2)](Matrix& noise) mutable {
    noise.setZero();
    noise(step++, 0) = 1;
  };
}

struct Gaussian {
  double mean, variance;
};

/// The distribution of x for x_T ~ start and N(0, 1) noise, computed from the probes.
Gaussian law(const Matrix& x, const Gaussian& start) {
  const double offset = x(0, 0), slope = x(1, 0) - offset;
  Gaussian out{offset + slope * start.mean, slope * slope * start.variance};
  for (Index n = 2; n < x.dimension(0); ++n) out.variance += (x(n, 0) - offset) * (x(n, 0) - offset);
  return out;
}

/// Requires that x has the marginal distribution of q after every step of `run` except the last,
/// which adds no noise.
template <class Run>
void check_marginals(const Process& process, const Data& data, const Run& run) {
  const ArrayXd& alphas_cumprod = process.alphas_cumprod();
  const Index T = process.num_timesteps();
  const Gaussian start{data.mean(alphas_cumprod[T - 1]), data.variance(alphas_cumprod[T - 1])};
  Index steps = 0;
  run(probes(T), probing_noise(), [&](Index, Index t, const auto& state) {
    ++steps;
    if (t == 0) return;
    INFO("after the step at t = " << t);
    const Gaussian got = law(state.sample, start);
    const double alpha_bar = process.alphas_cumprod_prev()[t];
    REQUIRE_THAT(got.mean, WithinAbs(data.mean(alpha_bar), tolerance::loop_oracle));
    REQUIRE_THAT(got.variance, WithinRel(data.variance(alpha_bar), tolerance::loop_oracle));
  });
  REQUIRE(steps == T);
}

std::vector<Process> processes() {
  const Process base(linear_beta_schedule(1000));
  return {Process(linear_beta_schedule(30)), Process(diffusion::cosine_beta_schedule(40)),
          respace(base, space_timesteps(1000, "5,10,25")), respace(base, {0, 700, 999})};
}

constexpr Data spread{0.4, 0.5}, point{-0.7, 0}, standard{0, 1};

/// The order of convergence, from the errors at n and at 2 n steps.
double order(double error, double error_of_twice) { return std::log2(error / error_of_twice); }

}  // namespace

TEST_CASE("p_sample_loop has the marginals of q at every step if the model predicts the true variance",
          "[reverse_process]") {
  for (const Process& process : processes()) {
    for (const ModelMeanType type : models::mean_types) {
      const auto reverse = optimal(process, spread, type, ModelVarType::learned);
      check_marginals(process, spread, [&](const Matrix& x, auto noise, const auto& observer) {
        (void)reverse.p_sample_loop(x, noise, observer);
      });
    }
  }
}

TEST_CASE("fixed_small is the true variance for data at one point, fixed_large for N(0, 1) data", "[reverse_process]") {
  for (const Process& process : processes()) {
    for (const ModelMeanType type : models::mean_types) {
      const auto small = optimal(process, point, type, ModelVarType::fixed_small);
      check_marginals(process, point, [&](const Matrix& x, auto noise, const auto& observer) {
        REQUIRE_THAT(small.p_sample_loop(x, noise, observer)(1, 0), WithinAbs(point.m, tolerance::loop_oracle));
      });
      const auto large = optimal(process, standard, type, ModelVarType::fixed_large);
      check_marginals(process, standard, [&](const Matrix& x, auto noise, const auto& observer) {
        (void)large.p_sample_loop(x, noise, observer);
      });
    }
  }
}

TEST_CASE("ddim_sample_loop has the marginals of q for data at one point and every eta", "[reverse_process]") {
  for (const Process& process : processes()) {
    for (const double eta : {0.0, 0.3, 1.0}) {
      const auto reverse = optimal(process, point, ModelMeanType::velocity);
      check_marginals(process, point, [&](const Matrix& x, auto noise, const auto& observer) {
        REQUIRE_THAT(reverse.ddim_sample_loop(x, noise, eta, observer)(2, 0),
                     WithinAbs(point.m, tolerance::loop_oracle));
      });
    }
  }
}

TEST_CASE("DDIM ends at the product of the exact factors of its steps, up and down", "[reverse_process]") {
  // The step from abar = a to abar = b multiplies the deviation of x from its mean by
  // (sqrt(a b) s^2 + sqrt((1 - a)(1 - b))) / (a s^2 + 1 - a).
  const auto factor = [](double a, double b) {
    return (std::sqrt(a * b) * spread.s * spread.s + std::sqrt((1 - a) * (1 - b))) / spread.variance(a);
  };
  Matrix x(1, 1);
  x(0, 0) = 1.3;
  for (const Process& process : processes()) {
    const Index T = process.num_timesteps();
    const ArrayXd& bar = process.alphas_cumprod();
    double down = 1, up = 1;
    for (Index t = 0; t < T; ++t) {
      down *= factor(bar[t], process.alphas_cumprod_prev()[t]);
      up *= factor(bar[t], process.alphas_cumprod_next()[t]);
    }
    for (const ModelMeanType type : models::mean_types) {
      const auto reverse = optimal(process, spread, type);
      const double end = reverse.ddim_sample_loop(x)(0, 0);
      REQUIRE_THAT(end, WithinAbs(spread.m + down * (1.3 - spread.mean(bar[T - 1])), tolerance::loop_oracle));
      Matrix risen = x;
      for (Index t = 0; t < T; ++t) risen = reverse.ddim_reverse_sample(risen, t).sample;
      REQUIRE_THAT(risen(0, 0), WithinAbs(up * (1.3 - spread.mean(bar[0])), tolerance::loop_oracle));
    }
  }
}

TEST_CASE("the errors of DDIM and of its inversion by ddim_reverse_sample fall as 1 / steps", "[reverse_process]") {
  const Process base(linear_beta_schedule(1000));
  const double last = base.alphas_cumprod()[999];
  // The probability flow maps quantiles to quantiles.
  const double exact = spread.m + std::sqrt(spread.variance(base.alphas_cumprod()[0]) / spread.variance(last)) *
                                      (1.3 - spread.mean(last));
  std::vector<double> end_errors, round_trips;
  for (const Index steps : {31, 62, 124, 248}) {
    const auto reverse = optimal(respace(base, space_timesteps(1000, {steps})), spread, ModelMeanType::epsilon);
    Matrix x(1, 1);
    x(0, 0) = 1.3;
    for (Index t = steps - 1; t > 0; --t) x = reverse.ddim_sample(x, t).sample;
    end_errors.push_back(std::abs(x(0, 0) - (exact - spread.m + spread.mean(base.alphas_cumprod()[0]))));
    Matrix back = x;
    for (Index t = 0; t < steps - 1; ++t) back = reverse.ddim_reverse_sample(back, t).sample;
    round_trips.push_back(std::abs(back(0, 0) - 1.3));
  }
  for (std::size_t i = 1; i < end_errors.size(); ++i) {
    INFO("errors " << end_errors[i - 1] << ", " << end_errors[i] << "; round trips " << round_trips[i - 1] << ", "
                   << round_trips[i]);
    REQUIRE_THAT(order(end_errors[i - 1], end_errors[i]), WithinAbs(1.0, tolerance::loop_order));
    REQUIRE_THAT(order(round_trips[i - 1], round_trips[i]), WithinAbs(1.0, tolerance::loop_order));
  }
}

TEMPLATE_TEST_CASE("ddim_sample with eta = 1 equals p_sample with fixed_small", "[reverse_process]", DoubleColMajor,
                   FloatRowMajor) {
  using Tensor = typename TestType::template Tensor<2>;
  using Scalar = typename TestType::Scalar;
  const GaussianDiffusion<Scalar> base(linear_beta_schedule(1000));
  const std::array<GaussianDiffusion<Scalar>, 3> all = {
      base, respace(base, space_timesteps(1000, {50})),
      GaussianDiffusion<Scalar>(diffusion::cosine_beta_schedule(200))};
  for (const auto& process : all) {
    const Index T = process.num_timesteps();
    const Tensor x = random_tensor<Tensor>({T, 5}, 1), noise = random_tensor<Tensor>({T, 5}, 2);
    diffusion::Timesteps t(T);
    for (Index i = 0; i < T; ++i) t(i) = i;
    const auto guided = ReverseProcess(process, models::AnyGuidedModel{}).with_denoised_fn(models::DenoisedFn{});
    REQUIRE_THAT(guided.ddim_sample(x, t, noise, 1.0).sample,
                 AllClose(guided.p_sample(x, t, noise).sample, Tolerance<Scalar>::rel, Tolerance<Scalar>::abs));
  }
}

}  // namespace reverse_oracles_tests
