/// @file error.hpp
/// Messages of the exceptions: "diffusion::<function>: <what was wrong, with index and value>".
#pragma once

#if __cplusplus < 201703L && (!defined(_MSVC_LANG) || _MSVC_LANG < 201703L)
#error "diffusion: C++17 is needed"
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

/// The fewest digits that read back as the same value: 1.5 stays 1.5, and 1 + 1e-15 does not become 1.
inline std::string text(double x) {
  char buffer[32];
  for (int digits = 6; digits <= 17; ++digits) {
    std::snprintf(buffer, sizeof buffer, "%.*g", digits, x);
    if (std::strtod(buffer, nullptr) == x) break;
  }
  return buffer;
}

/// Throws Error("diffusion::" + where + ": " + the parts one after another). Out of line: what a message takes is then no
/// burden to the code that checks.
template <class Error, class... Parts>
[[noreturn, gnu::cold, gnu::noinline]] void fail(const char* where, const Parts&... parts) {
  std::string message = std::string("diffusion::") + where + ": ";
  (message.append(text(parts)), ...);
  throw Error(message);
}

}  // namespace detail
}  // namespace diffusion
