/// @file tolerance.hpp
/// Every tolerance of the tests, with its reason. A comparison passes where |got - expected| <= rel |expected| + abs.
#pragma once

#include <unsupported/Eigen/CXX11/Tensor>

/// One operation, its inputs of order one, against its formula evaluated in double (in long double for long double).
/// abs equals rel: a sum of terms of order one may cancel, and then no relative bound holds.
template <class Scalar>
struct Tolerance;

// clang-format off
template <> struct Tolerance<float>           { static constexpr double rel = 4.8e-7,  abs = rel; };  // 4 epsilon
template <> struct Tolerance<double>          { static constexpr double rel = 8.9e-16, abs = rel; };  // 4 epsilon
template <> struct Tolerance<long double>     { static constexpr double rel = 8.9e-16, abs = rel; };  // the tables' own precision is double
template <> struct Tolerance<Eigen::half>     { static constexpr double rel = 5.0e-4,  abs = rel; };  // one rounding: 2^-11 = 4.9e-4
template <> struct Tolerance<Eigen::bfloat16> { static constexpr double rel = 4.0e-3,  abs = rel; };  // one rounding: 2^-8  = 3.9e-3

namespace tolerance {

// Schedules and tables.
constexpr double table            = 8.9e-16;  // against 60-digit values: 4 ulp. For the two log tables also as abs.
constexpr double schedule         = 4e-15;    // betas of every schedule against the exact formula
constexpr double reference_schedule = 5e-11; // the same against references and identities that lose 1e-16 / beta by cancellation (2e-11 at T = 4000)
constexpr double reference_table  = 1e-10;    // against the reference's arrays, whose own rounding is up to 3e-11 (T = 10^5)
constexpr double reference_tiny   = 1e-7;     // the same for betas of 1e-9, where the reference loses 3e-8 by cancellation

// The forward process against the reference's results.
constexpr double forward          = 1e-12;    // its float64 run; rel and abs
constexpr double forward_f32      = 1.6e-7;   // its float32 run: twice that run's own error, max |f32 - f64| / (1 + |f64|); rel and abs

// Losses, likelihoods and samplers of timesteps.
constexpr double exact_sum        = 1e-14;    // a few dozen operations of double, against their formula
constexpr double loss             = 1e-11;    // the reference's float64 run; rel and abs
constexpr double loss_f32         = 2e-6;     // the reference's float32 run; rel and abs
constexpr double reference_decoder = 2e-9;    // the same at t = 0, where the reference loses digits (at most 1e-9, with probabilities of 1e-9)
constexpr double bound_xstart_f32 = 2e-5;     // x_0 as the bound has it: of a float output, amplified up to 160 times, but computed in double
constexpr double nats_f32         = 1e-4;     // log-likelihoods in float against double, where the reference is off by up to 7
constexpr double reference_probability = 4.4e-16; // of a bin in the reference's float64 run, a difference of numbers up to 1
constexpr double exact_likelihood = 1e-12;    // against values of 60 digits; 3e-14 is reached
constexpr double sum_of_bins      = 2e-14;    // 256 probabilities
constexpr double slope            = 1e-6;     // derivatives against central differences, rel or abs
constexpr double slope_of_largest = 1e-8;     // the same, abs, in units of the largest derivative of the sample
constexpr double bound_oracle     = 1e-9;     // terms of a bound against closed forms that lose digits by 1 - abar
constexpr double bin_width        = 5e-9;     // bits: a bound's loss by the width of a bin, to the fourth power over the decoder's deviation

// The reverse process.
constexpr double reverse          = 1e-11;    // the reference's float64 run; rel and abs
constexpr double mean_f32         = 6e-6;     // its float32 run, |got - f64| / (1 + |f64|), twice that run's own error: mean and variances,
constexpr double sample_f32       = 2e-5;     //     samples,
constexpr double reverse_xstart_f32 = 6e-4;   //     and x_0, which is amplified by up to 1 / sqrt(abar) or 1 / coef1
constexpr double loop_f32         = 2e-5;     // whole loops in float; rel and abs
constexpr double converted        = 1e-11;    // x_0 of epsilon or x_{t-1} and back, amplified by up to 1 / sqrt(abar) or 1 / coef1
constexpr double loop_oracle      = 1e-12;    // whole loops against exact answers, the models' own rounding amplified by up to 1 / sqrt(abar)
constexpr double loop_order       = 0.15;     // of convergence, from 31 steps on
constexpr double rebuilt          = 2.3e-16;  // abs of an abar that the reference rebuilds of betas 1 - abar_t / abar_{t-1}, rounded at 1
constexpr double respaced         = 2e-15;    // tables of a respaced process against long double: 8 ulp, the betas' own 2 in them

// Sampling.
constexpr double sampler          = 1e-11;    // whole runs against the references' float64 ones; rel and abs

constexpr double no_length        = 2e-14;    // relative, what is put between two equal sigmas
constexpr double level            = 4e-15;    // levels of noise through a logarithm and back
constexpr double quantile         = 1e-14;    // of beta distributions
constexpr double phi              = 1e-13;    // phi functions against quadrature: the recurrence loses up to three digits, at k = 4 and z near -1
constexpr double ancestral        = 1e-15;    // the two parts of an ancestral step against their closed form
constexpr double exact_run        = 1e-11;    // whole runs against exact answers, x up to 15 times what it ends at, and at two scales
constexpr double sampler_order    = 0.2;      // of convergence, from 360 steps on
constexpr double stochastic_mean  = 1e-3;     // of Gaussian data, after 800 steps
constexpr double stochastic_variance = 1e-2;  // the same, relative, when the part that falls as 1 / n is taken out
constexpr double last_variance    = 5e-4;     // what the step from sigma = 0.01 to 0 leaves out, 0.01^2 / 0.5^2
constexpr double sampler_f32      = 1e-4;     // whole runs in float against double; rel and abs
constexpr double adaptive_sampler = 1e-9;     // where rounding reaches the step size
constexpr double karras_end       = 1e-12;    // ends of lists of sigmas for rho up to 1000, which multiplies the rounding of a power
constexpr double reference_sigma  = 5e-12;    // lists of sigmas, powers and exponentials of rounded logarithms; the reference takes exp(2e-5) - 1

// Noise against the program it is to equal. The first is absolute, the others rel and abs.
constexpr double noise_f32        = 2e-6;     // floats; torch's own instruction sets differ by 1.2e-6
constexpr double torch_f64        = 3e-16;    // torch on the CPU: one or two ulp, of this library's logarithm, sine and cosine
constexpr double curand_f64       = 5e-15;    // cuRAND on the host, which rounds 2 pi v before it takes the sine
constexpr double jax_f64          = 1e-13;    // JAX, whose logarithm can be off by 129 ulp
constexpr double numpy_f64        = 1e-15;    // NumPy: this library's logarithm and square root against those of its build

}  // namespace tolerance
// clang-format on
