/// @file serving.cpp
/// A server's inner loop, complete except for the network connection: requests with samplers,
/// steps, classes and deadlines of their own arrive over time, and share the batches of one network
/// (server.hpp).
///
/// Part 1 shows what happens to each request if some of them go wrong. Time is the number of the
/// tick, so the output is always the same.
///
/// Part 2 measures latency and throughput under a Poisson stream of requests, in real time:
///
///     latency          from the arrival of a request to its picture
///     one by one       each request has the network to itself, first come, first served
///     batched          up to --max-batch runs share each call
///     capacity         the requests per second that one by one can serve
///
/// Both parts check that a picture depends on its request alone: it has the same bits in any batch.
///
/// The network is the exact model of the digits (common/digit_model.hpp). It computes four samples
/// in the time of one, so batches gain up to a factor of four. Part 2 can use the network that
/// train_digits has trained instead (torch_engine.cpp).
#include <algorithm>  // std::equal, std::min, std::replace, std::sort
#include <chrono>
#include <cmath>    // std::log
#include <cstddef>  // std::size_t
#include <cstdint>
#include <cstdio>
#include <cstring>  // std::memcmp
#include <diffusion/diffusion.hpp>
#include <functional>
#include <limits>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>   // std::this_thread
#include <utility>  // std::exchange
#include <vector>

#include "common/digit_model.hpp"
#include "common/digits.hpp"
#include "common/options.hpp"
#include "common/plot.hpp"
#include "common/progress.hpp"
#include "serving/server.hpp"

using Eigen::Index;
using example::End, example::Engine, example::Picture, example::Request, example::Response, example::Server;

#ifdef EXAMPLE_HAS_TORCH
namespace example {
Engine network_engine(const std::string& path, Index size);  // torch_engine.cpp
}
#endif

constexpr double infinity = std::numeric_limits<double>::infinity();

/// An engine, and what a server needs to know about it.
struct Model {
  Engine engine;
  diffusion::ModelMeanType mean_type;
  diffusion::GaussianDiffusion<double> process;

  Server server(Index max_batch) const { return {engine, mean_type, process, max_batch}; }
};

/// The exact model as an engine. It refers to `model`, which must outlive it.
Engine exact_engine(const example::DigitModel& model) {
  return [&model](const Picture& x, const Eigen::Tensor<float, 1>& t, const std::vector<int>& labels, Picture& out) {
    model(x, t, out, labels);
  };
}

bool same_bits(const Picture& a, const Picture& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), std::size_t(a.size()) * sizeof(float)) == 0;
}

/// Serves a request alone, in a server of its own.
Picture alone(const Model& model, const Request& request) {
  Server server = model.server(1);
  server.submit(request, 0.0);
  std::vector<Response> responses;
  while (responses.empty()) responses = server.tick(0.0);
  return responses[0].picture;
}

// ---- part 1: incidents ----

/// A request of the story, with the times of submit() and cancel().
struct Incident {
  double submitted;
  Request request;
  double cancelled = infinity;
};

/// Prints a line of the table: how a request ended, and when.
void print_line(const Incident& incident, double now, const char* result, const std::string& reason) {
  const Request& r = incident.request;
  std::printf("%7.0f  %-12s %6ld %6d %6.1f %9d %9.0f | %5.0f  %s%s%s\n", incident.submitted, r.sampler.c_str(),
              long(r.steps), r.label, r.guidance, r.priority, r.deadline, now, result, reason.empty() ? "" : "  ",
              reason.c_str());
}

/// Serves some requests of which several go wrong, prints what happened to each, and compares every
/// picture with that of the same request alone. `model` must have no digits of class 7.
void show_incidents(const Model& model) {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<Incident> story = {
      {0, {"ddim", 10, 3, 2.0, 1}},
      {0, {"ancestral", 10, 5, 1.0, 2}},  // no such sampler
      {0, {"heun", 8, 5, 1.0, 3}},
      {0, {"ddpm", 20, 4, 1.5, 4}, 6},
      {1, {"dpmpp_2m", 20, 0, nan, 5}},
      {1, {"dpmpp_2m", 12, 7, 2.0, 6}},  // the class without digits
      {2, {"euler_a", 30, 2, 2.0, 7, 0, 24}},
      {3, {"unipc", 15, 9, 3.0, 8}},
      {3, {"dpmpp_2m_sde", 15, 1, 1.5, 9}},
      {10, {"unipc", 8, 8, 4.0, 10, 1}},  // of high priority
      {11, {"dpmpp_2m", 10, -1, 1.0, 11}},
  };
  double now = 0.0;
  bool failed = false;
  const Engine unreliable = [&](const auto& x, const auto& t, const auto& labels, auto& out) {
    if (now == 5.0 && !std::exchange(failed, true)) throw std::runtime_error("the engine is out of memory");
    model.engine(x, t, labels, out);
  };
  Server server = Model{unreliable, model.mean_type, model.process}.server(4);

  std::printf("Incidents: at most 4 runs a batch; times are numbers of ticks; class -1 is any\n\n");
  std::printf("arrives  sampler       steps  class  scale  priority  deadline |  ends  result     reason\n");
  std::map<int, const Incident*> accepted;
  std::size_t next = 0, pictures = 0;
  for (; next < story.size() || server.alive() > 0; ++now) {
    for (; next < story.size() && story[next].submitted <= now; ++next) {
      try {
        accepted[server.submit(story[next].request, now)] = &story[next];
      } catch (const std::invalid_argument& error) {
        print_line(story[next], now, "refused  ", error.what());
      }
    }
    for (const auto& [id, incident] : accepted) {
      if (incident->cancelled == now) server.cancel(id);
    }
    std::vector<Response> responses;
    try {
      responses = server.tick(now);
    } catch (const std::runtime_error& error) {
      std::printf("%64s | %5.0f  no run has moved, and the tick is repeated: %s\n", "", now, error.what());
      responses = server.tick(now);
    }
    for (const Response& response : responses) {
      const char* results[] = {"done", "failed   ", "cancelled", "expired  "};
      const Incident& incident = *accepted.at(response.id);
      print_line(incident, response.finished, results[int(response.end)], response.reason);
      if (response.end != End::done) continue;
      if (!same_bits(response.picture, alone(model, incident.request))) {
        throw std::runtime_error("a picture differs from that of the same request alone");
      }
      ++pictures;
    }
  }
  std::printf("\nThe %zu pictures have the same bits as those of the same requests alone\n", pictures);
}

// ---- part 2: loads ----

/// Random requests, for classes of random digits.
std::vector<Request> random_requests(Index count, const std::vector<int>& labels, std::mt19937& random) {
  const auto below = [&random](std::size_t n) { return random() % n; };
  std::vector<std::string> names;
  for (const auto& [name, sampler] : example::samplers()) names.push_back(name);
  std::vector<Request> out(static_cast<std::size_t>(count));
  for (Request& request : out) {
    request.sampler = names[below(names.size())];
    request.steps = 10 + Index(below(21));
    request.label = labels[below(labels.size())];
    request.guidance = 1.0 + double(below(4));
    request.seed = random();
  }
  return out;
}

/// The times at which a Poisson stream of one request a second arrives: the waits between them are
/// exponential. (The distributions of <random> differ between standard libraries.)
std::vector<double> poisson_stream(Index count, std::mt19937& random) {
  std::vector<double> out(static_cast<std::size_t>(count));
  double time = 0.0;
  for (double& arrival : out) arrival = time -= std::log((double(random()) + 0.5) / 4294967296.0);
  return out;
}

/// The measurements of one load.
struct Outcome {
  double served_per_second, median, p99;  // the median and the 99th percentile of latency, in ms
  double mean_batch;                      // runs in a call of the network
  std::vector<Picture> pictures;          // in the order of the requests
};

/// Serves the requests, which arrive at these times in seconds, until all are done.
Outcome serve(const Model& model, Index max_batch, const std::vector<Request>& requests,
              const std::vector<double>& arrivals, const std::function<void()>& served) {
  using Clock = std::chrono::steady_clock;
  Server server = model.server(max_batch);
  Outcome out{};
  out.pictures.resize(requests.size());
  std::vector<double> latencies;
  std::size_t next = 0, calls = 0, runs = 0;
  const auto start = Clock::now();
  const auto clock = [start] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  while (latencies.size() < requests.size()) {
    const double now = clock();
    for (; next < requests.size() && arrivals[next] <= now; ++next) server.submit(requests[next], now);
    if (server.alive() == 0) {
      std::this_thread::sleep_for(std::chrono::duration<double>(arrivals[next] - now));
      continue;
    }
    ++calls;
    runs += (std::min)(server.alive(), std::size_t(max_batch));
    for (const Response& response : server.tick(now)) {
      if (response.end != End::done) throw std::runtime_error("a request failed: " + response.reason);
      const auto i = std::size_t(response.id);  // the number of the request
      latencies.push_back(1e3 * (clock() - arrivals[i]));
      out.pictures[i] = response.picture;
      served();
    }
  }
  out.served_per_second = double(requests.size()) / clock();
  out.mean_batch = double(runs) / double(calls);
  std::sort(latencies.begin(), latencies.end());
  const auto quantile = [&](double q) { return latencies[std::size_t(q * double(latencies.size() - 1) + 0.5)]; };
  out.median = quantile(0.5);
  out.p99 = quantile(0.99);
  return out;
}

/// Serves the same requests at several loads, one by one and batched. Prints a table, compares the
/// pictures and draws the plot.
void measure_loads(const Model& model, const std::vector<Request>& requests, const std::vector<double>& stream,
                   Index max_batch, bool progress, const std::string& path, const example::Theme& theme) {
  const std::vector<double> shares = {0.5, 1.0, 2.0, 4.0};  // of the capacity
  example::Progress bar("serving", long((1 + 2 * shares.size()) * requests.size()), progress);
  long num_served = 0;
  const auto served = [&] { bar(++num_served); };
  const Outcome at_once = serve(model, 1, requests, std::vector<double>(requests.size(), 0.0), served);
  const double capacity = at_once.served_per_second;
  bar.clear();
  std::printf("\nLoads: %zu requests each; at most %ld runs a batch; capacity one by one: %.0f requests/s\n",
              requests.size(), long(max_batch), capacity);
  std::printf(
      "Above its capacity, a server's queue grows as long as requests arrive; a run ends when all are served.\n\n");
  std::printf("   load                    |   served |    latency, ms    |   runs\n");
  std::printf("requests/s  of capacity    |    per s |   median      99%% | a call\n");
  std::vector<double> rates;
  std::vector<Outcome> outcomes[2];  // one by one, batched
  for (const double share : shares) {
    rates.push_back(share * capacity);
    std::vector<double> arrivals = stream;
    for (double& arrival : arrivals) arrival /= rates.back();
    for (const bool batched : {false, true}) {
      const Outcome out = serve(model, batched ? max_batch : 1, requests, arrivals, served);
      bar.clear();
      std::printf("%10.1f %5.1f  %-10s | %7.1f | %8.1f %8.1f | %6.1f\n", rates.back(), share,
                  batched ? "batched" : "one by one", out.served_per_second, out.median, out.p99, out.mean_batch);
      std::fflush(stdout);
      if (!std::equal(out.pictures.begin(), out.pictures.end(), at_once.pictures.begin(), same_bits)) {
        throw std::runtime_error("a picture depends on its batch");
      }
      outcomes[batched].push_back(out);
    }
  }
  std::printf("\nEach of the %zu pictures has the same bits at all loads, one by one and batched\n", requests.size());

  const auto curve = [&](const char* name, bool batched, double Outcome::*value) {
    example::Curve out{name, rates, {}};
    for (const Outcome& outcome : outcomes[batched]) out.y.push_back(outcome.*value);
    return out;
  };
  example::plot_curves(
      path,
      {{"Latency",
        "load, requests per second",
        "milliseconds",
        {curve("one by one, 99th percentile", false, &Outcome::p99),
         curve("one by one, median", false, &Outcome::median), curve("batched, 99th percentile", true, &Outcome::p99),
         curve("batched, median", true, &Outcome::median)}},
       {"Throughput",
        "load, requests per second",
        "requests served per second",
        {curve("one by one", false, &Outcome::served_per_second),
         curve("batched", true, &Outcome::served_per_second)}}},
      theme);
  std::printf("Wrote the plot to %s\n", path.c_str());
}

int main(int argc, char** argv) {
  std::string path = EXAMPLE_DATA_DIR "/digits.csv", weights, out = "serving.png";
  Index max_batch = 16, count = 150;
  std::uint32_t seed = 1;
  std::string theme = example::theme_names[0];
  bool progress = example::stderr_is_terminal();

  example::Options options("serving", "Serves requests for digits: runs with different samplers share batches.");
  options.add("digits", path, "CSV file of digits (default: the bundled digits.csv)");
  options.add("--max-batch", max_batch, "number of runs that share a call of the network", 1, 1024);
  options.add("--requests", count, "number of requests at each load", 10, 100000);
  options.add_seed(seed, "seed of the requests and their arrivals");
  options.add("--weights", weights, "measure with the network whose weights train_digits wrote to this file");
  options.add("--out", out, "PNG file to write");
  options.add_choice("--theme", theme, "colours of the picture", example::theme_names);
  options.add_flag("--progress", progress, "draw a progress bar even if stderr is not a terminal");

  return options.run(argc, argv, [&] {
    example::check_writable(out);
    std::vector<int> labels;
    const example::Digits digits = example::read_digits(path, &labels);
    const diffusion::GaussianDiffusion<double> process(diffusion::cosine_beta_schedule(1000));
    const example::DigitModel exact(process, digits, labels);
    Model model{exact_engine(exact), diffusion::ModelMeanType::start_x, process};
    if (!weights.empty()) {
#ifdef EXAMPLE_HAS_TORCH
      model = {example::network_engine(weights, 16), diffusion::ModelMeanType::velocity, process};
#else
      throw std::runtime_error("--weights needs libtorch, which was not found when this example was built");
#endif
    }
    std::vector<int> without_sevens = labels;
    std::replace(without_sevens.begin(), without_sevens.end(), 7, 1);  // now class 7 has no digits
    const example::DigitModel incomplete(process, digits, without_sevens);
    show_incidents({exact_engine(incomplete), diffusion::ModelMeanType::start_x, process});

    std::mt19937 random(seed);
    const std::vector<Request> requests = random_requests(count, labels, random);
    measure_loads(model, requests, poisson_stream(count, random), max_batch, progress, out, example::theme(theme));
    return 0;
  });
}
