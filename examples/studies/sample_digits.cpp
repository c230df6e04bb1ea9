/// @file sample_digits.cpp
/// Samples with the optimal model (common/digit_model.hpp): the exact minimiser of the training
/// loss over 1797 handwritten digits.
///
/// The only remaining error of sampling is that of a finite number of steps:
///
///     p_sample_loop       x_{t-1} = c0_t x_0 + c1_t x_t + sqrt(v_t) noise
///                         Ho et al. 2020; x_0 is predicted by the model
///     ddim_sample_loop    x_{t-1} = sqrt(abar_{t-1}) x_0 + sqrt(1 - abar_{t-1}) eps
///                         Song et al. 2021; adds no noise
///
/// In the limit of infinitely many steps both draw each digit with equal probability: samples lie
/// on digits, and their moments differ from those of the digits by chance only. This is also the
/// limit of training: a network generates new digits only because it does not reach this minimum.
#include <chrono>
#include <cmath>    // std::pow
#include <cstddef>  // std::size_t
#include <cstdint>
#include <cstdio>
#include <diffusion/noise/noise_source.hpp>
#include <diffusion/noise/philox_noise.hpp>
#include <diffusion/process/gaussian_diffusion.hpp>
#include <diffusion/process/respacing.hpp>
#include <diffusion/process/schedules.hpp>
#include <diffusion/sampling/reverse_process.hpp>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "common/digit_model.hpp"
#include "common/digits.hpp"
#include "common/options.hpp"
#include "common/progress.hpp"

using diffusion::GaussianDiffusion;
using Eigen::Index;
using example::Digits;

/// Number of different indices.
std::size_t num_different(const std::vector<Index>& indices) {
  return std::set<Index>(indices.begin(), indices.end()).size();
}

constexpr const char* table_heading = R"(
                          | distance to the nearest digit | error of mean; largest error of a
                  ms/step |      mean   largest different | pixel's mean, std. deviation)";

/// Prints a line of the table: the time of a step, the distance of the samples from the nearest
/// digits, the number of different nearest digits, and the difference between the moments of the
/// samples and of the digits.
void print_line(const std::string& name, const std::string& milliseconds, const Digits& x,
                const Eigen::MatrixXd& distance, const Digits& digits) {
  const Eigen::VectorXd nearest_distance = distance.rowwise().minCoeff();
  const example::PixelMoments sample_moments(x), digit_moments(digits);
  std::printf("%-16s %8s | %9.1e %9.1e %9zu | %8.4f %8.4f %8.4f\n", name.c_str(), milliseconds.c_str(),
              nearest_distance.mean(), nearest_distance.maxCoeff(), num_different(example::nearest(distance)),
              sample_moments.mean.mean() - digit_moments.mean.mean(),
              (sample_moments.mean - digit_moments.mean).cwiseAbs().maxCoeff(),
              (sample_moments.deviation - digit_moments.deviation).cwiseAbs().maxCoeff());
  std::fflush(stdout);
}

int main(int argc, char** argv) {
  std::string path = EXAMPLE_DATA_DIR "/digits.csv", schedule = "cosine", out = "sample_digits.png";
  std::vector<Index> steps = {10, 25, 100};
  Index samples = 400;
  std::uint32_t seed = 1;
  bool progress = example::stderr_is_terminal();

  example::Options options("sample_digits",
                           "Samples handwritten digits with the exact minimiser of the training loss as the model.");
  options.add("digits", path, "CSV file of digits (default: the bundled digits.csv)");
  options.add("--schedule", schedule, "name of the schedule; an unknown name prints the list");
  options.add("--steps", steps, "numbers of sampling steps, at most 1000 each, such as 10,100", 1, 1000);
  options.add("--samples", samples, "number of samples; the picture shows 100 of them", 100, 10000);
  options.add_seed(seed, "seed of the noise");
  options.add("--out", out, "PNG file to write");
  options.add_flag("--progress", progress, "draw a progress bar even if stderr is not a terminal");

  return options.run(argc, argv, [&] {
    example::check_writable(out);
    const GaussianDiffusion<double> process(diffusion::named_beta_schedule(schedule, 1000));
    const Digits digits = example::read_digits(path);
    const example::DigitModel model(process, digits);
    std::printf("%s: %ld digits; %s, T = 1000; %ld samples\n%s\n", path.c_str(), long(digits.dimension(0)),
                schedule.c_str(), long(samples), table_heading);

    // For comparison: the same number of real digits, drawn as by an exact sampler. Their moments
    // differ from those of all digits by chance only. Their distance is that to the nearest other
    // digit.
    std::mt19937 engine(seed);
    std::vector<Index> drawn_indices;
    for (Index n = 0; n < samples; ++n) drawn_indices.push_back(static_cast<Index>(engine()) % digits.dimension(0));
    const Digits real_digits = example::selected(digits, drawn_indices);
    Eigen::MatrixXd distance = example::distances(real_digits, digits);
    for (Index n = 0; n < samples; ++n) distance(n, drawn_indices[std::size_t(n)]) = distance.row(n).maxCoeff();
    print_line("real digits", "-", real_digits, distance, digits);

    Digits x_T(samples, 1, example::digit_side, example::digit_side);
    diffusion::PhiloxNoise{seed}(x_T);
    std::vector<example::FilmRow> film;
    std::vector<std::string> columns;
    for (const Index n : steps) columns.push_back(std::to_string(n) + " steps");
    constexpr Index scale = 4, side = example::digit_grid_side(scale);
    for (const std::string sampler : {"ddpm", "ddim"}) {
      example::FilmRow row{sampler, example::Images(Index(steps.size()), side, side, 1), {}};
      for (const Index n : steps) {
        const diffusion::ReverseProcess reverse(
            diffusion::respace(process, diffusion::space_timesteps(1000, std::vector<Index>{n})), model,
            {diffusion::ModelMeanType::start_x});
        example::Progress bar(sampler + ", " + std::to_string(n) + " steps", n, progress);
        const auto observer = [&](Index step, Index, const auto&) { bar(step + 1); };
        const auto start = std::chrono::steady_clock::now();
        const Digits x_0 = sampler == "ddpm" ? reverse.p_sample_loop(x_T, diffusion::PhiloxNoise(seed, 0, 1), observer)
                                             : reverse.ddim_sample_loop(x_T, diffusion::NoNoise{}, 0.0, observer);
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
        distance = example::distances(x_0, digits);
        char milliseconds[32];
        std::snprintf(milliseconds, sizeof milliseconds, "%.2f", 1e3 * seconds.count() / double(n));
        print_line(sampler + ", " + std::to_string(n) + " steps", milliseconds, x_0, distance, digits);
        row.frames.chip<0>(Index(row.captions.size())) = example::digit_grid(x_0, scale).chip<0>(0);
        row.captions.push_back(std::to_string(num_different(example::nearest(distance))) + " different digits in " +
                               std::to_string(samples));
      }
      film.push_back(row);
    }
    const double M = double(digits.dimension(0));
    std::printf("\n%ld random draws from %ld digits contain %.0f different digits on average.\n", long(samples),
                long(M), M * (1.0 - std::pow(1.0 - 1.0 / M, double(samples))));
    example::film_strip(columns, film, 1).write_png(out);
    std::printf("Wrote the picture to %s\n", out.c_str());
    return 0;
  });
}
