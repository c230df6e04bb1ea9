/// @file sample_from_config.cpp
/// Samples as the scheduler_config.json of a model of diffusers says. The folder data/configs has
/// those of Stable Diffusion XL, Flux and a robot's diffusion policy.
///
///     sample_from_config --config flux --tokens 1024
#include <cstdio>
#include <diffusion/diffusion.hpp>
#include <diffusion/interop/diffusers_config.hpp>
#include <string>

#include "common/digit_model.hpp"
#include "common/image.hpp"
#include "common/options.hpp"

using example::Digits;

int main(int argc, char** argv) {
  std::string name = "stable_diffusion_xl", out = "sample_from_config.png";
  Eigen::Index steps = 20, tokens = 0;
  example::Options options("sample_from_config", "Samples digits as the scheduler config of a model says.");
  options.add("--config", name, "name of a file in data/configs, or a path");
  options.add("--steps", steps, "number of sampling steps", 1, 1000);
  options.add("--tokens", tokens, "size of the picture in tokens, for configs with use_dynamic_shifting", 0, 65536);
  options.add("--out", out, "PNG file to write");

  return options.run(argc, argv, [&] {
    example::check_writable(out);
    const bool is_path = name.find_first_of("./") != std::string::npos;
    const std::string file = is_path ? name : EXAMPLE_DATA_DIR "/configs/" + name + ".json";
    const auto config = diffusion::read_diffusers_config(file);
    nlohmann::json arguments;
    if (tokens > 0) arguments["image_seq_len"] = tokens;
    const auto grid = config.grid(steps, arguments);

    // Stands for a network that predicts epsilon, or epsilon - x_0 for flow matching.
    const example::DigitModel model(grid, example::read_digits(EXAMPLE_DATA_DIR "/digits.csv"));
    const double flow = config.mean_type() == diffusion::ModelMeanType::flow_velocity ? 1.0 : 0.0;
    const auto network = [&](const Digits& x, const Eigen::Tensor<double, 1>& t, Digits& output) {
      const auto level = grid.at_time(t(0));
      Digits x_0(x.dimensions());
      model(x, t, x_0);
      output = (x - level.alpha * x_0) * (1.0 / level.sigma) - flow * x_0;
    };
    const diffusion::Denoiser denoiser(network, config.mean_type(), config.denoiser_options());
    Digits x(100, 1, example::digit_side, example::digit_side);
    diffusion::PhiloxNoise noise(1);
    noise(x);
    x = x * config.initial_noise_scale(grid);
    const Digits digits = diffusion::sample(config.sampler<Digits>(), grid, denoiser, x, noise);
    const example::FilmRow row{name, example::digit_grid(digits, 4), {}};
    example::film_strip({config.class_name()}, {row}, example::digit_grid_side(4)).write_png(out);
    std::printf("100 digits by %s in %ld steps, from t = %g to %g\n", config.class_name().c_str(),
                long(grid.num_steps()), grid.levels().front().t, grid.levels()[grid.levels().size() - 2].t);
    for (const std::string& key : config.unknown_keys())
      std::printf("%s is not an argument, and not used\n", key.c_str());
    std::printf("Wrote the picture to %s\n", out.c_str());
    return 0;
  });
}
