// error: diffusion: a sampler needs a const member advance(step, call, x, prediction, noise, state) that returns void or std::optional<NoiseLevel> (diffusion/sampling.hpp has the contract)
#include <diffusion/diffusion.hpp>

struct Endless {
  template <class Tensor>
  struct State {};
  template <class Tensor, class Noise>
  diffusion::NoiseLevel advance(const diffusion::Step& step, const diffusion::ModelCall&, Tensor&,
                                diffusion::Prediction<Tensor>&, const Noise&, State<Tensor>&) const {
    return step.to;
  }
};

void f(const diffusion::TimeGrid& grid, const Eigen::Tensor<float, 2>& x) {
  diffusion::SamplingRun run(Endless{}, grid, x);
}
