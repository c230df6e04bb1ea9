/// @file progress.hpp
/// A progress bar for the examples: on stderr, and of itself only where a person is looking, so that logs stay clean.
#pragma once

#include <cstddef>  // std::size_t
#include <cstdio>
#include <string>
#include <utility>  // std::move

#if __has_include(<unistd.h>)
#include <unistd.h>  // isatty
#endif

namespace example {

inline bool stderr_is_terminal() {
#if __has_include(<unistd.h>)
  return isatty(STDERR_FILENO) != 0;
#else
  return false;
#endif
}

/// A bar that is drawn anew as it grows, and that leaves nothing behind.
class Progress {
 public:
  Progress(std::string label, long steps, bool shown) : label_(std::move(label)), steps_(steps), shown_(shown) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() { clear(); }

  /// `done` of the steps are behind us.
  void operator()(long done) {
    const int filled = static_cast<int>(width * done / steps_);
    if (!shown_ || filled == filled_) return;
    filled_ = filled;
    const std::string bar = std::string(std::size_t(filled), '#') + std::string(std::size_t(width - filled), '.');
    std::fprintf(stderr, "\r%s [%s] %ld/%ld", label_.c_str(), bar.c_str(), done, steps_);
    std::fflush(stderr);
    if (done == steps_) clear();
  }

  /// Makes room for a line of output; the next step draws the bar again.
  void clear() {
    if (filled_ < 0) return;
    std::fprintf(stderr, "\r%*s\r", static_cast<int>(label_.size()) + width + 24, "");
    filled_ = -1;
  }

 private:
  static constexpr int width = 40;
  std::string label_;
  long steps_;
  bool shown_;
  int filled_ = -1;
};

}  // namespace example
