// Tests of samplers and denoisers on a type with TensorOperations (diffusion/tensor.hpp).
#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "all_samplers.hpp"
#include "matchers.hpp"
#include "molecule.hpp"
#include "tolerance.hpp"

namespace any_tensor_tests {

using diffusion::Denoiser;
using diffusion::DenoiserOptions;
using diffusion::ModelMeanType;
using diffusion::NoiseLevel;
using diffusion::PhiloxNoise;
using diffusion::Prediction;
using diffusion::sample;
using diffusion::SamplingRun;
using Eigen::Index;

namespace {

using Tensor = Eigen::Tensor<double, 2, Eigen::RowMajor, Index>;

/// The values of a molecule as a tensor of one sample.
Tensor values(const Molecule& x) {
  Tensor out(1, static_cast<Index>(x.positions.size() + x.charges.size()));
  std::copy(x.positions.begin(), x.positions.end(), out.data());
  std::copy(x.charges.begin(), x.charges.end(), out.data() + x.positions.size());
  return out;
}

Molecule molecule(const Tensor& x, Index positions = 6) {
  return {{x.data(), x.data() + positions}, {x.data() + positions, x.data() + x.size()}};
}

Molecule start() { return molecule(random_tensor<Tensor>({1, 8}, 1)); }

/// The network, on one value.
double network(double x, double t) { return 0.8 * x / (1 + x * x) - 1e-4 * t; }

const auto tensor_network = [](const Tensor& x, const Eigen::Tensor<double, 1>& t, Tensor& out) {
  for (Index i = 0; i < x.size(); ++i) out.data()[i] = network(x.data()[i], t(0));
};
const auto molecule_network = [](const Molecule& x, double t) {
  Molecule out = x;
  for (const auto part : {&Molecule::positions, &Molecule::charges}) {
    for (double& value : out.*part) value = network(value, t);
  }
  return out;
};

AllClose near(const Tensor& expected) { return AllClose(expected, tolerance::other_tensor, tolerance::other_tensor); }

}  // namespace

TEST_CASE("every sampler gives the same values on a user's tensor type as on Eigen's", "[any_tensor]") {
  const Denoiser of_tensor(tensor_network, ModelMeanType::velocity);
  const Denoiser of_molecule(molecule_network, ModelMeanType::velocity);
  std::vector<ListedSampler<Tensor>> on_tensors;
  for (auto& sampler : all_samplers<Tensor>()) {
    if (sampler.name != "DpmSolverAdaptive") on_tensors.push_back(std::move(sampler));  // it needs error_norm
  }
  const auto on_molecules = all_samplers<Molecule>();
  REQUIRE(on_molecules.size() == on_tensors.size());
  for (std::size_t i = 0; i < on_tensors.size(); ++i) {
    INFO(on_tensors[i].name);
    REQUIRE(on_molecules[i].name == on_tensors[i].name);
    PhiloxNoise tensor_noise(2), molecule_noise(2);
    const Tensor expected =
        on_tensors[i].run(trailing_grid(6), of_tensor, values(start()), [&](Tensor& z) { tensor_noise(z); }, {});
    const auto fill = [&](Molecule& z) {
      Tensor drawn(1, 8);
      molecule_noise(drawn);
      z = molecule(drawn);
    };
    REQUIRE_THAT(values(on_molecules[i].run(trailing_grid(6), of_molecule, start(), fill, {})), near(expected));
    // A run that is asked, and its copies.
    molecule_noise = PhiloxNoise(2);
    tensor_noise = PhiloxNoise(2);
    auto run = on_molecules[i].begin(trailing_grid(6), start(), fill, {}, {});
    Prediction<Molecule> prediction;
    for (int call = 0; !run.done(); ++call) {
      of_molecule.prediction(molecule_network(of_molecule.model_input(run.x(), run.level()), run.level().t), run.x(),
                             run.level(), prediction);
      run.advance(prediction);
    }
    REQUIRE_THAT(values(run.x()), near(expected));
  }
}

TEST_CASE("a Denoiser predicts the same values for a user's tensor type as for Eigen's", "[any_tensor]") {
  for (const NoiseLevel& level : {NoiseLevel{100, 0.8, 0.6}, NoiseLevel{3, 1.0, 2.5}}) {
    for (const ModelMeanType type : {ModelMeanType::start_x, ModelMeanType::epsilon, ModelMeanType::velocity,
                                     ModelMeanType::score, ModelMeanType::flow_velocity, ModelMeanType::edm}) {
      INFO("type " << static_cast<int>(type) << ", sigma " << level.sigma);
      const auto expected = Denoiser(tensor_network, type)(values(start()), level);
      const auto got = Denoiser(molecule_network, type)(start(), level);
      REQUIRE_THAT(values(got.x_start), near(expected.x_start));
      REQUIRE_THAT(values(got.epsilon), near(expected.epsilon));
    }
  }
}

TEST_CASE("add_noise and hooks work on a user's tensor type", "[any_tensor]") {
  const NoiseLevel level{500, 0.6, 0.8};
  const Molecule x_0 = start(), z = molecule(values(start()) * 2.0);
  const Molecule noised = diffusion::add_noise(x_0, level, z);
  REQUIRE_THAT(values(noised), near(values(x_0) * 0.6 + values(z) * 0.8));
  REQUIRE_THAT(values(diffusion::add_noise(x_0, level, [&](Molecule& out) { out = z; })), near(values(noised)));

  const Molecule other = molecule(values(start()), 5);
  REQUIRE(error_message([&] { (void)diffusion::add_noise(x_0, level, other); }) ==
          "diffusion::add_noise: noise has shape [5, 3], but x_start has [6, 2]");
  REQUIRE_THAT(error_message([&] {
                 (void)diffusion::add_noise(x_0, {0, 0, 0}, z);
               }),
               StartsWith("diffusion::add_noise: level has alpha = 0 and sigma = 0"));

  diffusion::Hooks<Molecule> hooks;
  hooks.correct_x_t = [](Molecule& x, const NoiseLevel& at) { x.positions[2] = 5 * at.alpha; };
  const Denoiser denoiser(molecule_network, ModelMeanType::velocity);
  REQUIRE(sample(diffusion::Ddim{}, trailing_grid(4), denoiser, start(), hooks).positions[2] == 5);
}

TEST_CASE("a run on a user's tensor type refuses other shapes and missing operations", "[any_tensor]") {
  Prediction<Molecule> prediction;
  prediction.x_start = start();
  prediction.epsilon = {{1}, {2}};
  SamplingRun run(diffusion::Ddim{}, trailing_grid(4), start());
  REQUIRE(error_message([&] { run.advance(prediction); }) ==
          "diffusion::sample: the denoiser's epsilon has shape [1, 1], but for x of shape [6, 2] it must have [6, 2]");

  const auto message = [](const DenoiserOptions& options) {
    return error_message([&] {
      (void)Denoiser(molecule_network, ModelMeanType::start_x, options)(start(), {10, 0.6, 0.8});
    });
  };
  DenoiserOptions clips, thresholds, learns;
  clips.clip_max = 1;
  thresholds.threshold_quantile = 0.9;
  learns.learned_variance = true;
  REQUIRE(message(clips) ==
          "diffusion::Denoiser: clip_min or clip_max needs TensorOperations<Tensor>::clamp for tensors that are not "
          "Eigen's");
  REQUIRE(message(thresholds) ==
          "diffusion::Denoiser: threshold_quantile needs TensorOperations<Tensor>::threshold for tensors that are not "
          "Eigen's");
  REQUIRE(message(learns) ==
          "diffusion::Denoiser: the model's output has shape [6, 2], but for x of shape [6, 2] it must have [6, 4]; "
          "for a model "
          "without learned variances set DenoiserOptions::learned_variance = false");
}

TEST_CASE("a noise source receives a tensor that is like x", "[any_tensor]") {
  const Denoiser denoiser(molecule_network, ModelMeanType::velocity);
  Index draws = 0;
  const auto in_place = [&draws](Molecule& z) {
    ++draws;
    REQUIRE((z.positions.size() == 6 && z.charges.size() == 2));
    for (double& value : z.positions) value = 0.5;
    for (double& value : z.charges) value = -0.5;
  };
  (void)sample(diffusion::Ddpm{}, trailing_grid(4), denoiser, start(), in_place);
  REQUIRE(draws == 3);
}

}  // namespace any_tensor_tests
