// error: diffusion: weight must be callable as weight(snr), double -> double; a function with more parameters needs a lambda around it
#include <diffusion/diffusion.hpp>

int main() {
  const diffusion::GaussianDiffusion<float> process(diffusion::linear_beta_schedule(1000));
  diffusion::loss_weights(process, 5, diffusion::min_snr_weight_v);
}
