// Tests of diffusion/interop/torch.hpp.
#include "diffusion/interop/torch.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <random>
#include <vector>

#include "all_samplers.hpp"
#include "matchers.hpp"
#include "tolerance.hpp"

using diffusion::Denoiser;
using diffusion::DenoiserOptions;
using diffusion::ModelMeanType;
using diffusion::NoiseLevel;
using diffusion::PhiloxNoise;
using diffusion::Prediction;
using diffusion::sample;
using diffusion::SamplingRun;
using diffusion::TimeGrid;
using diffusion::torch_map;
using diffusion::torch_view;
using Eigen::Index;

namespace {

using Tensor = Eigen::Tensor<double, 2, Eigen::RowMajor, Index>;
using Images = Eigen::Tensor<double, 4, Eigen::RowMajor, Index>;

/// The network, without functions whose rounding differs between libraries.
const auto eigen_network = [](const auto& x, const Eigen::Tensor<double, 1>& t, auto& out) {
  for (Index i = 0; i < x.size(); ++i) {
    const double v = x.data()[i];
    out.data()[i] = 0.8 * v / (1 + v * v) - 1e-4 * t(0);
  }
};
const auto torch_network = [](const at::Tensor& x, const at::Tensor& t) {
  std::vector<std::int64_t> per_sample(static_cast<std::size_t>(x.dim()), 1);
  per_sample[0] = x.size(0);
  return 0.8 * x / (1 + x * x) - 1e-4 * t.reshape(per_sample);
};

/// Matches the same values to 1e-14, relative and absolute.
template <class X>
AllClose near(const X& expected) {
  return AllClose(expected, tolerance::other_tensor, tolerance::other_tensor);
}

/// The values of a torch tensor.
template <class X = Tensor>
X values(const at::Tensor& x) {
  return torch_map<X>(x.contiguous());
}

}  // namespace

TEST_CASE("every sampler gives the same values on torch tensors as on Eigen's", "[torch]") {
  const Tensor x_T = random_tensor<Tensor>({3, 5}, 1);
  const Denoiser on_eigen(eigen_network, ModelMeanType::velocity);
  const Denoiser on_torch(torch_network, ModelMeanType::velocity);
  const auto eigen_samplers = all_samplers<Tensor>();
  const auto torch_samplers = all_samplers<at::Tensor>();
  REQUIRE(torch_samplers.size() == eigen_samplers.size());
  for (std::size_t i = 0; i < eigen_samplers.size(); ++i) {
    INFO(eigen_samplers[i].name);
    PhiloxNoise eigen_noise(2), torch_noise(2), asked_noise(2);
    const Tensor expected =
        eigen_samplers[i].run(trailing_grid(6), on_eigen, x_T, [&](Tensor& z) { eigen_noise(z); }, {});
    const auto fill_by = [](PhiloxNoise& source) -> ErasedNoise<at::Tensor> {
      return [&source](at::Tensor& z) { diffusion::TensorOperations<at::Tensor>::fill(z, source); };
    };
    const at::Tensor start = torch_view(x_T);
    REQUIRE_THAT(values(torch_samplers[i].run(trailing_grid(6), on_torch, start, fill_by(torch_noise), {})),
                 near(expected));
    // The same run, asked; a copy made in the middle goes on like it.
    auto run = torch_samplers[i].begin(trailing_grid(6), start, fill_by(asked_noise), {}, {});
    Prediction<at::Tensor> prediction;
    while (!run.done()) {
      const at::Tensor times = at::full({3}, on_torch.model_time(run.level()), start.options());
      on_torch.prediction(torch_network(run.x(), times), run.x(), run.level(), prediction);
      run.advance(prediction);
    }
    REQUIRE_THAT(values(run.x()), near(expected));
  }
  REQUIRE_THAT(x_T, AllEqual(random_tensor<Tensor>({3, 5}, 1)));  // no run has written its start
}

TEST_CASE("RePaint gives the same values on torch tensors as on Eigen's", "[torch]") {
  const Tensor x_T = random_tensor<Tensor>({3, 5}, 1), known = random_tensor<Tensor>({3, 5}, 2);
  Tensor mask(3, 5);
  mask.setZero();
  mask(0, 1) = mask(2, 2) = 1;
  mask(1, 1) = 0.25;
  const Denoiser on_eigen(eigen_network, ModelMeanType::epsilon);
  const Denoiser on_torch(torch_network, ModelMeanType::epsilon);
  const Tensor expected =
      sample(diffusion::RePaint<Tensor>{known, mask, 2, 3}, trailing_grid(7), on_eigen, x_T, PhiloxNoise(3));
  const diffusion::RePaint<at::Tensor> sampler{torch_view(known), torch_view(mask), 2, 3};
  REQUIRE_THAT(values(sample(sampler, trailing_grid(7), on_torch, torch_view(x_T), PhiloxNoise(3))), near(expected));
}

TEST_CASE("a Denoiser predicts the same values for torch tensors as for Eigen's, for every model", "[torch]") {
  const Images x = random_tensor<Images>({2, 3, 4, 5}, 1);
  DenoiserOptions none, clips, thresholds, keeps_epsilon;
  clips.clip_min = -0.3;
  clips.clip_max = 0.5;
  thresholds.threshold_quantile = 0.83;
  thresholds.threshold_min = 0.1;
  keeps_epsilon = thresholds;
  keeps_epsilon.rederive_epsilon = false;
  for (const NoiseLevel& level : {NoiseLevel{100, 0.8, 0.6}, NoiseLevel{3, 1.0, 2.5}}) {
    for (const ModelMeanType type : {ModelMeanType::start_x, ModelMeanType::epsilon, ModelMeanType::velocity,
                                     ModelMeanType::score, ModelMeanType::flow_velocity, ModelMeanType::edm}) {
      for (const DenoiserOptions& options : {none, clips, thresholds, keeps_epsilon}) {
        INFO("type " << static_cast<int>(type) << ", sigma " << level.sigma << ", quantile "
                     << options.threshold_quantile << ", clip_max " << options.clip_max);
        const auto expected = Denoiser(eigen_network, type, options)(x, level);
        const auto got = Denoiser(torch_network, type, options)(torch_view(x), level);
        REQUIRE_THAT(values<Images>(got.x_start), near(expected.x_start));
        REQUIRE_THAT(values<Images>(got.epsilon), near(expected.epsilon));
      }
    }
  }
  // Learned variances: the first half of the channels.
  DenoiserOptions learned;
  learned.learned_variance = true;
  const auto doubled = [](const at::Tensor& in, const at::Tensor& t) {
    return at::cat({torch_network(in, t), at::ones_like(in)}, 1);
  };
  const NoiseLevel level{100, 0.8, 0.6};
  const auto got = Denoiser(doubled, ModelMeanType::epsilon, learned)(torch_view(x), level);
  REQUIRE_THAT(values<Images>(got.x_start), near(Denoiser(eigen_network, ModelMeanType::epsilon)(x, level).x_start));
}

TEST_CASE("a value that is not finite makes its whole thresholded sample NaN, and no other sample", "[torch]") {
  at::Tensor x = at::ones({3, 4}, at::kDouble);
  x[1][2] = std::numeric_limits<double>::infinity();
  DenoiserOptions options;
  options.threshold_quantile = 0.5;
  const auto model = [](const at::Tensor& in, const at::Tensor&) { return in; };
  const at::Tensor got = Denoiser(model, ModelMeanType::start_x, options)(x, {10, 0.6, 0.8}).x_start;
  REQUIRE(got.isnan().all(1).equal(at::tensor({0, 1, 0}).to(at::kBool)));
  REQUIRE(got.isnan().any(1).equal(at::tensor({0, 1, 0}).to(at::kBool)));
}

TEST_CASE("PhiloxNoise fills torch tensors of every type without a copy, as it fills Eigen's", "[torch]") {
  const auto check = [](auto scalar, at::ScalarType type) {
    using Scalar = decltype(scalar);
    Eigen::Tensor<Scalar, 4, Eigen::RowMajor> expected(2, 3, 4, 5);
    PhiloxNoise{7}(expected);
    at::Tensor z = at::empty({2, 3, 4, 5}, type);
    const void* memory = nullptr;
    PhiloxNoise source(7);
    const auto watched = [&](Eigen::TensorMap<Eigen::Tensor<Scalar, 2, Eigen::RowMajor>>& map) {
      memory = map.data();
      source(map);
    };
    diffusion::detail::fill_torch<Scalar>(z, watched);
    REQUIRE(memory == z.data_ptr());
    source = PhiloxNoise(7);
    diffusion::TensorOperations<at::Tensor>::fill(z, source);
    REQUIRE_THAT((torch_map<Eigen::Tensor<Scalar, 4, Eigen::RowMajor>>(z)), AllEqual(expected));
  };
  check(0.0F, at::kFloat);
  check(0.0, at::kDouble);
  check(Eigen::half(), at::kHalf);
  check(Eigen::bfloat16(), at::kBFloat16);
}

TEST_CASE("the library's noise sources fill torch tensors, or say which type they cannot fill", "[torch]") {
  const Tensor replayed = random_tensor<Tensor>({2, 6}, 1);
  diffusion::RecordedNoise recorded(std::vector<Tensor>{replayed, replayed});
  at::Tensor z = at::empty({2, 2, 3}, at::kDouble);
  diffusion::TensorOperations<at::Tensor>::fill(z, recorded);
  REQUIRE_THAT(values(z.reshape({2, 6})), AllEqual(replayed));
  z = z.to(at::kFloat);
  const auto message =
      "diffusion::noise: x has values of type Float; this noise source cannot fill an Eigen tensor of "
      "that type and rank 2";
  REQUIRE(error_message([&] { diffusion::TensorOperations<at::Tensor>::fill(z, recorded); }) == message);
  auto shared = std::ref(recorded);
  REQUIRE(error_message([&] { diffusion::TensorOperations<at::Tensor>::fill(z, shared); }) == message);

  const auto agrees = [](auto source) {
    auto same = source;
    Eigen::Tensor<float, 4, Eigen::RowMajor> expected(2, 3, 4, 5);
    source(expected);
    at::Tensor filled = at::empty({2, 3, 4, 5});
    diffusion::TensorOperations<at::Tensor>::fill(filled, same);
    REQUIRE_THAT((torch_map<Eigen::Tensor<float, 4, Eigen::RowMajor>>(filled)), AllEqual(expected));
  };
  agrees(diffusion::TorchCpuNoise(3));
  agrees(diffusion::JaxNoise(3));
  agrees(diffusion::NumpyNoise(3));
  agrees(diffusion::EngineNoise(std::mt19937(3)));
}

TEST_CASE("a restarted run takes tensors of another type", "[torch]") {
  const Denoiser denoiser(torch_network, ModelMeanType::velocity);
  const at::Tensor x = torch_view(random_tensor<Tensor>({3, 5}, 1)).clone();
  const auto finish = [&](auto& run) {
    Prediction<at::Tensor> prediction;
    while (!run.done()) {
      denoiser(run.x(), run.level(), prediction);
      run.advance(prediction);
    }
    return run.x();
  };
  SamplingRun run(diffusion::Ddpm{}, trailing_grid(4), x, PhiloxNoise(1));
  finish(run);
  run.restart(x.to(at::kFloat));
  REQUIRE(finish(run).scalar_type() == at::kFloat);
}

TEST_CASE("a function of a torch tensor is a noise source", "[torch]") {
  const auto ones = [](at::Tensor& z) { z.fill_(1); };
  const at::Tensor x = at::zeros({2, 3}, at::kDouble);
  REQUIRE(diffusion::add_noise(x, {500, 0.6, 0.8}, ones).equal(at::full({2, 3}, 0.8, at::kDouble)));
  REQUIRE(diffusion::add_noise(x, {500, 0.6, 0.8}, at::ones({2, 3}, at::kDouble))
              .equal(at::full({2, 3}, 0.8, at::kDouble)));
}

TEST_CASE("a tensor that a run returned keeps its values while the run and its copies go on", "[torch]") {
  const Denoiser denoiser(torch_network, ModelMeanType::velocity);
  const at::Tensor start = torch_view(random_tensor<Tensor>({3, 5}, 1)).clone();
  SamplingRun run(diffusion::DpmSolverPP{}, trailing_grid(6), start, PhiloxNoise(1));
  const auto advance = [&](auto& which) {
    Prediction<at::Tensor> prediction;
    denoiser(which.x(), which.level(), prediction);
    which.advance(prediction);
  };
  advance(run);
  const at::Tensor seen = run.x(), kept = seen.clone();
  auto copy = run;
  while (!run.done()) advance(run);
  REQUIRE(seen.equal(kept));
  REQUIRE(copy.x().equal(kept));
  while (!copy.done()) advance(copy);
  REQUIRE(copy.x().equal(run.x()));
  run.restart(start);
  while (!run.done()) advance(run);
  REQUIRE(copy.x().equal(run.x()));
}

TEST_CASE("gradients flow through a run", "[torch]") {
  // For x_0 = w, a run ends at w; for epsilon = 0, it ends at x_T / alpha_T.
  at::Tensor w = at::full({2, 3}, 0.5, at::kDouble).requires_grad_();
  const auto constant = [&](const at::Tensor&, const at::Tensor&) { return w * 1.0; };
  const at::Tensor x_T = at::ones({2, 3}, at::kDouble);
  sample(diffusion::DpmSolverPP{}, trailing_grid(5), Denoiser(constant, ModelMeanType::start_x), x_T).sum().backward();
  REQUIRE(w.grad().equal(at::ones({2, 3}, at::kDouble)));

  at::Tensor start = at::ones({2, 3}, at::kDouble).requires_grad_();
  const auto zero = [](const at::Tensor& x, const at::Tensor&) { return at::zeros_like(x); };
  const TimeGrid levels = trailing_grid(5);
  sample(diffusion::Ddim{}, levels, Denoiser(zero, ModelMeanType::epsilon), start).sum().backward();
  REQUIRE_THAT(values(start.grad()), near(values(at::full({2, 3}, 1 / levels.levels()[0].alpha, at::kDouble))));
}

TEST_CASE("a run in half precision adds in float", "[torch]") {
  const at::Tensor x = torch_view(random_tensor<Tensor>({4, 50}, 1)).to(at::kHalf);
  at::Tensor out = x;
  diffusion::combine<at::Tensor>(out, {{0.7, x}, {0.4, x}, {-0.3, x}});
  const at::Tensor exact = (x.to(at::kFloat) * -0.3).add(x.to(at::kFloat), 0.4).add(x.to(at::kFloat), 0.7);
  REQUIRE(out.scalar_type() == at::kHalf);
  REQUIRE(out.equal(exact.to(at::kHalf)));
  // A network that answers in half precision does not round x.
  diffusion::combine<at::Tensor>(out, {{0.7, x}, {0.4, x.to(at::kFloat)}});
  REQUIRE(out.scalar_type() == at::kFloat);
}

TEST_CASE("a run takes tensors that are not contiguous", "[torch]") {
  const Denoiser denoiser(torch_network, ModelMeanType::velocity);
  const at::Tensor x = torch_view(random_tensor<Tensor>({3, 5}, 1)).clone(), transposed = x.t().contiguous().t();
  REQUIRE(!transposed.is_contiguous());
  const auto run = [&](const at::Tensor& start) {
    return sample(diffusion::Ddpm{}, trailing_grid(4), denoiser, start, PhiloxNoise(3));
  };
  REQUIRE(run(transposed).equal(run(x)));
}

TEST_CASE("an empty batch of torch tensors can be sampled", "[torch]") {
  DenoiserOptions options;
  options.threshold_quantile = 0.9;
  const Denoiser denoiser(torch_network, ModelMeanType::velocity, options);
  const at::Tensor x = at::empty({0, 5}, at::kDouble);
  REQUIRE(sample(diffusion::Ddpm{}, trailing_grid(4), denoiser, x, PhiloxNoise(3)).numel() == 0);
  REQUIRE(sample(diffusion::DpmSolverAdaptive{}, trailing_grid(4), denoiser, x).numel() == 0);
}

TEST_CASE("torch_map and torch_view share memory, and refuse what they cannot map", "[torch]") {
  Tensor x = random_tensor<Tensor>({3, 5}, 1);
  const at::Tensor view = torch_view(x);
  REQUIRE(view.data_ptr() == x.data());
  REQUIRE(view.sizes() == at::IntArrayRef({3, 5}));
  torch_map<Tensor>(view)(1, 2) = 7;
  REQUIRE(x(1, 2) == 7);
  REQUIRE(error_message([&] { (void)torch_map<Images>(view); }) ==
          "diffusion::torch_map: the tensor has rank 2; it must have rank 4");
  REQUIRE(error_message([&] { (void)torch_map<Tensor>(view.t()); }) ==
          "diffusion::torch_map: the tensor is not contiguous, of type Double and on cpu; it must be contiguous, of "
          "type Double "
          "and on the CPU");
  REQUIRE(error_message([&] { (void)torch_map<Tensor>(view.to(at::kFloat)); }) ==
          "diffusion::torch_map: the tensor is of type Float and on cpu; it must be contiguous, of type Double and on "
          "the CPU");
}

TEST_CASE("a run on torch tensors refuses other shapes and tensors that cannot hold noise", "[torch]") {
  const at::Tensor x = at::ones({3, 5}, at::kDouble);
  const auto narrow = [](const at::Tensor& in, const at::Tensor&) { return in.narrow(1, 0, 4); };
  REQUIRE(error_message([&] {
            (void)sample(diffusion::Ddim{}, trailing_grid(4), Denoiser(narrow, ModelMeanType::epsilon), x);
          }) ==
          "diffusion::Denoiser: the model's output has shape [3, 4], but for x of shape [3, 5] it must have [3, 5]");
  SamplingRun run(diffusion::Ddim{}, trailing_grid(4), x);
  Prediction<at::Tensor> undefined;
  REQUIRE(error_message([&] { run.advance(undefined); }) ==
          "diffusion::sample: the denoiser's x_start has shape [], but for x of shape [3, 5] it must have [3, 5]");
  REQUIRE(error_message([&] {
            (void)diffusion::add_noise(at::ones({2}, at::kInt), {1, 1, 1}, PhiloxNoise(1));
          }) == "diffusion::noise: x has values of type Int; they must be Float, Double, Half or BFloat16");
  REQUIRE(error_message([&] {
            (void)diffusion::add_noise(at::ones({}), {1, 1, 1}, PhiloxNoise(1));
          }) == "diffusion::noise: x has rank 0; its first axis must be the batch");
}
