/// @file progress.hpp
/// A progress bar for the examples. By default it is shown only if stderr is a terminal, so that
/// logs stay clean.
#pragma once

#include <cstddef>  // std::size_t
#include <cstdio>
#include <string>
#include <utility>  // std::move

#if __has_include(<unistd.h>)
#include <unistd.h>  // isatty
#endif

namespace example {

/// True if stderr is a terminal.
inline bool stderr_is_terminal() {
#if __has_include(<unistd.h>)
  return isatty(STDERR_FILENO) != 0;
#else
  return false;
#endif
}

/// A progress bar on stderr. It is redrawn as it grows and erased at the end.
class Progress {
 public:
  /// A bar for `steps` steps; nothing is drawn unless `shown`.
  Progress(std::string label, long steps, bool shown) : label_(std::move(label)), steps_(steps), shown_(shown) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() { clear(); }

  /// Reports that `done` steps are done.
  void operator()(long done) {
    const int filled = static_cast<int>(width * done / steps_);
    if (!shown_ || filled == filled_) return;
    filled_ = filled;
    const std::string bar = std::string(std::size_t(filled), '#') + std::string(std::size_t(width - filled), '.');
    std::fprintf(stderr, "\r%s [%s] %ld/%ld", label_.c_str(), bar.c_str(), done, steps_);
    std::fflush(stderr);
    if (done == steps_) clear();
  }

  /// Erases the bar to make room for a line of output; the next call draws it again.
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
