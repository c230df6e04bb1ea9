/// @file name_lookup.hpp
/// Comparison of names whose spelling differs, and the error for a name that is not known.
#pragma once

#include <algorithm>  // std::min, std::min_element
#include <cstddef>    // std::size_t
#include <stdexcept>  // std::invalid_argument
#include <string>
#include <string_view>
#include <vector>

#include "../../detail/error.hpp"

namespace diffusion {
namespace detail {

/// A name in lower case, with p for + and without spaces, hyphens and underscores. "DPM++ 2M",
/// "dpm++2m" and "dpmpp_2m" are the same name.
inline std::string plain_name(std::string_view name) {
  std::string out;
  for (const char c : name) {
    if (c == ' ' || c == '-' || c == '_') continue;
    out += c == '+' ? 'p' : c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return out;
}

/// The beginning of a name, for a message.
inline std::string in_quotes(std::string_view name) { return "\"" + std::string(name.substr(0, 64)) + "\""; }

/// The number of letters that must be inserted, removed or replaced to make b of a.
inline std::size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<std::size_t> row(b.size() + 1);  // distances of the first letters of a from those of b
  for (std::size_t j = 0; j < row.size(); ++j) row[j] = j;
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = (std::min)({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

/// Throws std::invalid_argument for a name that is not one of `known`, with the nearest of them.
[[noreturn]] inline void fail_unknown_name(const char* where, std::string_view name,
                                           const std::vector<std::string>& known) {
  const std::string plain = plain_name(name.substr(0, 64));
  const auto distance = [&plain](const std::string& other) { return edit_distance(plain, plain_name(other)); };
  const auto nearest = std::min_element(known.begin(), known.end(), [&](const std::string& a, const std::string& b) {
    return distance(a) < distance(b);
  });
  std::string list;
  for (const std::string& other : known) list += (list.empty() ? "" : ", ") + other;
  fail<std::invalid_argument>(where, "there is no ", in_quotes(name), "; the nearest name is \"", *nearest,
                              "\". Known names: ", list);
}

}  // namespace detail
}  // namespace diffusion
