// error: diffusion: RePaint needs TensorOperations<Tensor>::paste
#include <diffusion/sampling/sample.hpp>
#include <diffusion/sampling/samplers/repaint.hpp>

struct Number {
  double value;
};

template <>
struct diffusion::TensorOperations<Number> {
  static std::array<int, 1> shape(const Number&) { return {1}; }
  static void combine(Number& out, const LinearCombination<Number>& sum, const DeviceRef&) {
    double value = 0;
    for (const auto& [a, x] : sum) value += a * x->value;
    out.value = value;
  }
};

void program(const diffusion::TimeGrid& grid, const Number& x) {
  const auto denoiser = [](const auto&, const diffusion::NoiseLevel&, auto&) {};
  (void)diffusion::sample(diffusion::RePaint<Number>{}, grid, denoiser, x, [](Number&) {});
}
