/// Tests that the values of PhiloxNoise are standard normal and independent: with 10^6 draws by
/// default, with 10^8 in the hidden tests ([.slow], about a minute). Each statistic is converted to
/// a p-value, the probability of a result that is at least as extreme, which must not be below
/// 10^-6. The seeds fix the draws, so a test always gives the same result on one instruction set.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "catch.hpp"
#include "diffusion/noise/philox_noise.hpp"

namespace noise_quality_tests {

using diffusion::PhiloxNoise;
using Eigen::Index;

namespace {

constexpr double smallest_p = 1e-6;

double normal_cdf(double z) { return 0.5 * std::erfc(-z / std::sqrt(2.0)); }

/// P(|Z| >= |z|)
double two_sided(double z) { return std::erfc(std::abs(z) / std::sqrt(2.0)); }

/// Two-sided p-value of a chi-square statistic x, because too good a fit is suspect as well. Uses
/// the approximation of Wilson and Hilferty, that the cube root of x is nearly normal.
double chi_square_p(double x, double degrees) {
  const double variance = 2 / (9 * degrees);
  return two_sided((std::cbrt(x / degrees) - (1 - variance)) / std::sqrt(variance));
}

/// P(sqrt(n) D >= d) for large n, by Kolmogorov's series.
double kolmogorov_p(double d) {
  double p = 0;
  for (int k = 1; k <= 100; ++k) p += (k % 2 == 1 ? 2 : -2) * std::exp(-2.0 * k * k * d * d);
  return (std::min)(1.0, d < 0.2 ? 1.0 : p);
}

void check_p(const std::string& name, double p) {
  INFO(name << ": p = " << p);
  CHECK(p > smallest_p);
  if (p <= 1e-3) WARN(name << ": p = " << p);
}

/// Moments, largest magnitude and histogram of a stream of draws. Adding a draw is cheap, because
/// the bins have equal width and the CDF is evaluated only in check().
class Statistics {
 public:
  void add(double z) {
    ++count_;
    const double z2 = z * z;
    for (std::size_t k = 0; k < 4; ++k) power_[k] += k == 0 ? z : k == 1 ? z2 - 1 : k == 2 ? z2 * z : z2 * z2 - 3;
    ++fine_[fine_bin(z)];
    largest_ = (std::max)(largest_, std::abs(z));
  }

  void check(const std::string& name) const {
    const double n = static_cast<double>(count_);
    // Var Z = 1, Var Z^2 = 2, Var Z^3 = 15, Var Z^4 = 96
    const std::array<double, 4> variance = {1, 2, 15, 96};
    for (std::size_t k = 0; k < 4; ++k) {
      check_p(name + ", moment " + std::to_string(k + 1), two_sided(power_[k] / std::sqrt(n * variance[k])));
    }

    // The Kolmogorov-Smirnov distance at the edges of the fine bins.
    double below = 0, distance = 0;
    for (std::size_t i = 0; i + 1 < fine_.size(); ++i) {
      below += static_cast<double>(fine_[i]);
      distance = (std::max)(distance, std::abs(below / n - normal_cdf(upper_edge(i))));
    }
    check_p(name + ", Kolmogorov-Smirnov", kolmogorov_p(distance * std::sqrt(n)));

    // Chi-square over bins with at least 10 expected draws: for the body, |z| < 3, and for each
    // tail.
    check_p(name + ", chi-square of the body", chi_square(-3, 3));
    check_p(name + ", chi-square of the lower tail", chi_square(-limit, -3));
    check_p(name + ", chi-square of the upper tail", chi_square(3, limit));
    for (const double edge : {3.0, 4.0, 5.0}) {
      const double expected = n * two_sided(edge);
      if (expected < 10) continue;
      double beyond = 0;
      for (std::size_t i = 0; i < fine_.size(); ++i) {
        if (upper_edge(i) <= -edge || upper_edge(i) > edge + width / 2) beyond += static_cast<double>(fine_[i]);
      }
      check_p(name + ", draws beyond " + std::to_string(edge), two_sided((beyond - expected) / std::sqrt(expected)));
    }
  }

  double largest() const { return largest_; }

 private:
  static constexpr double width = 1.0 / 256, limit = 7;

  // Bin i counts upper_edge(i) - width <= z < upper_edge(i). The first and last bin also count the
  // values beyond.
  static double upper_edge(std::size_t i) { return -limit + width * static_cast<double>(i + 1); }
  static std::size_t fine_bin(double z) {
    const double clamped = (std::max)(-limit, (std::min)(limit - width / 2, z));
    return static_cast<std::size_t>((clamped + limit) / width);
  }

  double chi_square(double from, double to) const {
    double sum = 0, expected = 0, observed = 0;
    int bins = 0;
    for (std::size_t i = 0; i < fine_.size(); ++i) {
      const double edge = upper_edge(i);
      if (edge <= from + width / 2 || edge > to + width / 2) continue;
      // Evaluated on the negative side, because 1 - CDF would lose digits in the upper tail.
      expected +=
          static_cast<double>(count_) * std::abs(normal_cdf(-std::abs(edge)) - normal_cdf(-std::abs(edge - width)));
      observed += static_cast<double>(fine_[i]);
      if (expected < 10) continue;
      sum += (observed - expected) * (observed - expected) / expected;
      ++bins;
      expected = observed = 0;
    }
    return bins < 2 ? 1 : chi_square_p(sum, bins);
  }

  std::uint64_t count_ = 0;
  std::array<double, 4> power_{};
  std::vector<std::uint64_t> fine_ = std::vector<std::uint64_t>(static_cast<std::size_t>(2 * limit / width));
  double largest_ = 0;
};

/// Tests whether two streams are independent: their correlation, the correlation of their squares
/// (the two values of a Box-Muller pair share a radius), and chi-square over a 16 by 16 table of
/// quantiles.
class Independence {
 public:
  void add(double x, double y) {
    ++count_;
    product_ += x * y;
    squares_ += (x * x - 1) * (y * y - 1);
    ++table_[16 * bin(x) + bin(y)];
  }

  void check(const std::string& name) const {
    const double n = static_cast<double>(count_), expected = n / 256;
    check_p(name + ", correlation", two_sided(product_ / std::sqrt(n)));
    check_p(name + ", correlation of squares", two_sided(squares_ / std::sqrt(4 * n)));
    double sum = 0;
    for (const std::uint64_t observed : table_) sum += std::pow(static_cast<double>(observed) - expected, 2) / expected;
    check_p(name + ", joint chi-square", chi_square_p(sum, 255));
  }

 private:
  static std::size_t bin(double z) {
    // The quantiles 9 / 16 .. 15 / 16 of the normal distribution.
    static constexpr std::array<double, 7> quantiles = {0.15731068461017067, 0.31863936396437514, 0.48877641111466941,
                                                        0.67448975019608174, 0.88714655901887596, 1.1503493803760081,
                                                        1.5341205443525463};
    const double magnitude = std::abs(z);
    std::size_t above = 0;
    for (const double q : quantiles) above += magnitude >= q;
    return z < 0 ? 7 - above : 8 + above;
  }

  std::uint64_t count_ = 0;
  double product_ = 0, squares_ = 0;
  std::array<std::uint64_t, 256> table_{};
};

/// Checks `calls` calls with `samples` samples of 1024 values each. The largest |z| must exceed
/// `least_extreme`.
template <class Scalar>
void check_quality(int calls, Index samples, double least_extreme) {
  using Samples = Eigen::Tensor<Scalar, 2, Eigen::RowMajor>;
  const Index size = 1024;
  PhiloxNoise noise(2024), other_seed(2025), far_samples(2024, std::uint64_t{1} << 32);
  Samples x(samples, size), previous(samples, size), y(samples, size), far(samples, size);
  noise(previous);
  Statistics statistics;
  std::array<Independence, 4>
      lags;  // within a sample: 1 is the other value of a pair, 4 the next counter, 256 the next block
  const std::array<Index, 4> lag = {1, 2, 4, 256};
  Independence across_samples, across_calls, across_seeds, across_far_samples;
  for (int call = 0; call < calls; ++call) {
    noise(x);
    other_seed(y);
    far_samples(far);
    for (Index n = 0; n < samples; ++n) {
      for (Index i = 0; i < size; ++i) {
        const double z = static_cast<double>(x(n, i));
        statistics.add(z);
        // Each draw takes part in one of the four lags and in one of the four other comparisons,
        // which halves the time of the test.
        const std::size_t turn = static_cast<std::size_t>(n % 4);
        if (i + lag[turn] < size) lags[turn].add(z, static_cast<double>(x(n, i + lag[turn])));
        if (turn == 0 && n + 1 < samples) across_samples.add(z, static_cast<double>(x(n + 1, i)));
        if (turn == 1) across_calls.add(z, static_cast<double>(previous(n, i)));
        if (turn == 2) across_seeds.add(z, static_cast<double>(y(n, i)));
        if (turn == 3) across_far_samples.add(z, static_cast<double>(far(n, i)));
      }
    }
    std::swap(x, previous);
  }
  statistics.check("values");
  CHECK(statistics.largest() > least_extreme);
  CHECK(statistics.largest() < 9.5);
  for (std::size_t k = 0; k < lags.size(); ++k) lags[k].check("a lag of " + std::to_string(lag[k]));
  across_samples.check("samples n and n + 1");
  across_calls.check("calls k and k + 1");
  across_seeds.check("seeds s and s + 1");
  across_far_samples.check("samples n and n + 2^32");
}

}  // namespace

TEMPLATE_TEST_CASE("a million values of PhiloxNoise are normal and independent", "[noise]", float, double) {
  check_quality<TestType>(10, 100, 4.5);
}

TEMPLATE_TEST_CASE("a hundred million values of PhiloxNoise are normal and independent", "[.slow][noise]", float,
                   double) {
  check_quality<TestType>(1000, 100, 5.5);
}

}  // namespace noise_quality_tests
