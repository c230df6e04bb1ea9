/// @file own_tensor_type.cpp
/// Samples a tensor type that the library does not know: a molecule, which has a vector of
/// positions and a vector of charges. TensorOperations tells the library how to add molecules.
#include <array>
#include <cstddef>  // std::size_t
#include <cstdio>
#include <diffusion/diffusion.hpp>
#include <vector>

struct Molecule {
  std::vector<double> positions, charges;
};

/// The operations on molecules: their sizes, and linear combinations of them. With `fill`, the
/// library's noise sources fill molecules; each vector is a tensor [1, values].
template <>
struct diffusion::TensorOperations<Molecule> {
  static std::array<std::size_t, 2> shape(const Molecule& x) { return {x.positions.size(), x.charges.size()}; }
  static void combine(Molecule& out, const LinearCombination<Molecule>& sum, const DeviceRef&) {
    for (const auto part : {&Molecule::positions, &Molecule::charges}) {
      for (std::size_t i = 0; i < (out.*part).size(); ++i) {
        double value = 0;
        for (const auto& [coefficient, x] : sum) value += coefficient * ((*x).*part)[i];
        (out.*part)[i] = value;
      }
    }
  }
  template <class Noise>
  static void fill(Molecule& z, Noise& noise) {
    for (const auto part : {&Molecule::positions, &Molecule::charges}) {
      std::vector<double>& values = z.*part;
      noise(Eigen::TensorMap<Eigen::Tensor<double, 2>>(values.data(), 1, Eigen::Index(values.size())));
    }
  }
};

int main() {
  const diffusion::GaussianDiffusion<double> process(diffusion::cosine_beta_schedule(1000));
  const auto grid = diffusion::timestep_grid(process, diffusion::TimestepSpacing::trailing, 20);

  // Stands for a network that predicts x_0 from a molecule with noise and its time.
  const auto network = [](const Molecule& /*x*/, double /*t*/) {
    return Molecule{{0.0, 0.96, -0.24}, {-0.8, 0.4, 0.4}};
  };
  const diffusion::Denoiser denoiser(network, diffusion::ModelMeanType::start_x);

  Molecule x_T{{0, 0, 0}, {0, 0, 0}};
  diffusion::PhiloxNoise noise(1);
  diffusion::TensorOperations<Molecule>::fill(x_T, noise);
  const Molecule molecule = diffusion::sample(diffusion::EulerAncestral{}, grid, denoiser, x_T, noise);

  std::printf("atom  position  charge\n");
  for (std::size_t i = 0; i < molecule.positions.size(); ++i) {
    std::printf("%4zu %9.2f %7.2f\n", i, molecule.positions[i], molecule.charges[i]);
  }
}
