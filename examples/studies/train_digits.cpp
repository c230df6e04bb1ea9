/// @file train_digits.cpp
/// Trains a small network on handwritten digits with libtorch, and samples new digits. libtorch
/// provides the network, its gradient and the optimiser; the library provides the diffusion. It
/// trains in the memory of the torch tensors, and samples torch tensors.
///
/// A training step with a batch of digits x_0 and noise:
///
///     t, w        timesteps and weights                         LossSecondMomentResampler
///     x_t         sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise     q_sample_into
///     v           sqrt(abar_t) noise - sqrt(1 - abar_t) x_0,
///                 the target of the network                     training_target_into
///     minimise    the mean over n of w[n] |network(x_t[n], t[n]) - v[n]|^2
///
/// After the training:
///
///     new digits by DDIM in 50 of the 1000 steps                sample, on torch tensors
///     bits per dimension of held-out digits                     calc_bpd_loop
///
/// The network learns to draw a digit of a given class, or of any class: a tenth of the digits is
/// shown to it without their class, as classifier-free guidance needs.
///
/// Under mpirun, each process takes its part of every batch (ranks.hpp). All draw the same
/// timesteps and digits, and each makes the noise of its own samples. The gradients are added over
/// the processes, so that a step is that of a single process with the whole batch.
#include <torch/torch.h>

#include <algorithm>  // std::max, std::min
#include <chrono>
#include <cmath>
#include <cstddef>  // std::size_t, std::ptrdiff_t
#include <cstdint>
#include <cstdio>
#include <diffusion/interop/torch.hpp>
#include <diffusion/model/denoiser.hpp>
#include <diffusion/noise/philox_noise.hpp>
#include <diffusion/noise/sample_range.hpp>
#include <diffusion/process/gaussian_diffusion.hpp>
#include <diffusion/process/schedules.hpp>
#include <diffusion/sampling/reverse_process.hpp>
#include <diffusion/sampling/sample.hpp>
#include <diffusion/sampling/samplers/ddim.hpp>
#include <diffusion/sampling/time_grid.hpp>
#include <diffusion/training/losses.hpp>
#include <diffusion/training/timestep_samplers.hpp>
#include <fstream>
#include <memory>
#include <numeric>  // std::accumulate
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/digits.hpp"
#include "common/options.hpp"
#include "common/progress.hpp"
#include "studies/digit_network.hpp"
#include "studies/ranks.hpp"

using diffusion::GaussianDiffusion;
using diffusion::ModelMeanType;
using diffusion::torch_view;
using Eigen::Index;
using example::digit_side, example::in_one_line, example::Network, example::NetworkImpl;
using Batch = Eigen::Tensor<float, 4, Eigen::RowMajor>;  // [N, 1, 8, 8]

/// A torch tensor as an Eigen tensor, without a copy.
Eigen::TensorMap<Batch> map(const torch::Tensor& x) { return diffusion::torch_map<Batch>(x); }

/// The network as a model of digits of any class on Eigen tensors, for the variational bound.
struct Model {
  std::shared_ptr<NetworkImpl> network;

  void operator()(const Batch& x, const Eigen::Tensor<float, 1>& t, Batch& out) const {
    const torch::NoGradGuard no_grad;
    const auto labels = torch::full({x.dimension(0)}, example::no_class, torch::kLong);
    torch_view(out).copy_(network->forward(torch_view(x), torch_view(t), labels));
  }
};

// ---- training ----

/// Options of the training.
struct Training {
  Index steps = 6000, batch = 128;
  std::uint32_t seed = 1;
  bool progress = example::stderr_is_terminal();
};

/// Mean of the values in [begin, end).
double mean(const std::vector<double>& values, std::size_t begin, std::size_t end) {
  return std::accumulate(values.begin() + std::ptrdiff_t(begin), values.begin() + std::ptrdiff_t(end), 0.0) /
         double(end - begin);
}

/// Digits to learn and their classes.
struct TrainingData {
  torch::Tensor digits,  // [N, 1, 8, 8]
      labels;            // [N]
};

/// Replaces the gradients of the parameters and `loss` by their sums over all ranks, in one buffer.
void sum_over_ranks(const example::Ranks& ranks, const std::vector<torch::Tensor>& parameters, torch::Tensor& loss) {
  if (ranks.size() == 1) return;
  std::vector<torch::Tensor> parts = {loss.detach().reshape({1})};
  for (const torch::Tensor& parameter : parameters) parts.push_back(parameter.grad().flatten());
  const torch::Tensor buffer = torch::cat(parts);
  ranks.sum(buffer);
  loss = buffer[0];
  Index at = 1;
  for (const torch::Tensor& parameter : parameters) {
    parameter.mutable_grad().copy_(buffer.narrow(0, at, parameter.numel()).view_as(parameter));
    at += parameter.numel();
  }
}

/// Trains `network`, and keeps a running average of its weights in `average`. The average gives
/// better samples than the last weights. Returns the losses.
std::vector<double> train(const Training& options, const GaussianDiffusion<float>& process, const TrainingData& data,
                          Network& network, Network& average, const example::Ranks& ranks) {
  const auto start = std::chrono::steady_clock::now();
  const diffusion::SampleRange mine = diffusion::sample_range(options.batch, ranks.rank(), ranks.size());
  diffusion::LossSecondMomentResampler timesteps(process.num_timesteps());
  std::mt19937 engine(options.seed);
  diffusion::PhiloxNoise noise_source(options.seed, std::uint64_t(mine.begin));
  torch::optim::AdamW optimizer(network->parameters(), torch::optim::AdamWOptions(0.0).weight_decay(0.01));
  torch::Tensor x_0 = torch::empty({mine.size(), 1, digit_side, digit_side});
  const torch::Tensor noise = torch::empty_like(x_0), x_t = torch::empty_like(x_0), target = torch::empty_like(x_0);

  std::vector<double> losses;
  example::Progress bar("training", options.steps, options.progress);
  if (ranks.rank() == 0) std::printf("\n  step      loss  seconds\n");
  for (Index step = 0; step < options.steps; ++step) {
    // The whole batch, the same on all ranks, and this rank's part of it.
    const auto batch = timesteps.sample(options.batch, engine);
    const auto part = [&](const torch::Tensor& whole) { return whole.narrow(0, mine.begin, mine.size()); };
    const torch::Tensor chosen = part(torch::randint(data.digits.size(0), {options.batch}, torch::kLong));
    const torch::Tensor unlabelled = part(torch::rand({options.batch})) < 0.1;
    const Eigen::array<Index, 1> begin{mine.begin}, size{mine.size()};
    const diffusion::Timesteps t = batch.timesteps.slice(begin, size);
    const Eigen::Tensor<float, 1> model_times = t.cast<float>(), w = batch.weights.slice(begin, size).cast<float>();

    torch::index_select_out(x_0, data.digits, 0, chosen);
    const torch::Tensor labels = data.labels.index_select(0, chosen).masked_fill(unlabelled, example::no_class);
    noise_source(map(noise));
    process.q_sample_into(map(x_t), map(x_0), t, map(noise));
    diffusion::training_target_into(map(target), process, ModelMeanType::velocity, map(x_0), map(x_t), map(noise), t);

    const torch::Tensor output = network->forward(x_t, torch_view(model_times), labels);
    const torch::Tensor loss = (output - target).square().mean({1, 2, 3});  // loss of each sample
    torch::Tensor weighted = (loss * torch_view(w)).sum() / options.batch;
    optimizer.zero_grad();
    weighted.backward();
    sum_over_ranks(ranks, network->parameters(), weighted);
    const double half_turn = double(EIGEN_PI) * double(step) / double(options.steps);
    const double rate = 1e-3 * (std::min)(1.0, double(step + 1) / 100.0) * (1.0 + std::cos(half_turn));
    static_cast<torch::optim::AdamWOptions&>(optimizer.param_groups()[0].options()).lr(rate);
    optimizer.step();

    const torch::NoGradGuard no_grad;
    const Eigen::TensorMap<Eigen::Tensor<float, 1>> sample_losses(loss.data_ptr<float>(), loss.size(0));
    timesteps.update_with_local_losses(t, sample_losses, [&](const auto& local) { return ranks.gather(local); });
    // The first weights are forgotten quickly; later the average changes slowly.
    const double update_rate = (std::max)(0.002, 9.0 / double(10 + step));
    const auto from = network->parameters(), to = average->parameters();
    for (std::size_t i = 0; i < to.size(); ++i) to[i].lerp_(from[i], update_rate);

    losses.push_back(weighted.item<double>());
    bar(step + 1);
    const std::size_t tenth = std::size_t((std::max)(options.steps / 10, Index(1)));
    if (ranks.rank() == 0 && losses.size() % tenth == 0) {
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      bar.clear();
      std::printf("%6zu %9.5f %8.1f\n", losses.size(), mean(losses, losses.size() - tenth, losses.size()),
                  seconds.count());
      std::fflush(stdout);
    }
  }
  return losses;
}

// ---- results ----

/// Adds a plot of log2 of the loss against the step to a film row. Each column of pixels shows the
/// mean loss of its steps; horizontal lines mark integer values of log2.
example::FilmRow& add_loss_curve(example::FilmRow& row, const std::vector<double>& losses) {
  const Index side = row.frames.dimension(1), last = row.frames.dimension(0) - 1;
  Eigen::ArrayXd level(side);
  for (Index i = 0; i < side; ++i) {
    const std::size_t begin = std::size_t(i) * losses.size() / std::size_t(side);
    const std::size_t end = std::size_t(i + 1) * losses.size() / std::size_t(side);
    level[i] = std::log2(mean(losses, begin, (std::max)(begin + 1, end)));
  }
  const double top = std::ceil(level.maxCoeff()), bottom = (std::min)(std::floor(level.minCoeff()), top - 1.0);
  const auto y = [&](double value) { return Index(std::lround((top - value) / (top - bottom) * double(side - 1))); };
  row.frames.chip<0>(last).setConstant(-1.0F);
  for (double line = bottom; line <= top; line += 1.0) row.frames.chip<0>(last).chip<0>(y(line)).setConstant(-0.5F);
  for (Index i = 0; i < side; ++i) {
    const Index here = y(level[i]), before = y(level[(std::max)(i - 1, Index(0))]);
    for (Index j = (std::min)(here, before); j <= (std::max)(here, before); ++j) row.frames(last, j, i, 0) = 1.0F;
  }
  char caption[64];
  std::snprintf(caption, sizeof caption, "%g to %g in %zu steps", std::exp2(top), std::exp2(bottom), losses.size());
  row.captions.push_back(caption);
  return row;
}

/// Samples ten digits of each class and draws them, the training digit nearest to each, and the
/// losses, if there are any.
void show(const std::string& path, NetworkImpl& network, const GaussianDiffusion<float>& process,
          const example::Digits& training, const example::Digits& held_out, std::uint32_t seed,
          const std::vector<double>& losses) {
  const torch::NoGradGuard no_grad;
  const torch::Tensor x_T = torch::empty({100, 1, digit_side, digit_side});
  diffusion::PhiloxNoise(seed, 1000000)(map(x_T));  // a stream that the training did not use
  const torch::Tensor labels = torch::arange(100, torch::kLong).div(10, "floor");
  const auto model = [&](const torch::Tensor& x, const torch::Tensor& t) { return network.forward(x, t, labels); };
  const diffusion::Denoiser denoiser(model, ModelMeanType::velocity, {-1, 1});
  const auto grid = diffusion::timestep_grid(process, diffusion::TimestepSpacing::linspace, 50);
  const auto start = std::chrono::steady_clock::now();
  const torch::Tensor x_0 = diffusion::sample(diffusion::Ddim{}, grid, denoiser, x_T);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;

  const example::Digits samples = map(x_0).cast<double>();
  const Eigen::MatrixXd distance = example::distances(samples, training);
  const double training_distance = distance.rowwise().minCoeff().mean();
  const double held_out_distance = example::distances(held_out, training).rowwise().minCoeff().mean();
  const example::PixelMoments sample_moments(samples), training_moments(training);
  std::printf("\n100 digits by ddim in 50 steps, %.1f ms per step\n", 20.0 * seconds.count());
  std::printf("mean distance to the nearest training digit: %.3f (held-out digits: %.3f)\n", training_distance,
              held_out_distance);
  std::printf("mean of all pixels: %.4f (training digits: %.4f); largest difference in the mean of a pixel: %.4f\n",
              sample_moments.mean.mean(), training_moments.mean.mean(),
              (sample_moments.mean - training_moments.mean).cwiseAbs().maxCoeff());

  constexpr Index scale = 4, side = example::digit_grid_side(scale);
  example::FilmRow row{"", example::Images(losses.empty() ? 2 : 3, side, side, 1), {}};
  row.frames.chip<0>(0) = example::digit_grid(samples, scale).chip<0>(0);
  row.frames.chip<0>(1) =
      example::digit_grid(example::selected(training, example::nearest(distance)), scale).chip<0>(0);
  char caption[64];
  std::snprintf(caption, sizeof caption, "distance %.2f (held-out %.2f)", training_distance, held_out_distance);
  row.captions = {"ddim, 50 steps", caption};
  std::vector<std::string> columns = {"samples", "nearest training digits"};
  if (!losses.empty()) {
    columns.push_back("loss");
    add_loss_curve(row, losses);
  }
  example::film_strip(columns, {row}, side).write_png(path);
  std::printf("Wrote the picture to %s\n", path.c_str());
}

/// Prints the mean variational bound on -log2 p(x_0) over 50 digits, which takes a few seconds.
void print_bound(const char* name, const Model& model, const GaussianDiffusion<float>& process,
                 const example::Digits& digits, std::uint32_t seed) {
  std::vector<Index> some;
  for (Index n = 0; n < 50; ++n) some.push_back(n * digits.dimension(0) / 50);
  const Batch x_0 = example::selected(digits, some).cast<float>();
  const auto bpd = diffusion::calc_bpd_loop(diffusion::ReverseProcess(process, model, {ModelMeanType::velocity}), x_0,
                                            diffusion::PhiloxNoise(seed, 2000000));
  const Eigen::Map<const Eigen::ArrayXf> total(bpd.total_bpd.data(), 50), prior(bpd.prior_bpd.data(), 50);
  std::printf("%-18s %8.3f %8.1e\n", name, double(total.mean()), double(prior.mean()));
  std::fflush(stdout);
}

int main(int argc, char** argv) {
  const example::Ranks ranks(&argc, &argv);
  const bool first_rank = ranks.rank() == 0;
  std::string path = EXAMPLE_DATA_DIR "/digits.csv", out = "train_digits.png", weights = "train_digits.pt", load;
  std::string losses_path;
  Training training;
  double fall = 0.0;
  // More threads gain little for batches this small, and cost much where other programs run.
  Index threads = 1;

  example::Options options(
      "train_digits", "Trains a small network on handwritten digits with libtorch and samples new ones.", first_rank);
  options.add("digits", path, "CSV file of digits (default: the bundled digits.csv)");
  options.add("--load", load, "load the weights from this file and sample without training");
  options.add("--steps", training.steps, "number of training steps", 1, 1000000);
  options.add("--batch", training.batch, "digits per training step, of all processes together", 1, 4096);
  options.add_seed(training.seed, "seed of the weights, the noise and all other random numbers");
  options.add("--threads", threads, "number of libtorch threads; the same number and seed give the same weights", 1,
              256);
  options.add("--fall", fall, "fail unless the loss falls by this factor from the first to the last tenth of the steps",
              0.0, 1e6);
  options.add("--weights", weights, "file to write the weights to");
  options.add("--losses", losses_path, "text file to write the loss of each step to");
  options.add("--out", out, "PNG file to write");
  for (const char* option : {"--steps", "--fall", "--weights", "--losses"}) options.exclude(option, "--load");
  options.add_flag("--progress", training.progress, "draw a progress bar even if stderr is not a terminal");

  return options.run(argc, argv, [&] {
    std::vector<int> labels;
    std::vector<Index> training_indices, held_out_indices;  // every ninth digit is held out
    example::Digits training_digits, held_out;
    const GaussianDiffusion<float> process(diffusion::cosine_beta_schedule(1000));
    Network network{nullptr}, average{nullptr};
    std::vector<double> losses;
    training.progress &= first_rank;

    ranks.on_all([&] {
      const example::Digits digits = example::read_digits(path, &labels);
      for (Index n = 0; n < digits.dimension(0); ++n) (n % 9 == 0 ? held_out_indices : training_indices).push_back(n);
      training_digits = example::selected(digits, training_indices);
      held_out = example::selected(digits, held_out_indices);
      if (training.batch < ranks.size()) {
        throw std::runtime_error("--batch " + std::to_string(training.batch) + " is less than the " +
                                 std::to_string(ranks.size()) + " processes");
      }
      torch::set_num_threads(static_cast<int>(threads));
      torch::manual_seed(training.seed);
      network = Network(), average = Network();
      if (!load.empty()) {
        example::load_network(average, load);
      } else if (first_rank) {
        example::check_writable(weights);
        example::check_writable(out);
        if (!losses_path.empty()) example::check_writable(losses_path);
      }
    });

    if (load.empty()) {
      const Batch x_0 = training_digits.cast<float>();
      std::vector<std::int64_t> training_labels;
      for (const Index n : training_indices) training_labels.push_back(labels[std::size_t(n)]);
      if (first_rank) {
        std::printf("%s: %ld digits to learn, %ld held out; %ld training steps of %ld digits\n", path.c_str(),
                    long(training_indices.size()), long(held_out_indices.size()), long(training.steps),
                    long(training.batch));
      }
      const TrainingData data{torch_view(x_0), torch::tensor(training_labels)};
      ranks.together("train_digits", [&] {
        in_one_line("training failed", [&] { losses = train(training, process, data, network, average, ranks); });
      });
    }

    ranks.on_all([&] {
      if (!first_rank) return;
      if (load.empty()) {
        in_one_line("cannot write " + weights, [&] { torch::save(average, weights); });
        std::printf("Wrote the weights to %s\n", weights.c_str());
      }
      if (!losses_path.empty()) {
        std::ofstream file(losses_path);
        file.precision(9);
        for (const double loss : losses) file << loss << '\n';
        if (!file.flush()) throw std::runtime_error("cannot write " + losses_path);
      }
      const Model model{average.ptr()};
      in_one_line("sampling failed", [&] {
        show(out, *average, process, training_digits, held_out, training.seed, losses);
        std::printf("\nbits per dimension    bound    prior (part of the bound)\n");
        print_bound("training digits", model, process, training_digits, training.seed);
        print_bound("held-out digits", model, process, held_out, training.seed);
      });

      if (losses.empty()) return;
      const std::size_t tenth = (std::max)(losses.size() / 10, std::size_t(1));
      const double first = mean(losses, 0, tenth), last = mean(losses, losses.size() - tenth, losses.size());
      std::printf("\nThe loss fell from %.5f to %.5f, by a factor of %.2f (first and last tenth of the steps)\n", first,
                  last, first / last);
      if (!(first >= fall * last))
        throw std::runtime_error("the loss did not fall by a factor of " + std::to_string(fall));
    });
    return 0;
  });
}
