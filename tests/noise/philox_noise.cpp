/// Tests of diffusion/noise/philox_noise.hpp.
#ifndef EIGEN_USE_THREADS
#define EIGEN_USE_THREADS
#endif
#include "diffusion/noise/philox_noise.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <stdexcept>
#include <vector>

#include "catch.hpp"
#include "diffusion/noise/engine_noise.hpp"
#include "layout.hpp"
#include "matchers.hpp"
#include "noise_reference.hpp"

namespace philox_noise_tests {

using diffusion::EngineNoise;
using diffusion::PhiloxNoise;
using Eigen::bfloat16;
using Eigen::ColMajor;
using Eigen::half;
using Eigen::Index;
using Eigen::RowMajor;
using noise_reference::box_muller;
using noise_reference::filled;
using noise_reference::Tensor;
using noise_reference::ulps;

namespace {

template <class X, class... Sizes>
X philox(PhiloxNoise noise, Sizes... sizes) {
  return filled<X>(noise, sizes...);
}

/// Whether x and y differ in every element.
bool nowhere_equal(const Tensor<float, 2>& x, const Tensor<float, 2>& y) {
  for (Index i = 0; i < x.size(); ++i) {
    if (x.data()[i] == y.data()[i]) return false;
  }
  return true;
}

template <class Scalar>
Tensor<Scalar, 2> rounded(const Tensor<float, 2>& x) {
  return x.cast<Scalar>();
}

/// Value j of a sample as PhiloxNoise documents it, from one counter of Philox.
template <class T>
long double documented(std::uint64_t seed, std::uint64_t stream, std::uint64_t call, std::uint64_t j) {
  const std::uint64_t key = seed ^ (call >> 32) * 0x9E3779B97F4A7C15u;
  const auto low = [](std::uint64_t x) { return static_cast<std::uint32_t>(x); };
  const std::uint64_t values = std::is_same_v<T, float> ? 4 : 2;
  const std::array<std::uint32_t, 4> words = diffusion::detail::philox4x32_10(
      {low(j / values), low(call), low(stream), low(stream >> 32)}, {low(key), low(key >> 32)});
  if (std::is_same_v<T, float>) {
    const std::size_t pair = j % 4 / 2;
    return box_muller(words[2 * pair], words[2 * pair + 1], 32)[j % 2];
  }
  const auto joined = [&](std::size_t i) { return std::uint64_t{words[i]} << 32 | words[i + 1]; };
  return box_muller(joined(0), joined(2), 64)[j % 2];
}

}  // namespace

TEST_CASE("Philox4x32-10 gives the known answers of Random123", "[philox_noise]") {
  struct Known {
    std::array<std::uint32_t, 4> counter;
    std::array<std::uint32_t, 2> key;
    std::array<std::uint32_t, 4> words;
  };
  const std::uint32_t ones = 0xFFFFFFFF;
  const std::vector<Known> answers = {
      {{0, 0, 0, 0}, {0, 0}, {0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8}},
      {{ones, ones, ones, ones}, {ones, ones}, {0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD}},
      {{0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344},
       {0xA4093822, 0x299F31D0},
       {0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1}},
  };
  for (const Known& known : answers) {
    CHECK(diffusion::detail::philox4x32_10(known.counter, known.key) == known.words);
    // A block computes the same words as the scalar function for the counter of each lane.
    diffusion::detail::CounterBlock counter;
    diffusion::detail::WordBlock words;
    for (std::size_t i = 0; i < diffusion::detail::lane_count; ++i) {
      for (std::size_t k = 0; k < 4; ++k) counter[k].at[i] = known.counter[k] ^ static_cast<std::uint32_t>(i % 3);
    }
    diffusion::detail::philox4x32_10(counter, diffusion::detail::PhiloxKeys(known.key), words);
    for (std::size_t i = 0; i < diffusion::detail::lane_count; ++i) {
      std::array<std::uint32_t, 4> one = known.counter;
      for (std::uint32_t& word : one) word ^= static_cast<std::uint32_t>(i % 3);
      const std::array<std::uint32_t, 4> expected = diffusion::detail::philox4x32_10(one, known.key);
      REQUIRE(std::array{words[0].at[i], words[1].at[i], words[2].at[i], words[3].at[i]} == expected);
    }
  }
}

TEMPLATE_TEST_CASE("PhiloxNoise draws the documented values", "[philox_noise]", float, double, long double) {
  struct Source {
    std::uint64_t seed, first_sample, call;
  };
  const std::uint64_t big = 0xFEDCBA9876543210;
  const Source source = GENERATE(Source{0, 0, 0}, Source{big, 0xFFFFFFFE, 7}, Source{1, big, 0xFFFFFFFF},
                                 Source{2, 0, 0x100000000}, Source{3, ~std::uint64_t{0}, 0x300000001});
  const auto x = philox<Tensor<TestType, 3>>(PhiloxNoise(source.seed, source.first_sample, source.call), 5, 3, 101);
  double worst = 0;
  for (Index i = 0; i < x.size(); ++i) {
    const auto n = static_cast<std::uint64_t>(i / 303), j = static_cast<std::uint64_t>(i % 303);
    const long double expected = documented<TestType>(source.seed, source.first_sample + n, source.call, j);
    worst = (std::max)(worst, ulps(x.data()[i], expected));
  }
  CHECK(worst < 4);
}

TEMPLATE_TEST_CASE("a million PhiloxNoise values are within 4 ulp of max(1, |z|)", "[philox_noise]", float, double) {
  // The long double sine and cosine of the C library are exact to a few of their own units, so that
  // their error does not matter here.
  const auto x = philox<Tensor<TestType, 2>>(PhiloxNoise(12), 1000, 1000);
  double worst = 0;
  for (Index i = 0; i < x.size(); ++i) {
    const auto n = static_cast<std::uint64_t>(i / 1000), j = static_cast<std::uint64_t>(i % 1000);
    worst = (std::max)(worst, ulps(x.data()[i], documented<TestType>(12, n, 0, j)));
  }
  CHECK(worst < 4);
}

TEMPLATE_TEST_CASE("extreme words give accurate, large and finite normals", "[philox_noise]", float, double,
                   long double) {
  constexpr bool one_word = std::is_same_v<TestType, float>;
  const std::uint64_t all = one_word ? 0xFFFFFFFF : ~std::uint64_t{0}, half_way = all / 2, third = all / 3;
  const std::vector<std::uint64_t> us = {0,       1,       2,  third, half_way, half_way + 1, 2 * third, 2 * third + 1,
                                         all - 5, all - 1, all};
  for (const std::uint64_t u : us) {
    for (const std::uint64_t v :
         {std::uint64_t{0}, std::uint64_t{1}, all / 4, all / 4 + 1, half_way, half_way + 1, all}) {
      diffusion::detail::WordBlock words{};
      const std::vector<std::uint64_t> parts =
          one_word ? std::vector<std::uint64_t>{u, v, u, v} : std::vector<std::uint64_t>{u >> 32, u, v >> 32, v};
      for (std::size_t k = 0; k < 4; ++k) {
        for (std::uint32_t& word : words[k].at) word = static_cast<std::uint32_t>(parts[k]);
      }
      diffusion::detail::NormalBlock<TestType> z;
      diffusion::detail::normals<TestType>(words, z);
      const std::array<long double, 2> expected = box_muller(u, v, one_word ? 32 : 64);
      for (std::size_t k = 0; k < z.size(); ++k) {
        for (std::size_t i = 1; i < diffusion::detail::lane_count; ++i) REQUIRE(z[k].at[i] == z[k].at[0]);
        CAPTURE(u, v, k, z[k].at[0], expected[k % 2]);
        REQUIRE(ulps(z[k].at[0], expected[k % 2]) < 4);
      }
      const TestType radius = std::hypot(z[0].at[0], z[1].at[0]);
      if (u == 0) CHECK(radius > (one_word ? 6.7 : 9.4));
      if (u == all) CHECK((radius > 0 && radius < 1e-4));
    }
  }
}

/// a b + c as computed on a target with a fused multiply-add, and on one without.
struct RoundedOnce {
  template <class T>
  T multiply_add(T a, T b, T c) const {
    return std::fma(a, b, c);
  }
};
struct RoundedTwice {
  template <class T>
  T multiply_add(T a, T b, T c) const {
    const volatile T product = a * b;
    return product + c;
  }
};

TEMPLATE_TEST_CASE("a normal with and without fused multiply-add differs by at most 2 ulp of max(1, |z|)",
                   "[philox_noise]", float, double) {
  using namespace diffusion::detail;
  std::mt19937_64 engine(1);
  const auto random = [&engine] {
    if constexpr (std::is_same_v<TestType, float>) {
      return centred<Single<float>>(static_cast<std::uint32_t>(engine() >> 32));
    } else {
      const std::uint64_t word = engine();
      return centred<Single<double>>(word >> 32, word & 0xFFFFFFFF);
    }
  };
  double worst = 0;
  for (int i = 0; i < 1000000; ++i) {
    const TestType t = random() / static_cast<TestType>(1 << (i % 20));  // includes the far tails
    const TestType sine = sin_pi_over_pi<Single<TestType>>(random());
    const TestType once = std::sqrt(pi_r_squared<Single<TestType>>(t, RoundedOnce())) * sine;
    const TestType twice = std::sqrt(pi_r_squared<Single<TestType>>(t, RoundedTwice())) * sine;
    worst = (std::max)(worst, ulps(once, twice));
  }
  CHECK(worst > 0);
  CHECK(worst <= 2);
}

TEMPLATE_TEST_CASE("a SIMD register computes the same bits as single numbers", "[philox_noise]", float, double) {
  using namespace diffusion::detail;
  using R = Registers<TestType>;
  using S = Single<TestType>;
  std::mt19937 engine(3);
  for (int repeat = 0; repeat < 1000; ++repeat) {
    std::array<std::uint32_t, R::size> words, low;
    for (std::uint32_t& word : words) word = static_cast<std::uint32_t>(engine()) >> repeat % 32;
    for (std::uint32_t& word : low) word = static_cast<std::uint32_t>(engine());
    const auto high = load_words<R>(words.data()), more = load_words<R>(low.data());
    const auto same = [](const auto& registers, const auto& one) {
      std::array<TestType, R::size> numbers;
      write(numbers.data(), registers);
      for (std::size_t i = 0; i < R::size; ++i)
        REQUIRE(bit_cast<typename S::Bits>(numbers[i]) == bit_cast<typename S::Bits>(one(i)));
    };
    same(signed_word<R>(high), [&](std::size_t i) { return signed_word<S>(words[i]); });
    same(centred<R>(high), [&](std::size_t i) { return centred<S>(words[i]); });
    same(sin_pi_over_pi<R>(centred<R>(high)), [&](std::size_t i) { return sin_pi_over_pi<S>(centred<S>(words[i])); });
    same(square_root(pi_r_squared<R>(centred<R>(high))),
         [&](std::size_t i) { return square_root(pi_r_squared<S>(centred<S>(words[i]))); });
    same(negate_if_odd<R>(centred<R>(high), more),
         [&](std::size_t i) { return negate_if_odd<S>(centred<S>(words[i]), low[i]); });
    same(centred<R>(high ^ sign_bits<R>(high)),
         [&](std::size_t i) { return centred<S>(words[i] ^ sign_bits<S>(words[i])); });
    if constexpr (std::is_same_v<TestType, double>) {
      same(centred<R>(high, more), [&](std::size_t i) { return centred<S>(words[i], low[i]); });
    }
  }
}

TEST_CASE("PhiloxNoise keeps its recorded values", "[philox_noise]") {
  const auto f = philox<Tensor<float, 2>>(PhiloxNoise(42), 2, 6);
  const Tensor<float, 2> f_golden = Eigen::TensorMap<const Tensor<float, 2>>(
      std::array{-0.0974838138f, -0.984585524f, -1.09612048f, -2.00668216f, -0.0812710226f, -0.13457264f, -2.79747415f,
                 -1.17164171f, 1.05442798f, -1.34523118f, 2.02349019f, -0.0541276149f}
          .data(),
      2, 6);
  CHECK_THAT(f, AllClose(f_golden, 2.4e-7, 2.4e-7));  // 2 ulp between targets with and without fused multiply-add
  const auto d = philox<Tensor<double, 2>>(PhiloxNoise(42), 2, 6);
  const Tensor<double, 2> d_golden = Eigen::TensorMap<const Tensor<double, 2>>(
      std::array{-0.9633306463227862, -0.22562280376048768, -0.0068658904690446785, 0.15705933810365388,
                 -0.19621657215179469, 0.58663663885048345, 2.2619601463807957, 2.0204311953342873, 1.9137654333695064,
                 0.65950290009726276, 0.33038339962271873, 1.7279374604312616}
          .data(),
      2, 6);
  CHECK_THAT(d, AllClose(d_golden, 4.5e-16, 4.5e-16));
}

TEMPLATE_TEST_CASE("a sample's values do not depend on the batch around it", "[philox_noise]", FloatRowMajor,
                   FloatColMajor, DoubleColMajor) {
  using X = typename TestType::template Tensor<3>;
  // Sizes that fill blocks of 64 counters, and sizes that do not.
  const Index rows = GENERATE(1, 3, 16), columns = GENERATE(1, 7, 64);
  const Index batch = 70;
  const auto whole = philox<X>(PhiloxNoise(5, 1000), batch, rows, columns);
  for (const Index first : {Index(0), Index(1), Index(33), Index(69)}) {
    for (const Index size : {Index(1), Index(2), Index(37)}) {
      if (first + size > batch) continue;
      const auto part = philox<X>(PhiloxNoise(5, 1000 + static_cast<std::uint64_t>(first)), size, rows, columns);
      const X slice = whole.slice(std::array{first, Index(0), Index(0)}, std::array{size, rows, columns});
      REQUIRE_THAT(part, AllEqual(slice));
    }
  }
}

TEST_CASE("a PhiloxNoise value depends on its row-major position in the sample, not on the rank", "[philox_noise]") {
  using Samples = Tensor<float, 2>;
  const auto x = philox<Samples>(PhiloxNoise(6), 3, 60);
  const auto images = philox<Tensor<float, 4>>(PhiloxNoise(6), 3, 3, 4, 5);
  const Samples flat = images.reshape(std::array{Index(3), Index(60)});
  CHECK_THAT(flat, AllEqual(x));
  // A longer sample begins with the values of a shorter one. In rank 1, a sample is one value.
  const auto longer = philox<Samples>(PhiloxNoise(6), 3, 1000);
  const Samples begin = longer.slice(std::array{Index(0), Index(0)}, std::array{Index(3), Index(60)});
  CHECK_THAT(begin, AllEqual(x));
  const Tensor<float, 1> first_values = x.chip<1>(0);
  CHECK_THAT((philox<Tensor<float, 1>>(PhiloxNoise(6), 3)), AllEqual(first_values));
}

TEMPLATE_TEST_CASE("PhiloxNoise gives the same values in both layouts", "[philox_noise]", float, double, long double,
                   half) {
  const Index batch = GENERATE(1, 2, 64, 100), columns = GENERATE(1, 5, 64);
  const auto row = philox<Tensor<TestType, 4, RowMajor>>(PhiloxNoise(7), batch, 2, 3, columns);
  const auto column = philox<Tensor<TestType, 4, ColMajor>>(PhiloxNoise(7), batch, 2, 3, columns);
  CHECK_THAT(column, AllEqual(row));
  CHECK_THAT(with_layout<RowMajor>(column), AllEqual(row));
}

TEMPLATE_TEST_CASE("PhiloxNoise gives the same values for any number of threads", "[philox_noise]", FloatRowMajor,
                   FloatColMajor, DoubleRowMajor) {
  using X = typename TestType::template Tensor<3>;
  for (const std::array<Index, 3>& shape : {std::array<Index, 3>{1, 1, 1}, {3, 50, 1001}, {1000, 10, 11}}) {
    const auto expected = philox<X>(PhiloxNoise(8), shape[0], shape[1], shape[2]);
    for (const int threads : {1, 2, 3, 8}) {
      Eigen::ThreadPool pool(threads);
      const Eigen::ThreadPoolDevice device(&pool, threads);
      PhiloxNoise noise(8);
      X x(shape[0], shape[1], shape[2]);
      noise(x, device);
      CHECK_THAT(x, AllEqual(expected));
      CHECK(noise.call() == 1);
    }
  }
}

TEST_CASE("every call of PhiloxNoise draws new values, and a source can be resumed", "[philox_noise]") {
  PhiloxNoise noise(9, 4);
  const auto first = filled<Tensor<float, 2>>(noise, 2, 100);
  const auto second = filled<Tensor<float, 2>>(noise, 2, 100);
  CHECK(nowhere_equal(first, second));

  // A call counts for any shape, layout and scalar type.
  PhiloxNoise other(9, 4);
  filled<Tensor<double, 3, ColMajor>>(other, 1, 2, 3);
  CHECK_THAT((filled<Tensor<float, 2>>(other, 2, 100)), AllEqual(second));

  PhiloxNoise resumed(noise.seed(), noise.first_sample(), noise.call());
  CHECK(noise.seed() == 9);
  CHECK(noise.first_sample() == 4);
  CHECK(noise.call() == 2);
  const auto third = filled<Tensor<float, 2>>(noise, 2, 100);
  CHECK_THAT((filled<Tensor<float, 2>>(resumed, 2, 100)), AllEqual(third));
  CHECK(nowhere_equal(third, second));

  // The key changes at call 2^32, so that the values do not repeat.
  const std::uint64_t far = std::uint64_t{1} << 32;
  CHECK(nowhere_equal(philox<Tensor<float, 2>>(PhiloxNoise(9, 4, far), 2, 100), first));
}

TEST_CASE("an empty tensor counts as a call of PhiloxNoise and draws nothing from EngineNoise", "[philox_noise]") {
  PhiloxNoise noise(10);
  filled<Tensor<float, 3>>(noise, 0, 4, 5);
  filled<Tensor<float, 3>>(noise, 4, 0, 5);
  filled<Tensor<double, 3, ColMajor>>(noise, 4, 5, 0);
  filled<Tensor<float, 1>>(noise, 0);
  CHECK(noise.call() == 4);
  Eigen::ThreadPool pool(2);
  const Eigen::ThreadPoolDevice device(&pool, 2);
  Tensor<float, 2> empty(0, 3);
  noise(empty, device);
  EngineNoise engine_noise(std::mt19937(1));
  engine_noise(empty);
  CHECK(engine_noise.engine() == std::mt19937(1));
}

TEMPLATE_TEST_CASE("PhiloxNoise and EngineNoise round half and bfloat16 once, from float", "[philox_noise]", half,
                   bfloat16) {
  const auto x = philox<Tensor<float, 2>>(PhiloxNoise(11), 7, 300);
  CHECK_THAT((philox<Tensor<TestType, 2>>(PhiloxNoise(11), 7, 300)), AllEqual(rounded<TestType>(x)));
  EngineNoise narrow(std::mt19937(3)), wide(std::mt19937(3));
  const auto y = filled<Tensor<float, 2>>(wide, 7, 300);
  CHECK_THAT((filled<Tensor<TestType, 2>>(narrow, 7, 300)), AllEqual(rounded<TestType>(y)));
}

TEST_CASE("PhiloxNoise gives long double the value of double with more digits", "[philox_noise]") {
  const auto x = philox<Tensor<long double, 2>>(PhiloxNoise(11), 7, 301);
  const auto y = philox<Tensor<double, 2>>(PhiloxNoise(11), 7, 301);
  CHECK_THAT(y, AllClose(x, 8.9e-16, 8.9e-16));
  if (std::numeric_limits<long double>::digits > 53) {
    Index longer = 0;
    for (Index i = 0; i < x.size(); ++i)
      longer += static_cast<long double>(static_cast<double>(x.data()[i])) != x.data()[i];
    CHECK(longer > x.size() * 9 / 10);
  }
}

TEST_CASE("PhiloxNoise fills maps, fixed-size tensors and int indices", "[philox_noise]") {
  const auto expected = philox<Tensor<float, 2>>(PhiloxNoise(13), 4, 6);
  std::array<float, 24> memory;
  PhiloxNoise noise(13);
  noise(Eigen::TensorMap<Tensor<float, 2>>(memory.data(), 4, 6));
  CHECK_THAT((Eigen::TensorMap<Tensor<float, 2>>(memory.data(), 4, 6)), AllEqual(expected));
  Eigen::TensorFixedSize<float, Eigen::Sizes<4, 6>> fixed;
  PhiloxNoise again(13);
  again(fixed);
  CHECK_THAT((Eigen::TensorMap<Tensor<float, 2, ColMajor>>(fixed.data(), 4, 6)), AllEqual(expected));
  CHECK_THAT((philox<Eigen::Tensor<float, 2, ColMajor, int>>(PhiloxNoise(13), 4, 6)), AllEqual(expected));
}

TEST_CASE("PhiloxNoise allocates no memory", "[philox_noise]") {
  Tensor<float, 3> x(3, 50, 7);
  Tensor<double, 4, ColMajor> y(3, 2, 5, 7);
  PhiloxNoise noise(14);
  CHECK(count_allocations([&] { noise(x), noise(y); }) == 0);
}

TEST_CASE("PhiloxNoise throws std::invalid_argument for rank 0 and samples longer than a stream", "[philox_noise]") {
  PhiloxNoise noise(16);
  Eigen::Tensor<float, 0> scalar;
  REQUIRE_THROWS_AS(noise(scalar), std::invalid_argument);
  REQUIRE_THROWS_WITH(noise(scalar), "diffusion::PhiloxNoise: x has rank 0; its first axis must be the batch");
  if (sizeof(Index) < 8) return;  // samples cannot be that long
  float one = 0;                  // never written to
  const auto too_long = static_cast<Index>((std::int64_t{1} << 34) + 1);
  Eigen::TensorMap<Tensor<float, 2>> map(&one, 2, too_long);
  REQUIRE(error_message([&] { noise(map); }) ==
          "diffusion::PhiloxNoise: x has samples of 17179869185 values; the limit is 17179869184");
  Eigen::TensorMap<Tensor<double, 2>> doubles(nullptr, 2, static_cast<Index>((std::int64_t{1} << 33) + 1));
  REQUIRE(error_message([&] { noise(doubles); }) ==
          "diffusion::PhiloxNoise: x has samples of 8589934593 values; the limit is 8589934592");
  CHECK(noise.call() == 0);
}

}  // namespace philox_noise_tests
