// Tests of diffusion/sampling/reverse_process.hpp against recorded results of guided-diffusion.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <type_traits>
#include <vector>

#include "diffusion/noise/noise_source.hpp"
#include "diffusion/noise/recorded_noise.hpp"
#include "diffusion/process/respacing.hpp"
#include "diffusion/process/schedules.hpp"
#include "diffusion/sampling/reverse_process.hpp"
#include "matchers.hpp"
#include "reverse_models.hpp"

namespace reverse_golden_tests {

using diffusion::GaussianDiffusion;
using diffusion::NoNoise;
using diffusion::PMeanVariance;
using diffusion::RecordedNoise;
using diffusion::ReverseOptions;
using diffusion::ReverseProcess;
using Eigen::ArrayXd;
using Eigen::Index;

namespace {

const Golden& records() { return golden("guided_reverse.txt"); }

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// The names "<kind>/<group>/" of all groups of a kind, in the order of the file.
std::vector<std::string> groups(const std::string& kind) {
  std::vector<std::string> out;
  for (const std::string& name : records().names()) {
    if (name.compare(0, kind.size() + 1, kind + "/") != 0) continue;
    const std::string group = name.substr(0, name.find('/', kind.size() + 1) + 1);
    if (out.empty() || out.back() != group) out.push_back(group);
  }
  return out;
}

/// The process of a group. It has the reference's betas if they are recorded, because the
/// reference's cosine schedule loses digits that ours keeps.
template <class Scalar>
GaussianDiffusion<Scalar> process_of(const std::string& group, bool cosine) {
  const Golden& g = golden("guided_schedules.txt");
  const Index T = records().integer(group + "T");
  const std::string schedule = cosine ? "cosine" : "linear";
  const std::string name = schedule + "_T" + std::to_string(T) + "/betas";
  return GaussianDiffusion<Scalar>(g.contains(name) ? g.array(name) : diffusion::named_beta_schedule(schedule, T));
}

/// A record as a tensor [N, C, rest]. The reverse process uses only the batch and the channels of a
/// shape.
template <class Case>
typename Case::template Tensor<3> tensor(const std::string& name) {
  const std::vector<Index>& dims = records().dims(name);
  const ArrayXd values = records().array(name);
  Eigen::Tensor<typename Case::Scalar, 3, Eigen::RowMajor, Index> out(dims[0], dims[1],
                                                                      values.size() / (dims[0] * dims[1]));
  for (Index i = 0; i < values.size(); ++i) out.data()[i] = static_cast<typename Case::Scalar>(values[i]);
  return with_layout<Case::layout>(out);
}

/// A record of several such tensors, stacked along its first axis.
template <class Case>
std::vector<typename Case::template Tensor<3>> tensors(const std::string& name) {
  const std::vector<Index>& dims = records().dims(name);
  const ArrayXd values = records().array(name);
  const Index size = values.size() / dims[0];
  std::vector<typename Case::template Tensor<3>> out;
  for (Index k = 0; k < dims[0]; ++k) {
    Eigen::Tensor<typename Case::Scalar, 3, Eigen::RowMajor, Index> one(dims[1], dims[2], size / (dims[1] * dims[2]));
    for (Index i = 0; i < size; ++i) one.data()[i] = static_cast<typename Case::Scalar>(values[k * size + i]);
    out.push_back(with_layout<Case::layout>(one));
  }
  return out;
}

/// The largest |x - expected| / (1 + |expected|), both in row-major order.
double error(const ArrayXd& x, const ArrayXd& expected) {
  return ((x - expected).abs() / (1 + expected.abs())).maxCoeff();
}

template <class Tensor>
ArrayXd values(const Tensor& x) {
  const auto ordered = with_layout<Eigen::RowMajor>(x);
  return Eigen::Map<const Eigen::Array<typename Tensor::Scalar, Eigen::Dynamic, 1>>(ordered.data(), ordered.size())
      .template cast<double>();
}

/// The largest error of the reference's float32 run in all records of the kind of `name`: those of
/// the same operation and mean type ("step/eps_") and the same result ("/sample"). The error of a
/// single record varies by chance, and with fused multiply-adds.
double reference_error(const std::string& name) {
  const std::string kind = name.substr(0, name.find('_', name.find('/')));
  const std::string result = name.substr(name.rfind('/')) + ".f32";
  double worst = 0;
  for (const std::string& other : records().names()) {
    const bool ends = other.size() > result.size() && other.rfind(result) == other.size() - result.size();
    if (other.rfind(kind, 0) != 0 || !ends) continue;
    worst = (std::max)(worst, error(records().array(other), records().array(other.substr(0, other.size() - 4))));
  }
  return worst;
}

/// Compares x with the reference's float64 record. In float, its error may be twice that of the
/// reference's float32 run.
template <class Case, class Tensor>
void require_recorded(const Tensor& x, const std::string& name, double tolerance_f32) {
  INFO(name);
  if constexpr (std::is_same_v<typename Case::Scalar, double>) {
    REQUIRE_THAT(x, AllClose(tensor<DoubleRowMajor>(name), tolerance::reverse, tolerance::reverse));
  } else {
    const ArrayXd expected = records().array(name);
    REQUIRE(error(values(x), expected) <= tolerance_f32);
    if (records().contains(name + ".f32")) {
      REQUIRE(error(values(x), expected) <= 2 * reference_error(name) + Tolerance<float>::rel);
    }
  }
}

}  // namespace

TEMPLATE_TEST_CASE("p_mean_variance equals guided-diffusion's for all mean and variance types and options",
                   "[reverse_process]", DoubleColMajor, FloatRowMajor) {
  using Tensor = typename TestType::template Tensor<3>;
  const std::vector<std::string> all = groups("p_mean_variance");
  REQUIRE(all.size() == 72);
  for (const std::string& group : all) {
    INFO(group);
    const ReverseOptions options = GuidedSettings(group).options;
    std::vector<double> received_times;
    const auto reverse = ReverseProcess(process_of<typename TestType::Scalar>(group, has(group, "cosine")),
                                        models::AnyGuidedModel{options.var_type, &received_times}, options)
                             .with_denoised_fn(models::DenoisedFn{has(group, "_dn1")});
    const Tensor x = tensor<TestType>(group + "x");
    const diffusion::Timesteps t = records().timesteps(group + "t");
    const PMeanVariance<Tensor> p = reverse.p_mean_variance(x, t);
    REQUIRE_THAT(Eigen::Map<ArrayXd>(received_times.data(), static_cast<Index>(received_times.size())),
                 AllClose(records().array(group + "model_t"), Tolerance<typename TestType::Scalar>::rel));
    if (records().contains(group + "model_output")) {
      require_recorded<TestType>(reverse.model_output(x, t), group + "model_output", tolerance::mean_f32);
    }
    require_recorded<TestType>(p.mean, group + "mean", tolerance::mean_f32);
    require_recorded<TestType>(p.variance, group + "variance", tolerance::mean_f32);
    require_recorded<TestType>(p.log_variance, group + "log_variance", tolerance::mean_f32);
    require_recorded<TestType>(p.pred_xstart, group + "pred_xstart", tolerance::reverse_xstart_f32);
  }
}

TEMPLATE_TEST_CASE("the conversions between x_0, x_{t-1} and epsilon equal guided-diffusion's", "[reverse_process]",
                   DoubleRowMajor, FloatColMajor) {
  const std::vector<std::string> all = groups("predict");
  REQUIRE(all.size() == 6);
  for (const std::string& group : all) {
    const auto process = process_of<typename TestType::Scalar>(group, has(group, "cosine"));
    const auto x = tensor<TestType>(group + "x_t"), other = tensor<TestType>(group + "other");
    const diffusion::Timesteps t = records().timesteps(group + "t");
    require_recorded<TestType>(process.predict_xstart_from_eps(x, t, other), group + "xstart_from_eps",
                               tolerance::reverse_xstart_f32);
    require_recorded<TestType>(process.predict_xstart_from_xprev(x, t, other), group + "xstart_from_xprev",
                               tolerance::reverse_xstart_f32);
    require_recorded<TestType>(process.predict_eps_from_xstart(x, t, other), group + "eps_from_xstart",
                               tolerance::reverse_xstart_f32);
  }
}

namespace {

/// Compares every recorded kind of step at x and t.
template <class Case, class Reverse, class Tensor>
void check_step(const std::string& group, const Reverse& reverse, const Tensor& x, const diffusion::Timesteps& t) {
  const auto check = [&](const auto& step, const std::string& name) {
    require_recorded<Case>(step.sample, group + name + "/sample", tolerance::sample_f32);
    if (records().contains(group + name + "/pred_xstart")) {
      require_recorded<Case>(step.pred_xstart, group + name + "/pred_xstart", tolerance::reverse_xstart_f32);
    }
  };
  const auto noise = [&](const std::string& name) { return tensor<Case>(group + name + "/noise"); };
  check(reverse.p_sample(x, t, noise("p_sample")), "p_sample");
  check(reverse.ddim_sample(x, t), "ddim_eta0.0");
  check(reverse.ddim_sample(x, t, noise("p_sample")), "ddim_eta0.0");
  check(reverse.ddim_sample(x, t, noise("ddim_eta0.5"), 0.5), "ddim_eta0.5");
  check(reverse.ddim_sample(x, t, noise("ddim_eta1.0"), 1.0), "ddim_eta1.0");
  if (!has(group, "_cond1")) check(reverse.ddim_reverse_sample(x, t), "ddim_reverse");
}

}  // namespace

TEMPLATE_TEST_CASE("a step equals guided-diffusion's, with and without cond_fn", "[reverse_process]", DoubleRowMajor,
                   FloatColMajor) {
  using Tensor = typename TestType::template Tensor<3>;
  const std::vector<std::string> all = groups("step");
  REQUIRE(all.size() == 24);
  for (const std::string& group : all) {
    const ReverseOptions options = GuidedSettings(group).options;
    const ReverseProcess plain(process_of<typename TestType::Scalar>(group, has(group, "cosine")),
                               models::AnyGuidedModel{options.var_type}, options);
    const Tensor x = tensor<TestType>(group + "x");
    const diffusion::Timesteps t = records().timesteps(group + "t");
    if (has(group, "_cond0")) {
      check_step<TestType>(group, plain, x, t);
      continue;
    }
    const auto guided = plain.with_cond_fn(models::Gradient{});
    check_step<TestType>(group, guided, x, t);
    const PMeanVariance<Tensor> p = guided.p_mean_variance(x, t);
    const Tensor mean = guided.condition_mean(p, x, t);
    require_recorded<TestType>(mean, group + "condition_mean", tolerance::mean_f32);
    const PMeanVariance<Tensor> scored = guided.condition_score(p, x, t);
    require_recorded<TestType>(scored.mean, group + "condition_score_mean", tolerance::mean_f32);
    require_recorded<TestType>(scored.pred_xstart, group + "condition_score_pred_xstart",
                               tolerance::reverse_xstart_f32);
    require_recorded<TestType>(scored.log_variance, group + "condition_score_log_variance", tolerance::mean_f32);
    REQUIRE_THAT(scored.variance, AllEqual(p.variance));
    // For mean 0 and variance 1, condition_mean returns the gradient.
    const Tensor zero = x * typename TestType::Scalar(0), one = zero + typename TestType::Scalar(1);
    require_recorded<TestType>(guided.condition_mean(PMeanVariance<Tensor>{zero, one, zero, zero}, x, t),
                               group + "cond_grad", tolerance::mean_f32);
  }
}

namespace {

/// Compares a loop with its record: the samples and predictions at the recorded steps, the model
/// times and the result. lost: the relative error of the reference's abar, which differences in the
/// equations amplify.
template <class Case, class Run>
void check_loop(const std::string& group, const std::string& name, double lost, std::vector<double>& received_times,
                const Run& run) {
  using Tensor = typename Case::template Tensor<3>;
  const ArrayXd recorded_steps = records().array(group + "kept_steps");
  const std::string record = group + name + "/";
  INFO(record);
  const auto samples = tensors<DoubleRowMajor>(record + "samples");
  const auto middle = tensors<DoubleRowMajor>(record + "pred_xstart")[0];
  const Index T = records().array(record + "model_t").size();
  const double tolerance =
      std::is_same_v<typename Case::Scalar, double> ? tolerance::reverse + 10 * lost : tolerance::loop_f32;
  Index steps = 0;
  std::size_t compared = 0;
  received_times.clear();
  const Tensor out = run([&](Index step, Index t, const auto& state) {
    REQUIRE(step == steps++);
    REQUIRE(t == T - 1 - step);
    if (compared < samples.size() && static_cast<Index>(recorded_steps[static_cast<Index>(compared)]) == step) {
      INFO("step " << step);
      REQUIRE_THAT(state.sample, AllClose(samples[compared++], tolerance, tolerance));
    }
    if (step == T / 2) REQUIRE_THAT(state.pred_xstart, AllClose(middle, tolerance, tolerance));
  });
  REQUIRE(steps == T);
  REQUIRE(compared == samples.size());
  REQUIRE_THAT(out, AllClose(samples.back(), tolerance, tolerance));
  ArrayXd step_times(T);
  const std::size_t batch = received_times.size() / static_cast<std::size_t>(T);
  for (Index k = 0; k < T; ++k) step_times[k] = received_times[static_cast<std::size_t>(k) * batch];
  REQUIRE_THAT(step_times, AllClose(records().array(record + "model_t"), Tolerance<typename Case::Scalar>::rel));
  if constexpr (std::is_same_v<typename Case::Scalar, float>) {
    const ArrayXd expected = values(samples.back());
    const double reference = error(records().array(record + "final.f32"), expected);
    REQUIRE(error(values(out), expected) <= 2 * reference + 2 * Tolerance<float>::rel);
  }
}

template <class Case, class Reverse>
void check_loops(const std::string& group, const Reverse& reverse, std::vector<double>& received_times) {
  using Tensor = typename Case::template Tensor<3>;
  const Tensor x = tensor<Case>(group + "x_init");
  const ArrayXd& alphas_cumprod = reverse.process().alphas_cumprod();
  const double lost = ((records().array(group + "alphas_cumprod") - alphas_cumprod) / alphas_cumprod).abs().maxCoeff();
  const auto noise = [&](const std::string& name) {
    return RecordedNoise<Tensor>(tensors<Case>(group + name + "/noise"));
  };
  auto recorded = noise("p_sample_loop");
  check_loop<Case>(group, "p_sample_loop", lost, received_times,
                   [&](const auto& observer) { return reverse.p_sample_loop(x, recorded, observer); });
  REQUIRE(recorded.call() == recorded.size());
  check_loop<Case>(group, "ddim_sample_loop_eta0.0", lost, received_times,
                   [&](const auto& observer) { return reverse.ddim_sample_loop(x, NoNoise(), 0.0, observer); });
  check_loop<Case>(group, "ddim_sample_loop_eta0.7", lost, received_times, [&](const auto& observer) {
    return reverse.ddim_sample_loop(x, noise("ddim_sample_loop_eta0.7"), 0.7, observer);
  });
}

}  // namespace

TEMPLATE_TEST_CASE("sampling loops equal guided-diffusion's at every recorded step, respaced or not",
                   "[reverse_process]", DoubleColMajor, FloatRowMajor) {
  const std::vector<std::string> all = groups("loop");
  REQUIRE(all.size() == 10);
  for (const std::string& group : all) {
    const ReverseOptions options = GuidedSettings(group + "_cosine_T40").options;
    const auto base = process_of<typename TestType::Scalar>(group, records().integer(group + "schedule") == 1);
    std::vector<Index> steps;
    for (const double step : records().array(group + "use_timesteps")) steps.push_back(static_cast<Index>(step));
    std::vector<double> received_times;
    const ReverseProcess plain(respace(base, steps), models::AnyGuidedModel{options.var_type, &received_times},
                               options);
    if (has(group, "_cond1")) {
      check_loops<TestType>(group, plain.with_cond_fn(models::Gradient{}), received_times);
    } else {
      check_loops<TestType>(group, plain, received_times);
    }
  }
}

TEST_CASE("p_sample_loop equals guided-diffusion's if the caller draws x_T from the same source first",
          "[reverse_process]") {
  using Tensor = DoubleRowMajor::Tensor<3>;
  const std::string group = "loop_internal_noise/";
  const ReverseProcess reverse(process_of<double>(group, true), models::AnyGuidedModel{});
  std::vector<Tensor> drawn = tensors<DoubleRowMajor>(group + "noise");
  drawn.insert(drawn.begin(), tensor<DoubleRowMajor>(group + "x_T_first_draw"));
  RecordedNoise<Tensor> noise(drawn);
  Tensor x(drawn[0].dimensions());
  noise(x);
  require_recorded<DoubleRowMajor>(reverse.p_sample_loop(x, noise), group + "final", 0);
}

}  // namespace reverse_golden_tests
