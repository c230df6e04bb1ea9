/// @file diffusers_configs.hpp
/// Shared by the tests of configs of diffusers.
#pragma once

#include <diffusion/interop/diffusers_config.hpp>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <diffusion/diffusion.hpp>

#include "matchers.hpp"

namespace configs {

using diffusion::NoiseLevel;
using diffusion::read_diffusers_config;
using diffusion::TimeGrid;
using Eigen::Index;
using nlohmann::json;

using Tensor = Eigen::Tensor<double, 3, Eigen::RowMajor, Index>;

/// The distance of two tensors relative to 1 + |b|.
inline double distance(const Tensor& a, const Tensor& b) {
  const Eigen::Tensor<double, 0, Eigen::RowMajor> largest = ((a - b).abs() / (b.abs() + 1.0)).maximum();
  return largest();
}

/// A config of a class with these arguments.
inline json with(const char* name, json arguments = json::object()) {
  arguments["_class_name"] = name;
  return arguments;
}

inline std::vector<double> times_of(const TimeGrid& grid) {
  std::vector<double> out;
  for (const NoiseLevel& level : grid.levels()) out.push_back(level.t);
  out.pop_back();
  return out;
}

inline std::vector<double> sigmas_of(const TimeGrid& grid) {
  std::vector<double> out;
  for (const NoiseLevel& level : grid.levels()) out.push_back(diffusion::noise_to_signal(level));
  return out;
}

/// The message of the std::invalid_argument that reading this config throws.
inline std::string refusal(const json& config) {
  return error_message<std::invalid_argument>([&] { static_cast<void>(read_diffusers_config(config)); });
}

/// The message of the std::invalid_argument that grid() throws for these arguments.
inline std::string grid_refusal(const json& config, Index n, const json& arguments) {
  return error_message<std::invalid_argument>(
      [&] { static_cast<void>(read_diffusers_config(config).grid(n, arguments)); });
}

/// The message of the std::invalid_argument that sampler() throws for these arguments.
inline std::string step_refusal(const json& config, const json& arguments, bool compatible = false) {
  return error_message<std::invalid_argument>(
      [&] { static_cast<void>(read_diffusers_config(config, {compatible}).sampler<Tensor>(arguments)); });
}

}  // namespace configs
