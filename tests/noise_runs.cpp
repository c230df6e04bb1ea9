// Tests of diffusion/detail/noise_runs.hpp: noise that is used as it is made gives what a tensor of it would give, bit for bit,
// and needs no tensor.
#include "diffusion/detail/noise_runs.hpp"

#include <array>
#include <unsupported/Eigen/CXX11/ThreadPool>

#include "diffusion/gaussian_diffusion.hpp"
#include "diffusion/noise.hpp"
#include "diffusion/schedules.hpp"
#include "matchers.hpp"

using diffusion::GaussianDiffusion;
using diffusion::PhiloxNoise;
using diffusion::Timesteps;
using diffusion::TimestepsView;
using Eigen::Index;
using Eigen::RowMajor, Eigen::ColMajor;

namespace {

constexpr Index T = 100;

Timesteps steps(Index batch) {
  Timesteps t(batch);
  for (Index n = 0; n < batch; ++n) t(n) = 1 + n * 37 % (T - 1);
  return t;
}

/// More samples than the tile of a float holds, one sample, samples of few values, and of more than a run.
const std::array<Eigen::array<Index, 3>, 5> shapes = {{{4500, 1, 3}, {1, 300, 3}, {65, 2, 2}, {3, 1, 1}, {7, 9, 33}}};

/// f(out, x, t, noise, device): an operation of the process, of which noise is drawn the second time.
template <class Tensor, class Device, class F>
void require_same_bits(const Device& device, const F& f) {
  for (const auto& shape : shapes) {
    INFO(shape[0] << " samples of " << shape[1] << " x " << shape[2]);
    const Tensor x = random_tensor<Tensor>(shape, 1);
    const Timesteps each = steps(shape[0]);
    for (const TimestepsView t : {TimestepsView(each), TimestepsView(50)}) {
      PhiloxNoise source(3, 5), equal_source(3, 5);
      Tensor noise(x.dimensions()), expected(x.dimensions()), out(x.dimensions()), in_place = x;
      for (Tensor* const to : {&out, &in_place}) {
        equal_source(noise);
        f(expected, x, t, noise, device);
        f(*to, to == &out ? x : in_place, t, source, device);
        REQUIRE_THAT(*to, AllEqual(expected));
      }
      REQUIRE(source.call() == 2);
    }
  }
}

}  // namespace

TEMPLATE_TEST_CASE("noise used as it is made gives the bits of a noise tensor", "[noise_runs]", FloatRowMajor,
                   FloatColMajor, DoubleColMajor, (Case<long double, RowMajor>), (Case<Eigen::half, RowMajor>),
                   (Case<Eigen::half, ColMajor>), (Case<Eigen::bfloat16, ColMajor>)) {
  using Tensor = typename TestType::template Tensor<3>;
  const GaussianDiffusion<typename TestType::Scalar> process(diffusion::linear_beta_schedule(T));
  const auto q_sample = [&](Tensor& out, const Tensor& x, TimestepsView t, auto& noise, const auto& device) {
    process.q_sample_into(out, x, t, noise, device);
  };
  require_same_bits<Tensor>(Eigen::DefaultDevice(), q_sample);
  Eigen::ThreadPool pool(3);
  require_same_bits<Tensor>(Eigen::ThreadPoolDevice(&pool, 3), q_sample);
  require_same_bits<Tensor>(Eigen::DefaultDevice(),
                            [&](Tensor& out, const Tensor& x, TimestepsView t, auto& noise, const auto& device) {
                              process.q_step_into(out, x, 0, t, noise, device);
                            });
}

TEMPLATE_TEST_CASE("noise used as it is made is kept in no tensor", "[noise_runs]", FloatRowMajor, FloatColMajor) {
  using Tensor = typename TestType::template Tensor<3>;
  const GaussianDiffusion<float> process(diffusion::linear_beta_schedule(T));
  for (const auto& shape : shapes) {
    Tensor x = random_tensor<Tensor>(shape, 1);
    const Timesteps t = steps(shape[0]);
    PhiloxNoise noise(1);
    REQUIRE(count_allocations([&] { process.q_sample_into(x, x, t, noise); }) == 0);
    REQUIRE(count_allocations([&] { process.q_step_into(x, x, 0, t, noise); }) == 0);
  }
}

TEST_CASE("a source that only fills tensors gives the same result", "[noise_runs]") {
  using Tensor = Eigen::Tensor<float, 3>;
  const GaussianDiffusion<float> process(diffusion::linear_beta_schedule(T));
  const Tensor x = random_tensor<Tensor>({7, 9, 33}, 1);
  auto fill = [noise = PhiloxNoise(4)](auto& z) mutable { noise(z); };
  static_assert(diffusion::detail::makes_runs_v<PhiloxNoise, Tensor, Eigen::DefaultDevice>);
  static_assert(!diffusion::detail::makes_runs_v<decltype(fill), Tensor, Eigen::DefaultDevice>);
  REQUIRE_THAT(process.q_sample(x, steps(7), fill), AllEqual(process.q_sample(x, steps(7), PhiloxNoise(4))));
}
