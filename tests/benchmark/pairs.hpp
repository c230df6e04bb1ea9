/// @file pairs.hpp
/// Times of two pieces of work as a ratio: of ours to what it is measured against, run side by side.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

using Work = std::function<void()>;

/// A row of the output: ours, and what it is measured against.
struct Pair {
  std::string name;
  Work ours, flat;
  double aim = 0;  // the ratio that is aimed at, at most; 0: there is none
};

inline double seconds(const Work& work, int times) {
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < times; ++i) work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

inline double median(std::vector<double> x) {
  std::sort(x.begin(), x.end());
  return x[x.size() / 2];
}

/// Both sides take turns, the first turn too, so that whatever else the machine does meets both. Turns are shorter than a
/// scheduler's, and many: those that were interrupted do not move the median.
inline void print(const Pair& pair) {
  seconds(pair.flat, 1);
  const double once = seconds(pair.flat, 1);
  const int times = std::max(1, static_cast<int>(3e-4 / once));
  const int pairs = once > 1e-2 ? 21 : 201;
  seconds(pair.ours, times);
  seconds(pair.flat, times);
  std::vector<double> ours, flat, ratio;
  for (int i = 0; i < pairs; ++i) {
    const bool ours_first = i % 2 == 0;
    const double first = seconds(ours_first ? pair.ours : pair.flat, times);
    const double second = seconds(ours_first ? pair.flat : pair.ours, times);
    ours.push_back((ours_first ? first : second) / times);
    flat.push_back((ours_first ? second : first) / times);
    ratio.push_back(ours.back() / flat.back());
  }
  std::printf("%-66s %11.0f %11.0f %7.2f", pair.name.c_str(), 1e9 * median(ours), 1e9 * median(flat), median(ratio));
  std::puts(pair.aim > 0 ? (median(ratio) <= pair.aim ? "  met" : "  missed") : "");
  std::fflush(stdout);
}

inline void print(const std::vector<Pair>& pairs) {
  std::printf("%-66s %11s %11s %7s\n", "", "ns", "flat, ns", "ratio");
  for (const Pair& pair : pairs) print(pair);
}
