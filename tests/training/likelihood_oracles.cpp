/// Tests of the variational bound against closed forms. For x_0 ~ N(m, s^2) the optimal model is
/// known, and so is every term of its bound.
///
/// With a = sqrt(abar_t) and b^2 = 1 - abar_t, x_t = a x_0 + b z for a standard normal z. Given
/// x_t, x_0 is Gaussian with mean and variance
///
///     m + k (x_t - a m),   k = s^2 a / (a^2 s^2 + b^2)
///     w = s^2 b^2 / (a^2 s^2 + b^2)
///
/// The error of the optimal prediction of x_0 is then
///
///     x_0 - pred = (1 - k a) (x_0 - m) - k b z
///
/// and the variance of p(x_{t-1} | x_t) is posterior_variance + coef1^2 w.
#include <Eigen/Eigenvalues>
#include <cmath>
#include <vector>

#include "diffusion/noise/recorded_noise.hpp"
#include "diffusion/process/respacing.hpp"
#include "diffusion/process/schedules.hpp"
#include "diffusion/training/variational_bound.hpp"
#include "matchers.hpp"

namespace likelihood_oracles_tests {

using diffusion::calc_bpd_loop;
using diffusion::GaussianDiffusion;
using diffusion::Likelihood;
using diffusion::ModelMeanType;
using diffusion::ModelVarType;
using diffusion::RecordedNoise;
using diffusion::ReverseProcess;
using Eigen::ArrayXd;
using Eigen::Index;
using Tensor = Eigen::Tensor<double, 2, Eigen::RowMajor>;

namespace {

const double log_two = std::log(2.0);

/// Mean and standard deviation of the data.
struct Data {
  double m, s;
};
/// The closed forms at one timestep of a process.
struct Truth {
  double a, b, k, w;          // as above
  double coef1;               // coefficient of x_0 in the posterior mean
  double posterior, reverse;  // the variances of q(x_{t-1} | x_t, x_0) and of the optimal p(x_{t-1} | x_t)

  /// Computes them from abar_{t-1} and abar_t.
  Truth(const Data& data, double previous, double current) {
    a = std::sqrt(current);
    b = std::sqrt(1 - current);
    const double s2 = data.s * data.s, total = current * s2 + 1 - current;
    k = s2 * a / total;
    w = s2 * (1 - current) / total;
    const double beta = 1 - current / previous;
    coef1 = std::sqrt(previous) * beta / (1 - current);
    posterior = (1 - previous) / (1 - current) * beta;
    reverse = posterior + coef1 * coef1 * w;
  }
  double error(const Data& data, double x_0, double z) const { return (1 - k * a) * (x_0 - data.m) - k * b * z; }
};

Truth truth(const Data& data, const GaussianDiffusion<double>& process, Index t) {
  return {data, process.alphas_cumprod_prev()[t], process.alphas_cumprod()[t]};
}

/// KL(N(0, v) || N(d, u)) in bits.
double kl(double d, double v, double u) { return 0.5 * (v / u - 1 + std::log(u / v) + d * d / u) / log_two; }

/// log2 of the probability of the bin of x.
double log2_probability(const Data& data, double x) {
  const double unit = data.s * std::sqrt(2.0);
  return std::log2(0.5 * (std::erf((x + 1 / 255.0 - data.m) / unit) - std::erf((x - 1 / 255.0 - data.m) / unit)));
}

/// The optimal model of epsilon: sqrt(1 - abar) (x_t - a m) / (a^2 s^2 + 1 - abar). If log_variance
/// is not empty, the variances are learned and log_variance holds their log for each t.
struct BestModel {
  Data data;
  GaussianDiffusion<double> base;  // the original process, whose timesteps are the model time
  ArrayXd log_variance;

  Tensor operator()(const Tensor& x, const Eigen::Tensor<double, 1>& t) const {
    Tensor out(x.dimension(0), log_variance.size() == 0 ? 1 : 2);
    for (Index n = 0; n < x.dimension(0); ++n) {
      const auto step = static_cast<Index>(t(n));
      const double abar = base.alphas_cumprod()[step], b2 = base.one_minus_alphas_cumprod()[step];
      out(n, 0) = std::sqrt(b2) * (x(n, 0) - std::sqrt(abar) * data.m) / (abar * data.s * data.s + b2);
      if (log_variance.size() != 0) out(n, 1) = log_variance[step];
    }
    return out;
  }
};

/// Gauss-Hermite quadrature: sum_n weight_n f(node_n) is the mean of f(z), z ~ N(0, 1), exactly for
/// polynomials up to degree 99.
struct Gauss {
  Gauss() {
    Eigen::MatrixXd jacobi = Eigen::MatrixXd::Zero(size, size);
    for (Index k = 1; k < size; ++k) jacobi(k - 1, k) = jacobi(k, k - 1) = std::sqrt(static_cast<double>(k));
    const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(jacobi);
    node = solver.eigenvalues();
    weight = solver.eigenvectors().row(0).array().square();
  }
  static constexpr Index size = 50;
  ArrayXd node, weight;
};

/// The bound on -log p(x_0) and its T terms, averaged over the noise by quadrature: z takes the
/// nodes of the rule at every t.
struct MeanBound {
  template <class Reverse>
  MeanBound(const Reverse& reverse, double x_0) {
    const Gauss rule;
    Tensor x_start(Gauss::size, 1), z(Gauss::size, 1);
    for (Index n = 0; n < Gauss::size; ++n) x_start(n, 0) = x_0, z(n, 0) = rule.node[n];
    const Index T = reverse.process().num_timesteps();
    const auto all = calc_bpd_loop(reverse, x_start, RecordedNoise(std::vector<Tensor>(static_cast<std::size_t>(T), z)),
                                   {false, Likelihood::exact});
    vb = ArrayXd::Zero(T);
    for (Index n = 0; n < Gauss::size; ++n) {
      total += rule.weight[n] * all.total_bpd(n);
      for (Index t = 0; t < T; ++t) vb[t] += rule.weight[n] * all.vb(n, T - 1 - t);
    }
    prior = all.prior_bpd(0);
  }
  double total = 0, prior = 0;
  ArrayXd vb;  // by t
};

/// A process with some noise in its first step, followed by T - 1 small steps over which log SNR
/// falls linearly by `fall`.
GaussianDiffusion<double> even_process(Index T, double fall = 14) {
  ArrayXd abar(T);
  for (Index t = 0; t < T; ++t) {
    abar[t] = 1 / (1 + std::exp(-2 + fall * static_cast<double>(t) / static_cast<double>(T - 1)));
  }
  return GaussianDiffusion<double>(diffusion::betas_from_alphas_cumprod(abar));
}

/// A model with the optimal mean, and with the optimal variances or, at t > 0, those of the
/// posterior.
auto reverse_of(const GaussianDiffusion<double>& process, const Data& data, bool best_variance) {
  ArrayXd log_variance(process.num_timesteps());
  for (Index t = 0; t < process.num_timesteps(); ++t) {
    const Truth q = truth(data, process, t);
    log_variance[t] = std::log(best_variance || t == 0 ? q.reverse : q.posterior);
  }
  return ReverseProcess(process, BestModel{data, process, log_variance},
                        {ModelMeanType::epsilon, ModelVarType::learned, false, false});
}

constexpr double pixel(int k) { return 2.0 * k / 255.0 - 1.0; }

}  // namespace

TEST_CASE("every term of the bound of the optimal model equals its closed form", "[likelihood_oracles]") {
  const Data data{0.3, 0.5};
  const GaussianDiffusion<double> base(diffusion::linear_beta_schedule(200));
  for (const Index steps : {200, 15}) {
    const auto process =
        steps == 200 ? base : diffusion::respace(base, diffusion::space_timesteps(200, std::to_string(steps)));
    const ReverseProcess reverse(process, BestModel{data, base, {}},
                                 {ModelMeanType::epsilon, ModelVarType::fixed_small, false, false});
    const Tensor x_start = random_tensor<Tensor>({8, 1}, 1);
    std::vector<Tensor> draws;
    for (Index k = 0; k < steps; ++k)
      draws.push_back(2.0 * random_tensor<Tensor>({8, 1}, static_cast<unsigned>(2 + k)));
    const auto all = calc_bpd_loop(reverse, x_start, RecordedNoise(draws));
    for (Index n = 0; n < 8; ++n) {
      const double x_0 = x_start(n, 0), abar = process.alphas_cumprod()[steps - 1];
      for (Index t = 1; t < steps; ++t) {
        INFO("t = " << t << " of " << steps);
        const Index column = steps - 1 - t;
        const Truth q = truth(data, process, t);
        const double error = q.error(data, x_0, draws[static_cast<std::size_t>(column)](n, 0));
        REQUIRE_THAT(all.vb(n, column),
                     WithinRel(kl(q.coef1 * error, q.posterior, q.posterior), tolerance::bound_oracle));
        REQUIRE_THAT(all.xstart_mse(n, column), WithinRel(error * error, tolerance::bound_oracle));
        REQUIRE_THAT(all.mse(n, column), WithinRel(std::pow(q.a / q.b * error, 2), tolerance::bound_oracle));
      }
      REQUIRE_THAT(all.prior_bpd(n), WithinRel(kl(std::sqrt(abar) * x_0, 1 - abar, 1), tolerance::bound_oracle));
    }
  }
}

TEST_CASE("with the optimal variances the bound equals the negative log-likelihood", "[likelihood_oracles]") {
  // With m = 0 and s = 1, x_T is N(0, 1) and the prior is exact too. The remaining gap appears
  // because x_0 is the centre of its bin. It is of the order of (width of a bin / standard
  // deviation of p(x_0 | x_1))^4.
  const Data data{0.0, 1.0};
  for (const Index T : {2, 20, 200}) {
    const auto process = even_process(T);
    const auto reverse = reverse_of(process, data, true);
    for (const int k : {3, 127, 190}) {
      INFO("T = " << T << ", pixel " << k);
      const MeanBound bound(reverse, pixel(k));
      REQUIRE_THAT(bound.total, WithinAbs(-log2_probability(data, pixel(k)), tolerance::bin_width));
      for (Index t = 1; t < T; ++t) {
        // The mean of error^2 over z, where the mean of z^2 is 1.
        const Truth q = truth(data, process, t);
        const double drift = q.coef1 * q.error(data, pixel(k), 0), spread = q.coef1 * q.k * q.b;
        const double expected = kl(std::hypot(drift, spread), q.posterior, q.reverse);
        REQUIRE_THAT(bound.vb[t],
                     WithinRel(expected, tolerance::bound_oracle) || WithinAbs(expected, tolerance::exact_sum));
      }
    }
  }
}

TEST_CASE("with the variances of the posterior the gap of the bound falls as 1 / T", "[likelihood_oracles]") {
  const Data data{0.0, 1.0};
  double previous_gap = 0;
  for (const Index T : {64, 128, 256, 512}) {
    INFO("T = " << T);
    const auto process = even_process(T);
    const MeanBound bound(reverse_of(process, data, false), pixel(190));
    const double gap = bound.total + log2_probability(data, pixel(190));
    // The difference between the closed forms for the variances of the posterior and for the
    // optimal ones.
    double expected = 0;
    for (Index t = 1; t < T; ++t) {
      const Truth q = truth(data, process, t);
      const double moved = std::hypot(q.coef1 * q.error(data, pixel(190), 0), q.coef1 * q.k * q.b);
      expected += kl(moved, q.posterior, q.posterior) - kl(moved, q.posterior, q.reverse);
    }
    REQUIRE_THAT(gap, WithinAbs(expected, tolerance::bin_width));
    REQUIRE(gap > 0);
    if (T > 64) {
      INFO("the gap falls from " << previous_gap << " to " << gap);
      REQUIRE_THAT(previous_gap / gap, WithinAbs(2.0, 0.1));
    }
    previous_gap = gap;
  }
}

TEST_CASE("with the optimal variances the gap of the bound equals the mismatch of the prior", "[likelihood_oracles]") {
  // x_T is N(a m, a^2 s^2 + b^2) for the data and N(0, 1) for the model. The gap at one x_0 is the
  // mean over x_T of the difference of their log-densities; its mean over x_0 is the KL divergence
  // of the two.
  const Data data{0.2, 0.4};
  const auto process = even_process(100, 5);  // abar_T = 0.05
  const Truth last = truth(data, process, 99);
  const double mean = last.a * data.m, variance = last.a * last.a * data.s * data.s + last.b * last.b;
  const auto reverse = reverse_of(process, data, true);
  for (const int k : {60, 150, 220}) {
    const double drift = last.a * pixel(k);
    const double lost = 0.5 * (drift * drift + last.b * last.b) -
                        0.5 * (std::pow(drift - mean, 2) + last.b * last.b) / variance - 0.5 * std::log(variance);
    REQUIRE_THAT(MeanBound(reverse, pixel(k)).total,
                 WithinAbs(-log2_probability(data, pixel(k)) + lost / log_two, tolerance::bin_width));
    REQUIRE(std::abs(lost) > 1e-4);
  }
}

}  // namespace likelihood_oracles_tests
