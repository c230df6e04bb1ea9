/// @file tolerance.hpp
/// Every tolerance of the tests, with its reason. A comparison passes if
///
///     |got - expected| <= rel |expected| + abs
#pragma once

#include <unsupported/Eigen/CXX11/Tensor>

/// Tolerance of one operation on inputs of order one against its formula, which is evaluated in
/// double (for long double in long double). abs equals rel, because a sum of terms of order one may
/// cancel and then has no relative bound.
template <class Scalar>
struct Tolerance;

// clang-format off
// float and double: 4 epsilon. long double: the precision of the tables, which are double. half and
// bfloat16: one rounding, 2^-11 = 4.9e-4 and 2^-8 = 3.9e-3.
template <> struct Tolerance<float>           { static constexpr double rel = 4.8e-7,  abs = rel; };
template <> struct Tolerance<double>          { static constexpr double rel = 8.9e-16, abs = rel; };
template <> struct Tolerance<long double>     { static constexpr double rel = 8.9e-16, abs = rel; };
template <> struct Tolerance<Eigen::half>     { static constexpr double rel = 5.0e-4,  abs = rel; };
template <> struct Tolerance<Eigen::bfloat16> { static constexpr double rel = 4.0e-3,  abs = rel; };

namespace tolerance {

// Schedules and tables.
constexpr double table            = 8.9e-16;  // 4 ulp, against 60-digit values; for the two log tables also as abs
constexpr double schedule         = 4e-15;    // betas of every schedule, against the exact formula
// Betas against references and identities that lose 1e-16 / beta by cancellation: 2e-11 at
// T = 4000.
constexpr double reference_schedule = 5e-11;
constexpr double reference_table  = 1e-10;    // against the reference's arrays, off by up to 3e-11 at T = 10^5
constexpr double reference_tiny   = 1e-7;     // the same for betas of 1e-9; the reference loses 3e-8 by cancellation

// The forward process against the reference's results; rel and abs.
constexpr double forward          = 1e-12;    // its float64 run
constexpr double forward_f32      = 1.6e-7;   // its float32 run: twice that run's error, max |f32 - f64| / (1 + |f64|)

// Losses, likelihoods and samplers of timesteps.
constexpr double exact_sum        = 1e-14;    // a few dozen operations in double, against their formula
constexpr double posterior_mean   = 1e-11;    // of the digits: exponents of up to 1e4 lose four digits; rel and abs
constexpr double loss             = 1e-11;    // the reference's float64 run; rel and abs
constexpr double loss_f32         = 2e-6;     // the reference's float32 run; rel and abs
// The reference's float64 run at t = 0. It is off by up to 1e-9 where probabilities are near 1e-9.
constexpr double reference_decoder = 2e-9;
// x_0 in the bound, computed in double from a float output, whose error is amplified up to 160
// times.
constexpr double bound_xstart_f32 = 2e-5;
constexpr double nats_f32         = 1e-4;     // log-likelihoods in float against double (the reference: off by up to 7)
// abs for the probability of a bin, which the reference's float64 run computes as a difference of
// numbers up to 1.
constexpr double reference_probability = 4.4e-16;
constexpr double exact_likelihood = 1e-12;    // against 60-digit values; the library reaches 3e-14
constexpr double sum_of_bins      = 2e-14;    // the sum of 256 probabilities
constexpr double slope            = 1e-6;     // derivatives against central differences, rel or abs
constexpr double slope_of_largest = 1e-8;     // the same, abs, in units of the sample's largest derivative
constexpr double bound_oracle     = 1e-9;     // terms of a bound against closed forms that lose digits in 1 - abar
// Bits lost to the width of a bin, of order (width / standard deviation of the decoder)^4.
constexpr double bin_width        = 5e-9;

// The reverse process.
constexpr double reverse          = 1e-11;    // the reference's float64 run; rel and abs
// Its float32 run, |got - f64| / (1 + |f64|): twice that run's error.
constexpr double mean_f32         = 6e-6;     // mean and variances
constexpr double sample_f32       = 2e-5;     // samples
constexpr double reverse_xstart_f32 = 6e-4;   // x_0, amplified by up to 1 / sqrt(abar) or 1 / coef1
constexpr double loop_f32         = 2e-5;     // whole loops in float; rel and abs
constexpr double converted        = 1e-11;    // x_0 to epsilon or x_{t-1} and back; amplified as in reverse_xstart_f32
// Whole loops against exact answers; the models' rounding is amplified by up to 1 / sqrt(abar).
constexpr double loop_oracle      = 1e-12;
constexpr double loop_order       = 0.15;     // order of convergence, from 31 steps on
// abs for abar where the reference recomputes it from betas, each 1 minus a rounded ratio near 1.
constexpr double rebuilt          = 2.3e-16;
// Tables of a respaced process against long double: 8 ulp, of which the betas contribute 2.
constexpr double respaced         = 2e-15;

// Sampling.
constexpr double sampler          = 1e-11;    // whole runs against the references' float64 runs; rel and abs
constexpr double other_tensor     = 1e-14;    // whole runs in double on tensors that are not Eigen's, rel and abs
constexpr double no_length        = 2e-14;    // relative distance that a grid puts between two equal sigmas
constexpr double level            = 4e-15;    // noise levels through a logarithm and back
constexpr double quantile         = 1e-14;    // quantiles of beta distributions
// Phi functions against quadrature: the recurrence loses up to three digits, at k = 4 and
// z near -1.
constexpr double phi              = 1e-13;
constexpr double ancestral        = 1e-15;    // the two parts of an ancestral step against their closed form
// Whole runs at two scales against exact answers; x is up to 15 times its final value.
constexpr double exact_run        = 1e-11;
constexpr double sampler_order    = 0.2;      // order of convergence, from 360 steps on
constexpr double stochastic_mean  = 1e-3;     // mean of Gaussian data after 800 steps
constexpr double stochastic_variance = 1e-2;  // its variance, relative, without the part that falls as 1 / n
constexpr double last_variance    = 5e-4;     // variance lost in the step from sigma = 0.01 to 0, 0.01^2 / 0.5^2
constexpr double sampler_f32      = 1e-4;     // whole runs in float against double; rel and abs
constexpr double adaptive_sampler = 1e-9;     // runs whose step size depends on rounding
// Ends of sigma lists for rho up to 1000, which multiplies the rounding of a power.
constexpr double karras_end       = 1e-12;
// Sigma lists, which are powers and exponentials of rounded logarithms. The reference loses digits
// in exp(2e-5) - 1.
constexpr double reference_sigma  = 5e-12;

// Noise against the program that it reproduces. The first is absolute, the others rel and abs.
constexpr double noise_f32        = 2e-6;     // floats; torch's own instruction sets differ by 1.2e-6
constexpr double torch_f64        = 3e-16;    // torch on the CPU: 1 or 2 ulp of this library's log, sine and cosine
constexpr double curand_f64       = 5e-15;    // cuRAND on the host, which rounds 2 pi v before it takes the sine
constexpr double jax_tail_f32     = 1e-5;     // the largest floats of JAX, relative: its own error is up to 8e-6
constexpr double jax_f64          = 1e-13;    // JAX, whose logarithm can be off by 129 ulp
constexpr double numpy_f64        = 1e-15;    // NumPy: this library's log and square root against NumPy's

// Exhaustive tests. Parts of the float normals over all words, in units in the last place.
constexpr double radius_ulps      = 2.0;      // pi r, r = sqrt(-2 log u)
constexpr double sine_ulps        = 2.0;      // sin(pi x) / pi and cos(pi x) / pi
// Runs of 768 steps from sigma = 20 to 0.1 on mixtures of Gaussians.
constexpr double fine_solution    = 1e-6;     // the error of 6400 steps of Heun
constexpr double first_order_run  = 1e-2;
constexpr double second_order_run = 1e-4;
constexpr double stochastic_bias  = 2e-2;     // of moments after 200 steps, beside their sampling error

}  // namespace tolerance
// clang-format on
