// Tests of diffusion/sampling/reverse_process.hpp: a result depends on its sample only, not on the
// batch, layout, rank, device or form of the call. Also allocations.
#include <array>
#include <cstddef>
#include <unsupported/Eigen/CXX11/ThreadPool>
#include <vector>

#include "diffusion/noise/philox_noise.hpp"
#include "diffusion/sampling/reverse_process.hpp"
#include "matchers.hpp"
#include "reverse_models.hpp"
#include "samples.hpp"

namespace reverse_batches_tests {

using diffusion::ModelMeanType;
using diffusion::ModelVarType;
using diffusion::PhiloxNoise;
using diffusion::PMeanVariance;
using diffusion::ReverseOptions;
using diffusion::ReverseProcess;
using diffusion::ReverseStep;
using diffusion::ReverseWorkspace;
using diffusion::Timesteps;
using Eigen::Index;
using models::QuarterModel;
using models::spaced_process;
using models::timesteps;
using models::var_types;

namespace {

/// The results of all functions of a guided process for x, t and noise.
template <class Reverse, class Tensor>
std::vector<Tensor> everything(const Reverse& reverse, const Tensor& x, diffusion::TimestepsView t,
                               const Tensor& noise) {
  const PMeanVariance<Tensor> p = reverse.p_mean_variance(x, t), s = reverse.condition_score(p, x, t);
  const ReverseStep<Tensor> a = reverse.p_sample(x, t, noise), b = reverse.ddim_sample(x, t, noise, 0.5),
                            c = reverse.ddim_sample(x, t), d = reverse.ddim_reverse_sample(x, t);
  return {p.mean,
          p.variance,
          p.log_variance,
          p.pred_xstart,
          s.mean,
          s.variance,
          s.log_variance,
          s.pred_xstart,
          a.sample,
          a.pred_xstart,
          b.sample,
          b.pred_xstart,
          c.sample,
          c.pred_xstart,
          d.sample,
          d.pred_xstart,
          reverse.condition_mean(p, x, t),
          reverse.model_output(x, t)};
}

}  // namespace

TEMPLATE_TEST_CASE("a sample's results do not depend on the rest of its batch, bit for bit", "[reverse_process]",
                   FloatRowMajor, DoubleColMajor) {
  using Tensor = typename TestType::template Tensor<3>;
  // Samples of 6 and 86 values: about one packet, and many.
  for (const Index width : {3, 43}) {
    const Tensor x = random_tensor<Tensor>({5, 2, width}, 1), noise = random_tensor<Tensor>({5, 2, width}, 2);
    const Timesteps t = timesteps({7, 0, 39, 1, 20});
    for (const ModelMeanType mean_type : models::mean_types) {
      for (const ModelVarType var_type : var_types) {
        const auto reverse =
            ReverseProcess(spaced_process<typename TestType::Scalar>(), models::AnyGuidedModel{var_type},
                           ReverseOptions{mean_type, var_type, true, true})
                .with_cond_fn(models::Gradient{});
        const std::vector<Tensor> all = everything(reverse, x, t, noise);
        for (Index n = 0; n < 5; ++n) {
          const std::vector<Tensor> one = everything(reverse, sample_of(x, n), t(n), sample_of(noise, n));
          for (std::size_t i = 0; i < all.size(); ++i) {
            INFO("mean_type " << int(mean_type) << ", var_type " << int(var_type) << ", result " << i << ", sample "
                              << n);
            REQUIRE_THAT(sample_of(all[i], n), AllEqual(one[i]));
          }
        }
      }
    }
  }
}

TEST_CASE("both layouts and one t for the whole batch give the same values, bit for bit", "[reverse_process]") {
  using Row = FloatRowMajor::Tensor<3>;
  using Col = FloatColMajor::Tensor<3>;
  const Row x = random_tensor<Row>({4, 2, 9}, 1), noise = random_tensor<Row>({4, 2, 9}, 2);
  for (const ModelVarType var_type : var_types) {
    const auto reverse =
        ReverseProcess(spaced_process<float>(), models::AnyGuidedModel{var_type}, {ModelMeanType::epsilon, var_type})
            .with_cond_fn(models::Gradient{});
    const std::vector<Row> row = everything(reverse, x, timesteps({5, 5, 5, 5}), noise);
    const std::vector<Row> uniform = everything(reverse, x, 5, noise);
    const std::vector<Col> col =
        everything(reverse, with_layout<Eigen::ColMajor>(x), 5, with_layout<Eigen::ColMajor>(noise));
    for (std::size_t i = 0; i < row.size(); ++i) {
      INFO("result " << i);
      REQUIRE_THAT(uniform[i], AllEqual(row[i]));
      REQUIRE_THAT(col[i], AllEqual(row[i]));
    }
  }
}

namespace {

/// Requires that p_sample of a reshaped x is the reshaped p_sample of x.
template <int Rank>
void check_rank(const Eigen::array<Index, static_cast<std::size_t>(Rank)>& shape, ModelVarType var_type) {
  using Tensor = DoubleRowMajor::Tensor<Rank>;
  using Plain = DoubleRowMajor::Tensor<3>;
  const Plain x = random_tensor<Plain>({4, 2, 12}, 1), noise = random_tensor<Plain>({4, 2, 12}, 2);
  const Timesteps t = timesteps({7, 0, 39, 1});
  const ReverseProcess reverse(spaced_process<double>(), models::AnyGuidedModel{var_type},
                               {ModelMeanType::epsilon, var_type});
  const Tensor shaped = x.reshape(shape), shaped_noise = noise.reshape(shape);
  INFO("rank " << Rank);
  if (Rank == 1) {  // every value is a sample
    const auto one = reverse.p_sample(shaped, 7, shaped_noise);
    const auto expected = reverse.p_sample(x, 7, noise);
    REQUIRE_THAT(Plain(one.sample.reshape(x.dimensions())), AllEqual(expected.sample));
    REQUIRE_THAT(reverse.p_mean_variance(shaped, 7).variance,
                 AllEqual(Tensor(reverse.p_mean_variance(x, 7).variance.reshape(shape))));
  } else {
    const auto step = reverse.p_sample(shaped, t, shaped_noise);
    const auto expected = reverse.p_sample(x, t, noise);
    REQUIRE_THAT(step.sample, AllEqual(Tensor(expected.sample.reshape(shape))));
    REQUIRE_THAT(step.pred_xstart, AllEqual(Tensor(expected.pred_xstart.reshape(shape))));
  }
}

}  // namespace

TEST_CASE("ranks 1 to 5 give the same values, bit for bit", "[reverse_process]") {
  check_rank<1>({96}, ModelVarType::fixed_small);
  for (const ModelVarType var_type : {ModelVarType::fixed_large, ModelVarType::learned_range}) {
    check_rank<4>({4, 2, 3, 4}, var_type);
    check_rank<5>({4, 2, 3, 2, 2}, var_type);
  }
  using Matrix = DoubleRowMajor::Tensor<2>;
  const ReverseProcess reverse(spaced_process<double>(), models::AnyGuidedModel{ModelVarType::learned},
                               {ModelMeanType::epsilon, ModelVarType::learned});
  const Matrix x = random_tensor<Matrix>({3, 4}, 1);
  REQUIRE_THAT(
      reverse.p_mean_variance(x, 5).log_variance,
      AllEqual(Matrix(reverse.model_output(x, 5).slice(Eigen::array<Index, 2>{0, 4}, Eigen::array<Index, 2>{3, 4}))));
}

TEST_CASE("every function of a ReverseProcess accepts an empty batch", "[reverse_process]") {
  using Tensor = FloatColMajor::Tensor<3>;
  const Tensor x(0, 2, 3);
  for (const ModelVarType var_type : {ModelVarType::fixed_small, ModelVarType::learned_range}) {
    const auto reverse = ReverseProcess(spaced_process<float>(), QuarterModel{}, {ModelMeanType::epsilon, var_type})
                             .with_cond_fn(QuarterModel{});
    for (const Tensor& out : everything(reverse, x, Timesteps(0), x)) REQUIRE(out.size() == 0);
    REQUIRE(reverse.p_sample_loop(x, PhiloxNoise(1)).dimension(1) == 2);
    REQUIRE(reverse.ddim_sample_loop(x).dimension(2) == 3);
  }
}

TEST_CASE("_into forms write what the other forms return, into maps, in place, from expressions and on any device",
          "[reverse_process]") {
  using Tensor = FloatRowMajor::Tensor<3>;
  using Map = Eigen::TensorMap<Tensor>;
  Eigen::ThreadPool threads(3);
  const Eigen::ThreadPoolDevice device(&threads, 3);
  const Tensor x = random_tensor<Tensor>({50, 2, 40}, 1), noise = random_tensor<Tensor>({50, 2, 40}, 2);
  for (const ModelVarType var_type : {ModelVarType::fixed_small, ModelVarType::learned_range}) {
    for (const ModelMeanType mean_type : {ModelMeanType::previous_x, ModelMeanType::epsilon}) {
      const auto reverse =
          ReverseProcess(spaced_process<float>(), models::AnyGuidedModel{var_type}, {mean_type, var_type})
              .with_cond_fn(models::Gradient{});
      ReverseWorkspace<Tensor> workspace;
      const PMeanVariance<Tensor> p = reverse.p_mean_variance(x, 7);
      const ReverseStep<Tensor> step = reverse.p_sample(x, 7, noise), ddim = reverse.ddim_sample(x, 7, noise, 0.5);

      std::vector<float> memory(4 * static_cast<std::size_t>(x.size()));
      const auto map = [&](Index i) { return Map(memory.data() + i * x.size(), x.dimensions()); };
      reverse.p_mean_variance_into(PMeanVariance<Map>{map(0), map(1), map(2), map(3)}, x, 7, workspace, device);
      REQUIRE_THAT(map(0), AllEqual(p.mean));
      REQUIRE_THAT(map(1), AllEqual(p.variance));
      REQUIRE_THAT(map(2), AllEqual(p.log_variance));
      REQUIRE_THAT(map(3), AllEqual(p.pred_xstart));
      REQUIRE_THAT(reverse.moments_from_output(workspace.output, x, 7, true).mean, AllEqual(p.mean));

      reverse.p_sample_into(ReverseStep<Map>{map(0), map(1)}, x, 7, noise, workspace, device);
      REQUIRE_THAT(map(0), AllEqual(step.sample));
      REQUIRE_THAT(map(1), AllEqual(step.pred_xstart));

      ReverseStep<Tensor> over{x, x};
      reverse.p_sample_into(over, over.sample, 7, noise, workspace);
      REQUIRE_THAT(over.sample, AllEqual(step.sample));
      over.sample = x;
      reverse.ddim_sample_into(over, over.sample, 7, noise * 1.0f, 0.5, workspace, device);
      REQUIRE_THAT(over.sample, AllEqual(ddim.sample));
      REQUIRE_THAT(reverse.p_sample(x * 1.0f, 7, noise * 1.0f).sample, AllEqual(step.sample));
    }
  }
}

TEMPLATE_TEST_CASE("only the first step allocates if the model writes its output", "[reverse_process]", FloatRowMajor,
                   DoubleColMajor) {
  using Tensor = typename TestType::template Tensor<3>;
  const Tensor x = random_tensor<Tensor>({4, 2, 40}, 1);
  const Timesteps t = timesteps({3, 0, 39, 7});
  for (const ModelVarType var_type : {ModelVarType::fixed_small, ModelVarType::learned_range}) {
    for (const ModelMeanType mean_type : {ModelMeanType::previous_x, ModelMeanType::velocity}) {
      const auto reverse =
          ReverseProcess(spaced_process<typename TestType::Scalar>(), QuarterModel{}, {mean_type, var_type})
              .with_cond_fn(QuarterModel{})
              .with_denoised_fn([](auto& y) { y = y * y; });
      ReverseWorkspace<Tensor> workspace;
      PMeanVariance<Tensor> p{x, x, x, x};
      ReverseStep<Tensor> step{x, x};
      PhiloxNoise noise(1);
      const auto all = [&] {
        reverse.p_mean_variance_into(p, x, t, workspace);
        reverse.moments_from_output_into(p, workspace.output, x, t, true);
        reverse.condition_mean_into(p.mean, p, x, t, workspace);
        reverse.condition_score_into(p, p, x, t, workspace);
        reverse.p_sample_into(step, x, t, noise, workspace);
        reverse.ddim_sample_into(step, x, t, noise, 0.5, workspace);
        reverse.ddim_reverse_sample_into(step, x, t, workspace);
      };
      all();
      REQUIRE(count_allocations(all) == 0);

      std::vector<long> counts(static_cast<std::size_t>(reverse.process().num_timesteps()));
      const auto observer = [&](Index k, Index, const auto&) { counts[static_cast<std::size_t>(k)] = allocations(); };
      (void)reverse.p_sample_loop(x, noise, observer);
      REQUIRE(counts.back() == counts.front());
      (void)reverse.ddim_sample_loop(x, noise, 0.5, observer);
      REQUIRE(counts.back() == counts.front());
      REQUIRE(count_allocations([&] { reverse.p_sample_loop_into(step, x, noise, observer, workspace); }) == 0);
    }
  }
}

}  // namespace reverse_batches_tests
