// Tests of guided models: calls of one model or two, learned variances, independence of the rest of
// the batch, and allocations.
#include <cstddef>
#include <functional>
#include <vector>

#include "diffusion/guidance/adaptive_projected.hpp"
#include "diffusion/guidance/classifier.hpp"
#include "diffusion/guidance/classifier_free.hpp"
#include "diffusion/guidance/guided_model.hpp"
#include "diffusion/process/schedules.hpp"
#include "diffusion/sampling/reverse_process.hpp"
#include "guidance_models.hpp"

namespace guided_model_tests {

using diffusion::AdaptiveProjectedGuidance;
using diffusion::classifier_guidance;
using diffusion::ClassifierFreeGuidance;
using diffusion::GaussianDiffusion;
using diffusion::guided_model;
using diffusion::guided_model_of_doubled_batch;
using diffusion::limited_interval;
using diffusion::ModelMeanType;
using diffusion::ModelVarType;
using diffusion::ReverseProcess;
using Eigen::Index;
using models::BothModels;
using models::cond_model;
using models::model_times;
using models::output;
using models::uncond_model;

// ---- one model of a doubled batch; learned variances ----

namespace {

template <class Case, int Rank>
void check_doubled_batch() {
  using Scalar = typename Case::Scalar;
  using Tensor = typename Case::template Tensor<Rank>;
  INFO("rank " << Rank);
  const Tensor x = random_tensor<Tensor>(shape_of_rank<Rank>(5), 1);
  const auto t = model_times<Scalar>({1, 200, 300, 40, 5});
  const auto check = [&](const auto& guidance) {
    int calls = 0;
    auto one = guided_model_of_doubled_batch(BothModels{&calls}, guidance);
    auto two = guided_model(cond_model(), uncond_model(), guidance);
    REQUIRE_THAT(output(one, x, t), AllEqual(output(two, x, t)));
    REQUIRE_THAT(output(one, x, t), AllEqual(output(two, x, t)));
    REQUIRE(calls == 2);
  };
  check(ClassifierFreeGuidance{7.5});
  check(ClassifierFreeGuidance{limited_interval(7.5, 100, 250), 0.7});
  check(ClassifierFreeGuidance{1});
  check(ClassifierFreeGuidance{0});
  check(AdaptiveProjectedGuidance{7.5, 0.1, 2, -0.5});
}

}  // namespace

TEST_CASE("one model of a doubled batch equals two models", "[guided_model]") {
  check_doubled_batch<FloatRowMajor, 1>();
  check_doubled_batch<DoubleColMajor, 2>();
  check_doubled_batch<FloatColMajor, 3>();
  check_doubled_batch<DoubleRowMajor, 4>();
  check_doubled_batch<FloatColMajor, 5>();
}

TEMPLATE_TEST_CASE("guidance of learned variances changes the first half of the channels only", "[guided_model]",
                   LAYOUTS) {
  using Scalar = typename TestType::Scalar;
  using Tensor = typename TestType::template Tensor<3>;
  const auto t = model_times<Scalar>({1, 200, 300});
  for (const Index channels : {1, 2, 3, 5}) {
    const Tensor x = random_tensor<Tensor>({3, channels, 4}, 1);
    const Eigen::array<Index, 3> zero{0, 0, 0}, middle{0, channels, 0}, half{3, channels, 4};
    const auto check = [&](auto&& model, auto&& mean_model) {
      Tensor c(3, 2 * channels, 4), out(3, 2 * channels, 4);
      cond_model()(x, t, c);
      model(x, t, out);
      REQUIRE_THAT(Tensor(out.slice(middle, half)), AllEqual(Tensor(c.slice(middle, half))));
      REQUIRE_THAT(Tensor(out.slice(zero, half)), AllEqual(output(mean_model, x, t)));
    };
    const auto check_guidance = [&](const auto& guidance) {
      check(guided_model(cond_model(), uncond_model(), guidance), guided_model(cond_model(), uncond_model(), guidance));
      check(guided_model_of_doubled_batch(BothModels{}, guidance),
            guided_model(cond_model(), uncond_model(), guidance));
    };
    check_guidance(ClassifierFreeGuidance{7.5});
    check_guidance(ClassifierFreeGuidance{0, 0.7});
    check_guidance(AdaptiveProjectedGuidance{7.5, 0, 1, 0.5});
    const GaussianDiffusion<Scalar> process(diffusion::cosine_beta_schedule(400));
    check(classifier_guidance(process, cond_model(), uncond_model()),
          classifier_guidance(process, cond_model(), uncond_model()));
  }
}

// ---- batches, layouts, memory ----

namespace {

/// Returns the output of every kind of guidance for x, in the second call of each guided model.
template <class Tensor, class T>
std::vector<Tensor> everything(const Tensor& x, const T& t) {
  std::vector<Tensor> out;
  const auto add = [&](auto&& model) {
    output(model, x, t);
    out.push_back(output(model, x, t));
  };
  const auto scale = limited_interval(7.5, 100, 300);
  add(guided_model(cond_model(), uncond_model(), ClassifierFreeGuidance{7.5}));
  add(guided_model(cond_model(), uncond_model(), ClassifierFreeGuidance{scale, 0.7}));
  add(guided_model(cond_model(), uncond_model(), AdaptiveProjectedGuidance{scale, 0.1, 2, -0.5}));
  add(guided_model_of_doubled_batch(BothModels{}, ClassifierFreeGuidance{scale, 0.7}));
  add(classifier_guidance(GaussianDiffusion<typename Tensor::Scalar>(diffusion::cosine_beta_schedule(400)),
                          cond_model(), uncond_model(), 2.0));
  return out;
}

}  // namespace

TEMPLATE_TEST_CASE("a guided sample does not depend on its batch or the layout, bit for bit", "[guided_model]",
                   LAYOUTS) {
  using Scalar = typename TestType::Scalar;
  using Tensor = typename TestType::template Tensor<3>;
  for (const Index width : {3, 43}) {
    const Tensor x = random_tensor<Tensor>({70, 2, width}, 1);
    Eigen::Tensor<Scalar, 1> t(70);
    for (Index n = 0; n < 70; ++n) t(n) = static_cast<Scalar>((n * 37) % 399);
    const std::vector<Tensor> all = everything(x, t);
    constexpr int other = TestType::layout == Eigen::RowMajor ? Eigen::ColMajor : Eigen::RowMajor;
    const auto mirrored = everything(with_layout<other>(x), t);
    for (std::size_t i = 0; i < all.size(); ++i) REQUIRE_THAT(mirrored[i], AllEqual(all[i]));
    for (const Index n : {0, 1, 12, 63, 64, 69}) {
      const std::vector<Tensor> one = everything(sample_of(x, n), model_times<Scalar>({static_cast<double>(t(n))}));
      for (std::size_t i = 0; i < all.size(); ++i) {
        INFO("sample " << n << ", kind " << i);
        REQUIRE_THAT(sample_of(all[i], n), AllEqual(one[i]));
      }
    }
  }
}

TEMPLATE_TEST_CASE("guidance accepts expressions, maps and empty batches", "[guided_model]", FloatRowMajor,
                   DoubleColMajor) {
  using Scalar = typename TestType::Scalar;
  using Tensor = typename TestType::template Tensor<3>;
  const Tensor x = random_tensor<Tensor>({3, 2, 4}, 1);
  const auto t = model_times<Scalar>({1, 200, 300});
  const Eigen::TensorMap<const Tensor> map(x.data(), x.dimensions());
  const auto returning = [](const Tensor& y, const Eigen::Tensor<Scalar, 1>& s) { return output(cond_model(), y, s); };
  const auto scaled = [](const auto& y, const auto&) { return y * Scalar(0.5); };  // an expression
  const auto check = [&](auto&& model) {
    const Tensor expected = output(model, x, t);
    REQUIRE_THAT(model(x, t), AllEqual(expected));
    REQUIRE_THAT(model(map, t), AllEqual(expected));
    REQUIRE_THAT(model(x * Scalar(1), t + t.constant(Scalar(0))), AllEqual(expected));
    Tensor none(0, 2, 4);
    REQUIRE(output(model, none, Eigen::Tensor<Scalar, 1>(0)).size() == 0);
    none.resize(3, 0, 4);
    REQUIRE(output(model, none, t).dimension(0) == 3);
  };
  check(guided_model(returning, scaled, ClassifierFreeGuidance{7.5, 0.7}));
  check(guided_model(returning, scaled, AdaptiveProjectedGuidance{7.5}));
  check(guided_model_of_doubled_batch(scaled, ClassifierFreeGuidance{7.5}));
  check(classifier_guidance(GaussianDiffusion<Scalar>(diffusion::cosine_beta_schedule(400)), returning, scaled));
}

TEMPLATE_TEST_CASE("guidance allocates in its first call only", "[guided_model]", FloatRowMajor, DoubleColMajor) {
  using Scalar = typename TestType::Scalar;
  using Tensor = typename TestType::template Tensor<3>;
  const Tensor x = random_tensor<Tensor>({3, 2, 40}, 1);
  const auto t = model_times<Scalar>({1, 200, 300});
  const auto half = [](const auto& y, const auto&, auto& out) {
    for (Index i = 0; i < out.size(); ++i) out.data()[i] = y.data()[i % y.size()] / 2;
  };
  for (const Index channels : {2, 4}) {
    Tensor out(3, channels, 40);
    const auto check = [&](auto&& model) {
      model(x, t, out);
      REQUIRE(count_allocations([&] { model(x, t, out); }) == 0);
    };
    check(guided_model(cond_model(), half, ClassifierFreeGuidance{limited_interval(7.5, 100, 200), 0.7}));
    check(guided_model(cond_model(), half, AdaptiveProjectedGuidance{7.5, 0, 1, -0.5}));
    check(guided_model_of_doubled_batch(half, ClassifierFreeGuidance{7.5, 0.7}));
    check(classifier_guidance(GaussianDiffusion<Scalar>(diffusion::cosine_beta_schedule(400)), cond_model(), half));
  }
}

namespace {

/// Guidance that leaves the conditional output as it is and needs no memory.
struct NoGuidance {
  diffusion::GuidanceScale scale;

  template <class Tensor>
  struct State {};
  template <class Tensor>
  void guide(Tensor&, const Tensor&, const Eigen::Tensor<double, 1>&, State<Tensor>&) const {}
};

}  // namespace

TEST_CASE("a doubled batch at scale 1 needs no memory for the unconditional output", "[guided_model]") {
  using Tensor = FloatRowMajor::Tensor<2>;
  const Tensor x = random_tensor<Tensor>({3, 40}, 1);
  const auto t = model_times<float>({1, 200, 300});
  const auto allocations = [&](double scale) {
    auto guided = guided_model_of_doubled_batch(BothModels(), NoGuidance{scale});
    Tensor out(3, 40);
    return count_allocations([&] { guided(x, t, out); });
  };
  REQUIRE(allocations(2) == allocations(1) + 1);
}

// ---- in the reverse process ----

TEST_CASE("a ReverseProcess samples with a guided model", "[guided_model]") {
  using Tensor = FloatRowMajor::Tensor<4>;
  const auto process = models::spaced_process<float>();
  const Tensor x_T = random_tensor<Tensor>({2, 3, 2, 2}, 1);
  auto guided = guided_model(cond_model(), uncond_model(), ClassifierFreeGuidance{2.5, 0.7});
  const auto by_hand = [](const Tensor& x, const Eigen::Tensor<float, 1>& t) {
    return guided_model(cond_model(), uncond_model(), ClassifierFreeGuidance{2.5, 0.7})(x, t);
  };
  REQUIRE_THAT(ReverseProcess(process, std::ref(guided)).ddim_sample_loop(x_T),
               AllEqual(ReverseProcess(process, by_hand).ddim_sample_loop(x_T)));

  auto projected = guided_model_of_doubled_batch(BothModels{}, AdaptiveProjectedGuidance{2.5, 0, 1, -0.5});
  const ReverseProcess reverse(process, std::ref(projected),
                               {ModelMeanType::start_x, ModelVarType::learned_range, false, false});
  const Tensor once = reverse.ddim_sample_loop(x_T);
  REQUIRE_FALSE(AllEqual(once).match(reverse.ddim_sample_loop(x_T)));
  projected.reset();
  REQUIRE_THAT(reverse.ddim_sample_loop(x_T), AllEqual(once));

  // A guided model can itself be guided.
  auto both = classifier_guidance(process, std::ref(guided), uncond_model());
  REQUIRE_THAT(both(x_T, model_times<float>({0, 999})),
               AllEqual(classifier_guidance(process, by_hand, uncond_model())(x_T, model_times<float>({0, 999}))));
}

TEST_CASE("a guided model refuses a result of a wrong shape before it calls a model, at any scale", "[guided_model]") {
  using Tensor = FloatRowMajor::Tensor<2>;
  const Tensor x = random_tensor<Tensor>({2, 4}, 1);
  for (const double scale : {1.0, 2.0}) {
    int calls = 0;
    auto guided = guided_model(cond_model(&calls), uncond_model(&calls), ClassifierFreeGuidance{scale});
    Tensor out(2, 5);
    REQUIRE(error_message([&] {
              guided(x, model_times<float>({5, 6}), out);
            }) == "diffusion::GuidedModel: out has shape [2, 5], but for x of shape [2, 4] it must have [2, 4]");
    REQUIRE(calls == 0);
  }
}

}  // namespace guided_model_tests
