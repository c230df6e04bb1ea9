/// @file molecule.hpp
/// A tensor type that is not one of Eigen's, for the tests of TensorOperations.
#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include <diffusion/diffusion.hpp>

struct Molecule {
  std::vector<double> positions, charges;
};

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
};
