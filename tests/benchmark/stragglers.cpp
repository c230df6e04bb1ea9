/// @file stragglers.cpp
/// Simulates how long a job of k ranks takes, and calculates how much work failures of nodes lose.
///
/// Each rank has m batches of c calls of the network. Call j of rank r takes the time
///
///     t_rj = (L_rj + d S_rj) / v_r
///     v_r  = max(v_min, 1 + a Z_r)            speed of the rank
///     L_rj = exp(b Z_rj - b^2 / 2)            mean 1, deviation b
///     S_rj = 1 with probability p, else 0     a call that stalls for d more call times
///
/// where all Z are N(0, 1). Three strategies share the same draws. Efficiency is the mean time that
/// a rank computes divided by the time of the whole job:
///
///     static     mean_r T_r / max_r T_r       T_r = sum_j t_rj
///     dynamic    the same; an idle rank takes the next batch from a shared counter, at no cost
///     barrier    mean_r T_r / sum_j max_r t_rj
///
/// In the barrier strategy all ranks wait for the slowest one after each call, as in a training
/// step; its efficiency depends on m only by chance. Every call is drawn: nothing is approximated.
///
/// Failures are a Poisson process of rate lambda = k f. A failed job starts again at once with a
/// new node, and each rank has lost its current batch, of time T / m. In units of its time T
/// without failures, a job takes on average
///
///     m (exp(lambda T / m) - 1) / (lambda T)
///
/// Without the progress file a failure loses all samples, as if m were 1.
#include <algorithm>  // std::max, std::max_element
#include <cmath>
#include <cstddef>  // std::size_t
#include <cstdio>
#include <functional>  // std::greater
#include <numeric>     // std::accumulate
#include <queue>
#include <random>
#include <utility>  // std::pair
#include <vector>

namespace {

constexpr std::size_t calls_per_batch = 20;      // c
constexpr double speed_deviation = 0.03;         // a
constexpr double least_speed = 0.85;             // v_min
constexpr double call_deviation = 0.05;          // b
constexpr double stall_probability = 1e-4;       // p, of a call
constexpr double stall_time = 10;                // d, in call times
constexpr double failures_per_year = 1.0 / 5.0;  // f, of a node; one rank runs on each node
constexpr double job_hours = 24;                 // T
constexpr std::size_t least_runs = 3;            // of each job; small jobs run more often
constexpr std::size_t least_calls = 20000000;    // of all runs of a job

/// Random numbers from the bits of the engine: std::normal_distribution differs between libraries.
class Draws {
 public:
  /// Uniform in (0, 1].
  double uniform() { return (static_cast<double>(engine_() >> 11) + 0.5) * 0x1p-53; }

  /// N(0, 1), by Box and Muller's method.
  double normal() {
    has_second_ = !has_second_;
    if (!has_second_) return second_;
    const double radius = std::sqrt(-2 * std::log(uniform())), angle = 6.283185307179586 * uniform();
    second_ = radius * std::sin(angle);
    return radius * std::cos(angle);
  }

 private:
  std::mt19937_64 engine_{1};
  double second_ = 0;
  bool has_second_ = false;
};

double sum(const std::vector<double>& x) { return std::accumulate(x.begin(), x.end(), 0.0); }
double largest(const std::vector<double>& x) { return *std::max_element(x.begin(), x.end()); }

/// Times of a strategy, summed over runs.
struct Times {
  double computing = 0, job = 0;
  void add(const std::vector<double>& ranks, double last) {
    computing += sum(ranks) / static_cast<double>(ranks.size());
    job += last;
  }
  double efficiency() const { return computing / job; }
};

/// `fixed` stands for static, which is a keyword.
struct Strategies {
  Times fixed, dynamic, barrier, barrier_without_stalls;
};

/// Runs a job once with each strategy.
void run(std::size_t ranks, std::size_t batches, Draws& draws, Strategies& strategies) {
  using Free = std::pair<double, std::size_t>;  // the time at which a rank is free, and the rank
  std::priority_queue<Free, std::vector<Free>, std::greater<>> queue;
  std::vector<double> pace(ranks), fixed(ranks), without_stalls(ranks), dynamic(ranks);  // pace: 1 / v
  std::vector<double> slowest(batches * calls_per_batch), slowest_without_stalls(slowest.size());
  for (std::size_t r = 0; r < ranks; ++r) {
    pace[r] = 1 / std::max(least_speed, 1 + speed_deviation * draws.normal());
    queue.emplace(0.0, r);
  }
  for (std::size_t r = 0; r < ranks; ++r) {
    for (std::size_t first = 0; first < slowest.size(); first += calls_per_batch) {
      double batch = 0, stalls = 0;  // work, in mean call times
      for (std::size_t j = first; j < first + calls_per_batch; ++j) {
        const double call = std::exp(call_deviation * (draws.normal() - 0.5 * call_deviation));
        const double stall = draws.uniform() <= stall_probability ? stall_time : 0;
        slowest[j] = std::max(slowest[j], (call + stall) * pace[r]);
        slowest_without_stalls[j] = std::max(slowest_without_stalls[j], call * pace[r]);
        batch += call;
        stalls += stall;
      }
      fixed[r] += (batch + stalls) * pace[r];
      without_stalls[r] += batch * pace[r];
      const std::size_t taker = queue.top().second;
      queue.pop();
      dynamic[taker] += (batch + stalls) * pace[taker];
      queue.emplace(dynamic[taker], taker);
    }
  }
  strategies.fixed.add(fixed, largest(fixed));
  strategies.dynamic.add(dynamic, largest(dynamic));
  strategies.barrier.add(fixed, sum(slowest));
  strategies.barrier_without_stalls.add(without_stalls, sum(slowest_without_stalls));
}

}  // namespace

int main() {
  Draws draws;
  std::puts("efficiency\n   ranks  batches   static  dynamic  barrier  barrier, no stalls");
  for (const std::size_t ranks : {1U, 10U, 1000U, 100000U}) {
    for (const std::size_t batches : {1U, 10U, 100U}) {
      const std::size_t runs = std::max(least_runs, least_calls / (ranks * batches * calls_per_batch));
      Strategies s;
      for (std::size_t i = 0; i < runs; ++i) run(ranks, batches, draws, s);
      std::printf("%8zu %8zu %8.2f %8.2f %8.2f %19.2f\n", ranks, batches, s.fixed.efficiency(), s.dynamic.efficiency(),
                  s.barrier.efficiency(), s.barrier_without_stalls.efficiency());
    }
  }

  std::printf("\nfailures in a job of %.0f hours, and its mean time in units of that; m batches per rank\n", job_hours);
  std::puts("   ranks failures  P(none)    no file     m = 10    m = 100   m = 1000");
  for (const double ranks : {1.0, 10.0, 1e3, 1e5}) {
    const double failures = ranks * failures_per_year * job_hours / (365.25 * 24);
    std::printf("%8.0f %8.2g %8.2g", ranks, failures, std::exp(-failures));
    for (const double m : {1.0, 10.0, 100.0, 1000.0}) std::printf(" %10.4g", m * std::expm1(failures / m) / failures);
    std::puts("");
  }
}
