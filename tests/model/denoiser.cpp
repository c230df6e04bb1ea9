// Tests of diffusion/model/denoiser.hpp
#include "diffusion/model/denoiser.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "diffusion/process/schedules.hpp"
#include "matchers.hpp"

namespace denoiser_tests {

using namespace diffusion;
using Eigen::ArrayXd;
using Eigen::Index;

namespace {

constexpr ModelMeanType all_types[] = {ModelMeanType::epsilon, ModelMeanType::start_x,       ModelMeanType::velocity,
                                       ModelMeanType::score,   ModelMeanType::flow_velocity, ModelMeanType::edm};

/// A level of each family of paths, with the same sigma / alpha = 4 / 3.
const NoiseLevel preserving{300, 0.6, 0.8}, exploding{300, 1.0, 4.0 / 3.0}, straight{300, 3.0 / 7.0, 4.0 / 7.0};

/// Returns the output of an exact model of this type for data x_0 and noise epsilon, from the
/// definition of the type. s is sigma / alpha.
template <class Tensor>
Tensor exact_output(ModelMeanType type, const Tensor& x_start, const Tensor& epsilon, double s) {
  using Scalar = typename Tensor::Scalar;
  const double alpha = 1 / std::hypot(1, s), sigma = s / std::hypot(1, s), sd = 0.5;
  const auto mix = [](const Tensor& a, double by_a, const Tensor& b, double by_b) {
    return Tensor(a * Scalar(by_a) + b * Scalar(by_b));
  };
  switch (type) {
    case ModelMeanType::epsilon:
      return epsilon;
    case ModelMeanType::start_x:
      return x_start;
    case ModelMeanType::velocity:
      return mix(epsilon, alpha, x_start, -sigma);
    case ModelMeanType::score:
      return mix(epsilon, -1 / sigma, epsilon, 0);
    case ModelMeanType::flow_velocity:
      return mix(epsilon, 1, x_start, -1);
    default: {  // F = (x_0 - c_skip (x_0 + s epsilon)) / c_out
      const double c_skip = sd * sd / (s * s + sd * sd), c_out = s * sd / std::hypot(s, sd);
      return mix(x_start, (1 - c_skip) / c_out, epsilon, -c_skip * s / c_out);
    }
  }
}

/// Returns the input of a model of this type for data x_0 and noise epsilon.
template <class Tensor>
Tensor exact_input(ModelMeanType type, const Tensor& x_start, const Tensor& epsilon, double s) {
  using Scalar = typename Tensor::Scalar;
  const double scale = type == ModelMeanType::flow_velocity ? 1 + s
                       : type == ModelMeanType::edm         ? std::hypot(s, 0.5)
                                                            : std::hypot(1, s);
  return (x_start + epsilon * Scalar(s)) * Scalar(1 / scale);
}

}  // namespace

TEMPLATE_TEST_CASE("a Denoiser recovers x_0 and epsilon from an exact model of every type on every path", "[denoiser]",
                   LAYOUTS) {
  using Tensor = typename TestType::template Tensor<3>;
  using Scalar = typename TestType::Scalar;
  const Tensor x_start = random_tensor<Tensor>({2, 3, 4}, 1), epsilon = random_tensor<Tensor>({2, 3, 4}, 2);
  for (const ModelMeanType type : all_types) {
    for (const NoiseLevel& level : {preserving, exploding, straight}) {
      INFO("type " << static_cast<int>(type) << ", alpha = " << level.alpha);
      const Tensor output = exact_output(type, x_start, epsilon, 4.0 / 3.0);
      const Tensor input = exact_input(type, x_start, epsilon, 4.0 / 3.0);
      const auto model = [&](const Tensor& x, const Eigen::Tensor<Scalar, 1>& t, Tensor& out) {
        REQUIRE_THAT(x, AllClose(input, Tolerance<Scalar>::rel, Tolerance<Scalar>::abs));
        REQUIRE(t.size() == 2);
        const double model_time = type == ModelMeanType::edm ? 0.25 * std::log(4.0 / 3.0) : 300;
        REQUIRE(std::abs(static_cast<double>(t(0)) - model_time) <= Tolerance<Scalar>::rel);
        REQUIRE(t(1) == t(0));
        out = output;
      };
      const Tensor x = x_start * Scalar(level.alpha) + epsilon * Scalar(level.sigma);
      const auto prediction = Denoiser(model, type)(x, level);
      const double allowed = 4 * Tolerance<Scalar>::rel;  // x_0 is a difference of terms of up to 4
      CHECK_THAT(prediction.x_start, AllClose(x_start, allowed, allowed));
      CHECK_THAT(prediction.epsilon, AllClose(epsilon, allowed, allowed));
    }
  }
}

TEST_CASE("the input of a model is scaled to its path from levels of any size", "[denoiser]") {
  using Tensor = Eigen::Tensor<double, 2>;
  const Tensor x = random_tensor<Tensor>({2, 3}, 1);
  const auto network = [](const Tensor& in, const Eigen::Tensor<double, 1>&) { return in; };
  const Denoiser preserves(network, ModelMeanType::velocity), flows(network, ModelMeanType::flow_velocity);
  for (const double scale : {0.5, 2.0 / 3.0, 1.0, 1.5, 2.0, 3.0}) {
    INFO("scale " << scale);
    const Tensor expected = x * (1 / scale);
    const NoiseLevel on_circle{300, 0.6 * scale, 0.8 * scale}, on_line{300, 0.25 * scale, 0.75 * scale};
    CHECK_THAT(preserves.model_input(x, on_circle), AllClose(expected, Tolerance<double>::rel));
    CHECK_THAT(flows.model_input(x, on_line), AllClose(expected, Tolerance<double>::rel));
    DenoiserOptions unscaled;
    unscaled.scale_input = false;
    CHECK_THAT(Denoiser(network, ModelMeanType::velocity, unscaled).model_input(x, on_circle), AllEqual(x));
    CHECK_THAT(Denoiser(network, ModelMeanType::velocity, unscaled)(x, on_circle).memory.output, AllEqual(x));
  }
}

TEST_CASE("an output that is x_0 or epsilon becomes the prediction as it is, without another tensor", "[denoiser]") {
  using Tensor = Eigen::Tensor<double, 2>;
  Tensor x = random_tensor<Tensor>({2, 3}, 1);
  x(1, 2) = std::numeric_limits<double>::infinity();
  const Tensor output = random_tensor<Tensor>({2, 3}, 2);
  const auto network = [&](const Tensor&, const Eigen::Tensor<double, 1>&, Tensor& out) { out = output; };
  for (const ModelMeanType type : {ModelMeanType::start_x, ModelMeanType::epsilon}) {
    Prediction<Tensor> out;
    Denoiser(network, type)(x, preserving, out);
    REQUIRE_THAT(type == ModelMeanType::start_x ? out.x_start : out.epsilon, AllEqual(output));
    REQUIRE(out.memory.output.size() == 0);
  }
}

TEST_CASE("a Denoiser divides by alpha, so that it returns the x_0 of x = alpha x_0", "[denoiser]") {
  using Tensor = Eigen::Tensor<double, 2>;
  const Tensor x = random_tensor<Tensor>({4, 25}, 1);
  const auto silent = [](const Tensor& in, const Eigen::Tensor<double, 1>&) { return Tensor(in.constant(0.0)); };
  const NoiseLevel level{300, 0.96, 0.28};
  const auto x_start = Denoiser(silent, ModelMeanType::epsilon)(x, level).x_start;
  for (Eigen::Index i = 0; i < x.size(); ++i) REQUIRE(x_start.data()[i] == x.data()[i] / level.alpha);
}

TEST_CASE("a Denoiser accepts images without channels", "[denoiser]") {
  using Tensor = Eigen::Tensor<float, 4>;
  const auto network = [](const Tensor& in, const Eigen::Tensor<float, 1>&) { return in; };
  const auto prediction = Denoiser(network, ModelMeanType::velocity)(Tensor(2, 0, 4, 4), preserving);
  REQUIRE_THAT(prediction.x_start, AllEqual(Tensor(2, 0, 4, 4)));
  REQUIRE_THAT(prediction.epsilon, AllEqual(Tensor(2, 0, 4, 4)));
}

TEST_CASE("a Denoiser throws std::domain_error only where the output does not determine x_0 and epsilon",
          "[denoiser]") {
  using Tensor = Eigen::Tensor<double, 2>;
  const Tensor x = random_tensor<Tensor>({2, 3}, 1);
  const auto same = [](const Tensor& in, const Eigen::Tensor<double, 1>&) { return in; };
  const NoiseLevel no_signal{999, 0, 1}, no_noise{0, 1, 0};
  REQUIRE(error_message<std::domain_error>([&] { (void)Denoiser(same, ModelMeanType::epsilon)(x, no_signal); }) ==
          "diffusion::Denoiser: alpha = 0 at t = 999: x_0 cannot be recovered from epsilon or the score where no "
          "signal is left");
  REQUIRE_THROWS_AS(Denoiser(same, ModelMeanType::score)(x, no_signal), std::domain_error);
  REQUIRE(error_message<std::domain_error>([&] { (void)Denoiser(same, ModelMeanType::start_x)(x, no_noise); }) ==
          "diffusion::Denoiser: sigma = 0 at t = 0: epsilon cannot be recovered from x_0 where there is no noise");
  REQUIRE_THAT(Denoiser(same, ModelMeanType::velocity)(x, no_signal).x_start, AllEqual(Tensor(-x)));
  REQUIRE_THAT(Denoiser(same, ModelMeanType::start_x)(x, no_signal).epsilon, AllEqual(x));
  REQUIRE_THAT(Denoiser(same, ModelMeanType::flow_velocity)(x, no_signal).epsilon, AllEqual(x));
  REQUIRE_THAT(Denoiser(same, ModelMeanType::epsilon)(x, no_noise).x_start, AllEqual(x));
  REQUIRE(
      error_message<std::domain_error>([&] { (void)Denoiser(same, ModelMeanType::edm)(x, no_noise); }) ==
      "diffusion::Denoiser: alpha = 1 and sigma = 0: the time of an edm model, log(sigma / alpha) / 4, is infinite");
  REQUIRE_THROWS_AS(Denoiser(same, ModelMeanType::edm)(x, no_signal), std::domain_error);
}

TEMPLATE_TEST_CASE("a Denoiser clips x_0, and rederive_epsilon decides whether epsilon follows", "[denoiser]",
                   LAYOUTS) {
  using Tensor = typename TestType::template Tensor<2>;
  using Scalar = typename TestType::Scalar;
  const Tensor x = random_tensor<Tensor>({3, 5}, 1), epsilon = random_tensor<Tensor>({3, 5}, 2);
  const auto model = [&](const Tensor&, const Eigen::Tensor<Scalar, 1>&) { return epsilon; };
  DenoiserOptions options;
  options.clip_min = -0.3;
  options.clip_max = 0.5;
  const Tensor unclipped = Denoiser(model, ModelMeanType::epsilon)(x, preserving).x_start;
  const Tensor clipped = unclipped.cwiseMax(Scalar(-0.3)).cwiseMin(Scalar(0.5));
  REQUIRE_FALSE(AllEqual(unclipped).match(clipped));
  const auto followed = Denoiser(model, ModelMeanType::epsilon, options)(x, preserving);
  CHECK_THAT(followed.x_start, AllEqual(clipped));
  const Tensor expected = (x - clipped * Scalar(0.6)) * Scalar(1 / 0.8);
  CHECK_THAT(followed.epsilon, AllClose(expected, Tolerance<Scalar>::rel, Tolerance<Scalar>::abs));
  options.rederive_epsilon = false;
  const auto left = Denoiser(model, ModelMeanType::epsilon, options)(x, preserving);
  CHECK_THAT(left.x_start, AllEqual(clipped));
  CHECK_THAT(left.epsilon, AllEqual(epsilon));
  // For every type, epsilon is then the same as without clipping.
  for (const ModelMeanType type : all_types) {
    INFO("type " << static_cast<int>(type));
    const Tensor said = Denoiser(model, type)(x, preserving).epsilon;
    CHECK_THAT(Denoiser(model, type, options)(x, preserving).epsilon, AllEqual(said));
  }
}

TEST_CASE("either bound of x_0 may be given alone", "[denoiser]") {
  using Tensor = Eigen::Tensor<double, 2>;
  const Tensor x_start = random_tensor<Tensor>({3, 5}, 1);
  const auto model = [&](const Tensor&, const Eigen::Tensor<double, 1>&) { return x_start; };
  DenoiserOptions below, above;
  below.clip_min = -0.3;
  above.clip_max = 0.5;
  CHECK_THAT(Denoiser(model, ModelMeanType::start_x, below)(x_start, preserving).x_start,
             AllEqual(Tensor(x_start.cwiseMax(-0.3))));
  CHECK_THAT(Denoiser(model, ModelMeanType::start_x, above)(x_start, preserving).x_start,
             AllEqual(Tensor(x_start.cwiseMin(0.5))));
}

TEST_CASE("a clipped prediction at sigma = 0 keeps the model's epsilon", "[denoiser]") {
  // There x_0 = x, and epsilon cannot be recovered from x and a clipped x_0.
  Eigen::Tensor<double, 2> x(1, 2), output(1, 2), clipped(1, 2);
  x.setValues({{2.0, 0.5}});
  clipped.setValues({{1.0, 0.5}});
  output.setConstant(0.25);
  for (const ModelMeanType type : {ModelMeanType::epsilon, ModelMeanType::velocity}) {
    const auto got = Denoiser(nullptr, type, {-1.0, 1.0}).prediction(output, x, {0, 1.0, 0.0});
    REQUIRE_THAT(got.x_start, AllEqual(clipped));
    REQUIRE_THAT(got.epsilon, AllEqual(output));
  }
}

TEST_CASE("epsilon follows an x_0 that only thresholding has changed", "[denoiser]") {
  using Tensor = Eigen::Tensor<double, 2>;
  const Tensor x = random_tensor<Tensor>({3, 5}, 1), x_start = random_tensor<Tensor>({3, 5}, 2) * 3.0;
  const auto model = [&](const Tensor&, const Eigen::Tensor<double, 1>&) { return x_start; };
  DenoiserOptions options;
  options.threshold_quantile = 0.5;
  const auto got = Denoiser(model, ModelMeanType::start_x, options)(x, preserving);
  REQUIRE_FALSE(AllEqual(x_start).match(got.x_start));
  const Tensor expected = (x - got.x_start * preserving.alpha) * (1 / preserving.sigma);
  REQUIRE_THAT(got.epsilon, AllClose(expected, Tolerance<double>::rel, Tolerance<double>::abs));
}

TEMPLATE_TEST_CASE("dynamic thresholding scales each sample by its own quantile", "[denoiser]", LAYOUTS) {
  using Tensor = typename TestType::template Tensor<3>;
  using Scalar = typename TestType::Scalar;
  const Tensor x_start = random_tensor<Tensor>({3, 4, 5}, 1) * Scalar(3);
  const auto model = [&](const Tensor&, const Eigen::Tensor<Scalar, 1>&) { return x_start; };
  for (const double quantile : {0.0001, 0.3, 0.9, 0.995, 1.0}) {
    for (const double cap : {1.0, 1.5, std::numeric_limits<double>::infinity()}) {
      DenoiserOptions options;
      options.threshold_quantile = quantile;
      options.threshold_max = cap;
      const Tensor got = Denoiser(model, ModelMeanType::start_x, options)(x_start, preserving).x_start;
      for (Index n = 0; n < 3; ++n) {
        std::vector<double> sorted;
        for (Index i = 0; i < 4; ++i) {
          for (Index j = 0; j < 5; ++j) sorted.push_back(std::abs(static_cast<double>(x_start(n, i, j))));
        }
        std::sort(sorted.begin(), sorted.end());
        const double place = quantile * 19;
        const auto below = static_cast<std::size_t>(place);
        const double above = sorted[std::min<std::size_t>(below + 1, 19)];
        const double s = std::min(
            std::max(sorted[below] + (place - static_cast<double>(below)) * (above - sorted[below]), 1.0), cap);
        for (Index i = 0; i < 4; ++i) {
          for (Index j = 0; j < 5; ++j) {
            const double value = static_cast<double>(x_start(n, i, j));
            const double expected = std::max(-s, std::min(value, s)) / s;
            REQUIRE(std::abs(static_cast<double>(got(n, i, j)) - expected) <= Tolerance<Scalar>::rel);
          }
        }
      }
    }
  }
}

TEST_CASE("a NaN stays NaN through clipping and thresholding and does not affect other samples", "[denoiser]") {
  using Tensor = Eigen::Tensor<float, 2, Eigen::RowMajor>;
  Tensor x_start = random_tensor<Tensor>({2, 6}, 1);
  x_start(0, 3) = std::numeric_limits<float>::quiet_NaN();
  const auto model = [&](const Tensor&, const Eigen::Tensor<float, 1>&) { return x_start; };
  DenoiserOptions options;
  options.threshold_quantile = 1;
  options.clip_min = -1, options.clip_max = 1;
  const Tensor got = Denoiser(model, ModelMeanType::start_x, options)(x_start, preserving).x_start;
  REQUIRE(std::isnan(got(0, 3)));
  for (Index i = 0; i < 6; ++i) REQUIRE(got(1, i) == x_start(1, i));
}

TEST_CASE("a Denoiser reads the first half of the channels of an output with learned variances", "[denoiser]") {
  using Tensor = Eigen::Tensor<float, 4, Eigen::RowMajor>;
  const Tensor x = random_tensor<Tensor>({2, 3, 2, 2}, 1), mean = random_tensor<Tensor>({2, 3, 2, 2}, 2);
  const auto narrow = [&](const Tensor&, const Eigen::Tensor<float, 1>&) { return mean; };
  const auto wide = [&](const Tensor&, const Eigen::Tensor<float, 1>&, Tensor& out) {
    REQUIRE(out.dimension(1) == 6);
    out.setConstant(99);
    out.slice(Eigen::array<Index, 4>{0, 0, 0, 0}, Eigen::array<Index, 4>{2, 3, 2, 2}) = mean;
  };
  DenoiserOptions options;
  options.learned_variance = true;
  for (const ModelMeanType type : all_types) {
    INFO("type " << static_cast<int>(type));
    const auto expected = Denoiser(narrow, type)(x, preserving), got = Denoiser(wide, type, options)(x, preserving);
    CHECK_THAT(got.x_start, AllEqual(expected.x_start));
    CHECK_THAT(got.epsilon, AllEqual(expected.epsilon));

    // The output may be one of the tensors of the Prediction, although it has twice as many
    // channels.
    const Denoiser denoiser(wide, type, options);
    Tensor output(2, 6, 2, 2);
    wide(x, {}, output);
    for (Tensor Prediction<Tensor>::*place : {&Prediction<Tensor>::x_start, &Prediction<Tensor>::epsilon}) {
      Prediction<Tensor> in_place;
      in_place.*place = output;
      denoiser.prediction(in_place.*place, x, preserving, in_place);
      CHECK_THAT(in_place.x_start, AllEqual(expected.x_start));
      CHECK_THAT(in_place.epsilon, AllEqual(expected.epsilon));
    }
  }
  const Eigen::Tensor<float, 1> flat = random_tensor<Eigen::Tensor<float, 1>>({3}, 1);
  const auto model = [](const Eigen::Tensor<float, 1>& in, const Eigen::Tensor<float, 1>&) { return in; };
  REQUIRE_THAT(error_message([&] { (void)Denoiser(model, ModelMeanType::epsilon, options)(flat, preserving); }),
               StartsWith("diffusion::Denoiser: x has rank 1; learned variances"));
}

TEST_CASE("a Denoiser accepts every form of model and every kind of tensor", "[denoiser]") {
  using Tensor = Eigen::Tensor<double, 2>;
  const Tensor x = random_tensor<Tensor>({2, 3}, 1);
  const auto returning = [](const auto& in, const auto&) { return in * 0.5; };
  const auto writing = [](const auto& in, const auto&, auto& out) { out = in * 0.5; };
  int calls = 0;
  auto counting = [&calls](const Tensor& in, const Eigen::Tensor<double, 1>&) mutable {
    return ++calls, Tensor(in * 0.5);
  };
  const auto expected = Denoiser(returning, ModelMeanType::epsilon)(x, preserving);
  CHECK_THAT(Denoiser(writing, ModelMeanType::epsilon)(x, preserving).x_start, AllEqual(expected.x_start));
  CHECK_THAT(Denoiser(std::ref(counting), ModelMeanType::epsilon)(x, preserving).x_start, AllEqual(expected.x_start));
  REQUIRE(calls == 1);
  CHECK_THAT(
      Denoiser(returning, ModelMeanType::epsilon)(Eigen::TensorMap<const Tensor>(x.data(), 2, 3), preserving).x_start,
      AllEqual(expected.x_start));
  CHECK_THAT(Denoiser(returning, ModelMeanType::epsilon)(x * 1.0, preserving).x_start, AllEqual(expected.x_start));
}

TEST_CASE("a Denoiser rounds x_0 once in half precision", "[denoiser]") {
  using Tensor = Eigen::Tensor<Eigen::half, 2>;
  const Tensor x = random_tensor<Tensor>({2, 3}, 1), epsilon = random_tensor<Tensor>({2, 3}, 2);
  const auto model = [&](const Tensor&, const Eigen::Tensor<Eigen::half, 1>&, Tensor& out) { out = epsilon; };
  const Eigen::Tensor<double, 2> exact = (x.cast<double>() - epsilon.cast<double>() * 0.8) * (1 / 0.6);
  CHECK_THAT(Denoiser(model, ModelMeanType::epsilon)(x, preserving).x_start,
             AllClose(exact, Tolerance<Eigen::half>::rel, Tolerance<Eigen::half>::abs));
}

TEST_CASE("a Denoiser allocates in its first call only", "[denoiser]") {
  using Tensor = Eigen::Tensor<float, 2>;
  const Tensor x = random_tensor<Tensor>({4, 300}, 1);
  const auto model = [](const Tensor& in, const Eigen::Tensor<float, 1>&, Tensor& out) {
    for (Index i = 0; i < in.size(); ++i) out.data()[i] = 2 * in.data()[i];
  };
  DenoiserOptions options;
  options.threshold_quantile = 0.9;
  options.clip_min = -1, options.clip_max = 1;
  for (const ModelMeanType type : all_types) {
    const Denoiser denoiser(model, type, options);
    Prediction<Tensor> prediction;
    denoiser(x, exploding, prediction);
    REQUIRE(count_allocations([&] { denoiser(x, exploding, prediction); }) == 0);
  }
}

TEST_CASE("a Denoiser throws std::invalid_argument for an invalid noise level", "[denoiser]") {
  using Tensor = Eigen::Tensor<double, 2>;
  const Tensor x = random_tensor<Tensor>({2, 3}, 1);
  const Denoiser denoiser([](const Tensor& y, const auto&) { return y; }, ModelMeanType::epsilon);
  REQUIRE(
      error_message([&] {
        (void)denoiser(x, NoiseLevel{0, -1, 1});
      }) ==
      "diffusion::Denoiser: level has alpha = -1 and sigma = 1; they must be finite, not negative and not both zero");
  const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  for (const NoiseLevel& level : {NoiseLevel{0, nan, 1}, {0, 1, nan}, {0, 0, 0}, {0, -1, 2}, {0, 2, -1}, {0, inf, 1}}) {
    INFO("alpha = " << level.alpha << ", sigma = " << level.sigma);
    REQUIRE_THAT(error_message([&] { (void)denoiser(x, level); }), StartsWith("diffusion::Denoiser: level has"));
  }
}

TEST_CASE("a Denoiser throws std::invalid_argument for options out of range and outputs of wrong shape", "[denoiser]") {
  const auto model = [](const Eigen::Tensor<float, 1>& x, const Eigen::Tensor<float, 1>&) { return x; };
  const auto with = [&](auto change, ModelMeanType type = ModelMeanType::epsilon) {
    return error_message([&] {
      DenoiserOptions options;
      change(options);
      Denoiser(model, type, options);
    });
  };
  REQUIRE(with([](DenoiserOptions&) {}, ModelMeanType::previous_x) ==
          "diffusion::Denoiser: mean_type previous_x is not defined by a noise level; use a ReverseProcess");
  REQUIRE(with([](DenoiserOptions& o) { o.clip_min = 1, o.clip_max = -1; }) ==
          "diffusion::Denoiser: clip_min = 1 must be less than clip_max = -1");
  REQUIRE(with([](DenoiserOptions& o) { o.threshold_quantile = 1.5; }) ==
          "diffusion::Denoiser: threshold_quantile = 1.5 is outside [0, 1]");
  REQUIRE(with([](DenoiserOptions& o) { o.threshold_max = 0.5; }) ==
          "diffusion::Denoiser: threshold_min = 1 must be positive and at most threshold_max = 0.5");
  REQUIRE(with([](DenoiserOptions& o) { o.threshold_min = 0; }) ==
          "diffusion::Denoiser: threshold_min = 0 must be positive and at most threshold_max = inf");
  REQUIRE(with([](DenoiserOptions& o) { o.sigma_data = 0; }) == "diffusion::Denoiser: sigma_data = 0 must be positive");
  REQUIRE(with([](DenoiserOptions& o) { o.output_scale = 0; }) ==
          "diffusion::Denoiser: output_scale = 0 must be finite and not 0");
  REQUIRE(with([](DenoiserOptions& o) { o.output_scale = HUGE_VAL; }) ==
          "diffusion::Denoiser: output_scale = inf must be finite and not 0");
  const auto wrong_shape = [](const Eigen::Tensor<float, 1>&, const Eigen::Tensor<float, 1>&) {
    return Eigen::Tensor<float, 1>(7);
  };
  const Eigen::Tensor<float, 1> x(3);
  REQUIRE_THAT(error_message([&] { (void)Denoiser(wrong_shape, ModelMeanType::epsilon)(x, preserving); }),
               StartsWith("diffusion::Denoiser: the model's output has shape [7], but for x of shape [3]"));
  const auto twice = [](const Eigen::Tensor<float, 2>&, const Eigen::Tensor<float, 1>&) {
    return Eigen::Tensor<float, 2>(2, 6);
  };
  REQUIRE(error_message(
              [&] { (void)Denoiser(twice, ModelMeanType::epsilon)(Eigen::Tensor<float, 2>(2, 3), preserving); }) ==
          "diffusion::Denoiser: the model's output has shape [2, 6], but for x of shape [2, 3] it must have [2, 3]; "
          "for a model with learned variances set DenoiserOptions::learned_variance = true");
}

TEMPLATE_TEST_CASE("a value that is not finite makes its whole thresholded sample NaN but no other sample",
                   "[denoiser]", LAYOUTS) {
  using Scalar = typename TestType::Scalar;
  using Tensor = typename TestType::template Tensor<2>;
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    for (const double quantile : {0.5, 1.0}) {
      Tensor x = random_tensor<Tensor>({3, 64}, 1);
      DenoiserOptions options;
      options.threshold_quantile = quantile;
      const auto model = [](const Tensor& in, const Eigen::Tensor<Scalar, 1>&, Tensor& out) { out = in; };
      const Denoiser denoiser(model, ModelMeanType::start_x, options);
      const Tensor right = denoiser(x, NoiseLevel{1, 1, 1}).x_start;
      x(1, 17) = static_cast<Scalar>(bad);
      const Tensor out = denoiser(x, NoiseLevel{1, 1, 1}).x_start;
      for (Eigen::Index i = 0; i < 64; ++i) {
        REQUIRE(out(0, i) == right(0, i));
        REQUIRE(std::isnan(out(1, i)));
        REQUIRE(out(2, i) == right(2, i));
      }
    }
  }
}

// ---- a model that runs elsewhere ----

namespace {

/// A model that is a formula of x and t. With learned variances its output has a second half of
/// channels.
struct Formula {
  bool learned_variance = false;

  template <class Tensor, class T>
  Tensor operator()(const Tensor& x, const T& t) const {
    using Scalar = typename Tensor::Scalar;
    const Tensor mean = x * Scalar(0.75) + x.constant(Scalar(0.1) * std::cos(t(0)));
    return learned_variance ? Tensor(mean.concatenate(x.constant(Scalar(99)), 1)) : mean;
  }
};

}  // namespace

TEMPLATE_TEST_CASE("model_input, model_time and prediction give the same bits as a call of the Denoiser", "[denoiser]",
                   LAYOUTS) {
  using Tensor = typename TestType::template Tensor<3>;
  using Scalar = typename TestType::Scalar;
  const Tensor x = random_tensor<Tensor>({2, 3, 4}, 1);
  const double infinity = std::numeric_limits<double>::infinity();
  for (const ModelMeanType type : all_types) {
    for (int bits = 0; bits < 32; ++bits) {
      const auto set = [bits](int k) { return (bits >> k & 1) != 0; };
      DenoiserOptions options;
      options.scale_input = set(0);
      options.learned_variance = set(1);
      options.clip_max = set(2) ? 0.3 : infinity;
      options.threshold_quantile = set(3) ? 0.9 : 0.0;
      options.rederive_epsilon = set(4);
      const Formula model{options.learned_variance};
      const Denoiser denoiser(model, type, options);
      for (const NoiseLevel& level : {preserving, exploding, straight}) {
        INFO("type " << static_cast<int>(type) << ", options " << bits << ", alpha = " << level.alpha);
        Eigen::Tensor<Scalar, 1> t(2);
        t.setConstant(static_cast<Scalar>(denoiser.model_time(level)));
        const Tensor output = model(denoiser.model_input(x, level), t);
        const Prediction<Tensor> expected = denoiser(x, level), got = denoiser.prediction(output, x, level);
        REQUIRE_THAT(got.x_start, AllEqual(expected.x_start));
        REQUIRE_THAT(got.epsilon, AllEqual(expected.epsilon));
      }
    }
  }
}

TEST_CASE("model_input_into and prediction accept maps, and the output may alias the prediction", "[denoiser]") {
  using Tensor = Eigen::Tensor<float, 2, Eigen::RowMajor>;
  const Tensor x = random_tensor<Tensor>({2, 3}, 1);
  for (const ModelMeanType type : all_types) {
    INFO("type " << static_cast<int>(type));
    const Denoiser denoiser(Formula{}, type);
    std::vector<float> memory(6);
    denoiser.model_input_into(Eigen::TensorMap<Tensor>(memory.data(), 2, 3), x, exploding);
    const Eigen::TensorMap<const Tensor> input(memory.data(), 2, 3);
    REQUIRE_THAT(Tensor(input), AllEqual(denoiser.model_input(x, exploding)));
    const Prediction<Tensor> expected = denoiser.prediction(input, x, exploding);
    Prediction<Tensor> got;
    for (Tensor Prediction<Tensor>::*place : {&Prediction<Tensor>::x_start, &Prediction<Tensor>::epsilon}) {
      got.*place = input;
      denoiser.prediction(got.*place, x, exploding, got);
      REQUIRE_THAT(got.x_start, AllEqual(expected.x_start));
      REQUIRE_THAT(got.epsilon, AllEqual(expected.epsilon));
    }
    const Tensor output = input;
    REQUIRE(count_allocations([&] { denoiser.prediction(output, x, exploding, got); }) == 0);
  }
}

TEST_CASE("model_time is the time of the level, and log(sigma / alpha) / 4 for edm", "[denoiser]") {
  REQUIRE(Denoiser(Formula{}, ModelMeanType::velocity).model_time(exploding) == 300);
  REQUIRE(Denoiser(Formula{}, ModelMeanType::edm).model_time(exploding) == 0.25 * std::log(4.0 / 3.0));
  DenoiserOptions options;
  options.edm_time = false;
  REQUIRE(Denoiser(Formula{}, ModelMeanType::edm, options).model_time(exploding) == 300);
}

TEMPLATE_TEST_CASE("output_scale multiplies the output of a model of every type", "[denoiser]", LAYOUTS) {
  using Tensor = typename TestType::template Tensor<3>;
  using Scalar = typename TestType::Scalar;
  const Tensor x = random_tensor<Tensor>({2, 2, 3}, 1), output = random_tensor<Tensor>({2, 2, 3}, 2);
  DenoiserOptions options;
  options.output_scale = -2.0;  // a power of two, so that nothing rounds
  const Tensor scaled = output * Scalar(-0.5);
  for (const ModelMeanType type : all_types) {
    INFO("type " << static_cast<int>(type));
    const auto expected = Denoiser(nullptr, type).prediction(output, x, preserving);
    const auto got = Denoiser(nullptr, type, options).prediction(scaled, x, preserving);
    CHECK_THAT(got.x_start, AllClose(expected.x_start, Tolerance<Scalar>::rel, Tolerance<Scalar>::abs));
    CHECK_THAT(got.epsilon, AllClose(expected.epsilon, Tolerance<Scalar>::rel, Tolerance<Scalar>::abs));
  }
}

TEST_CASE("model_input, model_time and prediction throw the errors of the Denoiser under their own names",
          "[denoiser]") {
  using Tensor = Eigen::Tensor<double, 3>;
  const Tensor x = random_tensor<Tensor>({2, 3, 4}, 1), wide = x.concatenate(x, 1);
  const NoiseLevel no_signal{999, 0, 1};
  const Denoiser denoiser(Formula{}, ModelMeanType::epsilon);
  DenoiserOptions options;
  options.learned_variance = true;
  const Denoiser learned(Formula{true}, ModelMeanType::epsilon, options);
  Prediction<Tensor> out;
  const std::string where = "diffusion::Denoiser::prediction: output has shape ";
  REQUIRE(error_message([&] { denoiser.prediction(Tensor(2, 3, 5), x, preserving, out); }) ==
          where + "[2, 3, 5], but for x of shape [2, 3, 4] it must have [2, 3, 4]");
  REQUIRE(error_message([&] { denoiser.prediction(wide, x, preserving, out); }) ==
          where +
              "[2, 6, 4], but for x of shape [2, 3, 4] it must have [2, 3, 4]; for a model with learned variances "
              "set DenoiserOptions::learned_variance = true");
  REQUIRE(error_message([&] { learned.prediction(x, x, preserving, out); }) ==
          where +
              "[2, 3, 4], but for x of shape [2, 3, 4] it must have [2, 6, 4]; for a model without learned "
              "variances set DenoiserOptions::learned_variance = false");
  REQUIRE_THAT(error_message([&] { Denoiser(Formula{true}, ModelMeanType::epsilon)(x, preserving, out); }),
               StartsWith("diffusion::Denoiser: the model's output has shape [2, 6, 4]") &&
                   EndsWith("set DenoiserOptions::learned_variance = true"));
  REQUIRE_THAT(error_message([&] { Denoiser(Formula{}, ModelMeanType::epsilon, options)(x, preserving, out); }),
               EndsWith("set DenoiserOptions::learned_variance = false"));
  Tensor small(2, 3, 1);
  REQUIRE(error_message([&] { denoiser.model_input_into(small, x, preserving); }) ==
          "diffusion::Denoiser::model_input: out has shape [2, 3, 1], but x has [2, 3, 4]");
  REQUIRE_THAT(error_message<std::domain_error>([&] { denoiser.model_input_into(out.x_start, x, no_signal); }),
               StartsWith("diffusion::Denoiser::model_input: alpha = 0 at t = 999"));
  REQUIRE_THAT(error_message<std::domain_error>([&] { denoiser.prediction(x, x, no_signal, out); }),
               StartsWith("diffusion::Denoiser::prediction: alpha = 0 at t = 999"));
  REQUIRE_THAT(error_message<std::domain_error>(
                   [&] { static_cast<void>(Denoiser(Formula{}, ModelMeanType::edm).model_time(no_signal)); }),
               StartsWith("diffusion::Denoiser::model_time: alpha = 0 and sigma = 1"));
}

}  // namespace denoiser_tests
