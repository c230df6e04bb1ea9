/// Tests of diffusion/training/likelihood.hpp.
#include "diffusion/training/likelihood.hpp"

#include <array>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "matchers.hpp"

namespace likelihood_tests {

using diffusion::approx_standard_normal_cdf;
using diffusion::approx_standard_normal_cdf_into;
using diffusion::discretized_gaussian_log_likelihood;
using diffusion::discretized_gaussian_log_likelihood_into;
using diffusion::Likelihood;
using diffusion::normal_kl;
using diffusion::normal_kl_into;
using Eigen::Index;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

struct Value {
  double x, mean, log_scale;
  double log_likelihood;
};

/// Exact log-likelihoods, computed with at least 60 digits: inner and outermost bins, probabilities
/// from 1 down to the far tails, and points at which the implementation switches from one formula
/// to another.
// clang-format off
const std::vector<Value> exact = {
    {-0.7098039215686274, -0.7137039215686274, -12.0, -0.00022374369786226653},
    {0.9921568627450981, 0.692156862745098, -12.0, -1161050518.5886996},
    {-0.9921568627450981, 0.7078431372549019, -12.0, -38100391027.676652},
    {-1.0, -0.8, -12.0, -509210355.96181372},
    {1.0, 0.99, -12.0, -489358.9571608456},
    {-0.21568627450980393, -0.21568627450980393, -7.0, -1.7039755887388012e-5},
    {0.0039215686274509665, 0.0059215686274509665, -7.0, -0.017703489189123309},
    {-0.7098039215686274, -0.7137039215686274, -7.0, -0.67445251794447998},
    {0.9921568627450981, 0.692156862745098, -7.0, -52718.313280491981},
    {-0.9921568627450981, 0.7078431372549019, -7.0, -1729763.523226827},
    {-1.0, -1.0, -7.0, -8.5198416495339189e-6},
    {-1.0, -0.8, -7.0, -23124.403602065124},
    {1.0, 1.0039, -7.0, -4.8524422895328642e-18},
    {1.0, 0.99, -7.0, -25.053798608489857},
    {-0.21568627450980393, -0.21568627450980393, -5.0, -0.82225030378917503},
    {0.0039215686274509665, 0.0059215686274509665, -5.0, -0.86155438557203929},
    {-0.7098039215686274, -0.7137039215686274, -5.0, -0.9717499556597591},
    {0.9921568627450981, 0.692156862745098, -5.0, -970.14916567658085},
    {-0.9921568627450981, 0.7078431372549019, -5.0, -31688.016610503098},
    {-1.0, -1.0, -5.0, -0.32889187563739975},
    {-1.0, -0.8, -5.0, -427.71390103924684},
    {1.0, 1.0039, -5.0, -0.1310850154960283},
    {1.0, 0.99, -5.0, -1.6955581883357633},
    {-0.21568627450980393, -0.21568627450980393, -3.5, -2.2698625380774795},
    {0.0039215686274509665, 0.0059215686274509665, -3.5, -2.2720435024664744},
    {-0.7098039215686274, -0.7137039215686274, -3.5, -2.2781556554885506},
    {0.9921568627450981, 0.692156862745098, -3.5, -51.355420517237843},
    {-0.9921568627450981, 0.7078431372549019, -3.5, -1582.2800331016653},
    {-1.0, -1.0, -3.5, -0.59481757966244297},
    {-1.0, -0.8, -3.5, -23.893142305720473},
    {1.0, 1.0039, -3.5, -0.50718545444514715},
    {1.0, 0.99, -3.5, -0.86693903522296917},
    {-0.21568627450980393, -0.21568627450980393, -2.0, -3.7671948314027878},
    {0.0039215686274509665, 0.0059215686274509665, -2.0, -3.7673039971441022},
    {-0.7098039215686274, -0.7137039215686274, -2.0, -3.7676099341341381},
    {0.9921568627450981, 0.692156862745098, -2.0, -6.2234241054915822},
    {-0.9921568627450981, 0.7078431372549019, -2.0, -82.63953960359071},
    {-1.0, -1.0, -2.0, -0.67029350754479446},
    {-1.0, -0.8, -2.0, -2.607862401531486},
    {-1.0, -2.5, -2.0, -5.4494176228628443e-29},
    {1.0, 1.0039, -2.0, -0.64809036718980771},
    {1.0, 0.99, -2.0, -0.72962864941291901},
    {1.0, 2.5, -2.0, -5.4494176228628443e-29},
    {-0.21568627450980393, -0.21568627450980393, 0.0, -5.7670574609172757},
    {0.0039215686274509665, 0.0059215686274509665, 0.0, -5.7670594609070233},
    {-0.7098039215686274, -0.7137039215686274, 0.0, -5.7670650658782908},
    {0.9921568627450981, 0.692156862745098, 0.0, -5.8120572302372519},
    {-0.9921568627450981, 0.7078431372549019, 0.0, -7.2120500535360309},
    {-1.0, -1.0, 0.0, -0.6900231144978977},
    {-1.0, -0.8, 0.0, -0.86209996553337084},
    {-1.0, -2.5, 0.0, -0.068600928334739025},
    {1.0, 1.0039, 0.0, -0.686925927529844},
    {1.0, 0.99, 0.0, -0.69800883595954326},
    {1.0, 2.5, 0.0, -0.068600928334739025},
    {-0.21568627450980393, -0.21568627450980393, 3.0, -8.7670549041564848},
    {0.0039215686274509665, 0.0059215686274509665, 3.0, -8.7670549091139891},
    {-0.7098039215686274, -0.7137039215686274, 3.0, -8.7670549230073948},
    {0.9921568627450981, 0.692156862745098, 3.0, -8.7671664480030174},
    {-0.9921568627450981, 0.7078431372549019, 3.0, -8.770636701006255},
    {-1.0, -1.0, 3.0, -0.69299141099490505},
    {-1.0, -0.8, 3.0, -0.70096663417978556},
    {-1.0, -2.5, 3.0, -0.63517406592507409},
    {1.0, 1.0039, 3.0, -0.69283652222896035},
    {1.0, 0.99, 3.0, -0.69338867134585735},
    {1.0, 2.5, 3.0, -0.63517406592507409},
    {-0.21568627450980393, -0.21568627450980393, 12.0, -17.767054897803154},
    {0.0039215686274509665, 0.0059215686274509665, 12.0, -17.767054897803154},
    {-0.7098039215686274, -0.7137039215686274, 12.0, -17.767054897803154},
    {0.9921568627450981, 0.692156862745098, 12.0, -17.767054897804852},
    {-0.9921568627450981, 0.7078431372549019, 12.0, -17.767054897857704},
    {-1.0, -1.0, 12.0, -0.69314716133495657},
    {-1.0, -0.8, 12.0, -0.69314814180985339},
    {-1.0, -2.5, 12.0, -0.6931398078038728},
    {1.0, 1.0039, 12.0, -0.69314714221570564},
    {1.0, 0.99, 12.0, -0.69314721035867858},
    {1.0, 2.5, 12.0, -0.6931398078038728},
    {-0.21568627450980393, -0.2164691122647265, -4.85, -0.96278039197630523},
    {-0.21568627450980393, -0.23098217195427256, -4.848, -2.7124019095718426},
    {-0.21568627450980393, -0.23229108801815015, -4.84, -3.0030379390104644},
    {-0.21568627450980393, -0.36442544794509363, -4.85, -174.94711980156928},
    {-0.21568627450980393, -0.4975078662819318, -4.85, -634.58077104859369},
    {-0.21568627450980393, -0.5131646213803833, -4.85, -707.6336132104127},
    {-0.21568627450980393, -4.129875049122691, -4.85, -124756.78666740969},
    {-0.21568627450980393, -0.21821617549358086, -9.0, -8.5424344837190757e-30},
    {-0.21568627450980393, -2.922391939242058, -2.0, -203.71183797044345},
};
// clang-format on

/// Central differences with steps proportional to the standard deviation.
std::array<double, 2> slopes(Likelihood likelihood, double x, double mean, double log_scale) {
  const double h = 1e-5 * std::exp(log_scale), s = 1e-5;
  const auto f = [&](double m, double l) { return diffusion::detail::log_likelihood(likelihood, x, m, l); };
  return {(f(mean + h, log_scale) - f(mean - h, log_scale)) / ((mean + h) - (mean - h)),
          (f(mean, log_scale + s) - f(mean, log_scale - s)) / ((log_scale + s) - (log_scale - s))};
}

template <class Case, int Rank>
auto recorded(const std::string& name) {
  return golden("guided_losses.txt").tensor<typename Case::Scalar, Rank, Case::layout>(name);
}

}  // namespace

// ---- recorded reference ----

TEMPLATE_TEST_CASE("normal_kl and approx_standard_normal_cdf equal guided-diffusion's", "[likelihood]", LAYOUTS) {
  using Scalar = typename TestType::Scalar;
  const Golden& g = golden("guided_losses.txt");
  const bool f32 = std::is_same_v<Scalar, float>;
  const double tol = f32 ? tolerance::loss_f32 : tolerance::loss;
  const std::string suffix = f32 ? ".f32" : "";
  const std::string name = "normal_kl/vector/";
  const auto mean1 = recorded<TestType, 1>(name + "mean1"), logvar1 = recorded<TestType, 1>(name + "logvar1");
  const auto mean2 = recorded<TestType, 1>(name + "mean2"), logvar2 = recorded<TestType, 1>(name + "logvar2");
  REQUIRE_THAT(normal_kl(mean1, logvar1, mean2, logvar2),
               AllClose(g.tensor<double, 1>(name + "out" + suffix), tol, tol));
  REQUIRE_THAT(normal_kl(mean1, logvar1, 0, 0),
               AllClose(g.tensor<double, 1>(name + "out_vs_std_normal" + suffix), tol, tol));
  REQUIRE_THAT(approx_standard_normal_cdf(recorded<TestType, 1>("approx_standard_normal_cdf/x")),
               AllClose(g.tensor<double, 1>("approx_standard_normal_cdf/out" + suffix), tol, tol));
}

template <class Case, int Rank>
void check_discretized(const std::string& name) {
  INFO(name);
  const auto x = recorded<Case, Rank>(name + "x"), means = recorded<Case, Rank>(name + "means");
  const auto log_scales = recorded<Case, Rank>(name + "log_scales");
  const auto got = discretized_gaussian_log_likelihood(x, means, log_scales);
  const auto expected = golden("guided_losses.txt").tensor<double, Rank, Case::layout>(name + "out");
  for (Index i = 0; i < got.size(); ++i) {
    // The absolute error of a probability in the reference is the rounding error of a number near
    // 1, so the log of a small probability is less accurate.
    const double lost = tolerance::reference_probability * std::exp(-expected.data()[i]);
    const double allowed =
        (std::is_same_v<typename Case::Scalar, float> ? tolerance::nats_f32 : tolerance::loss) + lost;
    REQUIRE_THAT(static_cast<double>(got.data()[i]), WithinAbs(expected.data()[i], allowed));
  }

  // Results for float are as accurate as for double, in both forms; the reference's own float32
  // results are off by up to 7 nats.
  for (const Likelihood likelihood : {Likelihood::approximate, Likelihood::exact}) {
    using Double = Eigen::Tensor<double, Rank, Case::layout, Index>;
    const Double a = x.template cast<double>(), b = means.template cast<double>(),
                 c = log_scales.template cast<double>();
    REQUIRE_THAT(discretized_gaussian_log_likelihood(x, means, log_scales, likelihood),
                 AllClose(discretized_gaussian_log_likelihood(a, b, c, likelihood), Tolerance<float>::rel));
  }
}

TEMPLATE_TEST_CASE("discretized_gaussian_log_likelihood equals guided-diffusion's in float and double", "[likelihood]",
                   LAYOUTS) {
  check_discretized<TestType, 3>("discretized_gaussian_log_likelihood/wide/");
  check_discretized<TestType, 3>("discretized_gaussian_log_likelihood/narrow/");
  check_discretized<TestType, 2>("discretized_gaussian_log_likelihood/tiny/");
}

// ---- exact values ----

TEST_CASE("the exact log-likelihood is accurate far into the tails", "[likelihood]") {
  for (const Value& v : exact) {
    INFO("x = " << v.x << ", mean = " << v.mean << ", log_scale = " << v.log_scale);
    REQUIRE_THAT(discretized_gaussian_log_likelihood(v.x, v.mean, v.log_scale, Likelihood::exact),
                 WithinRel(v.log_likelihood, tolerance::exact_likelihood));
  }
}

TEST_CASE("the probabilities of all bins sum to 1", "[likelihood]") {
  for (const Likelihood likelihood : {Likelihood::exact, Likelihood::approximate}) {
    for (const double mean : {0.0, 0.3, -0.97, 1.4}) {
      for (const double log_scale : {-4.0, -1.0, 2.0}) {
        double sum = 0;
        for (int k = 0; k < 256; ++k) {
          const double x = 2.0 * k / 255.0 - 1.0;
          sum += std::exp(discretized_gaussian_log_likelihood(x, mean, log_scale, likelihood));
        }
        // Each approximate probability is at least 1e-12.
        REQUIRE_THAT(sum, WithinAbs(1.0, likelihood == Likelihood::exact ? tolerance::sum_of_bins : 256 * 1e-12));
      }
    }
  }
}

TEST_CASE("the approximate and the exact log-likelihood agree within two standard deviations", "[likelihood]") {
  for (const double z : {0.0, 0.5, 1.0, 2.0}) {
    const double near = discretized_gaussian_log_likelihood(0.1, 0.1 + 0.05 * z, std::log(0.05));
    const double exactly = discretized_gaussian_log_likelihood(0.1, 0.1 + 0.05 * z, std::log(0.05), Likelihood::exact);
    REQUIRE_THAT(near, WithinAbs(exactly, 0.01));
    REQUIRE(near != exactly);
  }
  // Far from the mean the approximate probability stays at 1e-12, and the exact one keeps falling.
  REQUIRE(discretized_gaussian_log_likelihood(0.1, 0.9, -4) == std::log(1e-12));
  REQUIRE(discretized_gaussian_log_likelihood(0.1, 0.9, -4, Likelihood::exact) < -900);
  const double rare = approx_standard_normal_cdf(-6.0 + 5.0 / 255.0) - approx_standard_normal_cdf(-6.0 - 5.0 / 255.0);
  REQUIRE((rare > 1e-12 && rare < 1e-11));
  REQUIRE_THAT(discretized_gaussian_log_likelihood(0.1, 0.1 + 6.0 / 5.0, std::log(0.2)),
               WithinRel(std::log(rare), tolerance::exact_sum));
}

TEST_CASE("approx_standard_normal_cdf has full relative accuracy where it is near 0", "[likelihood]") {
  // 1 / (1 + exp(-2 sqrt(2 / pi) (x + 0.044715 x^3))), computed with 60 digits.
  REQUIRE_THAT(approx_standard_normal_cdf(-1.0), WithinRel(0.1588080093917233, tolerance::exact_sum));
  REQUIRE_THAT(approx_standard_normal_cdf(-5.0), WithinRel(4.5835923932590121e-8, tolerance::exact_sum));
  REQUIRE_THAT(approx_standard_normal_cdf(-8.5), WithinRel(1.1969938010115643e-25, tolerance::exact_sum));
  REQUIRE_THAT(approx_standard_normal_cdf(-12.0), WithinRel(1.3633212077945675e-62, tolerance::exact_sum));
  REQUIRE(approx_standard_normal_cdf(-infinity) == 0.0);
  REQUIRE(approx_standard_normal_cdf(infinity) == 1.0);
}

TEST_CASE("normal_kl is accurate where the two Gaussians nearly agree", "[likelihood]") {
  const std::vector<std::array<double, 2>> equal_means = {
      // (e^d - 1 - d) / 2
      {1e-09, 2.5000000008333336e-19}, {-1e-05, 2.4999916666875004e-11}, {0.001, 2.5008335417083404e-7},
      {-0.1, 0.0024187090179797868},   {0.49, 0.071158109977689482},     {0.5, 0.074360635350064073},
      {-0.51, 0.055247789406132973},   {3.0, 8.0427684615938339},        {-30.0, 14.500000000000047}};
  for (const auto& [d, kl] : equal_means) {
    INFO(d);
    REQUIRE_THAT(normal_kl(7, d, 7.0f, 0), WithinRel(kl, Tolerance<double>::rel));
  }
  REQUIRE_THAT(normal_kl(0.25, -3, 0, -2), WithinRel(0.41484772367730398, Tolerance<double>::rel));
  REQUIRE_THAT(normal_kl(0, 2, -5, -40), WithinRel(3.8119533062230003e18, tolerance::exact_sum));
  REQUIRE(normal_kl(3, -2, 3, -2) == 0);
}

TEST_CASE("the derivatives of the log-likelihood equal finite differences", "[likelihood]") {
  for (const Likelihood likelihood : {Likelihood::approximate, Likelihood::exact}) {
    for (const double x : {-1.0, -65.0 / 255.0, 3.0 / 255.0, 1.0}) {
      for (const double log_scale : {-5.5, -4.5, -3.0, -1.0, 1.0}) {
        for (const double z : {-6.0, -2.5, -0.3, 0.0, 0.01, 1.2, 4.0}) {
          const double mean = x - z * std::exp(log_scale);
          INFO("exact " << (likelihood == Likelihood::exact) << ", x = " << x << ", log_scale = " << log_scale
                        << ", z = " << z);
          const auto [by_mean, by_log_scale] = slopes(likelihood, x, mean, log_scale);
          const auto got = diffusion::detail::log_likelihood_gradient(likelihood, x, mean, log_scale);
          const double unit = std::exp(-log_scale);
          REQUIRE_THAT(got.mean / unit,
                       WithinRel(by_mean / unit, tolerance::slope) || WithinAbs(by_mean / unit, tolerance::slope));
          REQUIRE_THAT(got.log, WithinRel(by_log_scale, tolerance::slope) || WithinAbs(by_log_scale, tolerance::slope));
        }
      }
    }
  }
  // The gradient is 0 where the probability is held at 1e-12.
  for (const double x : {-1.0, 0.1, 1.0}) {
    const auto held = diffusion::detail::log_likelihood_gradient(Likelihood::approximate, x, x < 0 ? 0.9 : -0.9, -5.0);
    REQUIRE((held.mean == 0 && held.log == 0));
  }
}

// ---- arguments ----

TEMPLATE_TEST_CASE("the likelihood functions accept tensors, maps, expressions and numbers", "[likelihood]", LAYOUTS) {
  using Scalar = typename TestType::Scalar;
  using Tensor = typename TestType::template Tensor<3>;
  const Tensor x = random_tensor<Tensor>({2, 3, 4}, 1), y = random_tensor<Tensor>({2, 3, 4}, 2);
  const Tensor c = x.constant(Scalar(-0.5));
  const Tensor all = normal_kl(x, c, y, y), mixed = normal_kl(x, -0.5, y, y);
  REQUIRE_THAT(mixed, AllEqual(all));
  REQUIRE_THAT(normal_kl(Eigen::TensorMap<const Tensor>(x.data(), x.dimensions()), c, y * Scalar(1), y), AllEqual(all));
  for (Index i = 0; i < x.size(); ++i) {
    const double one = normal_kl(x.data()[i], -0.5, y.data()[i], y.data()[i]);
    REQUIRE(all.data()[i] == static_cast<Scalar>(one));
    REQUIRE(discretized_gaussian_log_likelihood(x, 0.25f, y).data()[i] ==
            static_cast<Scalar>(discretized_gaussian_log_likelihood(x.data()[i], 0.25, y.data()[i])));
  }

  Tensor out = x;
  normal_kl_into(out, out, -0.5, y, y);  // in place
  REQUIRE_THAT(out, AllEqual(all));
  REQUIRE(count_allocations([&] {
            normal_kl_into(out, x, c, y, y);
            approx_standard_normal_cdf_into(out, x);
            discretized_gaussian_log_likelihood_into(out, x, y, -1, Likelihood::exact);
          }) == 0);
  Eigen::ThreadPool pool(2);
  Tensor threaded(2, 3, 4);
  discretized_gaussian_log_likelihood_into(threaded, x, y, -1, Likelihood::exact, Eigen::ThreadPoolDevice(&pool, 2));
  REQUIRE_THAT(threaded, AllEqual(out));

  REQUIRE(approx_standard_normal_cdf(Tensor(0, 3, 4)).size() == 0);
  typename TestType::template Tensor<0> scalar;
  scalar() = Scalar(1);
  REQUIRE(approx_standard_normal_cdf(scalar)() == static_cast<Scalar>(approx_standard_normal_cdf(1)));
}

TEST_CASE("the likelihood functions evaluate half, bfloat16 and long double in double", "[likelihood]") {
  Eigen::Tensor<Eigen::half, 1> half(1);
  half(0) = Eigen::half(0.5f);
  REQUIRE(static_cast<float>(approx_standard_normal_cdf(half)(0)) ==
          static_cast<float>(Eigen::half(static_cast<float>(approx_standard_normal_cdf(0.5)))));
  Eigen::Tensor<long double, 1> wide(1);
  wide(0) = 0.5L;
  REQUIRE(static_cast<double>(normal_kl(wide, 0, 0, 0)(0)) == 0.125);
  REQUIRE(normal_kl(Eigen::bfloat16(0.5f), 0, 0, 0) == 0.125);
}

TEST_CASE("the likelihood functions return NaN for NaN arguments", "[likelihood]") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const Likelihood likelihood : {Likelihood::approximate, Likelihood::exact}) {
    for (const double x : {-1.0, 0.1, 1.0}) {
      REQUIRE(std::isnan(discretized_gaussian_log_likelihood(x, nan, -1, likelihood)));
      REQUIRE(std::isnan(discretized_gaussian_log_likelihood(x, 0, nan, likelihood)));
    }
    REQUIRE(std::isnan(discretized_gaussian_log_likelihood(nan, 0, -1, likelihood)));
  }
  REQUIRE(std::isnan(normal_kl(nan, 0, 0, 0)));
  REQUIRE(std::isnan(normal_kl(0, 0, 0, nan)));
  REQUIRE(std::isnan(approx_standard_normal_cdf(nan)));
}

TEST_CASE("the likelihood functions throw for shapes that differ", "[likelihood]") {
  const Eigen::Tensor<float, 2> x(2, 3), y(3, 2);
  Eigen::Tensor<float, 2> out(2, 2);
  REQUIRE(error_message([&] { (void)normal_kl(0, x, y, 0); }) ==
          "diffusion::normal_kl: mean2 has shape [3, 2], but logvar1 has [2, 3]");
  REQUIRE(error_message([&] { (void)discretized_gaussian_log_likelihood(x, x, y); }) ==
          "diffusion::discretized_gaussian_log_likelihood: log_scales has shape [3, 2], but x has [2, 3]");
  REQUIRE(error_message([&] { approx_standard_normal_cdf_into(out, x); }) ==
          "diffusion::approx_standard_normal_cdf: out has shape [2, 2], but x has [2, 3]");
}

}  // namespace likelihood_tests
