/// @file 01_forward_process.cpp
/// How is a sample noised, and what is the posterior that the reverse process must match?
#include <cmath>
#include <cstdio>
#include <diffusion/diffusion.hpp>

int main() {
  const diffusion::GaussianDiffusion<double> process(diffusion::cosine_beta_schedule(1000));
  Eigen::Tensor<double, 2> x_0(1, 4);  // one sample of four values
  x_0.setValues({{-1.0, -0.5, 0.5, 1.0}});

  std::printf("   t   mean of x_t    deviation   x_t\n");
  for (const Eigen::Index t : {0, 250, 500, 999}) {
    // The definition: q(x_t | x_0) = N(sqrt(abar_t) x_0, (1 - abar_t) I)
    const auto q = process.q_mean_variance(x_0, t);
    // A draw from it, in one step.
    const auto x_t = process.q_sample(x_0, t, diffusion::PhiloxNoise(1));
    std::printf("%4d   %11.6f %12.6f   %f\n", int(t), q.mean(0, 3), std::sqrt(q.variance(0, 3)), x_t(0, 3));
  }

  // The target of the reverse process: q(x_{t-1} | x_t, x_0)
  const Eigen::Index t = 500;
  const auto x_t = process.q_sample(x_0, t, diffusion::PhiloxNoise(1));
  const auto posterior = process.q_posterior_mean_variance(x_0, x_t, t);
  std::printf("from x_500 = %f to x_499: mean %f, deviation %f\n", x_t(0, 3), posterior.mean(0, 3),
              std::sqrt(posterior.variance(0, 3)));
}

// Output:
//    t   mean of x_t    deviation   x_t
//    0      0.999979     0.006425   0.994267
//  250      0.919722     0.392571   0.570723
//  500      0.701630     0.712541   0.068176
//  999      0.000049     1.000000   -0.888958
// from x_500 = 0.068176 to x_499: mean 0.072227, deviation 0.056089
