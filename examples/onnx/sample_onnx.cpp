/// @file sample_onnx.cpp
/// Samples handwritten digits with a network that was trained in Python (train.py) and is run by
/// ONNX Runtime. They are those that Python samples (sample.py): the noise is torch's, and the
/// sampler is diffusers' DDIM.
///
///     digits.onnx    v = network(x, timestep, class_labels)
///     guidance       uncond + 2 (cond - uncond); both from one call with a doubled batch
///     sampler        DDIM with eta = 1, 25 of 1000 steps
///
/// The network is run in two ways, with the same bits: called by sample(), and by a loop of the
/// program's own, which asks a SamplingRun what to do.
#include <chrono>
#include <cmath>  // std::abs
#include <cstdint>
#include <cstdio>
#include <diffusion/guidance/classifier_free.hpp>
#include <diffusion/guidance/guided_model.hpp>
#include <diffusion/model/denoiser.hpp>
#include <diffusion/noise/torch_noise.hpp>
#include <diffusion/process/gaussian_diffusion.hpp>
#include <diffusion/process/schedules.hpp>
#include <diffusion/sampling/sample.hpp>
#include <diffusion/sampling/samplers/ddim.hpp>
#include <diffusion/sampling/sampling_run.hpp>
#include <diffusion/sampling/time_grid.hpp>
#include <fstream>
#include <functional>  // std::ref
#include <stdexcept>
#include <string>

#include "common/digits.hpp"
#include "common/options.hpp"
#include "onnx/onnx_model.hpp"

using Eigen::Index;
using Image = Eigen::Tensor<float, 4, Eigen::RowMajor>;  // [N, 1, 8, 8]
using Times = Eigen::Tensor<float, 1>;
using Labels = Eigen::Tensor<std::int64_t, 1>;

constexpr Index N = 100;
constexpr std::int64_t no_class = 10;  // the label of a digit whose class is not given

/// Reads the digits that sample.py wrote, one number after the other.
Image read_samples(const std::string& path) {
  Image samples(N, 1, 8, 8);
  std::ifstream file(path);
  for (Index i = 0; i < samples.size(); ++i) {
    if (!(file >> samples.data()[i])) throw std::runtime_error("cannot read 6400 numbers from " + path);
  }
  return samples;
}

int main(int argc, char** argv) {
  std::string model_path = EXAMPLE_ONNX_DIR "/digits.onnx", expected_path = EXAMPLE_ONNX_DIR "/samples.txt";
  std::string out = "sample_onnx.png";
  example::Options options("sample_onnx",
                           "Samples digits with a network in an ONNX file, and compares them with those of Python.");
  options.add("--model", model_path, "ONNX file of the network");
  options.add("--expected", expected_path, "the samples that sample.py wrote");
  options.add("--out", out, "PNG file to write");

  return options.run(argc, argv, [&] {
    example::check_writable(out);
    const Image expected = read_samples(expected_path);
    example::OnnxModel network(model_path);

    // Ten digits of each class. The guided model asks for both halves of a doubled batch at once.
    Labels labels(2 * N);
    for (Index n = 0; n < N; ++n) labels(n) = n / 10, labels(N + n) = no_class;
    const auto model = [&](const Image& x, const Times& t, Image& v) { network(x, t, v, labels); };
    auto guided = diffusion::guided_model_of_doubled_batch(model, diffusion::ClassifierFreeGuidance{2.0});

    const diffusion::GaussianDiffusion<float> process(diffusion::cosine_beta_schedule(1000));
    const auto grid = timestep_grid(process, diffusion::TimestepSpacing::trailing, 25);
    const diffusion::Ddim sampler{1.0};
    diffusion::TorchCpuNoise noise(1);
    Image x_T(N, 1, 8, 8);
    noise(x_T);
    auto same_noise = noise;  // a copy continues with the same numbers

    // Driven: the library calls the network.
    const auto start = std::chrono::steady_clock::now();
    const diffusion::Denoiser denoiser(std::ref(guided), diffusion::ModelMeanType::velocity);
    const Image samples = sample(sampler, grid, denoiser, x_T, noise);
    const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;

    // Asked: the program calls the network, when and where it likes.
    diffusion::SamplingRun run(sampler, grid, x_T, same_noise);
    diffusion::Prediction<Image> prediction;
    Image v(N, 1, 8, 8);
    for (; !run.done(); run.advance(prediction)) {
      const Image input = denoiser.model_input(run.x(), run.level());
      Times t(N);
      t.setConstant(static_cast<float>(denoiser.model_time(run.level())));
      guided(input, t, v);
      denoiser.prediction(v, run.x(), run.level(), prediction);
    }

    const auto largest_difference = [](const Image& a, const Image& b) {
      const Eigen::Tensor<float, 0, Eigen::RowMajor> largest = (a - b).abs().maximum();
      return double(largest());
    };
    const double from_python = largest_difference(samples, expected), from_asked = largest_difference(samples, run.x());
    std::printf("100 digits in 25 steps, %.1f ms a step\n", time.count() / 25);
    std::printf("largest difference from the digits of Python: %.1e\n", from_python);
    std::printf("largest difference between calling and being asked: %g\n", from_asked);

    example::Images pictures(2, example::digit_grid_side(4), example::digit_grid_side(4), 1);
    pictures.chip(0, 0) = example::digit_grid(samples.cast<double>(), 4).chip(0, 0);
    pictures.chip(1, 0) = example::digit_grid(expected.cast<double>(), 4).chip(0, 0);
    example::film_strip({"C++ and ONNX Runtime", "Python and torch"}, {{"", pictures, {}}}, 1).write_png(out);
    std::printf("Wrote the picture to %s\n", out.c_str());
    return from_python < 1e-4 && from_asked == 0.0 ? 0 : 1;
  });
}
