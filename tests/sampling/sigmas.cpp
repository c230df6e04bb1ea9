// Tests of diffusion/sampling/sigmas.hpp
#include "diffusion/sampling/sigmas.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "matchers.hpp"

namespace sigmas_tests {

using namespace diffusion;
using Eigen::ArrayXd;
using Eigen::Index;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

}  // namespace

TEST_CASE("lists of sigmas fall from sigma_max to sigma_min and then to 0", "[sigmas]") {
  for (const Index n : {1, 2, 5, 40}) {
    for (const ArrayXd& sigmas :
         {karras_sigmas(n, 0.03, 14.6), exponential_sigmas(n, 0.03, 14.6), lu_sigmas(n, 0.03, 14.6),
          polyexponential_sigmas(n, 0.03, 14.6, 3), beta_sigmas(n, 0.03, 14.6)}) {
      REQUIRE(sigmas.size() == n + 1);
      REQUIRE(std::abs(sigmas[0] - 14.6) < 100 * tolerance::level);
      if (n > 1) REQUIRE(std::abs(sigmas[n - 1] - 0.03) < tolerance::level);
      REQUIRE(sigmas[n] == 0);
      REQUIRE((sigmas.head(n) > sigmas.tail(n)).all());
    }
  }
}

TEST_CASE("beta_quantile has the closed forms of uniform, arcsine and power distributions, and is symmetric",
          "[sigmas]") {
  using detail::beta_quantile;
  for (const double a : {0.3, 0.6, 1.0, 4.0}) REQUIRE(beta_quantile(0.5, a, a) == 0.5);
  // Beta(1, 1) is uniform, Beta(1/2, 1/2) is the arcsine distribution, Beta(2, 1) has the
  // distribution function x^2.
  for (const double p : {0.0, 1e-8, 0.1, 0.25, 0.5, 0.7, 0.999, 1.0}) {
    INFO(p);
    const double s = std::sin(p * 1.57079632679489661923);
    REQUIRE(std::abs(beta_quantile(p, 1, 1) - p) <= tolerance::quantile);
    REQUIRE(std::abs(beta_quantile(p, 0.5, 0.5) - s * s) <= tolerance::quantile);
    REQUIRE(std::abs(beta_quantile(p, 2, 1) - std::sqrt(p)) <= tolerance::quantile);
    REQUIRE(std::abs(beta_quantile(p, 0.6, 0.6) + beta_quantile(1 - p, 0.6, 0.6) - 1) <= tolerance::quantile);
  }
  // The median, where rounding may put P(X <= mean) on either side of 1/2.
  for (const double a : {0.1, 0.5, 0.6, 0.7, 1.0, 3.0, 10.0, 1000.0}) {
    INFO(a);
    REQUIRE(std::abs(beta_quantile(0.5, a, a) - 0.5) <= tolerance::quantile);
    REQUIRE(std::abs(beta_sigmas(3, 0.03, 14.6, a, a)[1] - 0.5 * (0.03 + 14.6)) <= 14.6 * tolerance::quantile);
  }
}

TEST_CASE("ays_sigmas has the published sigmas, and interpolates log sigma between them", "[sigmas]") {
  REQUIRE(ays_timesteps(AysModel::stable_diffusion) ==
          std::vector<double>{999, 850, 736, 645, 545, 455, 343, 233, 124, 24});
  REQUIRE(ays_timesteps(AysModel::stable_diffusion_xl) ==
          std::vector<double>{999, 845, 730, 587, 443, 310, 193, 116, 53, 13});
  ArrayXd published(11);
  published << 14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0;
  REQUIRE_THAT(ays_sigmas(AysModel::stable_diffusion), AllEqual(published));
  published << 14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0;
  REQUIRE_THAT(ays_sigmas(AysModel::stable_diffusion_xl), AllEqual(published));
  published << 700, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0;
  REQUIRE_THAT(ays_sigmas(AysModel::stable_video_diffusion), AllEqual(published));
  for (const AysModel model :
       {AysModel::stable_diffusion, AysModel::stable_diffusion_xl, AysModel::stable_video_diffusion}) {
    const ArrayXd ten = ays_sigmas(model);
    for (const Index n : {1, 2, 10, 19, 37}) {
      const ArrayXd sigmas = ays_sigmas(model, n);
      REQUIRE(sigmas.size() == n + 1);
      REQUIRE(std::abs(sigmas[0] / ten[0] - 1) < tolerance::level);
      REQUIRE((sigmas.head(n) > sigmas.tail(n)).all());
    }
    const ArrayXd twenty = ays_sigmas(model, 20);  // two steps for one; the last two lead to the eleventh level
    for (Index i = 0; i < 10; ++i) REQUIRE(twenty[2 * i] == ten[i]);
    for (Index i = 0; i < 9; ++i) {
      REQUIRE(std::abs(twenty[2 * i + 1] / std::sqrt(ten[i] * ten[i + 1]) - 1) < tolerance::level);
    }
    const double eleventh = model == AysModel::stable_video_diffusion ? 0.002 : 0.029;
    REQUIRE(std::abs(twenty[19] / std::sqrt(ten[9] * eleventh) - 1) < tolerance::level);
  }
  REQUIRE_THAT(error_message<std::invalid_argument>([] { (void)ays_timesteps(AysModel::stable_video_diffusion); }),
               StartsWith("diffusion::ays_timesteps: "));
}

TEST_CASE("functions of sigmas throw std::invalid_argument for parameters out of range", "[sigmas]") {
  REQUIRE(error_message<std::invalid_argument>([] { (void)ays_sigmas(static_cast<AysModel>(7)); }) ==
          "diffusion::ays_sigmas: model = 7 is not an AysModel");
  REQUIRE(error_message<std::invalid_argument>([] { (void)karras_sigmas(0, 0.1, 1); }) ==
          "diffusion::karras_sigmas: n = 0 must be at least 1");
  REQUIRE(error_message<std::invalid_argument>([] { (void)karras_sigmas(5, 1, 1); }) ==
          "diffusion::karras_sigmas: sigma_min = 1 must be less than sigma_max = 1");
  REQUIRE(error_message<std::invalid_argument>([] { (void)exponential_sigmas(5, 0, 1); }) ==
          "diffusion::exponential_sigmas: sigma_min = 0 must be positive and finite");
  REQUIRE(error_message<std::invalid_argument>([] { (void)exponential_sigmas(5, 0.1, infinity); }) ==
          "diffusion::exponential_sigmas: sigma_max = inf must be positive and finite");
  REQUIRE(error_message<std::invalid_argument>([] { (void)karras_sigmas(5, 0.1, 1, 0); }) ==
          "diffusion::karras_sigmas: rho = 0 must be positive and finite");
  REQUIRE(error_message<std::invalid_argument>([] { (void)polyexponential_sigmas(5, 0.1, 1, 0); }) ==
          "diffusion::polyexponential_sigmas: rho = 0 must be positive and finite");
  REQUIRE(error_message<std::invalid_argument>([] { (void)vp_sigmas(5, 19.9, 0.1, 1); }) ==
          "diffusion::vp_sigmas: eps_s = 1 is outside (0, 1)");
  REQUIRE(error_message<std::invalid_argument>([] { (void)vp_sigmas(5, 19.9, 0.1, 0); }) ==
          "diffusion::vp_sigmas: eps_s = 0 is outside (0, 1)");
  REQUIRE(error_message<std::invalid_argument>([] { (void)ays_sigmas(AysModel::stable_diffusion, 0); }) ==
          "diffusion::ays_sigmas: n = 0 must be at least 1");
  REQUIRE(error_message<std::invalid_argument>([] { (void)flow_matching_sigmas(0); }) ==
          "diffusion::flow_matching_sigmas: n = 0 must be at least 1");
  REQUIRE(error_message<std::invalid_argument>([] { (void)flow_matching_sigmas(5, 0); }) ==
          "diffusion::flow_matching_sigmas: sigma_min = 0 must be positive and finite");
  REQUIRE(error_message<std::invalid_argument>([] { (void)flow_matching_sigmas(5, 1); }) ==
          "diffusion::flow_matching_sigmas: sigma_min = 1 must be less than sigma_max = 1");
  REQUIRE(error_message<std::invalid_argument>([] { (void)beta_sigmas(5, 0.1, 1, 0, 1); }) ==
          "diffusion::beta_sigmas: a = 0 must be positive and finite");
  REQUIRE(error_message<std::invalid_argument>([] { (void)beta_sigmas(5, 0.1, 1, 1, infinity); }) ==
          "diffusion::beta_sigmas: b = inf must be positive and finite");
  REQUIRE(error_message<std::invalid_argument>([] { (void)vp_sigmas(5, 5000); }) ==
          "diffusion::vp_sigmas: sigma(1) = inf must be positive and finite");
  REQUIRE(error_message<std::invalid_argument>([] { (void)shifted_sigma(0.5, -1); }) ==
          "diffusion::shifted_sigma: shift = -1 must be positive and finite");
  REQUIRE(error_message<std::invalid_argument>([] { (void)stretched_to_terminal(flow_matching_sigmas(4), 1); }) ==
          "diffusion::stretched_to_terminal: terminal = 1 is outside (0, 1)");
}

TEST_CASE("stretched_to_terminal moves the last positive sigma to the terminal and keeps 1 and 0", "[sigmas]") {
  const ArrayXd sigmas = flow_matching_sigmas(5, 0.01), stretched = stretched_to_terminal(sigmas, 0.2);
  REQUIRE(stretched[0] == 1);
  REQUIRE(std::abs(stretched[4] - 0.2) < tolerance::level);
  REQUIRE(stretched[5] == 0);
  const ArrayXd one = flow_matching_sigmas(1);  // one step: nothing to stretch
  REQUIRE_THAT(stretched_to_terminal(one, 0.2), AllEqual(one));
}

TEST_CASE("shifted_sigma and dynamic_shift_mu have the published values", "[sigmas]") {
  REQUIRE(shifted_sigma(1, 3) == 1);
  REQUIRE(shifted_sigma(0, 3) == 0);
  REQUIRE(shifted_sigma(0.5, 3) == 0.75);
  REQUIRE(dynamic_shift_mu(256) == 0.5);
  REQUIRE(std::abs(dynamic_shift_mu(4096) - 1.15) < tolerance::level);
}

TEST_CASE("karras_sigmas and polyexponential_sigmas begin at sigma_max and end at sigma_min for every rho",
          "[sigmas]") {
  for (const double rho : {0.001, 0.01, 0.1, 0.3, 1.0, 7.0, 1000.0}) {
    for (const double sigma_max : {80.0, 1e10, std::numeric_limits<double>::max()}) {
      for (const Eigen::Index n : {2, 5, 50}) {
        for (const ArrayXd& sigmas :
             {karras_sigmas(n, 0.002, sigma_max, rho), polyexponential_sigmas(n, 0.002, sigma_max, rho)}) {
          REQUIRE(sigmas.allFinite());
          REQUIRE(std::abs(sigmas[0] / sigma_max - 1) < tolerance::karras_end);
          REQUIRE(std::abs(sigmas[n - 1] / 0.002 - 1) < tolerance::karras_end);
          REQUIRE(sigmas[n] == 0);
        }
      }
    }
  }
  const ArrayXd steep = karras_sigmas(5, 0.002, 80, 0.3);
  for (Eigen::Index i = 1; i < 4; ++i) {
    const double u = static_cast<double>(i) / 4;  // (1 - u)^0.3 of sigma_max; sigma_min is negligible
    REQUIRE(std::abs(steep[i] - 80 * std::pow(1 - u, 0.3)) < 1e-7);
    REQUIRE(steep[i] < steep[i - 1]);
  }
  // sigma_min^(1 / rho) underflows to 0.
  REQUIRE_THAT(karras_sigmas(3, 1e-10, 80, 0.02)[1], WithinRel(80 * std::pow(0.5, 0.02), tolerance::level));
  REQUIRE(karras_sigmas(3, 1e-10, 80, 0.02)[2] == 1e-10);
}

TEST_CASE("shifted_sigma maps 0 to 0 and 1 to 1 for every shift", "[sigmas]") {
  for (int i = 1; i <= 1000; ++i) {
    REQUIRE(shifted_sigma(0, 0.01 * i) == 0);
    REQUIRE(shifted_sigma(1, 0.01 * i) == 1);
  }
}

TEST_CASE("stretched_to_terminal throws for sigmas that do not fall or are outside 0 to 1", "[sigmas]") {
  const auto message = [](std::initializer_list<double> list) {
    ArrayXd sigmas(static_cast<Eigen::Index>(list.size()));
    std::copy(list.begin(), list.end(), sigmas.data());
    return error_message([&] { (void)stretched_to_terminal(sigmas, 0.1); });
  };
  REQUIRE(message({0.1, 0.5, 0.9}) == "diffusion::stretched_to_terminal: sigmas[1] = 0.5 is not below sigmas[0] = 0.1");
  REQUIRE(message({1, 1, 0.5}) == "diffusion::stretched_to_terminal: sigmas[1] = 1 is not below sigmas[0] = 1");
  REQUIRE(message({1.5, 0.5}) == "diffusion::stretched_to_terminal: sigmas[0] = 1.5 is outside [0, 1]");
  REQUIRE_THAT(message({1, std::numeric_limits<double>::quiet_NaN()}),
               StartsWith("diffusion::stretched_to_terminal: sigmas[1] = nan is outside [0, 1]"));
  REQUIRE(message({1, 0.5, 0.5}) == "nothing was thrown");
  REQUIRE(message({0.5, 0.9}) == "diffusion::stretched_to_terminal: sigmas[1] = 0.9 is not below sigmas[0] = 0.5");
  for (const double only : {0.0, 0.5, 1.0}) REQUIRE(message({only}) == "nothing was thrown");
}

TEST_CASE("karras_sigmas throws for a number of steps above 2^53", "[sigmas]") {
  REQUIRE_THAT(error_message([] { (void)karras_sigmas(std::numeric_limits<Eigen::Index>::max(), 0.002, 80); }),
               StartsWith("diffusion::karras_sigmas: n = 9223372036854775807 is above 2^53"));
}

TEST_CASE("beta_quantile is the inverse of the distribution function", "[sigmas]") {
  for (const double a : {0.3, 0.5, 1.0, 4.0}) {
    for (const double b : {0.3, 0.5, 1.0, 4.0}) {
      for (int i = 1; i < 40; ++i) {
        const double p = i / 40.0, x = detail::beta_quantile(p, a, b);
        INFO("a " << a << ", b " << b << ", p " << p);
        // The continued fraction converges below the mean.
        if (x <= a / (a + b)) REQUIRE_THAT(detail::lower_beta_probability(x, a, b), WithinAbs(p, tolerance::quantile));
        REQUIRE_THAT(detail::beta_quantile(1 - p, b, a), WithinAbs(1 - x, tolerance::quantile));
      }
    }
  }
}

TEST_CASE("beta_sigmas takes the quantiles of Beta(a, b) for a and b that differ", "[sigmas]") {
  // Beta(a, 1) has the distribution function x^a, and Beta(1, b) the function 1 - (1 - x)^b.
  REQUIRE_THAT(beta_sigmas(5, 0.5, 2.5, 2), AllEqual(beta_sigmas(5, 0.5, 2.5, 2, 0.6)));
  const ArrayXd high = beta_sigmas(5, 0.5, 2.5, 2, 1), low = beta_sigmas(5, 0.5, 2.5, 1, 2);
  for (Index i = 0; i < 5; ++i) {
    const double p = 1 - static_cast<double>(i) / 4;
    REQUIRE(std::abs(high[i] - (0.5 + 2 * std::sqrt(p))) <= 2 * tolerance::quantile);
    REQUIRE(std::abs(low[i] - (0.5 + 2 * (1 - std::sqrt(1 - p)))) <= 2 * tolerance::quantile);
  }
}

TEST_CASE("flow_matching_sigmas are evenly spaced from 1 to sigma_min, which is 0.001 by default", "[sigmas]") {
  for (const double least : {0.001, 0.2}) {
    const ArrayXd sigmas = flow_matching_sigmas(5, least);
    for (Index i = 0; i < 5; ++i) {
      REQUIRE(std::abs(sigmas[i] - (1 - (1 - least) * static_cast<double>(i) / 4)) < tolerance::level);
    }
    REQUIRE(sigmas[5] == 0);
  }
  REQUIRE_THAT(flow_matching_sigmas(5), AllEqual(flow_matching_sigmas(5, 0.001)));
}

}  // namespace sigmas_tests
