/// @file diffusers_json.hpp
/// Reads the JSON files of models, which Python writes.
#pragma once

#include <cstddef>  // std::size_t
#include <filesystem>
#include <fstream>
#include <iterator>  // std::istreambuf_iterator
#include <nlohmann/json.hpp>
#include <stdexcept>  // std::runtime_error
#include <string>
#include <string_view>
#include <system_error>  // std::error_code

#include "../../detail/error.hpp"

namespace diffusion {
namespace detail {

/// JSON text with the numbers of Python that JSON does not have as strings: -Infinity, Infinity and
/// NaN outside of strings.
inline std::string strict_json(const std::string& text) {
  constexpr std::string_view tokens[] = {"-Infinity", "Infinity", "NaN"};
  std::string out;
  bool inside = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (inside && c == '\\' && i + 1 < text.size()) {
      out += c;
      out += text[++i];
      continue;
    }
    if (c == '"') inside = !inside;
    std::string_view found;
    for (const std::string_view token : tokens) {
      if (!inside && found.empty() && text.compare(i, token.size(), token) == 0) found = token;
    }
    if (found.empty()) {
      out += c;
    } else {
      out.append("\"").append(found).append("\"");
      i += found.size() - 1;
    }
  }
  return out;
}

/// Returns the JSON in a file. Throws std::runtime_error as read_diffusers_config does.
inline nlohmann::json read_json(const char* where, const std::filesystem::path& path) {
  const std::string name = path.string();
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error))
    fail<std::runtime_error>(where, name, " is not a file (models are not downloaded)");
  const auto size = std::filesystem::file_size(path, error);
  if (error) fail<std::runtime_error>(where, name, " cannot be read: ", error.message());
  if (size > 32000000) fail<std::runtime_error>(where, name, " has more than 32 MB");
  std::ifstream file(path, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (!file || text.size() != size) fail<std::runtime_error>(where, name, " cannot be read");
  const auto shallow = [&](int depth, nlohmann::json::parse_event_t, const nlohmann::json&) {
    if (depth > 32) fail<std::runtime_error>(where, name, " nests more than 32 deep");
    return true;
  };
  try {
    return nlohmann::json::parse(strict_json(text), shallow);
  } catch (const nlohmann::json::exception& e) {
    fail<std::runtime_error>(where, name, " is not JSON: ", e.what());
  }
}

}  // namespace detail
}  // namespace diffusion
