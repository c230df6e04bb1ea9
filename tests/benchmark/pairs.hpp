/// @file pairs.hpp
/// Measures the ratio of the times of two pieces of work that run alternately.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

using Work = std::function<void()>;

/// A row of the output: our work, and the flat loop with which it is compared.
struct Pair {
  std::string name;
  Work ours, flat;
  double aim = 0;  // target: largest ratio; 0: no target
};

/// Seconds that `times` repetitions take.
inline double seconds(const Work& work, int times) {
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < times; ++i) work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

inline double median(std::vector<double> x) {
  std::sort(x.begin(), x.end());
  return x[x.size() / 2];
}

/// Measures and prints a row. Both sides alternate, and so does the side that goes first, so that
/// other work on the machine affects both equally. Turns are many and shorter than a scheduler's
/// time slice, so that interrupted turns do not move the median.
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
