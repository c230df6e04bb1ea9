/// @file sample_by_name.cpp
/// Samples digits with a sampler and a list of sigmas that are named as in ComfyUI, k-diffusion,
/// diffusers or the AUTOMATIC1111 web UI:
///
///     sample_by_name --sampler "DPM++ 2M SDE" --sigmas karras --steps 20
#include <cstdint>
#include <cstdio>
#include <diffusion/diffusion.hpp>
#include <diffusion/interop/names.hpp>
#include <string>

#include "common/digit_model.hpp"
#include "common/digits.hpp"
#include "common/image.hpp"
#include "common/options.hpp"

using example::Digits;

int main(int argc, char** argv) {
  std::string sampler_name = "dpmpp_2m", sigmas_name = "karras", out = "sample_by_name.png";
  Eigen::Index steps = 10;
  std::uint32_t seed = 1;
  example::Options options("sample_by_name", "Samples digits with a sampler and sigmas by name.");
  options.add("--sampler", sampler_name, "name of the sampler; an unknown name prints the list");
  options.add("--sigmas", sigmas_name, "name of the sigmas; an unknown name prints the list");
  options.add("--steps", steps, "number of sampling steps", 1, 1000);
  options.add_seed(seed, "seed of the noise");
  options.add("--out", out, "PNG file to write");

  return options.run(argc, argv, [&] {
    example::check_writable(out);
    const diffusion::GaussianDiffusion<double> process(diffusion::scaled_linear_beta_schedule(1000, 0.00085, 0.012));
    const diffusion::AnySampler<Digits> sampler = diffusion::named_sampler<Digits>(sampler_name);
    const auto grid = diffusion::sigma_grid(process, diffusion::named_sigmas(sigmas_name, process, steps));

    const Digits digits = example::read_digits(EXAMPLE_DATA_DIR "/digits.csv");
    const example::DigitModel model(process, digits);  // stands for a network that predicts x_0
    const auto network = [&](const Digits& x, const Eigen::Tensor<double, 1>& t, Digits& x_0) { model(x, t, x_0); };
    const diffusion::Denoiser denoiser(network, diffusion::ModelMeanType::start_x);
    Digits x(100, 1, example::digit_side, example::digit_side);
    diffusion::PhiloxNoise noise(seed);
    noise(x);
    const Digits x_0 = diffusion::sample(sampler, grid, denoiser, x, noise);

    constexpr Eigen::Index scale = 4;
    example::FilmRow row{sampler_name, example::digit_grid(x_0, scale), {sigmas_name}};
    example::film_strip({std::to_string(grid.num_steps()) + " steps"}, {row}, example::digit_grid_side(scale))
        .write_png(out);
    std::printf("100 digits by %s in %ld steps of %s\nWrote the picture to %s\n", sampler_name.c_str(),
                long(grid.num_steps()), sigmas_name.c_str(), out.c_str());
    return 0;
  });
}
