/// @file compare_samplers.cpp
/// Compares the samplers by their error for a given number of model calls. The model is exact, so
/// that every error comes from the sampler.
///
/// The data are a mixture of K Gaussians in the plane: x_0 ~ N(m_k, s^2) with equal weights, where
/// the m_k lie on the two arms of a spiral. The noisy x = alpha x_0 + sigma epsilon is a mixture of
/// N(alpha m_k, v) with v = alpha^2 s^2 + sigma^2, and the optimal model is known:
///
///     E[x_0 | x] = sum_k w_k (m_k + alpha s^2 / v (x - alpha m_k))
///     w_k in proportion to exp(-|x - alpha m_k|^2 / (2 v))
///     epsilon = (x - alpha E[x_0 | x]) / sigma
///
/// Samplers without noise solve an ordinary differential equation (Song et al. 2021; Karras et al.
/// 2022, Eq. (1)):
///
///     dz / dlog s = s epsilon,   z = x / alpha,   s = sigma / alpha
///
/// The solution determines where each sample should end. The error of these samplers is the median
/// distance from that point, which is computed by the Runge-Kutta method of fourth order with
/// negligibly small steps. Samplers with noise have no such point. For them the program measures
/// the sliced Wasserstein distance between the samples and equally many true samples:
///
///     the mean over directions u and over i of |a_(i) - b_(i)|,
///     where a and b are the sorted values of u . x of the two sets
///
/// This distance is not 0 for two sets of true samples either. Its range over 20 sets of true
/// samples shows the effect of chance.
///
/// All samplers use the same levels, equally spaced in log s from the largest to the smallest noise
/// of the process, and start from the same x.
#include <algorithm>  // std::max, std::min, std::sort

#include <cmath>
#include <cstddef>  // std::size_t
#include <cstdint>
#include <cstdio>
#include <diffusion/diffusion.hpp>
#include <functional>
#include <limits>
#include <string>
#include <utility>  // std::pair
#include <vector>

#include "common/mixture.hpp"
#include "common/options.hpp"
#include "common/plot.hpp"
#include "common/progress.hpp"

using namespace diffusion;
using Eigen::Index;
using example::ExactModel;
using example::Points;

/// The levels for n steps.
TimeGrid grid(Index n) {
  static const GaussianDiffusion<double> process(scaled_linear_beta_schedule(1000));
  const auto& sigmas = process.sqrt_recipm1_alphas_cumprod();
  return sigma_grid(process, lu_sigmas(n + 1, sigmas[0], sigmas[999]).head(n + 1));
}

/// A sampler with its name; `run` takes at most `calls` calls of the model, and returns no points
/// if these do not suffice.
struct Method {
  std::string name;
  std::function<Points(Index calls, ExactModel&, const Points& x, PhiloxNoise&)> run;
};

/// A sampler whose steps take `per_step` calls each, and whose first steps take `extra` more calls
/// in total.
template <class Sampler>
Method method(const std::string& name, const Sampler& sampler, Index per_step = 1, Index extra = 0) {
  return {name, [=](Index calls, ExactModel& model, const Points& x, PhiloxNoise& noise) {
            if (calls < extra + per_step) return Points();
            return sample(sampler, grid((calls - extra) / per_step), model, x, noise);
          }};
}

/// The samplers without noise: those that begin every step anew, and those that use earlier model
/// calls. (RePaint is missing here and below, because it equals Ddpm if no part of a picture is
/// given.)
std::pair<std::vector<Method>, std::vector<Method>> without_noise() {
  // By default the last steps have a low order, which suits grids that end at sigma = 0. This grid
  // ends at sigma > 0.
  const auto full = [](auto sampler) {
    sampler.lower_order_final = false;
    return sampler;
  };
  const Method fast{"DpmSolverFast", [](Index calls, ExactModel& model, const Points& x, PhiloxNoise& noise) {
                      return sample(DpmSolverFast{calls}, grid(calls / 3 + 1), model, x, noise);
                    }};
  // This sampler chooses its own steps: use the smallest tolerance for which the calls suffice.
  const Method adaptive{
      "DpmSolverAdaptive", [](Index calls, ExactModel& model, const Points& x, PhiloxNoise& noise) {
        Points best;
        for (double tolerance = 10.0; tolerance > 1e-9; tolerance /= 1.5) {
          model.calls = 0;
          const Points out = sample(DpmSolverAdaptive{3, tolerance, tolerance, 0.5}, grid(1), model, x, noise);
          if (model.calls > calls) break;
          best = out;
        }
        return best;
      }};
  return {
      {method("Ddim", Ddim{}), method("Euler", Euler{}), method("Heun", Heun{}, 2), method("FlowHeun", FlowHeun{}, 2),
       method("Dpm2", Dpm2{}, 2), method("DpmSolverSinglestep", full(DpmSolverSinglestep{})),
       method("DpmSolverSinglestep, order 3", full(DpmSolverSinglestep{3})), fast, adaptive,
       method("DpmSolverPP2SAncestral, eta 0", DpmSolverPP2SAncestral{0.0}, 2),
       method("DpmSolverPPSde, eta 0", DpmSolverPPSde{0.0}, 2)},
      {method("Lms", Lms{}), method("Pndm", Pndm{}, 1, 1), method("Pndm, Runge-Kutta", Pndm{false}, 1, 9),
       method("Ipndm", Ipndm{}), method("Deis", full(Deis{})), method("DpmSolver", full(DpmSolver{})),
       method("DpmSolver, order 3", full(DpmSolver{3})), method("DpmSolverPP", full(DpmSolverPP{})),
       method("DpmSolverPP, order 3", full(DpmSolverPP{3})), method("UniPc", full(UniPc{})),
       method("UniPc, order 3", full(UniPc{3}))}};
}

/// The samplers with noise.
std::vector<Method> with_noise() {
  return {method("Ddpm", Ddpm{}),
          method("Ddpm, fixed_large", Ddpm{Ddpm::Variance::fixed_large}),
          method("Ddim, eta 1", Ddim{1.0}),
          method("Euler, churn 10", Euler{{10.0}}),
          method("Heun, churn 10", Heun{{10.0}}, 2),
          method("EulerAncestral", EulerAncestral{}),
          method("Dpm2Ancestral", Dpm2Ancestral{}, 2),
          method("DpmSolverPP, eta 1", DpmSolverPP{2, DpmSolverType::midpoint, 1.0}),
          method("DpmSolverPP2SAncestral", DpmSolverPP2SAncestral{}, 2),
          method("DpmSolverPPSde", DpmSolverPPSde{}, 2),
          method("Lcm", Lcm{10.0, 0.0}),
          method("Tcd", Tcd{})};
}

int main(int argc, char** argv) {
  std::string out = "compare_samplers.png", points_out = "compare_samplers_points.png";
  std::vector<Index> calls = {6, 12, 24, 48, 96};
  Index samples = 4000;
  std::uint32_t seed = 1;
  std::string theme = example::theme_names[0];
  bool progress = example::stderr_is_terminal();

  example::Options options("compare_samplers",
                           "Compares the samplers on a mixture of Gaussians, for which the model is exact.");
  options.add("--calls", calls, "numbers of model calls, such as 10,100", 2, 1000);
  options.add("--samples", samples, "number of samples", 10, 1000000);
  options.add_seed(seed, "seed of the noise");
  options.add("--out", out, "PNG file to write the chart of the errors to");
  options.add("--points", points_out, "PNG file to write the samples to");
  options.add_choice("--theme", theme, "colours of the pictures", example::theme_names);
  options.add_flag("--progress", progress, "draw a progress bar even if stderr is not a terminal");

  return options.run(argc, argv, [&] {
    example::check_writable(out);
    example::check_writable(points_out);
    std::sort(calls.begin(), calls.end());
    ExactModel model;
    const NoiseLevel first = grid(1).levels().front(), last = grid(1).levels().back();
    const Points x = model.data.samples(samples, first, seed), truth = model.data.samples(samples, last, seed + 1);
    const Points exact_solution = example::solution(model, grid(800), x);
    const auto from_truth = [&](const Points& a) { return example::sliced_wasserstein(a, truth); };
    double floor = std::numeric_limits<double>::infinity(), ceiling = 0.0;  // the range over sets of true samples
    for (std::uint32_t i = 0; i < 20; ++i) {
      const double distance = from_truth(model.data.samples(samples, last, seed + 100 + i));
      floor = (std::min)(floor, distance), ceiling = (std::max)(ceiling, distance);
    }

    const auto print_heading = [&] {
      std::printf("%-30s", "model calls");
      for (const Index n : calls) std::printf(" %9ld", long(n));
      std::printf("\n");
    };
    const auto [single_step, multistep] = without_noise();
    const std::vector<Method> noisy = with_noise();
    const std::size_t num_methods = single_step.size() + multistep.size() + noisy.size();
    example::Progress bar("comparing", long(num_methods * calls.size()), progress);
    long num_done = 0;
    const auto curves = [&](const std::vector<Method>& methods, const auto& error) {
      std::vector<example::Curve> result;
      for (const Method& m : methods) {
        example::Curve curve{m.name, {}, {}};
        for (const Index n : calls) {
          PhiloxNoise noise(seed + 2);
          const Points got = m.run(n, model, x, noise);
          curve.x.push_back(double(n));
          curve.y.push_back(got.size() == 0 ? std::numeric_limits<double>::quiet_NaN() : error(got));
          bar(++num_done);
        }
        bar.clear();
        std::printf("%-30s", m.name.c_str());
        for (const double y : curve.y) std::isnan(y) ? std::printf("         -") : std::printf(" %9.1e", y);
        std::printf("\n");
        std::fflush(stdout);
        result.push_back(curve);
      }
      return result;
    };

    std::printf("Samplers without noise: median distance from the solution of the differential equation\n\n");
    print_heading();
    const auto from_solution = [&](const Points& got) { return example::median_distance(got, exact_solution); };
    const auto single_step_curves = curves(single_step, from_solution);
    const auto multistep_curves = curves(multistep, from_solution);
    std::printf(
        "\nSamplers with noise: sliced Wasserstein distance from true samples (20 more sets of true samples: %.3f to "
        "%.3f)\n\n",
        floor, ceiling);
    print_heading();
    const auto curves_with_noise = curves(noisy, from_truth);

    std::vector<example::PointPanel> clouds{{"true samples", truth}};
    const auto add = [&](const auto& m) {
      PhiloxNoise noise(seed + 2);
      clouds.push_back({m.name + ", 8 calls", m.run(8, model, x, noise)});
    };
    add(method("Ddpm", Ddpm{}));
    add(method("Ddim", Ddim{}));
    add(method("Heun", Heun{}, 2));
    add(method("DpmSolverPP", DpmSolverPP{}));
    add(method("DpmSolverPP, eta 1", DpmSolverPP{2, DpmSolverType::midpoint, 1.0}));
    const example::Theme colours = example::theme(theme);
    example::plot_points(points_out, clouds, 3, 2.0, colours);
    example::plot_curves(out,
                         {{"Samplers without noise that begin every step anew: distance from the exact solution",
                           "model calls", "median distance", single_step_curves},
                          {"Samplers without noise that use earlier model calls: distance from the exact solution",
                           "model calls", "median distance", multistep_curves},
                          {"Samplers with noise: distance of the set of samples from true samples",
                           "model calls",
                           "sliced Wasserstein distance",
                           curves_with_noise,
                           {floor, ceiling},
                           "20 sets of true samples"}},
                         colours);
    std::printf("\nWrote the chart to %s and the samples to %s\n", out.c_str(), points_out.c_str());
    return 0;
  });
}
