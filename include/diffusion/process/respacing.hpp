/// @file respacing.hpp
/// Fewer steps for a model trained with many: which timesteps to keep, and the process that stops at those only.
/// Nichol, Dhariwal 2021 ("Improved Denoising Diffusion Probabilistic Models"), Section 4; Song, Meng, Ermon 2021 (DDIM).
#pragma once

#include <Eigen/Core>
#include <algorithm>  // std::sort, std::unique, std::adjacent_find, std::min
#include <charconv>   // std::from_chars
#include <cmath>      // std::floor
#include <cstddef>    // std::size_t
#include <stdexcept>  // std::invalid_argument, std::out_of_range
#include <string>
#include <string_view>
#include <system_error>  // std::errc
#include <type_traits>
#include <vector>

#include "../detail/check.hpp"
#include "../detail/error.hpp"
#include "../detail/math/linspace.hpp"
#include "gaussian_diffusion.hpp"

namespace diffusion {
namespace detail {

/// The whole of `digits`, blanks around it aside, as a number of steps.
inline Eigen::Index parse_count(std::string_view digits, std::string_view text) {
  while (!digits.empty() && digits.front() == ' ') digits.remove_prefix(1);
  while (!digits.empty() && digits.back() == ' ') digits.remove_suffix(1);
  Eigen::Index count = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), count);
  if (error != std::errc() || end != digits.data() + digits.size() || digits.empty()) {
    fail<std::invalid_argument>("space_timesteps", "section_counts = \"", std::string(text),
                                "\" is neither a list of counts such as \"10,15,20\" nor \"ddimN\"");
  }
  return count;
}

/// 0, s, 2 s, ... below num_timesteps for the smallest stride s >= 1 that makes `count` of them.
inline std::vector<Eigen::Index> ddim_timesteps(Eigen::Index num_timesteps, Eigen::Index count) {
  // (T - 1) / stride + 1 steps; this stride is the smallest with no more than `count` of them.
  const Eigen::Index stride = count < 1 ? num_timesteps : (num_timesteps - 1) / count + 1;
  if (stride < num_timesteps && (num_timesteps - 1) / stride + 1 == count) {
    std::vector<Eigen::Index> steps;
    for (Eigen::Index t = 0; t < num_timesteps; t += stride) steps.push_back(t);
    return steps;
  }
  fail<std::invalid_argument>("space_timesteps", "no stride from 1 to ", num_timesteps - 1, " takes the ", count,
                              " steps of \"ddim", count, "\" from ", num_timesteps, " timesteps");
}

}  // namespace detail

/// The timesteps of [0, num_timesteps) to keep, rising, when it is cut into as many sections as there are counts and
/// section_counts[i] are taken from section i, evenly from its first to its last (one alone: its first). The first
/// num_timesteps % n of the n sections are one longer than the others.
///
/// Equal to guided-diffusion's: positions are start + round(k stride) with k stride accumulated in double and halves rounded to
/// even; a count may be 0. Throws std::invalid_argument when there are no sections, and for a count that is negative or more
/// than its section holds.
[[nodiscard]] inline std::vector<Eigen::Index> space_timesteps(Eigen::Index num_timesteps,
                                                               const std::vector<Eigen::Index>& section_counts) {
  using Eigen::Index;
  detail::check_num_timesteps("space_timesteps", num_timesteps);
  const Index sections = static_cast<Index>(section_counts.size());
  if (sections == 0) detail::fail<std::invalid_argument>("space_timesteps", "section_counts is empty");
  std::vector<Index> steps;
  Index start = 0;
  for (Index i = 0; i < sections; ++i) {
    const Index count = section_counts[static_cast<std::size_t>(i)];
    const Index size = num_timesteps / sections + (i < num_timesteps % sections ? 1 : 0);
    if (count < 0 || count > size) {
      detail::fail<std::invalid_argument>("space_timesteps", "section_counts[", i, "] = ", count, " is outside [0, ",
                                          size, "], the size of section ", i, " of ", num_timesteps, " timesteps");
    }
    const double stride = count <= 1 ? 1.0 : static_cast<double>(size - 1) / static_cast<double>(count - 1);
    double position = 0.0;
    for (Index k = 0; k < count; ++k, position += stride) steps.push_back(start + detail::round_half_even(position));
    start += size;
  }
  steps.erase(std::unique(steps.begin(), steps.end()), steps.end());
  return steps;
}

/// The same from a text: "10,15,20" are the counts of three sections; "ddimN" takes N timesteps 0, s, 2 s, ... with the
/// smallest stride s in [1, num_timesteps) that gives N, as the DDIM paper does. Throws std::invalid_argument also when no stride
/// gives N (300 of 1000; always 1), and for a text of another form.
template <class Text, std::enable_if_t<std::is_convertible_v<const Text&, std::string_view>, int> = 0>
[[nodiscard]] std::vector<Eigen::Index> space_timesteps(Eigen::Index num_timesteps, const Text& section_counts) {
  const std::string_view text = section_counts;
  detail::check_num_timesteps("space_timesteps", num_timesteps);
  if (text.substr(0, 4) == "ddim") {
    return detail::ddim_timesteps(num_timesteps, detail::parse_count(text.substr(4), text));
  }
  std::vector<Eigen::Index> counts;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = (std::min)(text.find(',', begin), text.size());
    counts.push_back(detail::parse_count(text.substr(begin, end - begin), text));
    begin = end + 1;
  }
  return space_timesteps(num_timesteps, counts);
}

/// Rejects counts of another integer type with one sentence.
template <class Integer, std::enable_if_t<!std::is_same_v<Integer, Eigen::Index>, int> = 0>
[[nodiscard]] std::vector<Eigen::Index> space_timesteps(Eigen::Index, const std::vector<Integer>&) {
  static_assert(
      !std::is_same_v<Integer, Integer>,
      "diffusion: section_counts must be a std::vector<Eigen::Index>, a list such as {10, 15, 20}, or a text");
  return {};
}

/// The process that stops only at the given timesteps of `process`: step i has exactly their abar and 1 - abar, and
///     beta_i = 1 - abar_i / abar_{i-1}
/// timestep_map() tells what timestep of the original process each step is; respacing twice composes the maps. Keeping every
/// step gives the same process, bit for bit.
///
/// `steps` may be in any order. Throws std::invalid_argument when there are none or two are equal, std::out_of_range unless
/// each is in [0, process.num_timesteps()), std::domain_error when another follows one where abar = 0.
template <class Scalar>
[[nodiscard]] GaussianDiffusion<Scalar> respace(const GaussianDiffusion<Scalar>& process,
                                                std::vector<Eigen::Index> steps) {
  if (steps.empty()) detail::fail<std::invalid_argument>("respace", "steps is empty");
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (steps[i] < 0 || steps[i] >= process.num_timesteps()) {
      detail::fail<std::out_of_range>("respace", "steps[", static_cast<Eigen::Index>(i), "] = ", steps[i],
                                      " is outside [0, ", process.num_timesteps(), ")");
    }
  }
  std::sort(steps.begin(), steps.end());
  const auto twice = std::adjacent_find(steps.begin(), steps.end());
  if (twice != steps.end()) detail::fail<std::invalid_argument>("respace", "steps has ", *twice, " twice");
  return GaussianDiffusion<Scalar>(process, steps);
}
/// Rejects steps of another integer type with one sentence.
template <class Scalar, class Integer, std::enable_if_t<!std::is_same_v<Integer, Eigen::Index>, int> = 0>
GaussianDiffusion<Scalar> respace(const GaussianDiffusion<Scalar>& process, const std::vector<Integer>&) {
  static_assert(!std::is_same_v<Integer, Integer>,
                "diffusion: the steps of respace must be a std::vector<Eigen::Index>, as space_timesteps returns, or a "
                "list such as {0, 10, 20}");
  return process;
}

}  // namespace diffusion
