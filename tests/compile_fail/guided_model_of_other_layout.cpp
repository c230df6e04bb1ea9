// error: diffusion: the model (or cond_fn) must be callable as model(x, t), returning a tensor, or as model(x, t, out), writing one, where x is a tensor like the one sampled (the same scalar type, rank and layout) and t an Eigen::Tensor<Scalar, 1>
#include <diffusion/guidance/classifier_free.hpp>
#include <diffusion/guidance/guided_model.hpp>

void program(const Eigen::Tensor<float, 2>& x, const Eigen::Tensor<float, 1>& t, Eigen::Tensor<float, 2>& out) {
  using RowMajor = Eigen::Tensor<float, 2, Eigen::RowMajor>;
  const auto model = [](const RowMajor& at, const Eigen::Tensor<float, 1>&) { return at; };
  diffusion::guided_model(model, model, diffusion::ClassifierFreeGuidance{2.0})(x, t, out);
}
