/// @file sample_digits.cpp
/// Diffusion with the best model there can be: the exact minimiser of the training loss, over 1797 handwritten digits.
///
/// A model that says x_0 is trained to make E |model(x_t, t) - x_0|^2 small. Of all functions the posterior mean does it best,
/// and when x_0 is one of M equally likely digits d_i it is known: x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise, so
///     E[x_0 | x_t] = sum_i w_i d_i,   w_i = exp(l_i) / sum_j exp(l_j)
///     l_i = -|x_t - sqrt(abar_t) d_i|^2 / (2 (1 - abar_t))
/// l_i goes to -1e6 where there is little noise, hence the greatest of them is subtracted from all before exp (log-sum-exp). |x_t|^2
/// is common to all and left out, so all the l_i of a batch are one product of matrices, and all the means another.
///
/// Sampling with it leaves one error, that of finite steps:
///     p_sample_loop      x_{t-1} = c0_t x_0 + c1_t x_t + sqrt(v_t) noise, x_0 the model's          Ho et al. 2020
///     ddim_sample_loop   x_{t-1} = sqrt(abar_{t-1}) x_0 + sqrt(1 - abar_{t-1}) eps, without noise  Song et al. 2021
/// With infinitely many both draw from the digits with equal probabilities: samples lie on digits, and their moments are the
/// digits', but for chance. That is also the limit of training: a network makes new digits only as it misses this minimum.
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

#include "common/digits.hpp"
#include "common/options.hpp"
#include "common/progress.hpp"

using diffusion::GaussianDiffusion;
using Eigen::Index;
using example::Digits;

/// E[x_0 | x_t] for x_0 one of the digits: a model as the library calls it.
struct PosteriorMean {
  GaussianDiffusion<double> process;  // all its steps, for a model hears t of the process before respacing
  Digits digits;
  Eigen::RowVectorXd half_square = 0.5 * example::rows(digits).rowwise().squaredNorm().transpose();  // |d_i|^2 / 2

  void operator()(const Digits& x, const Eigen::Tensor<double, 1>& timesteps, Digits& out) const {
    using Weights = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    Weights w = example::rows(x) * example::rows(digits).transpose();  // x . d_i, a row for each sample
    for (Index n = 0; n < w.rows(); ++n) {
      const auto t = static_cast<Index>(timesteps(n));
      const double abar = process.alphas_cumprod()[t], sqrt_abar = process.sqrt_alphas_cumprod()[t];
      w.row(n) = (sqrt_abar * w.row(n) - abar * half_square) / process.one_minus_alphas_cumprod()[t];
      w.row(n) = (w.row(n).array() - w.row(n).maxCoeff()).exp();
      w.row(n) /= w.row(n).sum();
    }
    example::rows(out).noalias() = w * example::rows(digits);
  }
};

std::size_t different(const std::vector<Index>& indices) {
  return std::set<Index>(indices.begin(), indices.end()).size();
}

constexpr const char* table_heading = R"(
                          | distance to the nearest digit | off the digits' mean and, at most,
                  ms/step |      mean   largest different | a pixel's mean, deviation)";

/// A line of the table: how long a step took, how far samples are from the nearest digit and how many these are, and how far the
/// moments of the samples are off those of the digits.
void print_line(const std::string& name, const std::string& milliseconds, const Digits& x,
                const Eigen::MatrixXd& distance, const Digits& digits) {
  const Eigen::VectorXd from_nearest = distance.rowwise().minCoeff();
  const example::PixelMoments of_x(x), of_digits(digits);
  std::printf("%-16s %8s | %9.1e %9.1e %9zu | %8.4f %8.4f %8.4f\n", name.c_str(), milliseconds.c_str(),
              from_nearest.mean(), from_nearest.maxCoeff(), different(example::nearest(distance)),
              of_x.mean.mean() - of_digits.mean.mean(), (of_x.mean - of_digits.mean).cwiseAbs().maxCoeff(),
              (of_x.deviation - of_digits.deviation).cwiseAbs().maxCoeff());
  std::fflush(stdout);
}

int main(int argc, char** argv) {
  std::string path = EXAMPLE_DATA_DIR "/digits.csv", schedule = "cosine", out = "sample_digits.png";
  std::vector<Index> steps = {10, 25, 100};
  Index samples = 400;
  std::uint32_t seed = 1;
  bool progress = example::stderr_is_terminal();

  CLI::App app("Samples handwritten digits with the exact minimiser of the training loss as the model.",
               "sample_digits");
  app.add_option("digits", path, "a CSV file like the bundled one, which is the default");
  app.add_option("--schedule", schedule, "its name; any other name lists them all")->capture_default_str();
  app.add_option("--steps", steps, "one or more numbers of steps, of the 1000 there are, as in 10,100")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--samples", samples, "how many; 100 are drawn")->check(CLI::Range(100, 10000))->capture_default_str();
  app.add_option("--seed", seed, "of the noise")->check(CLI::Range(Index(0), Index(4294967295)))->capture_default_str();
  app.add_option("--out", out, "the PNG file to write")->capture_default_str();
  app.add_flag("--progress", progress, "draw a progress bar even where stderr is no terminal");

  return example::run(app, argc, argv, [&] {
    example::check_writable(out);
    const GaussianDiffusion<double> process(diffusion::named_beta_schedule(schedule, 1000));
    const Digits digits = example::read_digits(path);
    const PosteriorMean model{process, digits};
    std::printf("%s: %ld digits; %s, T = 1000; %ld samples\n%s\n", path.c_str(), long(digits.dimension(0)),
                schedule.c_str(), long(samples), table_heading);

    // The measure: as many real digits, drawn as an exact sampler would. They are off the moments by chance alone; their
    // distance is that to the nearest other digit.
    std::mt19937 engine(seed);
    std::vector<Index> drawn;
    for (Index n = 0; n < samples; ++n) drawn.push_back(static_cast<Index>(engine()) % digits.dimension(0));
    const Digits real = example::selected(digits, drawn);
    Eigen::MatrixXd distance = example::distances(real, digits);
    for (Index n = 0; n < samples; ++n) distance(n, drawn[std::size_t(n)]) = distance.row(n).maxCoeff();
    print_line("real digits", "-", real, distance, digits);

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
        row.captions.push_back(std::to_string(different(example::nearest(distance))) + " different digits in " +
                               std::to_string(samples));
      }
      film.push_back(row);
    }
    const double M = double(digits.dimension(0));
    std::printf("\n%ld draws of %ld digits meet %.0f different ones on average.\n", long(samples), long(M),
                M * (1.0 - std::pow(1.0 - 1.0 / M, double(samples))));
    example::film_strip(columns, film, 1).write_png(out);
    std::printf("The picture is %s\n", out.c_str());
    return 0;
  });
}
