/// Tests of diffusion/training/variational_bound.hpp against recorded results of guided-diffusion.
/// variational_bound.cpp tests that the other layouts give the same bits.
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "diffusion/noise/recorded_noise.hpp"
#include "diffusion/training/variational_bound.hpp"
#include "guided_model.hpp"
#include "matchers.hpp"

namespace variational_bound_golden_tests {

using diffusion::calc_bpd_loop;
using diffusion::GaussianDiffusion;
using diffusion::prior_bpd;
using diffusion::RecordedNoise;
using diffusion::ReverseOptions;
using diffusion::Timesteps;
using diffusion::vb_terms_bpd;
using Eigen::Index;

namespace {

const Golden& recorded() { return golden("guided_losses.txt"); }

/// Names of the groups of records, each "<kind>/<settings>/".
std::vector<std::string> groups(const std::string& kind) {
  std::vector<std::string> out;
  for (const std::string& name : recorded().names()) {
    if (name.rfind(kind + "/", 0) == 0 && name.size() > 2 && name.substr(name.size() - 2) == "/T") {
      out.push_back(name.substr(0, name.size() - 1));
    }
  }
  return out;
}

template <class Case, int Rank>
struct Recorded {
  using Scalar = typename Case::Scalar;
  static constexpr bool f32 = std::is_same_v<Scalar, float>;

  explicit Recorded(const std::string& group)
      : name(group),
        settings(group),
        reverse(guided_reverse<Scalar, Rank, Case::layout>(settings.process<Scalar>(), settings.options)),
        x_start(tensor(group + "x_start")) {}

  static auto tensor(const std::string& record) { return recorded().tensor<Scalar, Rank, Case::layout>(record); }

  void check_vb_terms() const {
    const Timesteps t = recorded().timesteps(name + "t");
    const auto got = vb_terms_bpd(reverse, x_start, tensor(name + "x_t"), t);
    const auto expected = recorded().tensor<double, 1>(name + "output");
    for (Index n = 0; n < t.size(); ++n) {
      INFO("sample " << n << ", t = " << t(n));
      const double tol = f32 ? tolerance::loss_f32 : t(n) == 0 ? tolerance::reference_decoder : tolerance::loss;
      REQUIRE_THAT(static_cast<double>(got.output(n)), WithinRel(expected(n), tol) || WithinAbs(expected(n), tol));
    }
    const double tol = f32 ? tolerance::bound_xstart_f32 : tolerance::loss;
    REQUIRE_THAT(got.pred_xstart, AllClose(recorded().tensor<double, Rank>(name + "pred_xstart"), tol, tol));
  }

  void check_calc_bpd() const {
    const auto noise = recorded().tensor<Scalar, Rank + 1, Case::layout>(name + "noise");
    std::vector<typename Case::template Tensor<Rank>> draws;
    for (Index k = 0; k < noise.dimension(0); ++k) draws.push_back(noise.template chip<0>(k));
    const auto got = calc_bpd_loop(reverse, x_start, RecordedNoise(draws));
    const double tol = f32 ? tolerance::loss_f32 : tolerance::loss;
    const auto close = [&](const auto& record) { return AllClose(record, tol, tol); };
    REQUIRE_THAT(got.total_bpd, close(recorded().tensor<double, 1>(name + "total_bpd")));
    REQUIRE_THAT(got.prior_bpd, close(recorded().tensor<double, 1>(name + "prior_bpd")));
    REQUIRE_THAT(got.vb, close(recorded().tensor<double, 2>(name + "vb")));
    REQUIRE_THAT(got.xstart_mse, close(recorded().tensor<double, 2>(name + "xstart_mse")));
    REQUIRE_THAT(got.mse, close(recorded().tensor<double, 2>(name + "mse")));
    REQUIRE_THAT(prior_bpd(reverse.process(), x_start),
                 close(recorded().tensor<double, 1>(name + "prior/prior_bpd_only")));
  }

  std::string name;
  GuidedSettings settings;
  decltype(guided_reverse<Scalar, Rank, Case::layout>(std::declval<GaussianDiffusion<Scalar>>(),
                                                      ReverseOptions())) reverse;
  typename Case::template Tensor<Rank> x_start;
};

/// Calls f with the Recorded<Case, Rank> of the group, whose rank is known at run time only.
template <class Case, class F>
void with_recorded(const std::string& group, const F& f) {
  INFO(group);
  switch (recorded().rank(group + "x_start")) {
    case 2:
      return f(Recorded<Case, 2>(group));
    case 3:
      return f(Recorded<Case, 3>(group));
    case 4:
      return f(Recorded<Case, 4>(group));
    default:
      FAIL("the record has an unexpected rank");
  }
}

}  // namespace

TEMPLATE_TEST_CASE("the terms of the bound equal guided-diffusion's", "[variational_bound]", DoubleColMajor,
                   FloatRowMajor) {
  REQUIRE(groups("vb_terms").size() == 24);
  for (const std::string& group : groups("vb_terms")) {
    with_recorded<TestType>(group, [](const auto& r) { r.check_vb_terms(); });
  }
}

TEMPLATE_TEST_CASE("the whole bound equals guided-diffusion's", "[variational_bound]", DoubleColMajor, FloatRowMajor) {
  REQUIRE(groups("calc_bpd").size() == 3);
  for (const std::string& group : groups("calc_bpd")) {
    with_recorded<TestType>(group, [](const auto& r) { r.check_calc_bpd(); });
  }
}

}  // namespace variational_bound_golden_tests
