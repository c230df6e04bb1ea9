// A program of one or two object files of part.cpp, whose functions are FIRST and SECOND. With
// WRITE defined it writes the values of FIRST to the file argv[1]. Otherwise the values of both
// must agree with those of the file, up to the rounding differences between instruction sets.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

std::vector<double> FIRST();
#ifndef WRITE
std::vector<double> SECOND();
#endif

namespace {

constexpr int skipped = 77;

#ifdef WRITE
int run(const char* file) {
  std::ofstream out(file);
  char text[32];
  for (const double value : FIRST()) {
    std::snprintf(text, sizeof text, "%.17g\n", value);
    out << text;
  }
  return out ? 0 : 1;
}
#else
/// Compares all values and returns 1 if any differs. The last fifth are bfloat16, which may be
/// rounded in either direction.
int compare(const char* name, const std::vector<double>& values, const std::vector<double>& expected) {
  if (values.size() != expected.size()) {
    std::printf("%s has %zu values instead of %zu\n", name, values.size(), expected.size());
    return 1;
  }
  std::size_t wrong = 0, worst = 0;
  double largest = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double error = std::abs(values[i] - expected[i]) / (std::max)(std::abs(expected[i]), 1.0);
    const double allowed = i < values.size() * 4 / 5 ? 2e-6 : 2e-2;
    if (!(error <= allowed)) ++wrong;
    if (!(error <= largest)) largest = error, worst = i;
  }
  std::printf("%s: %zu of %zu values differ; the largest difference is %g, %.9g for %.9g at %zu\n", name, wrong,
              values.size(), largest, values[worst], expected[worst], worst);
  return wrong == 0 ? 0 : 1;
}

int run(const char* file) {
  std::ifstream in(file);
  std::vector<double> expected;
  for (std::string text; in >> text;) expected.push_back(std::stod(text));
  if (expected.empty()) {
    std::printf("%s has no values\n", file);
    return 1;
  }
  return compare("the first object file", FIRST(), expected) + compare("the second object file", SECOND(), expected);
}
#endif

}  // namespace

int main(int, char** argv) {
  if (!PROCESSOR_HAS_IT) {
    std::puts("this processor does not have the instruction set");
    return skipped;
  }
  return run(argv[1]);
}
