/// @file server.hpp
/// The inner loop of a server for a diffusion model: runs with different samplers, at different
/// steps, share the batches of one network.
///
/// The program calls Server::submit when a request arrives, and Server::tick as long as runs are
/// alive. Each tick calls the network once:
///
///     choose    at most max_batch runs, the most urgent first
///     gather    their x, model times and labels into one batch
///     ask       the network
///     advance   each run by its own answer
///
/// No run waits for the others of its batch to end: at the next tick, another run takes the place
/// of one that has ended.
#pragma once

#include <algorithm>  // std::all_of, std::upper_bound
#include <cmath>      // std::isfinite
#include <cstddef>    // std::nullptr_t, std::size_t
#include <cstdint>
#include <diffusion/diffusion.hpp>
#include <exception>
#include <functional>
#include <limits>
#include <list>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>  // std::exchange, std::move
#include <vector>

#include "common/digit_model.hpp"

namespace example {

/// A batch of pictures, [N, 1, 8, 8].
using Picture = Eigen::Tensor<float, 4, Eigen::RowMajor>;

/// The network: one call for a batch with a time and a label for each sample. It writes its answer
/// to `out`, which has the shape of x. A label is a class or DigitModel::any_label.
using Engine = std::function<void(const Picture& x, const Eigen::Tensor<float, 1>& t, const std::vector<int>& labels,
                                  Picture& out)>;

/// A request for one picture. The picture depends on the first five members alone.
struct Request {
  std::string sampler = "dpmpp_2m";                           ///< a name in samplers()
  Index steps = 20;                                           ///< number of steps, at most that of the process
  int label = DigitModel::any_label;                          ///< the class, from 0 to 9, or any_label
  double guidance = 1.0;                                      ///< guidance scale, from 0 to 50, if there is a label
  std::uint64_t seed = 0;                                     ///< seed of the noise
  int priority = 0;                                           ///< the highest is served first
  double deadline = std::numeric_limits<double>::infinity();  ///< time after which the picture is of no use
};

/// The ways in which a run can end.
enum class End { done, failed, cancelled, expired };

/// The result of a request.
struct Response {
  int id;              ///< the number that submit() returned
  End end;             ///< how the run ended
  std::string reason;  ///< why there is no picture; empty if done
  Picture picture;     ///< the picture, [1, 1, 8, 8]; empty unless done
  double submitted;    ///< the time of submit()
  double finished;     ///< the time of the tick() in which the run ended
  Index calls;         ///< number of ticks in which the network was asked for this run
};

/// The samplers that a request can name.
inline const std::map<std::string, diffusion::AnySampler<Picture>>& samplers() {
  using namespace diffusion;
  static const std::map<std::string, AnySampler<Picture>> table = {
      {"ddim", Ddim{}},
      {"ddpm", Ddpm{}},
      {"dpmpp_2m", DpmSolverPP{}},
      {"dpmpp_2m_sde", DpmSolverPP{2, DpmSolverType::midpoint, 1.0}},
      {"euler_a", EulerAncestral{}},
      {"heun", Heun{}},
      {"unipc", UniPc{}},
  };
  return table;
}

/// Serves requests: each tick asks the network once, for as many runs as a batch may hold.
///
/// A server has no clock and no threads. The caller passes the time as `now`, in any unit, and
/// calls the members from one thread. A program with sockets would put what arrives into a queue,
/// and empty it before each tick.
///
/// A picture depends on its request alone, bit for bit, if the engine's answer for a sample does
/// not depend on the rest of the batch.
class Server {
 public:
  /// A server for a network that predicts `mean_type` and was trained with `process`. A batch has
  /// at most max_batch runs; one with guidance takes two rows, a conditional and an unconditional
  /// one. Throws std::invalid_argument unless max_batch is positive, and what Denoiser::model_time
  /// throws at the last timestep of `process`.
  Server(Engine engine, diffusion::ModelMeanType mean_type, diffusion::GaussianDiffusion<double> process,
         Index max_batch)
      : engine_(std::move(engine)),
        denoiser_(nullptr, mean_type, {-1.0, 1.0}),
        process_(std::move(process)),
        max_batch_(max_batch) {
    check("max_batch", double(max_batch), 1.0, 1e6);
    static_cast<void>(denoiser_.model_time(grid(1).levels().front()));
  }

  /// Accepts a request and returns its number: 0, 1, 2, ... Throws std::invalid_argument if the
  /// request is not valid; the other requests are not affected.
  int submit(const Request& request, double now) {
    const auto found = samplers().find(request.sampler);
    if (found == samplers().end()) {
      std::string names;
      for (const auto& [name, sampler] : samplers()) names += (names.empty() ? "" : ", ") + name;
      throw std::invalid_argument("sampler = " + request.sampler + " is not one of " + names);
    }
    check("steps", double(request.steps), 1.0, double(process_.num_timesteps()));
    check("label", request.label, DigitModel::any_label, 9.0);
    check("guidance", request.guidance, 0.0, 50.0);
    check("deadline", request.deadline, -infinity, infinity);  // refuses NaN

    Picture x_T(1, 1, digit_side, digit_side);
    diffusion::PhiloxNoise noise(request.seed);
    noise(x_T);
    Entry entry{next_id_, request, now, Run(found->second, grid(request.steps), x_T, noise)};
    queue_.insert(std::upper_bound(queue_.begin(), queue_.end(), entry, more_urgent), std::move(entry));
    return next_id_++;
  }

  /// Ends a run at the next tick. Does nothing if the run has ended or does not exist.
  void cancel(int id) {
    for (Entry& entry : queue_) entry.cancelled = entry.cancelled || entry.id == id;
  }

  /// Ends the runs that are cancelled or whose deadline has passed, asks the network once, for the
  /// most urgent of the others, and returns the results of all runs that have ended. The highest
  /// priority is the most urgent, then the earliest deadline, then the first to come.
  ///
  /// A run whose answer is not finite, or whose step throws, fails alone. If the engine throws, the
  /// exception passes through. No run has moved then and no result is lost: the caller may call
  /// tick() again. The engine may call submit() and cancel() while it works, but not tick().
  std::vector<Response> tick(double now) {
    for (Entry& entry : queue_) {
      if (entry.cancelled) {
        end(entry, now, End::cancelled, "cancelled by the client");
      } else if (now > entry.request.deadline) {
        end(entry, now, End::expired, "the deadline has passed");
      }
    }
    remove_ended();
    if (!queue_.empty()) {
      gather();
      engine_(x_, t_, labels_, output_);
      if (output_.dimensions() != x_.dimensions()) throw std::runtime_error("the network's answer has another shape");
      for (Entry* entry : batch_) advance(*entry, now);
      remove_ended();
    }
    return std::exchange(ended_, {});
  }

  /// Number of runs that have not ended.
  std::size_t alive() const { return queue_.size(); }

 private:
  static constexpr double infinity = std::numeric_limits<double>::infinity();

  using Run = diffusion::SamplingRun<diffusion::AnySampler<Picture>, Picture, diffusion::PhiloxNoise>;

  /// A request and its run.
  struct Entry {
    int id;
    Request request;
    double submitted;
    Run run;
    bool ended = false;
    Index calls = 0;
    bool cancelled = false;
    Index row = 0;  // its first row in the batch

    bool guided() const { return request.label != DigitModel::any_label && request.guidance != 1.0; }
  };

  /// The order of the queue.
  static bool more_urgent(const Entry& a, const Entry& b) {
    if (a.request.priority != b.request.priority) return a.request.priority > b.request.priority;
    return a.request.deadline < b.request.deadline;
  }

  /// Throws std::invalid_argument unless low <= value <= high.
  static void check(const char* name, double value, double low, double high) {
    if (low <= value && value <= high) return;
    std::ostringstream message;
    message << name << " = " << value << " is outside [" << low << ", " << high << "]";
    throw std::invalid_argument(message.str());
  }

  /// The noise levels of a run.
  diffusion::TimeGrid grid(Index steps) const {
    return diffusion::timestep_grid(process_, diffusion::TimestepSpacing::trailing, steps);
  }

  /// One row of a batch, without a copy.
  static Eigen::TensorMap<Picture> row_of(Picture& batch, Index row) {
    return {batch.data() + row * digit_pixels, 1, 1, digit_side, digit_side};
  }

  /// Fills the batch with the inputs of the most urgent runs.
  void gather() {
    batch_.clear();
    labels_.clear();
    for (Entry& entry : queue_) {
      if (Index(batch_.size()) == max_batch_) break;
      batch_.push_back(&entry);
      entry.row = Index(labels_.size());
      labels_.push_back(entry.request.label);
      if (entry.guided()) labels_.push_back(DigitModel::any_label);
    }
    const auto rows = Index(labels_.size());
    x_.resize(rows, 1, digit_side, digit_side);
    output_.resize(x_.dimensions());
    t_.resize(rows);
    for (const Entry* entry : batch_) {
      const Run& run = entry->run;
      for (Index row = entry->row; row <= entry->row + Index(entry->guided()); ++row) {
        denoiser_.model_input_into(row_of(x_, row), run.x(), run.level());
        t_(row) = float(denoiser_.model_time(run.level()));
      }
    }
  }

  /// Advances a run by its answer.
  void advance(Entry& entry, double now) {
    Run& run = entry.run;
    ++entry.calls;
    try {
      answer_ = row_of(output_, entry.row);
      if (entry.guided()) {
        unconditional_ = row_of(output_, entry.row + 1);
        const diffusion::ClassifierFreeGuidance guidance{entry.request.guidance};
        scales_(0) = guidance.scale(denoiser_.model_time(run.level()));
        guidance.guide(answer_, unconditional_, scales_, guidance_state_);
      }
      const bool finite = std::all_of(answer_.data(), answer_.data() + answer_.size(),
                                      [](float value) { return std::isfinite(value); });
      if (!finite) throw std::runtime_error("the network's answer is not finite");
      denoiser_.prediction(answer_, run.x(), run.level(), prediction_);
      run.advance(prediction_);
      if (run.done()) end(entry, now, End::done, "");
    } catch (const std::exception& error) {
      end(entry, now, End::failed, error.what());
    }
  }

  /// Ends a run and stores its result; remove_ended() takes it out of the queue.
  void end(Entry& entry, double now, End how, const std::string& why) {
    Response response{entry.id, how, "", {}, entry.submitted, now, entry.calls};
    if (how == End::done) {
      response.picture = std::move(entry.run).x();
    } else {
      const diffusion::Step step = entry.run.step();
      response.reason = "step " + std::to_string(step.index + 1) + " of " + std::to_string(step.count) + ": " + why;
    }
    ended_.push_back(std::move(response));
    entry.ended = true;
  }
  void remove_ended() {
    queue_.remove_if([](const Entry& entry) { return entry.ended; });
  }

  Engine engine_;
  diffusion::Denoiser<std::nullptr_t> denoiser_;
  diffusion::GaussianDiffusion<double> process_;
  Index max_batch_;
  int next_id_ = 0;
  std::list<Entry> queue_;       // the runs that are alive, the most urgent first
  std::vector<Response> ended_;  // the results that no tick has returned yet

  // The batch, and the answer of one run.
  std::vector<Entry*> batch_;
  Picture x_, output_, answer_, unconditional_;
  Eigen::Tensor<float, 1> t_;
  std::vector<int> labels_;
  Eigen::Tensor<double, 1> scales_{1};
  diffusion::ClassifierFreeGuidance::State<Picture> guidance_state_;
  diffusion::Prediction<Picture> prediction_;
};

}  // namespace example
