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

using diffusion::GaussianDiffusion;
using diffusion::ModelMeanType;
using diffusion::torch_view;
using Eigen::Index;
using example::digit_pixels, example::digit_side;
using Batch = Eigen::Tensor<float, 4, Eigen::RowMajor>;  // [N, 1, 8, 8]

// ---- the network: a perceptron with residual blocks and a sinusoidal embedding of t ----

namespace nn = torch::nn;
constexpr Index width = 256, blocks = 3, frequencies = 32;

/// A linear layer as a convolution of one pixel, [N, channels, 1, 1]: torch has fast convolutions
/// even where it has no fast BLAS.
nn::Conv2d linear(Index from, Index to) { return nn::Conv2d(nn::Conv2dOptions(from, to, 1)); }
/// Layer normalisation, as a group norm of one group.
nn::GroupNorm layer_norm() { return nn::GroupNorm(nn::GroupNormOptions(1, width)); }

/// Sets a layer to 0. The last layer of each branch starts at 0, so that a new residual block is
/// the identity and a new network returns 0.
nn::Conv2d zero(nn::Conv2d layer) {
  const torch::NoGradGuard no_grad;
  layer->weight.zero_();
  layer->bias.zero_();
  return layer;
}

/// A residual block that is conditioned on the embedding of t.
struct BlockImpl : nn::Module {
  nn::GroupNorm norm = register_module("norm", layer_norm());
  nn::Conv2d in = register_module("first", linear(width, width));
  nn::Conv2d time = register_module("time", linear(width, width));
  nn::Conv2d out = register_module("last", zero(linear(width, width)));

  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& t) {
    return x + out(torch::silu(in(norm(x)) + time(t)));
  }
};
TORCH_MODULE(Block);

/// The network: predicts v from x_t and t.
struct NetworkImpl : nn::Module {
  nn::Conv2d in = register_module("first", linear(digit_pixels, width));
  nn::Conv2d time = register_module("time", linear(2 * frequencies, width));
  nn::ModuleList middle = register_module("middle", nn::ModuleList());
  nn::GroupNorm norm = register_module("norm", layer_norm());
  nn::Conv2d out = register_module("last", zero(linear(width, digit_pixels)));

  NetworkImpl() {
    for (Index k = 0; k < blocks; ++k) middle->push_back(Block());
  }

  /// x has shape [N, 1, 8, 8] and t has shape [N].
  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& t) {
    const auto frequency = torch::exp(torch::arange(frequencies) * (-std::log(10000.0) / frequencies));
    const auto phase = t.unsqueeze(1) * frequency;
    const auto embedding = torch::silu(time(torch::cat({phase.cos(), phase.sin()}, 1).unsqueeze(2).unsqueeze(3)));
    auto h = in(x.reshape({x.size(0), digit_pixels, 1, 1}));
    for (const auto& block : *middle) h = block->as<Block>()->forward(h, embedding);
    return out(norm(h)).reshape_as(x);
  }
};
TORCH_MODULE(Network);

/// A torch tensor as an Eigen tensor, without a copy.
Eigen::TensorMap<Batch> map(const torch::Tensor& x) { return diffusion::torch_map<Batch>(x); }

/// The network as a model on Eigen tensors, for the variational bound.
struct Model {
  std::shared_ptr<NetworkImpl> network;

  void operator()(const Batch& x, const Eigen::Tensor<float, 1>& t, Batch& out) const {
    const torch::NoGradGuard no_grad;
    torch_view(out).copy_(network->forward(torch_view(x), torch_view(t)));
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

/// Trains `network`, and keeps a running average of its weights in `average`. The average gives
/// better samples than the last weights. Returns the losses.
std::vector<double> train(const Training& options, const GaussianDiffusion<float>& process, const torch::Tensor& digits,
                          Network& network, Network& average) {
  const auto start = std::chrono::steady_clock::now();
  diffusion::LossSecondMomentResampler timesteps(process.num_timesteps());
  std::mt19937 engine(options.seed);
  diffusion::PhiloxNoise noise_source(options.seed);
  torch::optim::AdamW optimizer(network->parameters(), torch::optim::AdamWOptions(0.0).weight_decay(0.01));
  torch::Tensor x_0 = torch::empty({options.batch, 1, digit_side, digit_side});
  const torch::Tensor noise = torch::empty_like(x_0), x_t = torch::empty_like(x_0), target = torch::empty_like(x_0);

  std::vector<double> losses;
  example::Progress bar("training", options.steps, options.progress);
  std::printf("\n  step      loss  seconds\n");
  for (Index step = 0; step < options.steps; ++step) {
    const auto [t, weights] = timesteps.sample(options.batch, engine);
    torch::index_select_out(x_0, digits, 0, torch::randint(digits.size(0), {options.batch}, torch::kLong));
    noise_source(map(noise));
    process.q_sample_into(map(x_t), map(x_0), t, map(noise));
    diffusion::training_target_into(map(target), process, ModelMeanType::velocity, map(x_0), map(x_t), map(noise), t);

    const Eigen::Tensor<float, 1> model_times = t.cast<float>(), w = weights.cast<float>();
    const torch::Tensor output = network->forward(x_t, torch_view(model_times));
    const torch::Tensor loss = (output - target).square().mean({1, 2, 3});  // loss of each sample
    const torch::Tensor weighted = (loss * torch_view(w)).mean();
    optimizer.zero_grad();
    weighted.backward();
    const double half_turn = double(EIGEN_PI) * double(step) / double(options.steps);
    const double rate = 1e-3 * (std::min)(1.0, double(step + 1) / 100.0) * (1.0 + std::cos(half_turn));
    static_cast<torch::optim::AdamWOptions&>(optimizer.param_groups()[0].options()).lr(rate);
    optimizer.step();

    const torch::NoGradGuard no_grad;
    const Eigen::TensorMap<Eigen::Tensor<float, 1>> sample_losses(loss.data_ptr<float>(), loss.size(0));
    timesteps.update_with_all_losses(t, sample_losses);
    // The first weights are forgotten quickly; later the average changes slowly.
    const double update_rate = (std::max)(0.002, 9.0 / double(10 + step));
    const auto from = network->parameters(), to = average->parameters();
    for (std::size_t i = 0; i < to.size(); ++i) to[i].lerp_(from[i], update_rate);

    losses.push_back(weighted.item<double>());
    bar(step + 1);
    const std::size_t tenth = std::size_t((std::max)(options.steps / 10, Index(1)));
    if (losses.size() % tenth == 0) {
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

/// Samples 100 digits and draws them, the training digit nearest to each, and the losses, if there
/// are any.
void show(const std::string& path, NetworkImpl& network, const GaussianDiffusion<float>& process,
          const example::Digits& training, const example::Digits& held_out, std::uint32_t seed,
          const std::vector<double>& losses) {
  const torch::NoGradGuard no_grad;
  const torch::Tensor x_T = torch::empty({100, 1, digit_side, digit_side});
  diffusion::PhiloxNoise(seed, 1000000)(map(x_T));  // a stream that the training did not use
  const auto model = [&](const torch::Tensor& x, const torch::Tensor& t) { return network.forward(x, t); };
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

/// Calls work(), and reports an error of libtorch by the first line of its message, without the
/// stack trace.
template <class Work>
void in_one_line(const std::string& what, const Work& work) {
  try {
    work();
  } catch (const c10::Error& e) {
    const std::string message = e.what_without_backtrace();
    throw std::runtime_error(what + ": " + message.substr(0, message.find('\n')));
  }
}

int main(int argc, char** argv) {
  std::string path = EXAMPLE_DATA_DIR "/digits.csv", out = "train_digits.png", weights = "train_digits.pt", load;
  Training training;
  double fall = 0.0;
  Index threads =
      1;  // more threads gain little for batches this small, and cost much where other programs use the cores

  example::Options options("train_digits",
                           "Trains a small network on handwritten digits with libtorch and samples new ones.");
  options.add("digits", path, "CSV file of digits (default: the bundled digits.csv)");
  options.add("--load", load, "load the weights from this file and sample without training");
  options.add("--steps", training.steps, "number of training steps", 1, 1000000);
  options.add("--batch", training.batch, "digits per training step", 1, 4096);
  options.add_seed(training.seed, "seed of the weights, the noise and all other random numbers");
  options.add("--threads", threads, "number of libtorch threads; the same number and seed give the same weights", 1,
              256);
  options.add("--fall", fall, "fail unless the loss falls by this factor from the first to the last tenth of the steps",
              0.0, 1e6);
  options.add("--weights", weights, "file to write the weights to");
  options.add("--out", out, "PNG file to write");
  for (const char* option : {"--steps", "--fall", "--weights"}) options.exclude(option, "--load");
  options.add_flag("--progress", training.progress, "draw a progress bar even if stderr is not a terminal");

  return options.run(argc, argv, [&] {
    const example::Digits digits = example::read_digits(path);
    std::vector<Index> training_indices, held_out_indices;  // every ninth digit is held out
    for (Index n = 0; n < digits.dimension(0); ++n) (n % 9 == 0 ? held_out_indices : training_indices).push_back(n);
    const example::Digits training_digits = example::selected(digits, training_indices),
                          held_out = example::selected(digits, held_out_indices);

    torch::set_num_threads(static_cast<int>(threads));
    torch::manual_seed(training.seed);
    const GaussianDiffusion<float> process(diffusion::cosine_beta_schedule(1000));
    Network network, average;
    std::vector<double> losses;
    if (load.empty()) {
      example::check_writable(weights);
      example::check_writable(out);
      const Batch x_0 = training_digits.cast<float>();
      std::printf("%s: %ld digits to learn, %ld held out; %ld training steps of %ld digits\n", path.c_str(),
                  long(training_indices.size()), long(held_out_indices.size()), long(training.steps),
                  long(training.batch));
      in_one_line("training failed", [&] { losses = train(training, process, torch_view(x_0), network, average); });
      in_one_line("cannot write " + weights, [&] { torch::save(average, weights); });
      std::printf("Wrote the weights to %s\n", weights.c_str());
    } else {
      if (!std::ifstream(load)) throw std::runtime_error("cannot open " + load);
      in_one_line("cannot read " + load + " as weights of this network", [&] { torch::load(average, load); });
    }

    const Model model{average.ptr()};
    in_one_line("sampling failed", [&] {
      show(out, *average, process, training_digits, held_out, training.seed, losses);
      std::printf("\nbits per dimension    bound    prior (part of the bound)\n");
      print_bound("training digits", model, process, training_digits, training.seed);
      print_bound("held-out digits", model, process, held_out, training.seed);
    });

    if (losses.empty()) return 0;
    const std::size_t tenth = (std::max)(losses.size() / 10, std::size_t(1));
    const double first = mean(losses, 0, tenth), last = mean(losses, losses.size() - tenth, losses.size());
    std::printf("\nThe loss fell from %.5f to %.5f, by a factor of %.2f (first and last tenth of the steps)\n", first,
                last, first / last);
    if (!(first >= fall * last))
      throw std::runtime_error("the loss did not fall by a factor of " + std::to_string(fall));
    return 0;
  });
}
