// The float normals of PhiloxNoise for every word: the radius for all 2^32 words a, and the sine
// and cosine of the angle for all 2^32 words b, against long double. [.all_words] takes every word,
// [exhaustive] takes each 61st and all words near the ends.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <thread>
#include <vector>

#include "diffusion/noise/detail/box_muller.hpp"
#include "matchers.hpp"

using namespace diffusion::detail;

namespace {

/// The largest error of a float against a long double, in units in the last place of the float.
struct Worst {
  double ulps = 0.0;
  std::uint32_t word = 0;

  void compare(float got, long double exact, std::uint32_t at) {
    int exponent = 0;
    std::frexp(static_cast<double>(exact), &exponent);
    const double error = std::abs(static_cast<double>((got - exact) * std::ldexp(1.0L, 24 - exponent)));
    if (!(error <= ulps)) ulps = error, word = at;
  }
  void compare(const Worst& other) {
    if (!(other.ulps <= ulps)) *this = other;
  }
};

struct Errors {
  Worst radius, sine, cosine;
  std::uint64_t words = 0;
};

constexpr long double pi = 3.14159265358979323846264338327950288L;

void compare(std::uint32_t word, Errors& errors) {
  using One = Single<float>;
  // pi r = sqrt(-2 pi^2 log u), u = (a + 1/2) / 2^32 of the unsigned word.
  const long double u = (static_cast<long double>(word) + 0.5L) * 0x1p-32L;
  const long double log_u = word < 0x80000000u ? std::log(u) : std::log1p(u - 1.0L);
  errors.radius.compare(square_root(pi_r_squared<One>(centred<One>(word))), pi * std::sqrt(-2.0L * log_u), word);
  // sin(pi x) / pi and cos(pi x) / pi = sin(pi y) / pi, x = (b + 1/2) / 2^32 of the signed word.
  const long double x = (static_cast<long double>(static_cast<std::int32_t>(word)) + 0.5L) * 0x1p-32L;
  errors.sine.compare(sin_pi_over_pi<One>(centred<One>(word)), std::sin(pi * x) / pi, word);
  const std::uint32_t complement = word ^ sign_bits<One>(word) ^ 0x7FFFFFFFu;
  const long double y = 0.5L - std::abs(x);
  errors.cosine.compare(sin_pi_over_pi<One>(centred<One>(complement)), std::sin(pi * y) / pi, word);
  ++errors.words;
}

/// Compares the words from each end of the range to `near`, and every `stride`-th word, on all
/// processors.
Errors compare_words(std::uint64_t stride, std::uint64_t near) {
  const std::size_t threads = std::max(1u, std::thread::hardware_concurrency());
  std::vector<Errors> parts(threads);
  std::vector<std::thread> running;
  for (std::size_t k = 0; k < threads; ++k) {
    running.emplace_back([&, k] {
      for (std::uint64_t w = k * stride; w < 0x100000000u; w += threads * stride) {
        compare(static_cast<std::uint32_t>(w), parts[k]);
      }
      for (std::uint64_t w = k; w < near; w += threads) {
        for (const std::uint64_t end : {std::uint64_t{0}, std::uint64_t{0x80000000u}}) {
          compare(static_cast<std::uint32_t>(end + w), parts[k]);
          compare(static_cast<std::uint32_t>(end - 1 - w), parts[k]);
        }
      }
    });
  }
  Errors all;
  for (std::size_t k = 0; k < threads; ++k) {
    running[k].join();
    all.radius.compare(parts[k].radius);
    all.sine.compare(parts[k].sine);
    all.cosine.compare(parts[k].cosine);
    all.words += parts[k].words;
  }
  return all;
}

void check(const Errors& errors) {
  std::printf("%llu words: largest error of the radius %.3f ulp (word %08x), sine %.3f (%08x), cosine %.3f (%08x)\n",
              static_cast<unsigned long long>(errors.words), errors.radius.ulps, errors.radius.word, errors.sine.ulps,
              errors.sine.word, errors.cosine.ulps, errors.cosine.word);
  CHECK(errors.radius.ulps <= tolerance::radius_ulps);
  CHECK(errors.sine.ulps <= tolerance::sine_ulps);
  CHECK(errors.cosine.ulps <= tolerance::sine_ulps);
}

}  // namespace

TEST_CASE("radius, sine and cosine of the float normals are precise for every 61st word", "[exhaustive]") {
  check(compare_words(61, 1u << 20));
}

TEST_CASE("radius, sine and cosine of the float normals are precise for all words", "[.all_words]") {
  check(compare_words(1, 0));
}
