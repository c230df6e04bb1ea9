// Fuzzes the operations of GaussianDiffusion and ReverseProcess: any rank, layout, scalar type,
// shape and timestep. A sample's result must not depend on the rest of its batch, bit for bit; a
// result must be the same when it is written over an input; ordinary inputs must give finite
// results.
#include <diffusion/diffusion.hpp>

#include "fuzz.hpp"

using namespace diffusion;
using namespace fuzz;

namespace {

template <class Scalar>
GaussianDiffusion<Scalar> process(Input& in) {
  Eigen::ArrayXd betas(index(in, 1, 12));
  for (double& beta : betas) beta = in.ConsumeFloatingPointInRange<double>(1e-4, 0.4);
  return GaussianDiffusion<Scalar>(betas);
}

/// Calls f(out, x, y, t) for a whole batch, for each sample alone, and with the result written over
/// x, and compares the results.
template <class Tensor, class F>
void batch_and_samples(const Tensor& x, const Tensor& y, const Timesteps& t, bool ordinary, const F& f) {
  Tensor all(x.dimensions());
  if (!documented([&] { f(all, x, y, t); })) return;
  for (Index n = 0; n < x.dimension(0); ++n) {
    Timesteps t_n(1);
    t_n(0) = t(n);
    const Tensor x_n = sample_of(x, n), y_n = sample_of(y, n);
    Tensor alone(x_n.dimensions());
    f(alone, x_n, y_n, t_n);
    require(same_bits(alone, sample_of(all, n)), "a sample depends on its batch");
  }
  Tensor over = x;
  f(over, over, y, t);
  require(same_bits(over, all), "a result written over x is another one");
  Tensor memory(x.dimensions());
  Eigen::TensorMap<Tensor> map(memory.data(), memory.dimensions());
  const Eigen::TensorMap<const Tensor> x_map(x.data(), x.dimensions());
  f(map, x_map, y, t);
  require(same_bits(memory, all), "a result written to a map is another one");
  for (Index i = 0; ordinary && i < all.size(); ++i) {
    require(std::isfinite(static_cast<double>(all.data()[i])), "ordinary input gave a result that is not finite");
  }
}

template <class Scalar, int Rank, int Layout>
void operations(Input& in) {
  using Tensor = Eigen::Tensor<Scalar, Rank, Layout, Index>;
  const GaussianDiffusion<Scalar> forward = process<Scalar>(in);
  const Index T = forward.num_timesteps();
  const auto sizes = shape<Tensor>(in, 3);
  const bool any = in.ConsumeBool();
  Timesteps t(index(in, 0, 8) == 0 ? index(in, 0, 4) : sizes[0]);
  for (Index n = 0; n < t.size(); ++n) t(n) = index(in, 0, 15) == 0 ? index(in, -2, T + 2) : index(in, 0, T - 1);
  const Tensor x = tensor<Tensor>(in, sizes, any), y = tensor<Tensor>(in, sizes, any);

  switch (index(in, 0, 6)) {
    case 0:
      return batch_and_samples(x, y, t, !any,
                               [&](auto& out, auto& a, auto& b, auto& at) { forward.q_sample_into(out, a, at, b); });
    case 1:
      return batch_and_samples(x, y, t, !any,
                               [&](auto& out, auto& a, auto&, auto& at) { forward.q_mean_into(out, a, at); });
    case 2:
      return batch_and_samples(
          x, y, t, !any, [&](auto& out, auto& a, auto& b, auto& at) { forward.q_posterior_mean_into(out, a, b, at); });
    case 3:
      return batch_and_samples(x, y, t, !any, [&](auto& out, auto& a, auto&, auto& at) {
        const auto moments = forward.q_mean_variance(a, at);
        out = moments.mean + moments.variance + moments.log_variance;
      });
    case 4:
      return batch_and_samples(x, y, t, !any, [&](auto& out, auto& a, auto& b, auto& at) {
        const auto moments = forward.q_posterior_mean_variance(a, b, at);
        out = moments.mean + moments.variance;
      });
    default: {
      const ModelMeanType means[] = {ModelMeanType::epsilon, ModelMeanType::start_x, ModelMeanType::velocity,
                                     ModelMeanType::previous_x};
      ReverseOptions options{means[index(in, 0, 3)]};
      options.var_type = in.ConsumeBool() ? ModelVarType::fixed_small : ModelVarType::fixed_large;
      options.clip_denoised = in.ConsumeBool();
      const auto model = [](const Tensor& at, const Eigen::Tensor<Scalar, 1>&, Tensor& out) {
        out = at * Scalar(0.5f);
      };
      const ReverseProcess reverse(forward, model, options);
      const double eta = any ? hostile(in) : in.ConsumeFloatingPointInRange<double>(0.0, 1.0);
      const bool ddim = in.ConsumeBool();
      return batch_and_samples(x, y, t, !any, [&](auto& out, auto& a, auto& b, auto& at) {
        const auto step = ddim ? reverse.ddim_sample(a, at, b, eta) : reverse.p_sample(a, at, b);
        const Tensor sum = step.sample + step.pred_xstart;
        out = sum;
      });
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input in(data, size);
  one_of(in, operations<float, 1, Eigen::RowMajor>, operations<float, 4, Eigen::RowMajor>,
         operations<float, 5, Eigen::ColMajor>, operations<double, 2, Eigen::RowMajor>,
         operations<double, 3, Eigen::ColMajor>, operations<long double, 2, Eigen::ColMajor>,
         operations<Eigen::half, 3, Eigen::RowMajor>, operations<Eigen::bfloat16, 2, Eigen::ColMajor>);
  return 0;
}
