// Speed of the noise sources. Prints Google Benchmark's table with the time per value, then the
// ratios that matter, from the times of this run: the gain over std::normal_distribution on
// std::mt19937, the gain by a second thread, and the loss by ColMajor.
//     benchmark_noise --benchmark_min_time=1
#ifndef EIGEN_USE_THREADS
#define EIGEN_USE_THREADS
#endif
#include <benchmark/benchmark.h>

#include <cstdio>
#include <diffusion/noise/engine_noise.hpp>
#include <diffusion/noise/philox_noise.hpp>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace {

using Eigen::ColMajor;
using Eigen::Index;
using Eigen::RowMajor;

template <class Scalar, int Layout>
using Tensor = Eigen::Tensor<Scalar, 4, Layout>;

template <class Fill>
void per_value(benchmark::State& state, Index size, const Fill& fill) {
  fill();  // touches the memory for the first time
  for (auto _ : state) {
    fill();
    benchmark::ClobberMemory();
  }
  const double values = static_cast<double>(state.iterations()) * static_cast<double>(size);
  state.counters["s/value"] = benchmark::Counter(values, benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

template <class Scalar, int Layout>
void philox(benchmark::State& state, Index n, Index channels, Index height, Index width, int threads) {
  Tensor<Scalar, Layout> x(n, channels, height, width);
  diffusion::PhiloxNoise noise(1);
  if (threads == 1) {
    per_value(state, x.size(), [&] { noise(x); });
  } else {
    Eigen::ThreadPool pool(threads);
    const Eigen::ThreadPoolDevice device(&pool, threads);
    per_value(state, x.size(), [&] { noise(x, device); });
  }
}

template <class Scalar>
void engine(benchmark::State& state) {
  Tensor<Scalar, RowMajor> x(1, 1, 1000, 1000);
  diffusion::EngineNoise noise(std::mt19937(1));
  per_value(state, x.size(), [&] { noise(x); });
}

template <class Scalar>
void standard(benchmark::State& state) {
  std::vector<Scalar> x(1000000);
  std::mt19937 engine(1);
  std::normal_distribution<Scalar> normal;
  per_value(state, static_cast<Index>(x.size()), [&] {
    for (Scalar& value : x) value = normal(engine);
  });
}

/// A console reporter that also stores the fastest repetition.
class Recorder : public benchmark::ConsoleReporter {
 public:
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) {
      if (run.run_type != Run::RT_Iteration || run.counters.count("s/value") == 0) continue;
      const double time = run.counters.at("s/value");
      double& best = best_.emplace(run.run_name.function_name, time).first->second;
      if (time < best) best = time;
    }
    ConsoleReporter::ReportRuns(runs);
  }

  void ratio(const std::string& what, const std::string& numerator, const std::string& denominator) const {
    if (best_.count(numerator) == 0 || best_.count(denominator) == 0) return;
    std::printf("%-58s %6.2f   (%.3f ns / %.3f ns)\n", what.c_str(), best_.at(numerator) / best_.at(denominator),
                1e9 * best_.at(numerator), 1e9 * best_.at(denominator));
  }

 private:
  std::map<std::string, double> best_;
};

/// Registers a benchmark. It measures processor time, which other work on the machine does not
/// affect; the comparison of threads measures wall-clock time.
template <class... Arguments>
void add(const char* name, Arguments... arguments) {
  auto* const added = benchmark::RegisterBenchmark(name, arguments...);
  added->Repetitions(5)->Unit(benchmark::kMicrosecond);
  if (std::string(name).find("thread") != std::string::npos) added->UseRealTime();
}

}  // namespace

int main(int argc, char** argv) {
  add("std float", standard<float>);
  add("std double", standard<double>);
  add("engine float", engine<float>);
  add("engine double", engine<double>);
  add("philox float", philox<float, RowMajor>, 1, 1, 1000, 1000, 1);
  add("philox double", philox<double, RowMajor>, 1, 1, 1000, 1000, 1);
  add("philox half", philox<Eigen::half, RowMajor>, 1, 1, 1000, 1000, 1);
  add("philox bfloat16", philox<Eigen::bfloat16, RowMajor>, 1, 1, 1000, 1000, 1);
  add("10^7 float, 1 thread", philox<float, RowMajor>, 10, 1, 1000, 1000, 1);
  add("10^7 float, 2 threads", philox<float, RowMajor>, 10, 1, 1000, 1000, 2);
  add("10^7 double, 1 thread", philox<double, RowMajor>, 10, 1, 1000, 1000, 1);
  add("10^7 double, 2 threads", philox<double, RowMajor>, 10, 1, 1000, 1000, 2);
  add("64x3x64x64 RowMajor", philox<float, RowMajor>, 64, 3, 64, 64, 1);
  add("64x3x64x64 ColMajor", philox<float, ColMajor>, 64, 3, 64, 64, 1);
  add("4096x64 RowMajor", philox<float, RowMajor>, 4096, 64, 1, 1, 1);
  add("4096x64 ColMajor", philox<float, ColMajor>, 4096, 64, 1, 1, 1);
  add("1x16x7 RowMajor", philox<float, RowMajor>, 1, 16, 7, 1, 1);

  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  Recorder recorder;
  benchmark::RunSpecifiedBenchmarks(&recorder);

  std::printf("\nRatios of the times of the fastest repetitions\n");
  recorder.ratio("std::normal_distribution<float> / PhiloxNoise", "std float", "philox float");
  recorder.ratio("std::normal_distribution<double> / PhiloxNoise", "std double", "philox double");
  recorder.ratio("std::normal_distribution<float> / EngineNoise", "std float", "engine float");
  recorder.ratio("std::normal_distribution<double> / EngineNoise", "std double", "engine double");
  recorder.ratio("PhiloxNoise half / float", "philox half", "philox float");
  recorder.ratio("PhiloxNoise bfloat16 / float", "philox bfloat16", "philox float");
  recorder.ratio("one thread / two threads, 10^7 float", "10^7 float, 1 thread", "10^7 float, 2 threads");
  recorder.ratio("one thread / two threads, 10^7 double", "10^7 double, 1 thread", "10^7 double, 2 threads");
  recorder.ratio("ColMajor / RowMajor, 64x3x64x64 float", "64x3x64x64 ColMajor", "64x3x64x64 RowMajor");
  recorder.ratio("ColMajor / RowMajor, 4096x64 float", "4096x64 ColMajor", "4096x64 RowMajor");
  recorder.ratio("1x16x7 / 10^6 float, per value", "1x16x7 RowMajor", "philox float");
}
