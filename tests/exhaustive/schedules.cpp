// Every schedule of betas, and the tables of a process, for every T from the least to 4000 and some
// up to 10^6, against their formulas in arithmetic of 50 digits.
#include "diffusion/process/schedules.hpp"

#include <algorithm>
#include <boost/multiprecision/cpp_bin_float.hpp>
#include <cmath>
#include <cstdio>
#include <vector>

#include "diffusion/process/gaussian_diffusion.hpp"
#include "matchers.hpp"

using namespace diffusion;
using Eigen::ArrayXd;
using Eigen::Index;

namespace {

using Exact =
    boost::multiprecision::number<boost::multiprecision::cpp_bin_float_50::backend_type, boost::multiprecision::et_off>;

const Exact pi = boost::math::constants::pi<Exact>();

/// Every T from `least` to 4000, and five up to 10^6.
std::vector<Index> sizes(Index least) {
  std::vector<Index> all;
  for (Index T = least; T <= 4000; ++T) all.push_back(T);
  for (const Index T : {5000, 9999, 65536, 100000, 1000000}) all.push_back(T);
  return all;
}

/// The largest relative error that it is shown, and where.
struct Worst {
  double error = 0.0;
  Index T = 0, t = 0;

  void compare(double got, const Exact& exact, Index of_T, Index at) {
    const double relative = exact == 0 ? std::abs(got) : std::abs(static_cast<double>((got - exact) / exact));
    if (!(relative <= error)) *this = {relative, of_T, at};
  }
};

void report(const char* what, const Worst& worst, double bound) {
  INFO(what << ": relative error " << worst.error << " for T = " << worst.T << " at t = " << worst.t);
  CHECK(worst.error <= bound);
  std::printf("%-44s largest relative error %.1e, T = %lld, t = %lld\n", what, worst.error,
              static_cast<long long>(worst.T), static_cast<long long>(worst.t));
}

/// The entries of linspace(a, b, T).
struct Line {
  Exact a, step;
  Line(const Exact& first, const Exact& last, Index T) : a(first), step(T == 1 ? Exact(0) : (last - first) / (T - 1)) {}
  Exact operator()(Index t) const { return a + step * t; }
};

/// Compares betas(T) with exact(T)(t) for every T. exact(T) may hold what is the same for each t,
/// and is called for t = 0, 1, ... in this order.
template <class Betas, class ExactBetas>
void compare_schedule(const char* name, Index least, const Betas& betas, const ExactBetas& exact) {
  Worst worst;
  for (const Index T : sizes(least)) {
    const ArrayXd got = betas(T);
    REQUIRE(got.size() == T);
    auto beta = exact(T);
    for (Index t = 0; t < T; ++t) worst.compare(got[t], beta(t), T, t);
  }
  report(name, worst, tolerance::schedule);
}

}  // namespace

TEST_CASE("linear betas equal their formula for every T", "[exhaustive]") {
  compare_schedule(
      "linear", 20, [](Index T) { return linear_beta_schedule(T); },
      [](Index T) { return Line(Exact(1000) / T * Exact(0.0001), Exact(1000) / T * Exact(0.02), T); });
}

TEST_CASE("scaled linear betas equal their formula for every T", "[exhaustive]") {
  compare_schedule(
      "scaled_linear", 1, [](Index T) { return scaled_linear_beta_schedule(T); },
      [](Index T) {
        const Line root(sqrt(Exact(0.00085)), sqrt(Exact(0.012)), T);
        return [root](Index t) { return root(t) * root(t); };
      });
}

TEST_CASE("cosine betas equal their formula for every T", "[exhaustive]") {
  compare_schedule(
      "cosine", 1, [](Index T) { return cosine_beta_schedule(T); },
      [](Index T) {
        // cos and sin of the angle of timestep t - 1, rotated by one timestep a call.
        const Exact first = Exact("0.008") / Exact("1.008") * pi / 2, step = pi / 2 / Exact("1.008") / T;
        return [c = Exact(cos(first)), s = Exact(sin(first)), cos_step = Exact(cos(step)),
                sin_step = Exact(sin(step))](Index) mutable {
          const Exact before = c;
          c = before * cos_step - s * sin_step;
          s = s * cos_step + before * sin_step;
          return (std::min)(Exact(1 - (c / before) * (c / before)), Exact(0.999));
        };
      });
}

TEST_CASE("sigmoid betas equal their formula for every T", "[exhaustive]") {
  compare_schedule(
      "sigmoid", 1, [](Index T) { return sigmoid_beta_schedule(T); },
      [](Index T) {
        // exp(-u), multiplied by its ratio each call.
        const Line u(-6, 6, T);
        return [e = Exact(exp(Exact(6))), ratio = Exact(exp(-u.step))](Index t) mutable {
          if (t > 0) e *= ratio;
          return Exact(0.0001) + (Exact(0.02) - Exact(0.0001)) / (1 + e);
        };
      });
}

TEST_CASE("Jabri's sigmoid betas equal their formula for every T", "[exhaustive]") {
  compare_schedule(
      "jabri_sigmoid", 1, [](Index T) { return jabri_sigmoid_beta_schedule(T); },
      [](Index T) {
        // abar(x) = (s(3) - s(-3 + 6 x)) / (s(3) - s(-3)), with s(v) = 1 / (1 + exp(-v)).
        const Exact end = 1 / (1 + exp(Exact(-3)));
        return [T, end, e = Exact(exp(Exact(3))), ratio = Exact(exp(Exact(-6) / T)),
                before = Exact(end - 1 / (1 + exp(Exact(3))))](Index t) mutable {
          e *= ratio;
          const Exact after = t + 1 == T ? Exact(0) : Exact(end - 1 / (1 + e));
          const Exact beta = 1 - after / before;
          before = after;
          return (std::min)(beta, Exact(0.999));
        };
      });
}

TEST_CASE("constant, warmup and jsd betas equal their formulas for every T", "[exhaustive]") {
  compare_schedule(
      "constant", 1, [](Index T) { return constant_beta_schedule(T); },
      [](Index) { return [](Index) { return Exact(0.02); }; });
  compare_schedule(
      "jsd", 1, [](Index T) { return jsd_beta_schedule(T); },
      [](Index T) { return [T](Index t) { return Exact(1) / (T - t); }; });
  for (const double fraction : {0.1, 0.5}) {
    compare_schedule(
        "warmup", 1, [fraction](Index T) { return warmup_beta_schedule(T, 0.0001, 0.02, fraction); },
        [fraction](Index T) {
          const auto n = static_cast<Index>(static_cast<double>(T) * fraction);
          return [n, ramp = Line(Exact(0.0001), Exact(0.02), n)](Index t) { return t < n ? ramp(t) : Exact(0.02); };
        });
  }
}

TEST_CASE("a schedule rescaled to a zero terminal SNR equals its formula", "[exhaustive]") {
  Worst worst;
  for (Index T = 2; T <= 4000; T += T < 400 ? 1 : 37) {
    const ArrayXd betas = scaled_linear_beta_schedule(T), got = rescale_zero_terminal_snr(betas);
    std::vector<Exact> root;  // sqrt(abar)
    Exact abar = 1;
    for (const double beta : betas) root.push_back(sqrt(abar *= 1 - Exact(beta)));
    const Exact last = root.back(), scale = root.front() / (root.front() - last);
    for (Exact& r : root) r = (r - last) * scale;
    worst.compare(got[0], Exact(1 - root[0] * root[0]), T, 0);
    for (std::size_t t = 1; t < root.size(); ++t) {
      const Exact ratio = root[t] / root[t - 1];
      worst.compare(got[static_cast<Index>(t)], Exact(1 - ratio * ratio), T, static_cast<Index>(t));
    }
  }
  report("rescale_zero_terminal_snr", worst, tolerance::schedule);
}

TEST_CASE("every table of a process is within 4 ulp of its exact value for T up to 100000", "[exhaustive]") {
  for (const char* const name : {"linear", "cosine", "sigmoid"}) {
    Worst abar_error, one_minus_error, root_error, variance_error, coef1_error, coef2_error;
    for (const Index T : sizes(20)) {
      if ((T > 600 && T % 29 != 0 && T <= 4000) || T > 100000) continue;
      const GaussianDiffusion<double> process(named_beta_schedule(name, T));
      Exact abar = 1, one_minus = 0;
      for (Index t = 0; t < T; ++t) {
        const Exact beta = process.betas()[t], before = abar, one_minus_before = one_minus;
        one_minus += abar * beta;
        abar *= 1 - beta;
        if (abar < Exact("1e-290")) break;  // doubles end here
        abar_error.compare(process.alphas_cumprod()[t], abar, T, t);
        one_minus_error.compare(process.one_minus_alphas_cumprod()[t], one_minus, T, t);
        // A relative error of a square is twice that of its root.
        const Exact root = process.sqrt_one_minus_alphas_cumprod()[t];
        root_error.compare(static_cast<double>((root * root - one_minus) / (2 * one_minus)) + 1.0, Exact(1), T, t);
        variance_error.compare(process.posterior_variance()[t], one_minus_before / one_minus * beta, T, t);
        const Exact coef1 = process.posterior_mean_coef1()[t], coef2 = process.posterior_mean_coef2()[t];
        const Exact square1 = before * (beta / one_minus) * (beta / one_minus);
        coef1_error.compare(static_cast<double>((coef1 * coef1 - square1) / (2 * square1)) + 1.0, Exact(1), T, t);
        const Exact square2 = (1 - beta) * (one_minus_before / one_minus) * (one_minus_before / one_minus);
        if (t == 0) {
          REQUIRE(coef2 == 0);
        } else {
          coef2_error.compare(static_cast<double>((coef2 * coef2 - square2) / (2 * square2)) + 1.0, Exact(1), T, t);
        }
      }
    }
    INFO(name);
    report("alphas_cumprod", abar_error, tolerance::table);
    report("one_minus_alphas_cumprod", one_minus_error, tolerance::table);
    report("sqrt_one_minus_alphas_cumprod", root_error, tolerance::table);
    report("posterior_variance", variance_error, tolerance::table);
    report("posterior_mean_coef1", coef1_error, tolerance::table);
    report("posterior_mean_coef2", coef2_error, tolerance::table);
  }
}
