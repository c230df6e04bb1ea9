/// @file error.hpp
/// Exceptions with messages of the form "diffusion::<function>: <what is wrong, with index and
/// value>".
#pragma once

#if __cplusplus < 201703L && (!defined(_MSVC_LANG) || _MSVC_LANG < 201703L)
#error "diffusion: C++17 or later is required (-std=c++17)"
#endif

#include <cstdio>   // std::snprintf
#include <cstdlib>  // std::strtod
#include <string>

namespace diffusion {
namespace detail {

inline std::string text(const char* s) { return s; }
inline std::string text(const std::string& s) { return s; }
inline std::string text(long long i) { return std::to_string(i); }
inline std::string text(long i) { return std::to_string(i); }
inline std::string text(int i) { return std::to_string(i); }

/// Writes x with the fewest digits from which the same value is read back: 1.5 is "1.5", and
/// 1 + 1e-15 does not become "1".
inline std::string text(double x) {
  char buffer[32];
  for (int digits = 6; digits <= 17; ++digits) {
    std::snprintf(buffer, sizeof buffer, "%.*g", digits, x);
    if (std::strtod(buffer, nullptr) == x) break;
  }
  return buffer;
}

/// Throws Error("diffusion::" + where + ": " + all parts in order). Out of line, so that building a
/// message adds no code to the function that checks.
template <class Error, class... Parts>
[[noreturn, gnu::cold, gnu::noinline]] void fail(const char* where, const Parts&... parts) {
  std::string message = std::string("diffusion::") + where + ": ";
  (message.append(text(parts)), ...);
  throw Error(message);
}

}  // namespace detail
}  // namespace diffusion
