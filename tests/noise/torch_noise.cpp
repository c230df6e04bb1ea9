/// Tests of diffusion/noise/torch_noise.hpp.
#include "diffusion/noise/torch_noise.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "catch.hpp"
#include "golden.hpp"
#include "lists.hpp"
#include "matchers.hpp"
#include "tolerance.hpp"

namespace torch_noise_tests {

using diffusion::TorchCpuNoise;
using diffusion::TorchCudaNoise;
using diffusion::TorchHalf;
using Eigen::ArrayXd;
using Eigen::bfloat16;
using Eigen::half;
using Eigen::Index;

namespace {

template <class Scalar>
ArrayXd draw_uniform(TorchCpuNoise& noise, Index n) {
  return draw<Scalar>([&noise](auto& x) { noise.rand(x); }, n);
}

bool is_f32(const std::string& name) { return name.size() > 4 && name.substr(name.size() - 4) == ".f32"; }

/// Splits the name of a record at its slashes, without ".f32".
std::vector<std::string> parts(std::string name) {
  if (is_f32(name)) name.resize(name.size() - 4);
  std::vector<std::string> out(1);
  for (const char c : name) {
    if (c == '/') {
      out.emplace_back();
    } else {
      out.back() += c;
    }
  }
  return out;
}

std::uint64_t seed_of(const std::string& part) { return std::stoull(part.substr(4)); }  // "seed42"

const Golden& recorded() { return golden("torch_randn.txt"); }

/// The values of a record. Floats are written with 9 digits, which round to the same float.
ArrayXd values(const std::string& name) {
  const ArrayXd written = recorded().array(name);
  return is_f32(name) ? ArrayXd(written.cast<float>().cast<double>()) : written;
}

/// Requires the agreement with torch that TorchCpuNoise documents.
template <class Scalar>
void require_promised(const ArrayXd& got, const ArrayXd& expected) {
  if (std::is_same_v<Scalar, double>) {
    REQUIRE_THAT(got, AllClose(expected, tolerance::torch_f64, tolerance::torch_f64));
  } else if (std::is_same_v<Scalar, float> && got.size() >= 16) {
    REQUIRE_THAT(got, AllClose(expected, 0, tolerance::noise_f32));
  } else {
    REQUIRE_THAT(got, AllEqual(expected));
  }
}

/// Calls f(Scalar()) for the scalar type of this name.
template <class F>
void with_scalar(const std::string& name, const F& f) {
  if (name == "float") return f(float());
  if (name == "double") return f(double());
  if (name == "half") return f(half());
  if (name == "bfloat16") return f(bfloat16());
  throw std::runtime_error("no scalar type " + name);
}

/// Value number `value` of a counter by the documented formula. It is computed in long double, but
/// u and 2 pi v are rounded to float.
long double cuda_normal(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key, int value, float) {
  const auto words = diffusion::detail::philox4x32_10(counter, key);
  const auto pair = static_cast<std::size_t>(value / 2 * 2);
  const auto rounded = [](std::uint32_t word) { return static_cast<long double>(static_cast<float>(word)); };
  const auto u = static_cast<float>((rounded(words[pair]) + 0.5L) * 0x1p-32L);
  const auto theta = static_cast<float>((rounded(words[pair + 1]) + 0.5L) * 0x1p-32L * 6.2831855f);
  const long double r = std::sqrt(-2 * std::log(static_cast<long double>(u)));
  return r * (value % 2 == 0 ? std::sin(static_cast<long double>(theta)) : std::cos(static_cast<long double>(theta)));
}

}  // namespace

// ---- CPU ----------------------------------------------------------------------------------------

TEST_CASE("TorchCpuNoise equals the first torch.randn of a generator for n below, at and above 16 and all scalar types",
          "[torch_noise]") {
  std::map<std::string, int> count;
  for (const std::string& name : recorded().names()) {
    auto part = parts(name);
    if (part[0] == "noavx") part.erase(part.begin());
    if (part[0] != "randn") continue;
    INFO(name);
    with_scalar(part[1], [&](auto scalar) {
      using Scalar = decltype(scalar);
      const ArrayXd expected = values(name);
      require_promised<Scalar>(draw<Scalar>(TorchCpuNoise(seed_of(part[2])), expected.size()), expected);
    });
    ++count[part[1] + (parts(name)[0] == "noavx" ? " noavx" : "")];
  }
  for (const char* kind : {"float", "double", "half", "bfloat16", "float noavx"}) {
    INFO(kind);
    REQUIRE(count[kind] >= 10);
  }
}

TEST_CASE("TorchCpuNoise equals consecutive torch.randn calls of one generator", "[torch_noise]") {
  int count = 0;
  for (const std::string& name : recorded().names()) {
    const auto part = parts(name);
    if (part[0] != "randn_seq" || part[3] != "sizes") continue;
    with_scalar(part[1], [&](auto scalar) {
      using Scalar = decltype(scalar);
      TorchCpuNoise noise(seed_of(part[2]));
      const ArrayXd sizes = values(name);
      for (Index call = 0; call < sizes.size(); ++call) {
        const std::string record = part[0] + "/" + part[1] + "/" + part[2] + "/call" + std::to_string(call) +
                                   (std::is_same_v<Scalar, float> ? ".f32" : "");
        INFO(record);
        const ArrayXd expected = values(record);
        REQUIRE(expected.size() == static_cast<Index>(sizes[call]));
        require_promised<Scalar>(draw<Scalar>(noise, expected.size()), expected);
      }
    });
    ++count;
  }
  REQUIRE(count >= 10);
}

TEST_CASE("float and double calls of TorchCpuNoise share the value kept between calls", "[torch_noise]") {
  for (const char* seed : {"seed0", "seed1", "seed42", "seed1234567", "seed4294967295", "seed8589934597"}) {
    INFO(seed);
    const std::string group = std::string("randn_mix/") + seed + "/";
    TorchCpuNoise noise(seed_of(seed));
    int call = 0;
    for (const char* type : {"float", "double", "float", "double", "double", "float"}) {
      with_scalar(type, [&](auto scalar) {
        using Scalar = decltype(scalar);
        const std::string record = group + "call" + std::to_string(call) + (type[0] == 'f' ? ".f32" : "");
        INFO(record);
        const ArrayXd expected = values(record);
        require_promised<Scalar>(draw<Scalar>(noise, expected.size()), expected);
      });
      ++call;
    }
  }
}

TEST_CASE("TorchCpuNoise::rand equals torch.rand bit for bit", "[torch_noise]") {
  int count = 0;
  for (const std::string& name : recorded().names()) {
    const auto part = parts(name);
    if (part[0] != "rand") continue;
    INFO(name);
    with_scalar(part[1], [&](auto scalar) {
      using Scalar = decltype(scalar);
      TorchCpuNoise noise(seed_of(part[2]));
      const ArrayXd expected = values(name);
      REQUIRE_THAT(draw_uniform<Scalar>(noise, expected.size()), AllEqual(expected));
    });
    ++count;
  }
  REQUIRE(count >= 10);
}

TEST_CASE("TorchCpuNoise::random advances the generator and leaves the kept value alone", "[torch_noise]") {
  for (const char* seed : {"seed0", "seed1", "seed42", "seed1234567", "seed4294967295", "seed8589934597"}) {
    INFO(seed);
    TorchCpuNoise integers(seed_of(seed));
    for (const double expected : values(std::string("random32/") + seed + "/n20")) {
      REQUIRE(integers.random() % 0x7FFFFFFFu == static_cast<std::uint32_t>(expected));
    }
    const std::string group = std::string("randn_then_randint/") + seed + "/";
    TorchCpuNoise noise(seed_of(seed));
    require_promised<float>(draw<float>(noise, 5), values(group + "a.f32"));
    for (const double expected : values(group + "b")) {
      REQUIRE(noise.random() % 1000 == static_cast<std::uint32_t>(expected));
    }
    require_promised<float>(draw<float>(noise, 4), values(group + "c.f32"));
  }
}

TEST_CASE("TorchCpuNoise::random64 is two 32-bit numbers, the high one first", "[torch_noise]") {
  TorchCpuNoise a(7), b(7);
  const std::uint64_t high = a.random();
  REQUIRE(b.random64() == (high << 32 | a.random()));
}

TEST_CASE("TorchCpuNoise equals the torch values that llm.c publishes", "[torch_noise]") {
  TorchCpuNoise noise(137);
  for (const std::uint32_t expected : {4053805790u, 2173880614u, 380293709u, 1237255315u, 2986595568u}) {
    REQUIRE(noise.random() == expected);
  }
  REQUIRE_THAT(draw<float>(noise, 8), AllClose(list({0.79476643, 1.43693173, -0.22921921, 0.47556326, -0.63344109,
                                                     -0.57919538, -0.09257048, -0.86591971}),
                                               0, tolerance::noise_f32));
  REQUIRE(noise.random() == 2186503452u);
  REQUIRE_THAT(draw<float>(noise, 16),
               AllClose(list({-1.28138781, -2.64639568, -0.06569503, 0.21808295, -0.46536165, -0.33108410, 2.54854822,
                              0.10425380, 0.84606600, 0.94624484, -0.29137650, 0.34313807, -1.11867046, -0.18305328,
                              -2.31531596, 0.39619878}),
                        0, tolerance::noise_f32));
  REQUIRE(noise.random() == 2756748748u);
}

TEST_CASE("a tensor of 16 values or more neither uses nor drops the kept value", "[torch_noise]") {
  TorchCpuNoise noise(3), other(3);
  draw<float>(noise, 1);
  const double kept_value = draw<double>(other, 2)[1];
  draw<float>(noise, 40);
  draw_uniform<float>(noise, 20);
  noise.random64();
  REQUIRE(draw<double>(noise, 1)[0] == kept_value);
}

TEST_CASE("the last 16 values are drawn again if the size is not a multiple of 16", "[torch_noise]") {
  // 32 uniforms make two blocks. n values take n uniforms, of which the last n - 16 are discarded,
  // and then 16 more.
  for (const Index n : {17, 20, 31}) {
    TorchCpuNoise whole(11), tail(11);
    const ArrayXd blocks = draw<double>(whole, 32), z = draw<double>(tail, n);
    REQUIRE_THAT(z.head(n - 16).eval(), AllEqual(blocks.head(n - 16).eval()));
    TorchCpuNoise skipped(11);
    draw_uniform<double>(skipped, n);
    REQUIRE_THAT(z.tail(16).eval(), AllEqual(draw<double>(skipped, 16)));
    REQUIRE(tail.random() == skipped.random());
  }
}

TEST_CASE("TorchCpuNoise uses only the low 32 bits of a seed", "[torch_noise]") {
  REQUIRE_THAT(draw<double>(TorchCpuNoise(0x123400000005), 9), AllEqual(draw<double>(TorchCpuNoise(5), 9)));
}

TEST_CASE("a copy of a TorchCpuNoise continues like the original, kept value included", "[torch_noise]") {
  TorchCpuNoise noise(5);
  draw<float>(noise, 3);
  TorchCpuNoise copy = noise;
  const ArrayXd first = draw<double>(noise, 2), second = draw<double>(noise, 30);
  REQUIRE_THAT(draw<double>(copy, 2), AllEqual(first));
  REQUIRE_THAT(draw<double>(copy, 30), AllEqual(second));
  copy = TorchCpuNoise(5);
  REQUIRE_THAT(draw<double>(copy, 4), AllEqual(draw<double>(TorchCpuNoise(5), 4)));
}

TEST_CASE("TorchCpuNoise has torch's short tails for half and bfloat16 tensors of 16 values or more", "[torch_noise]") {
  const auto largest = [](const ArrayXd& z) {
    double out = 0;
    for (const double x : z) out = std::max(out, std::abs(x));
    return out;
  };
  const double largest_half = largest(draw<half>(TorchCpuNoise(1), 100000));
  const double of_bfloat16 = largest(draw<bfloat16>(TorchCpuNoise(1), 100000));
  REQUIRE((largest_half > 3.8 && largest_half < 3.91));
  REQUIRE((of_bfloat16 > 3.3 && of_bfloat16 < 3.34));
}

TEMPLATE_TEST_CASE("a tensor gets torch's values at the same indices in both layouts", "[torch_noise]", LAYOUTS) {
  using Scalar = typename TestType::Scalar;
  typename TestType::template Tensor<3> x(3, 5, 7), y(2, 2, 3);
  TorchCpuNoise noise(8), flat_noise(8);
  noise(x);
  REQUIRE_THAT(flat(x), AllEqual(draw<Scalar>(flat_noise, 105)));
  noise(y);
  REQUIRE_THAT(flat(y), AllEqual(draw<Scalar>(flat_noise, 12)));
  noise.rand(x);
  REQUIRE_THAT(flat(x), AllEqual(draw_uniform<Scalar>(flat_noise, 105)));

  TorchCudaNoise cuda(8, 1, 256), flat_cuda(8, 1, 256);
  typename TestType::template Tensor<4> z(2, 9, 11, 13);
  cuda(z);
  REQUIRE_THAT(flat(z), AllEqual(draw<Scalar>(flat_cuda, 2 * 9 * 11 * 13)));
}

TEMPLATE_TEST_CASE("TorchCpuNoise equals a matrix of torch.randn in both layouts", "[torch_noise]", FloatRowMajor,
                   FloatColMajor) {
  for (const char* seed : {"seed0", "seed42", "seed8589934597"}) {
    const auto expected = recorded().tensor<float, 2>(std::string("randn2d/float/") + seed + "/4x9.f32");
    typename TestType::template Tensor<2> x(4, 9);
    TorchCpuNoise noise(seed_of(seed));
    noise(x);
    REQUIRE_THAT(x, AllClose(expected, 0, tolerance::noise_f32));
  }
}

TEST_CASE("torch noise fills scalars, maps, fixed-size tensors and int indices, and skips empty tensors",
          "[torch_noise]") {
  // `view` maps the memory of x.
  const auto fill = [](auto make, auto&& x, const auto& view) {
    auto noise = make();
    Eigen::Tensor<double, 2> empty(0, 3);
    noise(empty);
    noise(x);
    REQUIRE_THAT(flat(view), AllEqual(draw<double>(make(), static_cast<Index>(x.size()))));
  };
  const auto fill_all = [&fill](auto make) {
    Eigen::Tensor<double, 0, Eigen::RowMajor> scalar;
    fill(make, scalar, scalar);
    Eigen::Tensor<double, 2, Eigen::ColMajor, int> of_int(5, 6);
    fill(make, of_int, of_int);
    Eigen::TensorFixedSize<double, Eigen::Sizes<5, 4>> fixed;
    const Eigen::TensorMap<Eigen::Tensor<double, 2>> map(fixed.data(), 5, 4);
    fill(make, fixed, map);
    fixed.setZero();
    fill(make, Eigen::TensorMap<Eigen::Tensor<double, 2>>(fixed.data(), 5, 4), map);
  };
  fill_all([] { return TorchCpuNoise(4); });
  fill_all([] { return TorchCudaNoise(4, 2); });
}

TEST_CASE("TorchCpuNoise and TorchCudaNoise allocate no memory", "[torch_noise]") {
  Eigen::Tensor<float, 2> x(30, 11);
  TorchCpuNoise cpu(1);
  TorchCudaNoise cuda(1, 1, 256);
  REQUIRE(count_allocations([&] {
            cpu(x);
            cuda(x);
          }) == 0);
}

// ---- CUDA ---------------------------------------------------------------------------------------

TEST_CASE("TorchCudaNoise equals values published for torch on CUDA devices", "[torch_noise]") {
  TorchCudaNoise noise(0, 16);
  REQUIRE_THAT(draw<float>(noise, 12),
               AllClose(list({-0.92466259, -0.42534415, -2.6438457, 0.14518388, -0.12086647, -0.57972564, -0.62285122,
                              -0.32838709, -1.07454231, -0.36314407, -1.67105067, 2.26550497}),
                        0, tolerance::noise_f32));
  REQUIRE_THAT(draw<float>(noise, 3), AllClose(list({0.18082581, -0.55226266, 0.92381340}), 0, tolerance::noise_f32));
}

TEST_CASE("values beyond the grid are later values of the same threads, as in the code of cuRAND", "[torch_noise]") {
  // One multiprocessor with one block of 256 threads. The expected values come from
  // curand_kernel.h, run on the host.
  const std::vector<Index> places = {0, 255, 256, 512, 768, 1024, 1280, 1499};
  const auto at_places = [&places](const ArrayXd& z) {
    ArrayXd out(static_cast<Index>(places.size()));
    for (Index i = 0; i < out.size(); ++i) out[i] = z[places[static_cast<std::size_t>(i)]];
    return out;
  };
  REQUIRE_THAT(at_places(draw<float>(TorchCudaNoise(7, 1, 256), 1500)),
               AllClose(list({-0.304847002, -0.736585498, 0.000291600649, 1.06787252, 1.78875721, -1.28701162,
                              0.376403838, 1.62819219}),
                        0, tolerance::noise_f32));
  REQUIRE_THAT(at_places(draw<double>(TorchCudaNoise(7, 1, 256), 1500)),
               AllClose(list({0.3886799689909573, 0.39288398444306194, 0.6510648246796773, -0.17714599745468998,
                              0.6532462827382659, -2.5146113355829254, 1.7953190763976408, -0.59612479186055478}),
                        0, tolerance::curand_f64));
}

TEST_CASE("element i is value (i / G) mod m of counter {offset / 4 + i / (m G), i mod G}", "[torch_noise]") {
  const std::uint64_t seed = 0x0123456789ABCDEF;
  const std::array<std::uint32_t, 2> key = {0x89ABCDEF, 0x01234567};
  // Three multiprocessors with floor(600 / 256) blocks each: G = 1536. The first counter, 2^32 - 1,
  // tests the carry to the high word.
  TorchCudaNoise noise(seed, 3, 600, 4 * 0xFFFFFFFFull);
  const ArrayXd z = draw<float>(noise, 8000);
  for (const Index i : {0, 1, 1535, 1536, 3072, 4608, 6143, 6144, 7999}) {
    INFO(i);
    const auto k = static_cast<int>(i / 1536);
    const auto thread = static_cast<std::uint32_t>(i % 1536);
    const std::array<std::uint32_t, 4> first = {0xFFFFFFFF, 0, thread, 0}, second = {0, 1, thread, 0};
    const auto expected = static_cast<double>(cuda_normal(k < 4 ? first : second, key, k % 4, float()));
    REQUIRE_THAT(z[i], WithinAbs(expected, 1e-6));
  }
}

TEST_CASE("CUDA noise is the same on all devices that can hold one thread per value", "[torch_noise]") {
  const ArrayXd small = draw<float>(TorchCudaNoise(1, 1), 2048), large = draw<float>(TorchCudaNoise(1, 108), 2048);
  REQUIRE_THAT(small, AllEqual(large));
  const ArrayXd beyond_small = draw<float>(TorchCudaNoise(1, 1), 2049),
                beyond_large = draw<float>(TorchCudaNoise(1, 108), 2049);
  REQUIRE_THAT(beyond_small.head(2048).eval(), AllEqual(large));
  REQUIRE_THAT(beyond_large.head(2048).eval(), AllEqual(large));
  REQUIRE(beyond_small[2048] != beyond_large[2048]);
}

TEST_CASE("a call advances the CUDA generator by 4 ceil(n / (m G))", "[torch_noise]") {
  TorchCudaNoise noise(1, 2, 1024);  // G = 2048 for 1793 values or more
  const auto moved = [&noise](auto scalar, Index n) {
    const std::uint64_t before = noise.offset();
    draw<decltype(scalar)>(noise, n);
    return noise.offset() - before;
  };
  REQUIRE(moved(float(), 0) == 0);
  REQUIRE(moved(float(), 1) == 4);
  REQUIRE(moved(float(), 4 * 2048) == 4);
  REQUIRE(moved(float(), 4 * 2048 + 1) == 8);
  REQUIRE(moved(half(), 8 * 2048 + 1) == 12);
  REQUIRE(moved(double(), 2 * 2048) == 4);
  REQUIRE(moved(double(), 2 * 2048 + 1) == 8);
  REQUIRE(noise.offset() == 40);
}

TEST_CASE("a TorchCudaNoise with an offset and a copy continue like the original", "[torch_noise]") {
  TorchCudaNoise noise(9, 1, 256);
  draw<float>(noise, 3000);
  TorchCudaNoise copy = noise, resumed(9, 1, 256, noise.offset());
  const ArrayXd next = draw<double>(noise, 700);
  REQUIRE_THAT(draw<double>(copy, 700), AllEqual(next));
  REQUIRE_THAT(draw<double>(resumed, 700), AllEqual(next));
  REQUIRE(copy.offset() == noise.offset());
}

TEST_CASE("half and bfloat16 values of TorchCudaNoise are rounded floats", "[torch_noise]") {
  const ArrayXd floats = draw<float>(TorchCudaNoise(2, 1, 512), 3000);
  const ArrayXd halves = draw<half>(TorchCudaNoise(2, 1, 512), 3000);
  const ArrayXd brains = draw<bfloat16>(TorchCudaNoise(2, 1, 512), 3000);
  for (Index i = 0; i < floats.size(); ++i) {
    REQUIRE(halves[i] == static_cast<double>(static_cast<float>(half(static_cast<float>(floats[i])))));
    REQUIRE(brains[i] == static_cast<double>(static_cast<float>(bfloat16(static_cast<float>(floats[i])))));
  }
}

TEST_CASE("the sine of a whole number of quarter turns is exactly 0, 1 or -1", "[torch_noise]") {
  const double sine[] = {0, 1, 0, -1};
  for (int halves = 0; halves <= 4; ++halves) {
    for (const int quarter : {0, 1}) {
      INFO("sin(" << halves + quarter << " pi / 2)");
      CHECK(diffusion::detail::sine_of_half_turns(halves / 2.0, quarter) == sine[(halves + quarter) % 4]);
    }
  }
}

TEST_CASE("TorchCudaNoise throws for a device without threads, an offset not a multiple of 4 and more than 2 GiB",
          "[torch_noise]") {
  const std::string where = "diffusion::TorchCudaNoise: ";
  REQUIRE(error_message([] { (void)TorchCudaNoise(0, 0); }) == where + "sm_count = 0 is less than 1");
  REQUIRE(error_message([] { (void)TorchCudaNoise(0, -3, 1024); }) == where + "sm_count = -3 is less than 1");
  REQUIRE(error_message([] { (void)TorchCudaNoise(0, 16, 255); }) ==
          where + "max_threads_per_sm = 255 is less than 256, the number of threads in torch's blocks");
  REQUIRE(error_message([] { (void)TorchCudaNoise(0, 16, 1024, 6); }) == where + "offset = 6 is not a multiple of 4");
  // TorchCudaNoise throws before it writes anything, so the memory need not exist.
  Eigen::TensorMap<Eigen::Tensor<double, 2>> vast(nullptr, Index(1) << 14, (Index(1) << 14) + 1);
  TorchCudaNoise noise(0, 16);
  REQUIRE_THAT(error_message([&] { noise(vast); }), StartsWith(where + "x has 268451840 values"));
  REQUIRE(noise.offset() == 0);
}

TEST_CASE("with TorchHalf::in_float, half and bfloat16 values are rounded floats", "[torch_noise]") {
  // torch pull request 179834: blocks of 16 floats, and no uniform is discarded. A tensor of 40
  // values takes 48 numbers of the generator: the first 32 as in a float tensor, and the next 16
  // for the last 16 values.
  const ArrayXd floats = draw<float>(TorchCpuNoise(5), 48);
  for (const Index size : {16, 32, 48}) {
    const ArrayXd halves = draw<half>(TorchCpuNoise(5, TorchHalf::in_float), size);
    const ArrayXd brains = draw<bfloat16>(TorchCpuNoise(5, TorchHalf::in_float), size);
    const ArrayXd same = draw<float>(TorchCpuNoise(5, TorchHalf::in_float), size);
    for (Index i = 0; i < size; ++i) {
      REQUIRE(halves[i] == static_cast<double>(static_cast<float>(half(static_cast<float>(floats[i])))));
      REQUIRE(brains[i] == static_cast<double>(static_cast<float>(bfloat16(static_cast<float>(floats[i])))));
      REQUIRE(same[i] == floats[i]);
    }
  }
  const ArrayXd brains = draw<bfloat16>(TorchCpuNoise(5, TorchHalf::in_float), 40);
  for (Index i = 0; i < 40; ++i) {
    const double from = floats[i < 24 ? i : 32 + (i - 24)];
    REQUIRE(brains[i] == static_cast<double>(static_cast<float>(bfloat16(static_cast<float>(from)))));
  }
  TorchCpuNoise a(5, TorchHalf::in_float), b(5);
  Eigen::Tensor<bfloat16, 1> x(40);
  a(x);
  for (int i = 0; i < 48; ++i) b.random();
  REQUIRE(a.random() == b.random());
  // Both versions of torch draw tensors of fewer than 16 values in double.
  REQUIRE((draw<half>(TorchCpuNoise(5, TorchHalf::in_float), 15) == draw<half>(TorchCpuNoise(5), 15)).all());
}

TEST_CASE("with TorchHalf::in_float, rand of bfloat16 is the rounded float, or 0 where that would be 1",
          "[torch_noise]") {
  constexpr Index size = 20000;
  Eigen::Tensor<float, 1> floats(size);
  Eigen::Tensor<bfloat16, 1> brains(size);
  TorchCpuNoise(3).rand(floats);
  TorchCpuNoise(3, TorchHalf::in_float).rand(brains);
  Index ones = 0;
  for (Index i = 0; i < size; ++i) {
    const float rounded = static_cast<float>(bfloat16(floats(i)));
    ones += rounded == 1;
    REQUIRE(static_cast<float>(brains(i)) == (rounded == 1 ? 0 : rounded));
  }
  REQUIRE(ones > 0);
}

}  // namespace torch_noise_tests
