/// @file timestep_samplers.hpp
/// Samplers of timesteps for training: uniform, or by importance, where timesteps with large losses
/// are drawn more often. Weights keep the expected loss the same. If p_t is the probability of t,
///
///     mean over t of loss_t = sum_t p_t w_t loss_t,   w_t = 1 / (T p_t)
///
#pragma once

#include <Eigen/Core>
#include <algorithm>  // std::fill_n, std::max, std::min, std::lower_bound, std::upper_bound
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
#include "../detail/math/linspace.hpp"
#include "../detail/math/random_bits.hpp"
#include "../detail/shape.hpp"
#include "../tensor.hpp"

namespace diffusion {

/// Timesteps drawn for a batch, and the weights of the losses; both have shape [N].
struct WeightedTimesteps {
  Timesteps timesteps;               ///< one timestep per sample
  Eigen::Tensor<double, 1> weights;  ///< 1 / (T p_t), the factor for the loss of each sample
};

/// Losses and their timesteps, both of shape [N]. Workers that train together exchange them.
struct TimestepLosses {
  Timesteps timesteps;              ///< timestep of each loss
  Eigen::Tensor<double, 1> losses;  ///< loss of one sample at its timestep
};

namespace detail {

/// Draws timesteps t(u), where u is uniform on [0, 1), and their weights weight(t). Takes 53 bits
/// per sample from the engine, in order, so that the timesteps are the same with every standard
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

/// Draws every timestep with the same probability p_t = 1 / T; all weights are 1. Ho et al. 2020,
/// Algorithm 1.
class UniformSampler {
 public:
  /// A sampler of timesteps in [0, num_timesteps). Throws std::invalid_argument unless
  /// num_timesteps >= 1.
  explicit UniformSampler(Eigen::Index num_timesteps) : num_timesteps_(num_timesteps) {
    detail::check_at_least<Eigen::Index>("UniformSampler", "num_timesteps", num_timesteps, 1);
  }

  /// T, the number of timesteps.
  Eigen::Index num_timesteps() const { return num_timesteps_; }

  /// Values proportional to p_t for every t in [0, T). All are 1.
  [[nodiscard]] Eigen::ArrayXd weights() const { return detail::full(num_timesteps_, 1.0); }

  /// Draws batch_size independent timesteps. `engine` is a uniform random bit generator such as
  /// std::mt19937. Throws std::invalid_argument if batch_size is negative.
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

/// Importance sampling by the second moment of the loss, mixed with uniform sampling. Nichol,
/// Dhariwal 2021, Eq. (18), with a uniform part:
///
///     p_t = (1 - u) r_t / sum_s r_s + u / T,   u = uniform_prob
///     r_t = sqrt(mean of the squares of the last history_per_term losses of t)
///
/// Until every timestep has history_per_term losses, and while all of these are 0, p_t = 1 / T.
/// A training step draws timesteps, trains on the mean of weights(n) * losses(n), and reports the
/// losses:
///
/// @code{.cpp}
/// #include <diffusion/diffusion.hpp>
/// #include <random>
///
/// int main() {
///   using Batch = Eigen::Tensor<float, 2>;  // [samples, values]
///   const diffusion::GaussianDiffusion<float> process(diffusion::cosine_beta_schedule(1000));
///   diffusion::LossSecondMomentResampler sampler(process.num_timesteps());
///   std::mt19937 engine(1);
///   Batch x_start(4, 8), noise(4, 8);
///   x_start.setConstant(0.5f);
///   diffusion::PhiloxNoise{1}(noise);
///   const auto [t, weights] = sampler.sample(4, engine);
///   const Batch x_t = process.q_sample(x_start, t, noise);
///   const Batch target = diffusion::training_target(
///       process, diffusion::ModelMeanType::epsilon, x_start, x_t, noise, t);
///   const Batch output = 0.5f * x_t;  // stands for network(x_t, t)
///   const Eigen::array<int, 1> values{1};
///   const Eigen::Tensor<float, 1> losses = (output - target).square().mean(values);
///   // Here the optimizer takes a step that reduces the mean of weights(n) * losses(n).
///   sampler.update_with_all_losses(t, losses);
///   return sampler.state().loss_counts.sum() == 4 ? 0 : 1;
/// }
/// @endcode
///
/// Updates are not thread-safe. state() can be saved, and a sampler that is constructed from it
/// continues as the saved one would.
class LossSecondMomentResampler {
 public:
  /// The complete state of a sampler. A sampler that is restored from it equals the saved one.
  struct State {
    double uniform_prob = 0.001;   ///< u, the weight of the uniform part, in [0, 1]
    Eigen::ArrayXXd loss_history;  ///< [T, history_per_term], the losses of each t, oldest first
    Eigen::Array<Eigen::Index, Eigen::Dynamic, 1> loss_counts;  ///< [T], number of losses stored for each t
  };

  /// A sampler of timesteps in [0, num_timesteps) without losses yet. Throws std::invalid_argument
  /// unless num_timesteps >= 1, history_per_term >= 1 and uniform_prob is in [0, 1].
  explicit LossSecondMomentResampler(Eigen::Index num_timesteps, Eigen::Index history_per_term = 10,
                                     double uniform_prob = 0.001) {
    constexpr const char* where = "LossSecondMomentResampler";
    detail::check_at_least<Eigen::Index>(where, "num_timesteps", num_timesteps, 1);
    detail::check_at_least<Eigen::Index>(where, "history_per_term", history_per_term, 1);
    state_.uniform_prob = uniform_prob;
    // std::fill_n instead of Eigen's setZero, for the reason that linspace.hpp gives.
    state_.loss_history.resize(num_timesteps, history_per_term);
    std::fill_n(state_.loss_history.data(), state_.loss_history.size(), 0.0);
    state_.loss_counts.resize(num_timesteps);
    std::fill_n(state_.loss_counts.data(), num_timesteps, Eigen::Index(0));
    check_state();
  }

  /// Continues from a saved state. Throws std::invalid_argument if loss_history is empty,
  /// loss_counts has another number of rows, a count is outside [0, history_per_term], a loss is
  /// not finite, or uniform_prob is outside [0, 1].
  explicit LossSecondMomentResampler(State state) : state_(std::move(state)) { check_state(); }

  /// The complete state, for saving.
  const State& state() const { return state_; }

  /// T, the number of timesteps.
  Eigen::Index num_timesteps() const { return state_.loss_history.rows(); }
  /// Number of losses that are kept for each timestep.
  Eigen::Index history_per_term() const { return state_.loss_history.cols(); }
  /// u, the weight of the uniform part of p_t.
  double uniform_prob() const { return state_.uniform_prob; }

  /// True if every timestep has history_per_term losses, so that p_t follows the losses.
  bool warmed_up() const {
    for (Eigen::Index t = 0; t < num_timesteps(); ++t) {
      if (state_.loss_counts[t] != history_per_term()) return false;
    }
    return true;
  }

  /// Values proportional to p_t for every t in [0, T). They are 1 until warmed_up(), and then p_t
  /// itself (1 / T while all losses are 0).
  [[nodiscard]] Eigen::ArrayXd weights() const {
    const Eigen::Index T = num_timesteps();
    if (!warmed_up()) return detail::full(T, 1.0);
    double largest = 0.0;
    for (Eigen::Index i = 0; i < state_.loss_history.size(); ++i) {
      largest = (std::max)(largest, std::abs(state_.loss_history.data()[i]));
    }
    if (largest == 0.0) return detail::full(T, 1.0 / static_cast<double>(T));
    // Losses are divided by the largest one, so that no square overflows. Scalar loops and explicit
    // fma give the weights, and so the timesteps drawn, the same bits on every platform.
    Eigen::ArrayXd out(T);
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

  /// Draws batch_size independent timesteps by inversion of the distribution function, with 53
  /// random bits for each. Until warmed_up() it draws the same timesteps as UniformSampler::sample,
  /// which also describes `engine` and the errors.
  template <class Engine>
  [[nodiscard]] WeightedTimesteps sample(Eigen::Index batch_size, Engine&& engine) const {
    const Eigen::ArrayXd w = weights();
    std::vector<double> below(static_cast<std::size_t>(w.size()));  // below[t] = w[0] + ... + w[t]
    double total = 0.0;
    for (Eigen::Index t = 0; t < w.size(); ++t) below[static_cast<std::size_t>(t)] = total += w[t];
    // The last t with p_t > 0. It is drawn if u * total rounds up to total.
    const auto last = std::lower_bound(below.begin(), below.end(), total) - below.begin();
    return detail::draw_timesteps(
        "LossSecondMomentResampler::sample", batch_size, engine,
        [&](double u) {
          const auto t = std::upper_bound(below.begin(), below.end(), u * total) - below.begin();
          return static_cast<Eigen::Index>((std::min)(t, last));
        },
        [&](Eigen::Index t) { return total / (static_cast<double>(w.size()) * w[t]); });
  }

  /// Adds losses to the history, in order: losses(n) belongs to timestep ts[n]. `losses` is a
  /// tensor of shape [N] of any real type; losses may be negative. A timestep that has
  /// history_per_term losses drops its oldest one. If several workers train together, pass the
  /// losses of all workers to the sampler of each, or call update_with_local_losses.
  ///
  /// Throws std::invalid_argument if the sizes differ or a loss is not finite, and
  /// std::out_of_range if a timestep is outside [0, T). The sampler is then unchanged.
  template <class Losses>
  void update_with_all_losses(TimestepsView ts, const Losses& losses) {
    const auto all = as_doubles(losses);
    check_losses("LossSecondMomentResampler::update_with_all_losses", ts, all);
    remember(ts, all);
  }

  /// Adds the losses of all workers to the history; each worker passes its own. `gather` exchanges
  /// them; for MPI it is all_gather_losses (interop/mpi.hpp):
  ///
  ///     gather(const TimestepLosses& mine) -> a range of the TimestepLosses of all workers,
  ///                                           including mine, in the order of their rank
  ///
  /// Workers may have different numbers of losses. All workers add the same losses in the same
  /// order, so samplers that were equal stay equal.
  ///
  /// Throws as update_with_all_losses does; the sampler is then unchanged. If ts and losses differ
  /// in size, it throws before it calls gather. If the losses of any worker are invalid, it throws
  /// in every worker, after gather.
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
      detail::fail<std::invalid_argument>(where, "losses has ", losses.size(), " entries, but ts has ", ts.size(),
                                          ": pass one loss per timestep");
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
