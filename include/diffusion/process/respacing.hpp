/// @file respacing.hpp
/// Respacing: selects timesteps of a process and makes the process that visits only those.
///
/// Use it to sample in few steps from a model that was trained with many. Sources: Nichol, Dhariwal
/// 2021 ("Improved Denoising Diffusion Probabilistic Models"), Section 4; Song, Meng, Ermon 2021
/// (DDIM).
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

/// Parses `digits`, which may have blanks around it, as a count. Throws std::invalid_argument with
/// `text` in the message if `digits` is not one integer.
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

/// The timesteps 0, s, 2 s, ... below T = num_timesteps, for the smallest stride s in [1, T) that
/// gives `count` of them. Throws std::invalid_argument if no stride does.
inline std::vector<Eigen::Index> ddim_timesteps(Eigen::Index num_timesteps, Eigen::Index count) {
  // A stride gives (T - 1) / stride + 1 timesteps. This is the smallest stride that gives at most
  // `count`.
  const Eigen::Index stride = count < 1 ? num_timesteps : (num_timesteps - 1) / count + 1;
  if (stride < num_timesteps && (num_timesteps - 1) / stride + 1 == count) {
    std::vector<Eigen::Index> steps;
    for (Eigen::Index t = 0; t < num_timesteps; t += stride) steps.push_back(t);
    return steps;
  }
  fail<std::invalid_argument>("space_timesteps", "section_counts = \"ddim", count, "\": no stride from 1 to ",
                              num_timesteps - 1, " gives ", count, " of ", num_timesteps, " timesteps");
}

}  // namespace detail

/// Selects evenly spaced timesteps from each section of [0, num_timesteps), in ascending order.
///
/// There are as many sections as counts. The first num_timesteps % n of the n sections are one
/// timestep longer than the others. section_counts[i] timesteps are taken from section i, evenly
/// spaced from its first timestep to its last. A count of 1 takes the first timestep; a count of 0
/// takes none.
///
/// The result equals that of guided-diffusion. The timesteps taken from a section are
///
///     start + round(k stride)
///
/// where start is the first timestep of the section and stride = (size - 1) / (count - 1). k stride
/// is a sum of k terms in double, and halves are rounded to even. Throws std::invalid_argument if
/// num_timesteps is outside [1, 2^53], section_counts is empty, or a count is negative or larger
/// than its section.
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
                                          size, "]; section ", i, " has ", size, " of the ", num_timesteps,
                                          " timesteps");
    }
    const double stride = count <= 1 ? 1.0 : static_cast<double>(size - 1) / static_cast<double>(count - 1);
    double position = 0.0;
    for (Index k = 0; k < count; ++k, position += stride) steps.push_back(start + detail::round_half_even(position));
    start += size;
  }
  steps.erase(std::unique(steps.begin(), steps.end()), steps.end());
  return steps;
}

/// Selects timesteps by a string in the syntax of guided-diffusion.
///
/// "10,15,20" is read as the counts of three sections. "ddimN" selects the N timesteps 0, s, 2 s,
/// ... with the smallest stride s in [1, num_timesteps) that gives N, as the DDIM paper does.
/// Blanks around a number are ignored.
///
/// Throws std::invalid_argument as the overload for counts does, for a string of another form, and
/// if no stride gives N timesteps, for example N = 300 of 1000. No stride gives N = 1.
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

/// @private Rejects counts of another integer type with one readable static_assert.
template <class Integer, std::enable_if_t<!std::is_same_v<Integer, Eigen::Index>, int> = 0>
[[nodiscard]] std::vector<Eigen::Index> space_timesteps(Eigen::Index, const std::vector<Integer>&) {
  static_assert(
      !std::is_same_v<Integer, Integer>,
      "diffusion: section_counts must be a std::vector<Eigen::Index>, a list such as {10, 15, 20}, or a string");
  return {};
}

/// Makes the process that visits only the given timesteps of `process`.
///
/// Step i has exactly the abar and 1 - abar of its timestep, and
///
///     beta_i = 1 - abar_i / abar_{i-1}
///
/// timestep_map() of the result has the original timestep of each step. Respacing twice composes
/// the maps. Keeping every timestep gives the same process, bit for bit.
///
/// `steps` may be in any order. Throws std::invalid_argument if it is empty, has a timestep twice,
/// or leads to a beta_i that rounds to 0; std::out_of_range unless 0 <= steps[i] <
/// process.num_timesteps(); std::domain_error if a timestep follows one where abar = 0.
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
  if (twice != steps.end()) detail::fail<std::invalid_argument>("respace", "steps contains ", *twice, " twice");
  return GaussianDiffusion<Scalar>(process, steps);
}
/// @private Rejects steps of another integer type with one readable static_assert.
template <class Scalar, class Integer, std::enable_if_t<!std::is_same_v<Integer, Eigen::Index>, int> = 0>
GaussianDiffusion<Scalar> respace(const GaussianDiffusion<Scalar>& process, const std::vector<Integer>&) {
  static_assert(!std::is_same_v<Integer, Integer>,
                "diffusion: the steps of respace must be a std::vector<Eigen::Index>, as space_timesteps returns, or a "
                "list such as {0, 10, 20}");
  return process;
}

}  // namespace diffusion
