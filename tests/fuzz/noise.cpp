// Fuzzes the noise sources at the ends of their ranges. Noise is finite; Philox noise does not
// depend on how the samples are divided into batches; copies of a source go on with the same
// numbers.
#include <diffusion/diffusion.hpp>
#include <random>

#include "fuzz.hpp"

using namespace diffusion;
using namespace fuzz;

namespace {

/// A number of 64 bits, often near an end of its range.
std::uint64_t word(Input& in) {
  const std::uint64_t bits = in.ConsumeIntegral<std::uint64_t>();
  switch (index(in, 0, 3)) {
    case 0:
      return bits % 8;
    case 1:
      return ~std::uint64_t(0) - bits % 8;
    default:
      return bits;
  }
}

template <class Tensor, class Noise>
void finite_and_copyable(const typename Tensor::Dimensions& sizes, Noise noise) {
  Tensor x(sizes), y(sizes);
  noise(y);
  Noise copy = noise;
  noise(x);
  copy(y);
  require(same_bits(x, y), "a copy of a noise source goes on with other numbers");
  for (Index i = 0; i < x.size(); ++i) require(std::isfinite(static_cast<double>(x.data()[i])), "noise is not finite");
}

template <class Scalar, int Layout>
void sources(Input& in) {
  using Tensor = Eigen::Tensor<Scalar, 3, Layout, Index>;
  typename Tensor::Dimensions sizes;
  for (auto& side : sizes) side = index(in, 0, 9);
  const std::uint64_t seed = word(in);
  switch (index(in, 0, 4)) {
    case 0: {
      const std::uint64_t first = word(in), call = word(in);
      finite_and_copyable<Tensor>(sizes, PhiloxNoise(seed, first, call));
      Tensor all(sizes);
      PhiloxNoise(seed, first, call)(all);
      for (Index n = 0; n < sizes[0]; ++n) {
        Tensor one(1, sizes[1], sizes[2]);
        PhiloxNoise(seed, first + static_cast<std::uint64_t>(n), call)(one);
        require(same_bits(one, sample_of(all, n)), "Philox noise depends on the batch");
      }
      return;
    }
    case 1:
      return finite_and_copyable<Tensor>(sizes, TorchCpuNoise(seed));
    case 2:
      return finite_and_copyable<Tensor>(
          sizes, JaxNoise(seed, in.ConsumeBool() ? JaxThreefry::partitionable : JaxThreefry::original));
    case 3:
      if constexpr (std::is_same_v<Scalar, double>) finite_and_copyable<Tensor>(sizes, NumpyNoise(seed));
      return;
    default:
      return finite_and_copyable<Tensor>(sizes, EngineNoise(std::mt19937_64(seed)));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input in(data, size);
  documented([&] {
    one_of(in, sources<float, Eigen::RowMajor>, sources<float, Eigen::ColMajor>, sources<double, Eigen::RowMajor>,
           sources<double, Eigen::ColMajor>);
  });
  return 0;
}
