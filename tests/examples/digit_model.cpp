// Tests of examples/common/digit_model.hpp, on which the examples' comparisons of bits rely.
#include "common/digit_model.hpp"

#include <cmath>
#include <cstddef>
#include <cstring>
#include <diffusion/noise/philox_noise.hpp>
#include <diffusion/process/schedules.hpp>
#include <vector>

#include "matchers.hpp"

using Eigen::Index;
using example::DigitModel;
using example::Digits;

namespace {

/// The first digits of the file, and their classes.
struct Problem {
  Problem() : digits(example::read_digits(EXAMPLE_DATA_DIR "/digits.csv", &labels)), x(40, 1, 8, 8), t(40) {
    diffusion::PhiloxNoise{1}(x);
    for (Index n = 0; n < 40; ++n) t(n) = 999.0 - 25.3 * double(n);
  }
  std::vector<int> labels;
  Digits digits, x;
  Eigen::Tensor<double, 1> t;
  diffusion::GaussianDiffusion<double> process{diffusion::cosine_beta_schedule(1000)};
};

TEST_CASE("the exact model of digits has the same bits in any batch", "[digit_model]") {
  const Problem p;
  const DigitModel model(p.process, p.digits, p.labels);
  std::vector<int> labels;
  for (int n = 0; n < 40; ++n) labels.push_back(n % 11 - 1);
  Digits whole(40, 1, 8, 8);
  model(p.x, p.t, whole, labels);
  for (const Index size : {1, 2, 3, 5, 7}) {
    for (Index first = 0; first + size <= 40; first += size) {
      const Eigen::array<Index, 4> start{first, 0, 0, 0}, extent{size, 1, 8, 8};
      const Digits x = p.x.slice(start, extent);
      const Eigen::Tensor<double, 1> t = p.t.slice(Eigen::array<Index, 1>{first}, Eigen::array<Index, 1>{size});
      Digits part(size, 1, 8, 8);
      model(x, t, part, {labels.begin() + first, labels.begin() + first + size});
      REQUIRE(std::memcmp(part.data(), whole.data() + first * 64, std::size_t(size) * 64 * sizeof(double)) == 0);
    }
  }
}

TEST_CASE("the exact model of digits gives the posterior mean", "[digit_model]") {
  const Problem p;
  const DigitModel model(p.process, p.digits, p.labels);
  const Index n = 4;  // where several digits have weight
  const Index M = p.digits.dimension(0);
  const auto level = diffusion::timestep_grid(p.process, std::vector<Index>{999}).at_time(p.t(n));
  for (const int label : {DigitModel::any_label, 3}) {
    Eigen::Array<long double, Eigen::Dynamic, 1> sum = Eigen::Array<long double, Eigen::Dynamic, 1>::Zero(64);
    long double total = 0;
    for (Index i = 0; i < M; ++i) {
      if (label != DigitModel::any_label && p.labels[std::size_t(i)] != label) continue;
      long double square = 0;
      for (Index k = 0; k < 64; ++k) {
        const long double d = p.x.data()[n * 64 + k] - level.alpha * p.digits.data()[i * 64 + k];
        square += d * d;
      }
      const long double weight = std::exp(-square / (2.0L * level.sigma * level.sigma));
      total += weight;
      for (Index k = 0; k < 64; ++k) sum[k] += weight * p.digits.data()[i * 64 + k];
    }
    Digits out(40, 1, 8, 8);
    model(p.x, p.t, out, std::vector<int>(40, label));
    const Eigen::ArrayXd expected = (sum / total).cast<double>();
    const Eigen::ArrayXd got = Eigen::Map<const Eigen::ArrayXd>(out.data() + n * 64, 64);
    REQUIRE_THAT(got, AllClose(expected, tolerance::posterior_mean, tolerance::posterior_mean));
  }
}

TEST_CASE("a class without digits has the answer NaN", "[digit_model]") {
  const Problem p;
  Digits out(40, 1, 8, 8);
  DigitModel(p.process, p.digits, std::vector<int>(p.labels.size(), 1))(p.x, p.t, out, std::vector<int>(40, 2));
  REQUIRE(std::isnan(out(0, 0, 0, 0)));
}

}  // namespace
