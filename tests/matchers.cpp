#include "matchers.hpp"

#include <cmath>    // std::abs, std::isinf
#include <cstdint>  // std::uint32_t
#include <iomanip>  // std::setprecision
#include <random>   // std::mt19937
#include <sstream>

std::string matchers::bracketed(const std::vector<Eigen::Index>& list) {
  std::string out = "[";
  for (const Eigen::Index i : list) out += (out.size() > 1 ? ", " : "") + std::to_string(i);
  return out + "]";
}

std::vector<double> matchers::uniform_values(Eigen::Index count, unsigned seed) {
  std::vector<double> values(static_cast<std::size_t>(count));
  std::mt19937 engine(seed);
  for (double& value : values) {
    const double uniform = static_cast<double>(static_cast<std::uint32_t>(engine())) / 4294967296.0;  // [0, 1)
    value = 2 * uniform - 1;
  }
  return values;
}

bool AllClose::match(const matchers::Elements& got) const {
  if (got.dims != expected_.dims) {
    report_ = "has the shape " + matchers::bracketed(expected_.dims) + ", but it is " + matchers::bracketed(got.dims);
    return false;
  }
  // The difference in units of the allowed one.
  const auto excess_of = [this](long double x, long double expected) -> long double {
    if (x == expected) return 0;
    const long double difference = std::abs(x - expected);
    const long double allowed = rel_ * std::abs(expected) + abs_;
    if (!(difference <= allowed) && !(difference > allowed)) return HUGE_VALL;  // a NaN
    if (std::isinf(x) || std::isinf(expected) || allowed == 0) return HUGE_VALL;
    return difference / allowed;
  };
  std::size_t worst = 0, failures = 0;
  long double worst_excess = 0;
  for (std::size_t i = 0; i < got.values.size(); ++i) {
    const long double excess = excess_of(got.values[i], expected_.values[i]);
    if (excess > 1) ++failures;
    if (excess > worst_excess) worst_excess = excess, worst = i;
  }
  std::ostringstream report;
  report << "is within " << rel_ << " |expected| + " << abs_ << " of the expected values";
  if (!got.values.empty()) {
    std::vector<Eigen::Index> index(expected_.dims.size());
    for (std::size_t d = index.size(), rest = worst; d-- > 0;) {
      const auto dim = static_cast<std::size_t>(expected_.dims[d]);
      index[d] = static_cast<Eigen::Index>(rest % dim);
      rest /= dim;
    }
    report << "; " << failures << " of " << got.values.size() << " are not; the worst is at "
           << matchers::bracketed(index) << ": " << std::setprecision(21) << got.values[worst] << ", expected "
           << expected_.values[worst] << ", " << std::setprecision(3) << worst_excess
           << " times the allowed difference";
  }
  report_ = report.str();
  return failures == 0;
}
