// Compares the operations of GaussianDiffusion with the same arithmetic on flat arrays, which shows
// how far from memory speed they are.
//
//     benchmark_affine                     the ratios below, medians of pairs that ran alternately
//     benchmark_affine --benchmark_...     absolute times, by Google Benchmark
#include <benchmark/benchmark.h>

#include <array>
#include <cmath>
#include <cstddef>
#include <memory>
#include <string>
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>
#include <vector>

#include "diffusion/process/gaussian_diffusion.hpp"
#include "diffusion/process/schedules.hpp"
#include "pairs.hpp"

using diffusion::GaussianDiffusion;
using diffusion::linear_beta_schedule;
using diffusion::MeanVariance;
using diffusion::Timesteps;
using Eigen::ArrayXd;
using Eigen::Index;

namespace {

template <class Scalar>
using Flat = Eigen::Map<Eigen::Array<Scalar, Eigen::Dynamic, 1>>;

/// The data of a row, owned by the functions that share it.
template <class Scalar, int Layout>
struct Arrays {
  using Tensor = Eigen::Tensor<Scalar, 4, Layout>;
  Arrays(const std::array<Index, 4>& d)
      : x(d[0], d[1], d[2], d[3]), y(x), out(x), variance(x), log_variance(x), t(d[0]) {
    for (Index i = 0; i < x.size(); ++i) {
      x.data()[i] = static_cast<Scalar>(std::sin(static_cast<double>(i)));
      y.data()[i] = static_cast<Scalar>(std::cos(static_cast<double>(i)));
    }
    out.setZero();
    variance.setZero();
    log_variance.setZero();
    for (Index n = 0; n < d[0]; ++n) t(n) = n * 389 % 1000;
  }
  static Flat<Scalar> flat(Tensor& z) { return Flat<Scalar>(z.data(), z.size()); }

  GaussianDiffusion<Scalar> process{linear_beta_schedule(1000)};
  Tensor x, y, out, variance, log_variance;
  Timesteps t;
};

/// Adds the rows of a shape: q_sample_into alone, or all operations. For float, `aim` is the target
/// ratio of q_sample_into (0: no target).
template <class Scalar, int Layout>
void add(std::vector<Pair>& pairs, const std::array<Index, 4>& dims, double aim, bool all_operations) {
  using A = Arrays<Scalar, Layout>;
  const auto a = std::make_shared<A>(dims);
  std::string shape;
  for (const Index d : dims) shape += (shape.empty() ? "" : "x") + std::to_string(d);
  const std::string what = " " + shape + (std::is_same_v<Scalar, float> ? " float" : " double") +
                           (Layout == Eigen::RowMajor ? " RowMajor" : " ColMajor");
  const auto row = [&](const char* name, double row_aim, const auto& ours, const auto& flat) {
    const auto timed = [a](const auto& work) {
      return [a, work] {
        work(*a);
        benchmark::ClobberMemory();
      };
    };
    pairs.push_back({name + what, timed(ours), timed(flat), std::is_same_v<Scalar, float> ? row_aim : 0});
  };
  const Scalar half = static_cast<Scalar>(0.5), third = static_cast<Scalar>(1.0 / 3.0);
  const auto combined = [=](A& z) { A::flat(z.out) = half * A::flat(z.x) + third * A::flat(z.y); };
  const auto filled = [=](A& z) {
    A::flat(z.variance).setConstant(half);
    A::flat(z.log_variance).setConstant(third);
  };
  row(
      "q_sample_into", aim, [](A& z) { z.process.q_sample_into(z.out, z.x, z.t, z.y); }, combined);
  if (!all_operations) return;
  row(
      "q_sample", 1.3,
      [](A& z) {
        const auto out = z.process.q_sample(z.x, z.t, z.y);
        benchmark::DoNotOptimize(out.data());
        benchmark::ClobberMemory();
      },
      combined);
  row(
      "q_sample_into, one t,", 1.1, [](A& z) { z.process.q_sample_into(z.out, z.x, 500, z.y); }, combined);
  using Moments = MeanVariance<typename A::Tensor&>;
  row(
      "q_mean_variance_into", 1.1,
      [](A& z) {
        z.process.q_mean_variance_into(Moments{z.out, z.variance, z.log_variance}, z.x, z.t);
      },
      [=](A& z) {
        A::flat(z.out) = half * A::flat(z.x);
        filled(z);
      });
  row(
      "q_mean_variance", 0,
      [](A& z) {
        const auto out = z.process.q_mean_variance(z.x, z.t);
        benchmark::DoNotOptimize(out.mean.data());
        benchmark::ClobberMemory();
      },
      [=](A& z) {
        A::flat(z.out) = half * A::flat(z.x);
        filled(z);
      });
  row(
      "q_mean and q_variance", 0,
      [](A& z) {
        const auto mean = z.process.q_mean(z.x, z.t);
        const auto variance = z.process.q_variance(z.t);
        benchmark::DoNotOptimize(mean.data());
        benchmark::DoNotOptimize(variance.data());
        benchmark::ClobberMemory();
      },
      [=](A& z) { A::flat(z.out) = half * A::flat(z.x); });
  row(
      "q_posterior_mean_variance_into", 1.1,
      [](A& z) {
        z.process.q_posterior_mean_variance_into(Moments{z.out, z.variance, z.log_variance}, z.x, z.y, z.t);
      },
      [=](A& z) {
        combined(z);
        filled(z);
      });
}

/// The tables as the references compute them: abar as a product in double, 1 - abar by subtraction.
std::vector<ArrayXd> plain_tables(const ArrayXd& betas) {
  const Index T = betas.size();
  std::vector<ArrayXd> tables(13, ArrayXd(T));
  double abar = 1, prev = 1;
  for (Index t = 0; t < T; ++t, prev = abar) {
    const double beta = betas[t];
    abar *= 1 - beta;
    const double values[] = {abar,
                             prev,
                             t + 1 < T ? abar * (1 - betas[t + 1]) : 0,
                             1 - abar,
                             std::sqrt(abar),
                             std::sqrt(1 - abar),
                             std::log(1 - abar),
                             std::sqrt(1 / abar),
                             std::sqrt(1 / abar - 1),
                             beta * (1 - prev) / (1 - abar),
                             std::log(beta * (1 - prev) / (1 - abar)),
                             beta * std::sqrt(prev) / (1 - abar),
                             (1 - prev) * std::sqrt(1 - beta) / (1 - abar)};
    for (std::size_t i = 0; i < tables.size(); ++i) tables[i][t] = values[i];
  }
  return tables;
}

void add_tables(std::vector<Pair>& pairs, Index T) {
  const auto betas = std::make_shared<ArrayXd>(linear_beta_schedule(T));
  pairs.push_back({"tables, T = " + std::to_string(T) + ", against plain double",
                   [betas] {
                     const GaussianDiffusion<double> process(*betas);
                     benchmark::DoNotOptimize(process.posterior_mean_coef2().data());
                     benchmark::ClobberMemory();
                   },
                   [betas] {
                     const auto tables = plain_tables(*betas);
                     benchmark::DoNotOptimize(tables.back().data());
                     benchmark::ClobberMemory();
                   },
                   3});
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<Pair> pairs;
  const std::array<Index, 4> images{64, 3, 64, 64};
  add<float, Eigen::RowMajor>(pairs, images, 1.1, true);
  add<float, Eigen::ColMajor>(pairs, images, 1.1, true);
  add<double, Eigen::RowMajor>(pairs, images, 1.1, true);
  add<double, Eigen::ColMajor>(pairs, images, 1.1, true);
  // A robot's trajectory, batches that are not a multiple of the packet size, batches of more
  // samples than values per sample, and samples of a few values.
  struct Shape {
    std::array<Index, 4> dims;
    double row_major, col_major;  // target ratios
  };
  for (const Shape& shape : {Shape{{1, 16, 7, 1}, 2, 2},
                             {{7, 3, 64, 64}, 1.1, 1.1},
                             {{63, 3, 32, 32}, 1.1, 1.1},
                             {{3, 1, 1000, 1000}, 1.1, 1.1},
                             {{1024, 3, 16, 16}, 1.1, 1.1},
                             {{1025, 3, 16, 16}, 1.1, 1.1},
                             {{4096, 1, 8, 8}, 1.5, 1.5},
                             {{4096, 1, 4, 8}, 0, 1.5},
                             {{4096, 1, 1, 7}, 0, 0},
                             {{4096, 1, 1, 1}, 0, 0}}) {
    add<float, Eigen::RowMajor>(pairs, shape.dims, shape.row_major, false);
    add<float, Eigen::ColMajor>(pairs, shape.dims, shape.col_major, false);
  }
  add_tables(pairs, 1000);
  add_tables(pairs, 1000000);

  if (argc > 1) {
    for (const Pair& pair : pairs) {
      for (const bool ours : {true, false}) {
        benchmark::RegisterBenchmark((pair.name + (ours ? "" : " (flat)")).c_str(),
                                     [work = ours ? pair.ours : pair.flat](benchmark::State& state) {
                                       for (auto _ : state) work();
                                     });
      }
    }
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    benchmark::RunSpecifiedBenchmarks();
    return 0;
  }
  print(pairs);
}
