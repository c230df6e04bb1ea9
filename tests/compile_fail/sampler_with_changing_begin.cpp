// error: diffusion: the members begin and check of a sampler must be const
#include <diffusion/diffusion.hpp>

struct Changing {
  template <class Tensor>
  struct State {};
  template <class Tensor, class Noise>
  diffusion::NoiseLevel begin(const diffusion::Step& step, Tensor&, const Noise&, State<Tensor>&) {
    return step.from;
  }
  template <class Tensor, class Noise>
  void advance(const diffusion::Step&, const diffusion::ModelCall&, Tensor&, diffusion::Prediction<Tensor>&,
               const Noise&, State<Tensor>&) const {}
};

void f(const diffusion::TimeGrid& grid, const Eigen::Tensor<float, 2>& x) {
  diffusion::SamplingRun run(Changing{}, grid, x);
}
