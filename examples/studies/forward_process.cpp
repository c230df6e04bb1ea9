/// @file forward_process.cpp
/// Adds the noise of the forward process to a picture, for several schedules. It draws a film strip
/// of the noisy pictures and prints the numbers behind it.
///
///     symbol    meaning                                          in the library
///     T         number of steps                                  num_timesteps()
///     t         timestep, 0 ... T - 1                            Timesteps, one per sample
///     beta_t    variance of the noise that step t adds           betas(), the schedule
///     abar_t    (1 - beta_0) (1 - beta_1) ... (1 - beta_t)       alphas_cumprod()
///     x_0       the picture, with values in [-1, 1]              x_start
///     x_t       the picture after t + 1 steps of noise           x_t
///     eps       independent N(0, 1) noise for each value         noise
///
///     x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps              q_sample
///     q(x_t | x_0) = N(sqrt(abar_t) x_0, 1 - abar_t)             q_mean_variance
///     q(x_{t-1} | x_t, x_0) = N(c0_t x_0 + c1_t x_t, v_t)        q_posterior_mean_variance
///         c0_t = sqrt(abar_{t-1}) beta_t / (1 - abar_t)          posterior_mean_coef1()
///         c1_t = sqrt(1 - beta_t) (1 - abar_{t-1})
///                / (1 - abar_t)                                  posterior_mean_coef2()
///         v_t  = beta_t (1 - abar_{t-1}) / (1 - abar_t)          posterior_variance()
///     x_0 = (x_t - sqrt(1 - abar_t) eps) / sqrt(abar_t)          predict_xstart_from_eps
///
/// The signal-to-noise ratio (SNR) of x_t is abar_t / (1 - abar_t). At 0 dB, signal and noise have
/// equal power.
#include <algorithm>  // std::max, std::min
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <diffusion/noise/philox_noise.hpp>
#include <diffusion/process/gaussian_diffusion.hpp>
#include <diffusion/process/schedules.hpp>
#include <limits>
#include <string>
#include <vector>

#include "common/image.hpp"
#include "common/options.hpp"

using diffusion::GaussianDiffusion;
using diffusion::Timesteps;
using Eigen::Index;
using example::Images;

/// Returns at most eight timesteps, evenly spaced from 0 to T - 1.
Timesteps film_timesteps(Index T) {
  const Index frames = (std::min)(T, Index(8));
  Timesteps t(frames);
  for (Index n = 0; n < frames; ++n) t(n) = frames == 1 ? 0 : n * (T - 1) / (frames - 1);
  return t;
}

/// Returns picture n of a batch as a batch of one.
Images frame(const Images& x, Index n) {
  const Eigen::array<Index, 4> offset{n, 0, 0, 0}, size{1, x.dimension(1), x.dimension(2), x.dimension(3)};
  return x.slice(offset, size);
}

/// The values of a batch as an array of double.
Eigen::ArrayXd values(const Images& x) { return Eigen::Map<const Eigen::ArrayXf>(x.data(), x.size()).cast<double>(); }

double snr_in_decibels(const GaussianDiffusion<float>& process, Index t) {
  return 10.0 * std::log10(process.alphas_cumprod()[t] / process.one_minus_alphas_cumprod()[t]);
}

constexpr const char* table_heading = R"(
          signal and noise           | x_t - sqrt(abar) x_0: mean | and standard deviation     | q(x_{t-1} | x_t, x_0)
     t sqrt(abar)    1-abar SNR [dB] | measured     0 +- | measured expected      +- |       c0       c1        v)";

/// Prints one line per timestep. The mean and standard deviation of x_t - sqrt(abar) x_0 are
/// measured over the values of the picture, and printed with their expected values from
/// q_mean_variance and the standard error (+-) for a picture of this size.
void print_table(const GaussianDiffusion<float>& process, const Timesteps& t, const Images& x_start,
                 const Images& x_t) {
  const auto q = process.q_mean_variance(x_start, t);
  std::puts(table_heading);
  for (Index n = 0; n < t.size(); ++n) {
    const Index i = t(n);
    const Eigen::ArrayXd residual = values(frame(x_t, n)) - values(frame(q.mean, n));
    const double size = double(residual.size()), mean = residual.mean();
    const double deviation = std::sqrt((residual - mean).square().mean());
    const double expected = std::sqrt(double(q.variance(n, 0, 0, 0)));
    std::printf("%6ld %10.6f %9.6f %8.2f | %8.5f %8.5f | %8.5f %8.5f %8.5f | %8.6f %8.6f %8.2e\n", long(i),
                process.sqrt_alphas_cumprod()[i], process.one_minus_alphas_cumprod()[i], snr_in_decibels(process, i),
                mean, expected / std::sqrt(size), deviation, expected, expected / std::sqrt(2.0 * size),
                process.posterior_mean_coef1()[i], process.posterior_mean_coef2()[i], process.posterior_variance()[i]);
  }
}

/// Prints the error of x_0 when it is recovered from x_t and the noise: 1 / sqrt(abar) magnifies
/// the rounding error of x_t.
void print_recovery(const GaussianDiffusion<float>& process, const Timesteps& t, const Images& picture,
                    const Images& x_t, const Images& noise) {
  std::printf("x_0 recovered from x_t and the noise, largest error at each t:");
  for (Index n = 0; n < t.size(); ++n) {
    if (process.sqrt_alphas_cumprod()[t(n)] < std::numeric_limits<float>::min()) {
      std::printf(" undefined");  // x_t is pure noise; the library throws if abar = 0
      continue;
    }
    const Images x_0 = process.predict_xstart_from_eps(frame(x_t, n), t(n), frame(noise, n));
    std::printf(" %.1e", (values(x_0) - values(picture)).abs().maxCoeff());
  }
  std::printf("\n");
}

std::string caption(const GaussianDiffusion<float>& process, Index t) {
  char text[64];
  std::snprintf(text, sizeof text, "SNR %.0f dB", snr_in_decibels(process, t));
  return text;
}

int main(int argc, char** argv) {
  std::string path = EXAMPLE_DATA_DIR "/raccoon.png", out = "forward_process.png";
  std::vector<std::string> schedules = {"linear", "scaled_linear", "cosine", "sigmoid"};
  Index T = 1000, side = 192;
  std::uint32_t seed = 1;

  example::Options options("forward_process",
                           "Adds the noise of a diffusion process to a picture and shows it at eight timesteps.");
  options.add("picture", path, "PNG or JPEG file (default: the bundled raccoon)");
  options.add("--schedule", schedules, "names of schedules, such as linear,cosine; an unknown name prints the list");
  options.add("--steps", T, "T, the number of steps; \"linear\" needs at least 20", 1, 1000000);
  options.add_seed(seed, "seed of the noise");
  options.add("--size", side, "largest side in pixels; a larger picture is shrunk first", 1, 1024);
  options.add("--out", out, "PNG file to write");

  return options.run(argc, argv, [&] {
    std::vector<GaussianDiffusion<float>> processes;
    for (const std::string& name : schedules) processes.emplace_back(diffusion::named_beta_schedule(name, T));
    const Images picture = example::shrunk(example::read_image(path), side);
    std::printf("%s: %ldx%ld pixels are used\n", path.c_str(), long(picture.dimension(2)), long(picture.dimension(1)));

    // One batch holds the same picture for every timestep. All schedules use the same noise, so
    // that only the schedules differ.
    const Timesteps t = film_timesteps(T);
    const Images x_start = picture.broadcast(Eigen::array<Index, 4>{t.size(), 1, 1, 1});
    Images noise(x_start.dimensions());
    diffusion::PhiloxNoise{seed}(noise);

    std::vector<example::FilmRow> film;
    for (std::size_t s = 0; s < processes.size(); ++s) {
      const Images x_t = processes[s].q_sample(x_start, t, noise);
      std::printf("\n%s, T = %ld", schedules[s].c_str(), long(T));
      print_table(processes[s], t, x_start, x_t);
      print_recovery(processes[s], t, picture, x_t, noise);
      film.push_back({schedules[s], x_t, {}});
      for (Index n = 0; n < t.size(); ++n) film[s].captions.push_back(caption(processes[s], t(n)));
    }

    std::vector<std::string> columns;
    for (Index n = 0; n < t.size(); ++n) columns.push_back("t = " + std::to_string(t(n)));
    example::film_strip(columns, film, 192).write_png(out);
    std::printf("\nWrote the film strip to %s\n", out.c_str());
    return 0;
  });
}
