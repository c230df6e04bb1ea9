/// Tests of diffusion/training/losses.hpp against recorded results of guided-diffusion.
/// losses_batches.cpp tests that the other layouts give the same bits.
#include <string>
#include <type_traits>
#include <vector>

#include "diffusion/process/respacing.hpp"
#include "diffusion/training/losses.hpp"
#include "guided_model.hpp"
#include "matchers.hpp"

namespace losses_golden_tests {

using diffusion::GaussianDiffusion;
using diffusion::LossType;
using diffusion::ModelMeanType;
using diffusion::ModelVarType;
using diffusion::ReverseOptions;
using diffusion::Timesteps;
using diffusion::training_losses;
using Eigen::Index;

namespace {

bool is_mse(LossType type) { return type == LossType::mse || type == LossType::rescaled_mse; }

const Golden& recorded() { return golden("guided_losses.txt"); }

/// The loss type in the name of a group of records, such as "training_losses/rescaled_kl_...".
LossType loss_type(const std::string& group) {
  const std::string name = group.substr(group.find('/') + 1);
  const bool rescaled = name.rfind("rescaled_", 0) == 0;
  const bool kl = name.rfind(rescaled ? "rescaled_kl_" : "kl_", 0) == 0;
  return kl ? (rescaled ? LossType::rescaled_kl : LossType::kl) : (rescaled ? LossType::rescaled_mse : LossType::mse);
}

template <class Case, int Rank>
void check_recorded(const std::string& group, const GaussianDiffusion<typename Case::Scalar>& process,
                    const ReverseOptions& options, LossType type) {
  using Scalar = typename Case::Scalar;
  constexpr bool f32 = std::is_same_v<Scalar, float>;
  const auto tensor = [&](const char* name) { return recorded().tensor<Scalar, Rank, Case::layout>(group + name); };
  const auto reverse = guided_reverse<Scalar, Rank, Case::layout>(process, options);
  const Timesteps t = recorded().timesteps(group + "t");
  const auto got = training_losses(reverse, tensor("x_start"), t, tensor("noise"), type);
  const auto check = [&](const char* name, const Eigen::Tensor<Scalar, 1>& values) {
    if (!recorded().contains(group + name)) {
      // guided-diffusion does not return the bound separately where it is the whole loss.
      REQUIRE(values.size() == (std::string(name) == "vb" && !is_mse(type) ? t.size() : 0));
      return;
    }
    const auto expected = recorded().tensor<double, 1>(group + name);
    REQUIRE(values.size() == t.size());
    for (Index n = 0; n < t.size(); ++n) {
      INFO(name << " of sample " << n << ", t = " << t(n));
      const bool decoder = t(n) == 0 && std::string(name) != "mse";
      const double tol = f32 ? tolerance::loss_f32 : decoder ? tolerance::reference_decoder : tolerance::loss;
      REQUIRE_THAT(static_cast<double>(values(n)), WithinRel(expected(n), tol) || WithinAbs(expected(n), tol));
    }
  };
  check("loss", got.loss);
  check("mse", got.mse);
  check("vb", got.vb);
}

}  // namespace

TEMPLATE_TEST_CASE("the training losses equal guided-diffusion's", "[losses]", DoubleRowMajor, FloatColMajor) {
  int count = 0;
  for (const std::string& name : recorded().names()) {
    if (name.rfind("training_losses/", 0) != 0 || name.substr(name.size() - 2) != "/T") continue;
    const std::string group = name.substr(0, name.size() - 1);
    INFO(group);
    const GuidedSettings settings(group);
    const auto process = settings.process<typename TestType::Scalar>();
    switch (recorded().rank(group + "x_start")) {
      case 2:
        check_recorded<TestType, 2>(group, process, settings.options, loss_type(group));
        break;
      case 3:
        check_recorded<TestType, 3>(group, process, settings.options, loss_type(group));
        break;
      case 4:
        check_recorded<TestType, 4>(group, process, settings.options, loss_type(group));
        break;
      default:
        FAIL("the record has an unexpected rank");
    }
    ++count;
  }
  REQUIRE(count == 72);
}

TEMPLATE_TEST_CASE("the training losses of a respaced process equal guided-diffusion's", "[losses]", DoubleColMajor,
                   FloatRowMajor) {
  using Scalar = typename TestType::Scalar;
  for (const bool rescale : {false, true}) {
    const std::string group = std::string("training_losses_spaced/rescale") + (rescale ? "1/" : "0/");
    INFO(group);
    const Timesteps steps = recorded().timesteps(group + "use_timesteps");
    const auto process =
        diffusion::respace(GaussianDiffusion<Scalar>(diffusion::linear_beta_schedule(recorded().integer(group + "T"))),
                           std::vector<Index>(steps.data(), steps.data() + steps.size()));
    check_recorded<TestType, 3>(group, process, {ModelMeanType::epsilon, ModelVarType::learned_range, true, rescale},
                                LossType::rescaled_mse);
  }
}

}  // namespace losses_golden_tests
