/// Tests of diffusion/training/losses.hpp: each sample is independent of its batch and of the
/// layout.
#include "diffusion/process/respacing.hpp"
#include "diffusion/training/losses.hpp"
#include "guided_model.hpp"
#include "matchers.hpp"
#include "samples.hpp"
#include "training_problem.hpp"

namespace losses_batches_tests {

using diffusion::GaussianDiffusion;
using diffusion::LossType;
using diffusion::ModelMeanType;
using diffusion::ModelVarType;
using diffusion::ReverseOptions;
using diffusion::Timesteps;
using diffusion::training_losses;
using diffusion::training_losses_gradient;
using Eigen::Index;

namespace {

template <class Case, int Rank>
void check_batch_independence() {
  INFO("rank " << Rank);
  using Scalar = typename Case::Scalar;
  using Other = ::Case<Scalar, Case::layout == Eigen::RowMajor ? Eigen::ColMajor : Eigen::RowMajor>;
  const auto process = diffusion::respace(GaussianDiffusion<Scalar>(diffusion::cosine_beta_schedule(40)),
                                          diffusion::space_timesteps(40, "12"));
  const ReverseOptions options{ModelMeanType::epsilon, Rank == 1 ? ModelVarType::fixed_large : ModelVarType::learned,
                               true, false};
  const TrainingProblem<Case, Rank> p(process, options, 67);
  const auto turned = [](const auto& x) { return with_layout<Other::layout>(x); };
  const auto mirrored = guided_reverse<Scalar, Rank, Other::layout>(process, options);
  for (const LossType type : loss_types) {
    const auto all = training_losses(p.reverse, p.x_start, p.t, p.noise, type);
    const auto gradient = p.gradient(type);
    for (const Index n : {0, 1, 12, 63, 64, 66}) {
      const auto x = sample_of(p.x_start, n), z = sample_of(p.noise, n), x_t = sample_of(p.x_t, n);
      REQUIRE(training_losses(p.reverse, x, p.t(n), z, type).loss(0) == all.loss(n));
      REQUIRE_THAT(training_losses_gradient(p.reverse, sample_of(p.output, n), x, x_t, p.t(n), z, type),
                   AllEqual(sample_of(gradient, n)));
    }
    REQUIRE_THAT(training_losses(mirrored, turned(p.x_start), p.t, turned(p.noise), type).loss, AllEqual(all.loss));
    REQUIRE_THAT(training_losses_gradient(mirrored, turned(p.output), turned(p.x_start), turned(p.x_t), p.t,
                                          turned(p.noise), type),
                 AllEqual(gradient));
  }
}

}  // namespace

TEST_CASE("the loss of a sample does not depend on its batch or on the layout", "[losses]") {
  check_batch_independence<DoubleRowMajor, 1>();
  check_batch_independence<FloatColMajor, 2>();
  check_batch_independence<DoubleRowMajor, 3>();
  check_batch_independence<DoubleColMajor, 4>();
  check_batch_independence<FloatRowMajor, 5>();
}

}  // namespace losses_batches_tests
