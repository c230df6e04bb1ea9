/// Tests of diffusion/training/timestep_samplers.hpp.
#include "diffusion/training/timestep_samplers.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "matchers.hpp"

namespace timestep_samplers_tests {

using diffusion::LossSecondMomentResampler;
using diffusion::TimestepLosses;
using diffusion::Timesteps;
using diffusion::UniformSampler;
using diffusion::WeightedTimesteps;
using Eigen::ArrayXd;
using Eigen::Index;
using Losses = Eigen::Tensor<double, 1>;

namespace {

Timesteps steps(std::initializer_list<Index> values) {
  Timesteps out(static_cast<Index>(values.size()));
  std::copy(values.begin(), values.end(), out.data());
  return out;
}

Losses losses(std::initializer_list<double> values) {
  Losses out(static_cast<Index>(values.size()));
  std::copy(values.begin(), values.end(), out.data());
  return out;
}

/// A sampler with a full history, in which timestep t has losses near scale * (1 + t).
LossSecondMomentResampler warm_sampler(Index T, Index history = 3, double uniform_prob = 0.001, double scale = 1.0) {
  LossSecondMomentResampler out(T, history, uniform_prob);
  for (Index k = 0; k < history; ++k) {
    for (Index t = 0; t < T; ++t) {
      out.update_with_all_losses(t,
                                 losses({scale * static_cast<double>(1 + t) * (1.0 + 0.125 * static_cast<double>(k))}));
    }
  }
  return out;
}

/// A random bit generator that repeats a list of numbers.
struct Replay {
  using result_type = std::uint64_t;
  static constexpr result_type min() { return 0; }
  static constexpr result_type max() { return ~std::uint64_t{0}; }
  result_type operator()() { return numbers[next++ % numbers.size()]; }
  std::vector<result_type> numbers;
  std::size_t next = 0;
};

void require_same(const LossSecondMomentResampler& a, const LossSecondMomentResampler& b) {
  REQUIRE_THAT(a.state().loss_history, AllEqual(b.state().loss_history));
  REQUIRE((a.state().loss_counts == b.state().loss_counts).all());
  REQUIRE(a.uniform_prob() == b.uniform_prob());
}

/// The chi-square statistic, the sum of (observed - expected)^2 / expected.
double chi_square(const Timesteps& drawn, const ArrayXd& p) {
  ArrayXd counts = ArrayXd::Zero(p.size());
  for (Index n = 0; n < drawn.size(); ++n) counts[drawn(n)] += 1;
  const ArrayXd expected = p * static_cast<double>(drawn.size());
  return ((counts - expected).square() / expected).sum();
}

/// The value that chi_square exceeds with probability 1e-6 (Wilson-Hilferty approximation).
double chi_square_limit(Index degrees) {
  const double k = 2.0 / (9.0 * static_cast<double>(degrees));
  return static_cast<double>(degrees) * std::pow(1.0 - k + 4.753424 * std::sqrt(k), 3);
}

const double not_a_number = std::numeric_limits<double>::quiet_NaN();
const double infinity = std::numeric_limits<double>::infinity();

}  // namespace

// ---- recorded reference ----

TEST_CASE("the weights of a sampler equal guided-diffusion's after every update", "[timestep_samplers]") {
  const Golden& g = golden("guided_losses.txt");
  for (const char* const name : {"resampler/h10/", "resampler/small/"}) {
    INFO(name);
    const std::string record = name;
    LossSecondMomentResampler sampler(g.integer(record + "num_timesteps"), g.integer(record + "history_per_term"),
                                      g.scalar(record + "uniform_prob"));
    REQUIRE_THAT(sampler.weights(), AllEqual(g.array(record + "weights_initial")));
    for (Index k = 0; k < g.integer(record + "num_updates"); ++k) {
      INFO("update " << k);
      const std::string update = record + "update" + std::to_string(k) + "/";
      sampler.update_with_all_losses(g.timesteps(update + "ts"), g.tensor<double, 1>(update + "losses"));
      REQUIRE(sampler.warmed_up() == (g.integer(update + "warmed_up") == 1));
      REQUIRE(sampler.warmed_up() == (k >= g.integer(record + "first_warm_update")));
      REQUIRE_THAT(sampler.weights(), AllClose(g.array(update + "weights_after"), tolerance::loss, tolerance::loss));
    }
    const auto& state = sampler.state();
    const auto history = g.tensor<double, 2>(record + "loss_history");
    for (Index t = 0; t < sampler.num_timesteps(); ++t) {
      REQUIRE(state.loss_counts[t] == g.timesteps(record + "loss_counts")(t));
      for (Index i = 0; i < sampler.history_per_term(); ++i) REQUIRE(state.loss_history(t, i) == history(t, i));
    }
  }
  REQUIRE_THAT(UniformSampler(6).weights(), AllEqual(g.array("resampler/uniform/weights")));
}

TEST_CASE("the importance weights of drawn timesteps equal guided-diffusion's", "[timestep_samplers]") {
  const Golden& g = golden("guided_losses.txt");
  for (const char* const name : {"resampler/h10/", "resampler/small/"}) {
    const std::string record = name;
    const ArrayXd p = g.array(record + "sample/p");
    const Timesteps indices = g.timesteps(record + "sample/indices");
    LossSecondMomentResampler::State state;
    state.uniform_prob = g.scalar(record + "uniform_prob");
    const auto history = g.tensor<double, 2, Eigen::ColMajor>(record + "loss_history");
    state.loss_history = Eigen::Map<const Eigen::ArrayXXd>(history.data(), history.dimension(0), history.dimension(1));
    state.loss_counts.setConstant(history.dimension(0), history.dimension(1));
    const LossSecondMomentResampler sampler(state);

    // Random numbers in the middle of the interval of each recorded index.
    Replay engine;
    for (Index n = 0; n < indices.size(); ++n) {
      const double u = p.head(indices(n)).sum() + 0.5 * p[indices(n)];
      engine.numbers.push_back(static_cast<std::uint64_t>(u * 0x1p64));
    }
    const WeightedTimesteps drawn = sampler.sample(indices.size(), engine);
    REQUIRE_THAT(drawn.timesteps, AllEqual(indices));
    REQUIRE_THAT(drawn.weights,
                 AllClose(g.tensor<double, 1>(record + "sample/weights"), tolerance::loss, tolerance::loss));
    REQUIRE_THAT(drawn.weights, AllClose(g.tensor<double, 1>(record + "sample/weights.f32"), tolerance::loss_f32,
                                         tolerance::loss_f32));
  }
}

// ---- identities ----

TEST_CASE("the importance-weighted mean over p_t equals the plain mean", "[timestep_samplers]") {
  for (const double uniform_prob : {0.001, 0.0, 0.5, 1.0}) {
    const LossSecondMomentResampler sampler = warm_sampler(7, 3, uniform_prob);
    const ArrayXd p = sampler.weights();
    REQUIRE_THAT(p.sum(), WithinRel(1.0, tolerance::exact_sum));

    // An engine that draws each timestep once, in order, so that weights(t) is w_t.
    Replay engine;
    for (Index t = 0; t < 7; ++t) {
      engine.numbers.push_back(static_cast<std::uint64_t>((p.head(t).sum() + 0.5 * p[t]) * 0x1p64));
    }
    const WeightedTimesteps each = sampler.sample(7, engine);
    double weighted = 0, plain = 0;
    for (Index t = 0; t < 7; ++t) {
      REQUIRE(each.timesteps(t) == t);
      const double f = std::sin(1.0 + static_cast<double>(t));
      weighted += p[t] * each.weights(t) * f;
      plain += f / 7.0;
    }
    REQUIRE_THAT(weighted, WithinRel(plain, tolerance::exact_sum));
  }
}

TEST_CASE("p_t mixes uniform sampling with the root mean square of the last losses", "[timestep_samplers]") {
  LossSecondMomentResampler sampler(2, 2, 0.1);
  sampler.update_with_all_losses(steps({0, 1, 0, 1, 0}), losses({100, 5, 3, 5, 4}));  // 100 is dropped
  const double r0 = std::sqrt((9.0 + 16.0) / 2.0), r1 = 5.0;
  ArrayXd expected(2);
  expected << 0.9 * r0 / (r0 + r1) + 0.05, 0.9 * r1 / (r0 + r1) + 0.05;
  REQUIRE_THAT(sampler.weights(), AllClose(expected, tolerance::exact_sum));
}

TEST_CASE("sampling is uniform until every timestep has a full history", "[timestep_samplers]") {
  LossSecondMomentResampler sampler(5, 2);
  sampler.update_with_all_losses(steps({0, 0, 1, 1, 2, 2, 3, 3, 4}), losses({9, 9, 8, 8, 7, 7, 6, 6, 5}));
  REQUIRE_FALSE(sampler.warmed_up());
  REQUIRE_THAT(sampler.weights(), AllEqual(ArrayXd::Ones(5).eval()));
  std::mt19937 a(3), b(3);
  const WeightedTimesteps drawn = sampler.sample(100, a), uniform = UniformSampler(5).sample(100, b);
  REQUIRE_THAT(drawn.timesteps, AllEqual(uniform.timesteps));
  REQUIRE_THAT(drawn.weights, AllEqual(uniform.weights));
  REQUIRE(drawn.weights(0) == 1.0);

  sampler.update_with_all_losses(4, losses({5}));
  REQUIRE(sampler.warmed_up());
  REQUIRE(sampler.weights()[0] > sampler.weights()[4]);
}

TEST_CASE("the weights are finite for losses that are 0, negative, tiny or huge", "[timestep_samplers]") {
  LossSecondMomentResampler zeros(3, 1);
  zeros.update_with_all_losses(steps({0, 1, 2}), losses({0, 0, 0}));
  REQUIRE(zeros.warmed_up());
  REQUIRE_THAT(zeros.weights(), AllEqual(ArrayXd::Constant(3, 1.0 / 3.0).eval()));

  const ArrayXd p = warm_sampler(4).weights();
  for (const double scale : {1e300, 1e-300, -1.0}) {
    REQUIRE_THAT(warm_sampler(4, 3, 0.001, scale).weights(), AllClose(p, tolerance::exact_sum));
  }
}

TEST_CASE("the samplers never draw a timestep of probability 0 or out of range", "[timestep_samplers]") {
  LossSecondMomentResampler sampler(4, 1, 0.0);
  sampler.update_with_all_losses(steps({0, 1, 2, 3}), losses({0, 2, 1, 0}));
  for (const std::uint64_t number : {std::uint64_t{0}, ~std::uint64_t{0}}) {
    Replay engine{{number}};
    const WeightedTimesteps drawn = sampler.sample(1, engine);
    REQUIRE(drawn.timesteps(0) == (number == 0 ? 1 : 2));
    REQUIRE_THAT(drawn.weights(0), WithinRel(number == 0 ? 0.375 : 0.75, tolerance::exact_sum));
    REQUIRE(UniformSampler(1000003).sample(1, engine).timesteps(0) == (number == 0 ? 0 : 1000002));
  }
}

// ---- draws ----

TEST_CASE("the drawn timesteps are the same with every standard library", "[timestep_samplers]") {
  // The first 32-bit numbers of std::mt19937 for its default seed 5489 are 3499211612, 581869302,
  // 3890346734. A draw takes 53 bits of two of them.
  std::mt19937 engine;
  const WeightedTimesteps drawn = UniformSampler(1000).sample(2, engine);
  REQUIRE(drawn.timesteps(0) == 814);  // floor(1000 * 3499211612 / 2^32)
  REQUIRE(drawn.timesteps(1) == 905);  // floor(1000 * 3890346734 / 2^32)
  std::mt19937 other;
  other.discard(4);
  REQUIRE(engine == other);
}

TEST_CASE("the samplers draw each timestep with its probability", "[timestep_samplers]") {
  constexpr Index draws = 200000;
  std::mt19937_64 engine(11);
  {
    const Index T = 50;
    const WeightedTimesteps drawn = UniformSampler(T).sample(draws, engine);
    REQUIRE(chi_square(drawn.timesteps, ArrayXd::Constant(T, 1.0 / T)) < chi_square_limit(T - 1));
  }
  {
    const LossSecondMomentResampler sampler = warm_sampler(20, 3, 0.05);
    const WeightedTimesteps drawn = sampler.sample(draws, engine);
    REQUIRE(chi_square(drawn.timesteps, sampler.weights()) < chi_square_limit(19));
    REQUIRE(chi_square(drawn.timesteps, ArrayXd::Constant(20, 0.05)) > chi_square_limit(19));
    REQUIRE_THAT(Eigen::Map<const ArrayXd>(drawn.weights.data(), draws).mean(), WithinAbs(1.0, 0.02));
  }
}

TEST_CASE("the samplers accept an empty batch and T = 1", "[timestep_samplers]") {
  std::mt19937 engine(1);
  REQUIRE(UniformSampler(10).sample(0, engine).timesteps.size() == 0);
  REQUIRE(LossSecondMomentResampler(10).sample(0, engine).weights.size() == 0);
  REQUIRE(engine == std::mt19937(1));
  REQUIRE(UniformSampler(1).sample(3, engine).timesteps(2) == 0);
  REQUIRE(warm_sampler(1).sample(3, std::mt19937(2)).weights(2) == 1.0);
  LossSecondMomentResampler sampler = warm_sampler(3);
  const LossSecondMomentResampler before = sampler;
  sampler.update_with_all_losses(Timesteps(0), Losses(0));
  require_same(sampler, before);
}

// ---- state and workers ----

TEST_CASE("a sampler that is restored from a saved state continues as the saved one", "[timestep_samplers]") {
  LossSecondMomentResampler sampler(3, 2, 0.01);
  sampler.update_with_all_losses(steps({0, 1, 1, 1, 2}), losses({1, 2, 3, 4, 5}));
  const LossSecondMomentResampler::State saved = sampler.state();
  LossSecondMomentResampler restored(saved);
  REQUIRE(restored.num_timesteps() == 3);
  REQUIRE(restored.history_per_term() == 2);
  require_same(restored, sampler);
  for (LossSecondMomentResampler* s : {&sampler, &restored}) {
    s->update_with_all_losses(steps({0, 2, 2}), losses({6, 7, 8}));
  }
  require_same(restored, sampler);
  REQUIRE_THAT(restored.weights(), AllEqual(sampler.weights()));
  std::mt19937 a(7), b(7);
  REQUIRE_THAT(restored.sample(50, a).timesteps, AllEqual(sampler.sample(50, b).timesteps));
}

TEST_CASE("the samplers of workers with batches of different size stay equal", "[timestep_samplers]") {
  const std::vector<TimestepLosses> local = {{steps({0, 1, 1}), losses({1, 2, 3})},
                                             {Timesteps(0), Losses(0)},
                                             {steps({2, 1, 0, 2, 2}), losses({4, 5, 6, 7, 8})}};
  LossSecondMomentResampler expected(3, 2);
  expected.update_with_all_losses(steps({0, 1, 1, 2, 1, 0, 2, 2}), losses({1, 2, 3, 4, 5, 6, 7, 8}));

  std::vector<LossSecondMomentResampler> workers(3, LossSecondMomentResampler(3, 2));
  for (std::size_t rank = 0; rank < 3; ++rank) {
    workers[rank].update_with_local_losses(local[rank].timesteps, local[rank].losses, [&](const TimestepLosses& mine) {
      REQUIRE_THAT(mine.timesteps, AllEqual(local[rank].timesteps));
      REQUIRE_THAT(mine.losses, AllEqual(local[rank].losses));
      return local;
    });
    require_same(workers[rank], expected);
  }
}

TEST_CASE("update_with_all_losses accepts any real type, expressions and a single timestep", "[timestep_samplers]") {
  LossSecondMomentResampler expected(2, 2), sampler(2, 2);
  expected.update_with_all_losses(steps({0, 0}), losses({0.5, 0.25}));
  Eigen::Tensor<float, 1, Eigen::RowMajor> x(2);
  x.setValues({1.0f, 0.5f});
  sampler.update_with_all_losses(0, x * 0.5f);
  require_same(sampler, expected);

  LossSecondMomentResampler one(2, 2);
  one.update_with_local_losses(0, x * 0.5f,
                               [](const TimestepLosses& mine) { return std::vector<TimestepLosses>{mine}; });
  require_same(one, expected);
}

TEST_CASE("a state has a uniform part of 0.001 by default, as a sampler has", "[timestep_samplers]") {
  REQUIRE(LossSecondMomentResampler::State{}.uniform_prob == 0.001);
  REQUIRE(LossSecondMomentResampler(3).uniform_prob() == 0.001);
  REQUIRE(LossSecondMomentResampler(3).history_per_term() == 10);
}

// ---- errors ----

TEST_CASE("a sampler refuses a saved state that no sampler has", "[timestep_samplers]") {
  using State = LossSecondMomentResampler::State;
  const auto message = [](const auto& change) {
    LossSecondMomentResampler sampler(3, 2, 0.01);
    sampler.update_with_all_losses(steps({0, 1, 1, 2}), losses({1, 2, 3, 4}));
    State state = sampler.state();
    change(state);
    return error_message([&] { (void)LossSecondMomentResampler(state); });
  };
  const std::string where = "diffusion::LossSecondMomentResampler: ";
  REQUIRE(message([](State&) {}) == "nothing was thrown");
  REQUIRE(message([](State& s) { s.loss_history.resize(0, 2), s.loss_counts.resize(0); }) ==
          where + "loss_history.rows() = 0 must be at least 1");
  REQUIRE(message([](State& s) { s.loss_history.resize(3, 0), s.loss_counts.setZero(); }) ==
          where + "loss_history.cols() = 0 must be at least 1");
  REQUIRE(message([](State& s) { s.uniform_prob = -0.5; }) == where + "uniform_prob = -0.5 is outside [0, 1]");
  REQUIRE(message([](State& s) { s.uniform_prob = not_a_number; }) == where + "uniform_prob = nan is outside [0, 1]");
  REQUIRE(message([](State& s) { s.loss_counts.setZero(4); }) ==
          where + "loss_counts has 4 entries, but loss_history has 3 rows");
  for (Index t = 0; t < 3; ++t) {
    for (const Index count : {-1, 3}) {
      REQUIRE(message([&](State& s) { s.loss_counts[t] = count; }) ==
              where + "loss_counts[" + std::to_string(t) + "] = " + std::to_string(count) + " is outside [0, 2]");
    }
    for (const Index count : {0, 2}) {
      REQUIRE(message([&](State& s) { s.loss_counts[t] = count; }) == "nothing was thrown");
    }
    for (Index k = 0; k < 2; ++k) {
      REQUIRE(message([&](State& s) { s.loss_history(t, k) = infinity; }) ==
              where + "loss_history(" + std::to_string(t) + ", " + std::to_string(k) + ") = inf is not finite");
    }
  }
  REQUIRE(message([](State& s) { s.loss_history.resize(3, 1), s.loss_history.setZero(), s.loss_counts.setZero(); }) ==
          "nothing was thrown");
}

TEST_CASE("the samplers throw for invalid arguments", "[timestep_samplers]") {
  using Invalid = std::invalid_argument;
  std::mt19937 engine(1);
  REQUIRE(error_message<Invalid>([] { (void)UniformSampler(0); }) ==
          "diffusion::UniformSampler: num_timesteps = 0 must be at least 1");
  REQUIRE(error_message<Invalid>([] { (void)LossSecondMomentResampler(-3); }) ==
          "diffusion::LossSecondMomentResampler: num_timesteps = -3 must be at least 1");
  REQUIRE(error_message<Invalid>([] { (void)LossSecondMomentResampler(3, 0); }) ==
          "diffusion::LossSecondMomentResampler: history_per_term = 0 must be at least 1");
  for (const double u : {-0.1, 1.5, not_a_number}) {
    REQUIRE_THROWS_AS(LossSecondMomentResampler(3, 10, u), Invalid);
  }
  REQUIRE(error_message<Invalid>([] { (void)LossSecondMomentResampler(3, 10, 1.5); }) ==
          "diffusion::LossSecondMomentResampler: uniform_prob = 1.5 is outside [0, 1]");
  REQUIRE(error_message<Invalid>([&] { (void)UniformSampler(3).sample(-1, engine); }) ==
          "diffusion::UniformSampler::sample: batch_size = -1 must be at least 0");
  REQUIRE(error_message<Invalid>([&] { (void)LossSecondMomentResampler(3).sample(-2, engine); }) ==
          "diffusion::LossSecondMomentResampler::sample: batch_size = -2 must be at least 0");
}

TEST_CASE("an update that throws leaves the sampler unchanged", "[timestep_samplers]") {
  using Invalid = std::invalid_argument;
  const std::string where = "diffusion::LossSecondMomentResampler::update_with_all_losses: ";
  LossSecondMomentResampler sampler = warm_sampler(3);
  const LossSecondMomentResampler before = sampler;
  REQUIRE(error_message<std::out_of_range>([&] {
            sampler.update_with_all_losses(steps({0, 3}), losses({1, 2}));
          }) == where + "ts[1] = 3 is outside [0, 3)");
  REQUIRE(error_message<std::out_of_range>([&] {
            sampler.update_with_all_losses(-1, losses({1, 2}));
          }) == where + "ts = -1 is outside [0, 3)");
  REQUIRE(error_message<Invalid>([&] {
            sampler.update_with_all_losses(steps({0, 1}), losses({1}));
          }) == where + "losses has 1 entries, but ts has 2: pass one loss per timestep");
  REQUIRE(error_message<Invalid>([&] {
            sampler.update_with_all_losses(steps({0, 1}), losses({1, not_a_number}));
          }) == where + "losses[1] = nan is not finite");
  REQUIRE_THROWS_AS(sampler.update_with_all_losses(steps({0, 1}), losses({1, infinity})), Invalid);
  REQUIRE_THROWS_AS(sampler.update_with_all_losses(steps({0, 1}), losses({infinity, 1})), Invalid);

  const std::string local = "diffusion::LossSecondMomentResampler::update_with_local_losses: ";
  const auto gather_bad = [](const TimestepLosses& mine) {
    return std::vector<TimestepLosses>{mine, {steps({1, 2}), losses({1, -infinity})}};
  };
  REQUIRE(error_message<Invalid>([&] { sampler.update_with_local_losses(steps({0}), losses({1}), gather_bad); }) ==
          local + "losses[1] = -inf is not finite");
  // The other workers wait in gather, so losses that are not finite are refused after it.
  int gathered = 0;
  REQUIRE_THROWS_AS(sampler.update_with_local_losses(steps({0}), losses({infinity}),
                                                     [&](const TimestepLosses& mine) {
                                                       ++gathered;
                                                       return std::vector<TimestepLosses>{mine};
                                                     }),
                    Invalid);
  REQUIRE(gathered == 1);
  REQUIRE(error_message<Invalid>([&] {
            sampler.update_with_local_losses(steps({0, 1}), losses({1}), gather_bad);
          }) == local + "losses has 1 entries, but ts has 2: pass one loss per timestep");
  require_same(sampler, before);
}

TEST_CASE("the constructor throws for an invalid state", "[timestep_samplers]") {
  using State = LossSecondMomentResampler::State;
  const State good = warm_sampler(3).state();
  const auto message = [](const State& state) {
    return error_message<std::invalid_argument>([&] { (void)LossSecondMomentResampler{state}; });
  };
  REQUIRE(message(State()) == "diffusion::LossSecondMomentResampler: loss_history.rows() = 0 must be at least 1");
  State state = good;
  state.loss_counts.setZero(2);
  REQUIRE(message(state) ==
          "diffusion::LossSecondMomentResampler: loss_counts has 2 entries, but loss_history has 3 rows");
  state = good;
  state.loss_counts[1] = 4;
  REQUIRE(message(state) == "diffusion::LossSecondMomentResampler: loss_counts[1] = 4 is outside [0, 3]");
  state = good;
  state.loss_history(2, 1) = not_a_number;
  REQUIRE(message(state) == "diffusion::LossSecondMomentResampler: loss_history(2, 1) = nan is not finite");
  state = good;
  state.uniform_prob = -1;
  REQUIRE(message(state) == "diffusion::LossSecondMomentResampler: uniform_prob = -1 is outside [0, 1]");
}

TEST_CASE("weights returns p_t if all losses are 0", "[timestep_samplers]") {
  LossSecondMomentResampler sampler(4, 1);
  Eigen::Tensor<double, 1> losses(4);
  losses.setZero();
  REQUIRE((sampler.weights() == 1).all());
  sampler.update_with_all_losses(std::vector<Index>{0, 1, 2, 3}, losses);
  REQUIRE(sampler.warmed_up());
  REQUIRE((sampler.weights() == 0.25).all());
}

TEST_CASE("p_t = 1 - u + u / T if only t has a loss that is not 0", "[timestep_samplers]") {
  const Index t = GENERATE(0, 1, 2);
  LossSecondMomentResampler::State state;
  state.uniform_prob = 0.25;
  state.loss_history = Eigen::ArrayXXd::Zero(3, 2);
  state.loss_history(t, t == 0 ? 0 : 1) = -0.5;  // the first entry of the history, or the last, or one between
  state.loss_counts.setConstant(3, 2);
  ArrayXd expected = ArrayXd::Constant(3, 0.25 / 3.0);
  expected[t] += 0.75;
  REQUIRE_THAT(LossSecondMomentResampler(state).weights(), AllClose(expected, tolerance::exact_sum));
}

TEST_CASE("a sampler is not warmed up while any timestep lacks a loss", "[timestep_samplers]") {
  const Index t = GENERATE(0, 1, 2);
  LossSecondMomentResampler::State state;
  state.loss_history = Eigen::ArrayXXd::Ones(3, 2);
  state.loss_counts.setConstant(3, 2);
  REQUIRE(LossSecondMomentResampler(state).warmed_up());
  state.loss_counts[t] = 1;
  REQUIRE_FALSE(LossSecondMomentResampler(state).warmed_up());
}

}  // namespace timestep_samplers_tests
