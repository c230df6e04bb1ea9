/// @file timestep_samplers.hpp
/// Which timesteps a training step looks at: all equally often, or more often those whose losses
/// are large, with weights that keep the expected loss the same. With p_t the probability of t,
///
///     mean over t of loss_t = sum_t p_t w_t loss_t,   w_t = 1 / (T p_t)
///
#pragma once

#include <Eigen/Core>
#include <algorithm>  // std::min, std::max, std::upper_bound
#include <cmath>      // std::sqrt, std::fma, std::isfinite, std::abs
#include <cstddef>    // std::size_t
#include <stdexcept>  // std::invalid_argument
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>  // std::declval, std::move
#include <vector>

#include "../detail/arguments.hpp"
#include "../detail/check.hpp"
#include "../detail/error.hpp"
#include "../detail/math/random_bits.hpp"
#include "../detail/shape.hpp"
#include "../tensor.hpp"

namespace diffusion {

/// One timestep per sample of a batch, and what to multiply the loss of each sample with: both of
/// shape [N].
struct WeightedTimesteps {
  Timesteps timesteps;
  Eigen::Tensor<double, 1> weights;  // 1 / (T p_t)
};

/// Losses and the timesteps they belong to, both of shape [N]: workers that train
/// together exchange them.
struct TimestepLosses {
  Timesteps timesteps;
  Eigen::Tensor<double, 1> losses;
};

namespace detail {

/// A batch of timesteps t(u), each from a u uniform on [0, 1), and their weights w(t). The engine
/// is asked for 53 bits a sample, in order, so the timesteps are the same with every standard
/// library.
template <class Engine, class Timestep, class Weight>
WeightedTimesteps draw_timesteps(const char* where, Eigen::Index batch_size, Engine& engine, const Timestep& t,
                                 const Weight& weight) {
  static_assert(is_bit_generator_v<Engine>,
                "diffusion: the engine must be a uniform random bit generator, such as std::mt19937");
  check_at_least<Eigen::Index>(where, "batch_size", batch_size, 0);
  WeightedTimesteps out{Timesteps(batch_size), Eigen::Tensor<double, 1>(batch_size)};
  if constexpr (is_bit_generator_v<Engine>) {
    for (Eigen::Index n = 0; n < batch_size; ++n) {
      out.timesteps(n) = t(uniform_unit(engine));
      out.weights(n) = weight(out.timesteps(n));
    }
  }
  return out;
}

}  // namespace detail

/// Every timestep equally often: p_t = 1 / T, and all weights are 1. The way of Ho et al. 2020,
/// Algorithm 1.
class UniformSampler {
 public:
  /// Throws std::invalid_argument unless num_timesteps >= 1.
  explicit UniformSampler(Eigen::Index num_timesteps) : num_timesteps_(num_timesteps) {
    detail::check_at_least<Eigen::Index>("UniformSampler", "num_timesteps", num_timesteps, 1);
  }

  /// T, the number of timesteps.
  Eigen::Index num_timesteps() const { return num_timesteps_; }

  /// In proportion to p_t: 1 for every t.
  [[nodiscard]] Eigen::ArrayXd weights() const { return Eigen::ArrayXd::Ones(num_timesteps_); }

  /// batch_size independent timesteps from a uniform random bit generator of the standard library's
  /// kind. Throws std::invalid_argument when batch_size is negative.
  template <class Engine>
  [[nodiscard]] WeightedTimesteps sample(Eigen::Index batch_size, Engine&& engine) const {
    const auto T = static_cast<double>(num_timesteps_);
    return detail::draw_timesteps(
        "UniformSampler::sample", batch_size, engine,
        [&](double u) { return (std::min)(static_cast<Eigen::Index>(u * T), num_timesteps_ - 1); },
        [](Eigen::Index) { return 1.0; });
  }

 private:
  Eigen::Index num_timesteps_;
};

/// Importance sampling by the second moment of the loss; Nichol, Dhariwal 2021, Eq. (18), here with
/// a part that is uniform:
///
///     p_t = (1 - u) r_t / sum_s r_s + u / T,   u = uniform_prob
///     r_t = sqrt(mean of the squares of the last losses of t)
///
/// once every timestep has its `history_per_term` losses; until then, and while all of those are 0,
/// p_t = 1 / T. Its memory is a State, which can be saved and from which another one goes on:
///
///     LossSecondMomentResampler sampler(1000);
///     const auto [t, weights] = sampler.sample(batch_size, engine);
///     ...                                      // train on the mean of weights(n) * losses(n)
///     sampler.update_with_all_losses(t, losses);
///
/// Not safe to update from several threads at once.
class LossSecondMomentResampler {
 public:
  /// All that the sampler knows: saved and restored, it is the same sampler.
  struct State {
    double uniform_prob = 0.001;
    Eigen::ArrayXXd loss_history;                               // [T, history_per_term]: of each t, oldest first
    Eigen::Array<Eigen::Index, Eigen::Dynamic, 1> loss_counts;  // [T]: how many of a row have been filled
  };

  /// Throws std::invalid_argument unless num_timesteps >= 1, history_per_term >= 1 and uniform_prob
  /// is in [0, 1].
  explicit LossSecondMomentResampler(Eigen::Index num_timesteps, Eigen::Index history_per_term = 10,
                                     double uniform_prob = 0.001) {
    constexpr const char* where = "LossSecondMomentResampler";
    detail::check_at_least<Eigen::Index>(where, "num_timesteps", num_timesteps, 1);
    detail::check_at_least<Eigen::Index>(where, "history_per_term", history_per_term, 1);
    state_.uniform_prob = uniform_prob;
    state_.loss_history = Eigen::ArrayXXd::Zero(num_timesteps, history_per_term);
    state_.loss_counts.setZero(num_timesteps);
    check_state();
  }

  /// Goes on from a saved state. Throws std::invalid_argument when it could not have come from
  /// state().
  explicit LossSecondMomentResampler(State state) : state_(std::move(state)) { check_state(); }

  const State& state() const { return state_; }

  /// T, the number of timesteps.
  Eigen::Index num_timesteps() const { return state_.loss_history.rows(); }
  /// How many losses of each timestep are remembered.
  Eigen::Index history_per_term() const { return state_.loss_history.cols(); }
  double uniform_prob() const { return state_.uniform_prob; }

  /// Whether every timestep has all its losses, so that weights() follow them.
  bool warmed_up() const { return (state_.loss_counts == history_per_term()).all(); }

  /// In proportion to p_t: 1 for every t until warmed_up(), then p_t itself (1 / T while all losses are 0).
  [[nodiscard]] Eigen::ArrayXd weights() const {
    const Eigen::Index T = num_timesteps();
    Eigen::ArrayXd out = Eigen::ArrayXd::Ones(T);
    const double largest = state_.loss_history.abs().maxCoeff();
    if (!warmed_up()) return out;
    if (largest == 0.0) return Eigen::ArrayXd::Constant(T, 1.0 / static_cast<double>(T));
    // In units of the largest loss, lest a square overflow; by scalar loops and explicit fma, so
    // that the weights and with them the timesteps drawn have the same bits on every platform.
    double sum = 0.0;
    for (Eigen::Index t = 0; t < T; ++t) {
      double squares = 0.0;
      for (Eigen::Index k = 0; k < history_per_term(); ++k) {
        const double loss = state_.loss_history(t, k) / largest;
        squares = std::fma(loss, loss, squares);
      }
      out[t] = std::sqrt(squares / static_cast<double>(history_per_term()));
      sum += out[t];
    }
    const double uniform = uniform_prob() / static_cast<double>(T);
    for (Eigen::Index t = 0; t < T; ++t) out[t] = std::fma(out[t] / sum, 1.0 - uniform_prob(), uniform);
    return out;
  }

  /// As UniformSampler::sample, from which it does not differ until warmed_up(): by the inverse of
  /// the distribution function, one uniform number of 53 bits a timestep.
  template <class Engine>
  [[nodiscard]] WeightedTimesteps sample(Eigen::Index batch_size, Engine&& engine) const {
    const Eigen::ArrayXd w = weights();
    std::vector<double> below(static_cast<std::size_t>(w.size()));  // of t: the weight of 0, ..., t together
    double total = 0.0;
    for (Eigen::Index t = 0; t < w.size(); ++t) below[static_cast<std::size_t>(t)] = total += w[t];
    // The last t that is possible at all, for a product u * total that was rounded up to the total.
    const auto last = std::lower_bound(below.begin(), below.end(), total) - below.begin();
    return detail::draw_timesteps(
        "LossSecondMomentResampler::sample", batch_size, engine,
        [&](double u) {
          const auto t = std::upper_bound(below.begin(), below.end(), u * total) - below.begin();
          return static_cast<Eigen::Index>((std::min)(t, last));
        },
        [&](Eigen::Index t) { return total / (static_cast<double>(w.size()) * w[t]); });
  }

  /// Remembers losses, in order: losses(n) is one of timestep ts[n]. `losses` is a tensor of shape
  /// [N] of any real type. A full row forgets its oldest loss. When several
  /// workers train together, give each of them the losses of all, or call update_with_local_losses.
  /// Throws std::invalid_argument when the sizes differ or a loss is not finite, std::out_of_range
  /// for a timestep outside [0, T); then nothing has been remembered. (A loss may be negative.)
  template <class Losses>
  void update_with_all_losses(TimestepsView ts, const Losses& losses) {
    const auto all = as_doubles(losses);
    check_losses("LossSecondMomentResampler::update_with_all_losses", ts, all);
    remember(ts, all);
  }

  /// The same with the losses of one worker of several. `gather` is a callable that sends them to
  /// the others:
  ///
  ///     gather(const TimestepLosses& mine) -> a range of the TimestepLosses of all workers,
  ///                                           in the order of their rank
  ///
  /// and mine among them; an MPI_Allgatherv of the sizes and then of the values, say. Workers may
  /// differ in how many losses they have. All workers remember the same losses in the same order,
  /// so samplers that were equal stay equal. Throws what update_with_all_losses does: before gather
  /// is called if ts and losses differ in size, and after it, in all workers and before any loss is
  /// remembered, for what a worker may not have sent.
  template <class Losses, class Gather>
  void update_with_local_losses(TimestepsView ts, const Losses& losses, Gather&& gather) {
    constexpr const char* where = "LossSecondMomentResampler::update_with_local_losses";
    TimestepLosses mine{Timesteps(), as_doubles(losses)};
    if (!ts.uniform() && ts.size() != mine.losses.size()) check_losses(where, ts, mine.losses);
    mine.timesteps.resize(mine.losses.size());
    for (Eigen::Index n = 0; n < mine.losses.size(); ++n) mine.timesteps(n) = ts[n];
    static_assert(std::is_invocable_v<Gather&, const TimestepLosses&>,
                  "diffusion: gather must be a callable gather(const TimestepLosses&) that returns a range of "
                  "TimestepLosses, those of all workers in the order of their rank");
    if constexpr (std::is_invocable_v<Gather&, const TimestepLosses&>) {
      const auto workers = gather(static_cast<const TimestepLosses&>(mine));
      for (const TimestepLosses& worker : workers) check_losses(where, worker.timesteps, worker.losses);
      for (const TimestepLosses& worker : workers) remember(worker.timesteps, worker.losses);
    }
  }

 private:
  void check_state() const {
    constexpr const char* where = "LossSecondMomentResampler";
    detail::check_at_least<Eigen::Index>(where, "loss_history.rows()", num_timesteps(), 1);
    detail::check_at_least<Eigen::Index>(where, "loss_history.cols()", history_per_term(), 1);
    detail::check_in(where, "uniform_prob", uniform_prob(), 0.0, 1.0);
    if (state_.loss_counts.size() != num_timesteps()) {
      detail::fail<std::invalid_argument>(where, "loss_counts has ", state_.loss_counts.size(),
                                          " entries, but loss_history has ", num_timesteps(), " rows");
    }
    for (Eigen::Index t = 0; t < num_timesteps(); ++t) {
      const Eigen::Index count = state_.loss_counts[t];
      if (count < 0 || count > history_per_term()) {
        detail::fail<std::invalid_argument>(where, "loss_counts[", t, "] = ", count, " is outside [0, ",
                                            history_per_term(), "]");
      }
      for (Eigen::Index k = 0; k < history_per_term(); ++k) {
        if (!std::isfinite(state_.loss_history(t, k))) {
          detail::fail<std::invalid_argument>(where, "loss_history(", t, ", ", k, ") = ", state_.loss_history(t, k),
                                              " is not finite");
        }
      }
    }
  }

  template <class Losses>
  static Eigen::Tensor<double, 1> as_doubles(const Losses& losses) {
    static_assert(detail::is_tensor_v<Losses> && detail::Traits<Losses>::rank == 1,
                  "diffusion: losses must be an Eigen tensor of rank 1, one loss per timestep");
    if constexpr (detail::is_tensor_v<Losses> && detail::Traits<Losses>::rank == 1) {
      const auto& x = detail::evaluated(losses);
      Eigen::Tensor<double, 1> out(static_cast<Eigen::Index>(x.size()));
      for (Eigen::Index n = 0; n < out.size(); ++n) out(n) = static_cast<double>(x.data()[n]);
      return out;
    }
    return {};
  }

  void check_losses(const char* where, TimestepsView ts, const Eigen::Tensor<double, 1>& losses) const {
    if (!ts.uniform() && ts.size() != losses.size()) {
      detail::fail<std::invalid_argument>(where, "losses has ", losses.size(), " entries for ", ts.size(),
                                          " timesteps");
    }
    detail::check_timesteps(where, "ts", ts, losses.size(), 0, num_timesteps());
    for (Eigen::Index n = 0; n < losses.size(); ++n) {
      if (!std::isfinite(losses(n))) {
        detail::fail<std::invalid_argument>(where, "losses[", n, "] = ", losses(n), " is not finite");
      }
    }
  }

  void remember(TimestepsView ts, const Eigen::Tensor<double, 1>& losses) {
    const Eigen::Index history = history_per_term();
    for (Eigen::Index n = 0; n < losses.size(); ++n) {
      const Eigen::Index t = ts[n];
      Eigen::Index& count = state_.loss_counts[t];
      if (count == history) {
        for (Eigen::Index k = 1; k < history; ++k) state_.loss_history(t, k - 1) = state_.loss_history(t, k);
        --count;
      }
      state_.loss_history(t, count++) = losses(n);
    }
  }

  State state_;
};

}  // namespace diffusion
