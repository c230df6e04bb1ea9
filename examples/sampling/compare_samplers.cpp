/// @file compare_samplers.cpp
/// What each sampler makes of a number of calls of the model, where the model is exact and so every error is the sampler's.
///
/// The data is a mixture of K Gaussians in the plane, x_0 ~ N(m_k, s^2) with equal weights, m_k on the two arms of a spiral. Noised to
/// x = alpha x_0 + sigma epsilon it is a mixture still, of N(alpha m_k, v), v = alpha^2 s^2 + sigma^2, and what the best of all models
/// says is known:
///     E[x_0 | x] = sum_k w_k (m_k + alpha s^2 / v (x - alpha m_k)),   w_k in proportion to exp(-|x - alpha m_k|^2 / (2 v))
///     epsilon = (x - alpha E[x_0 | x]) / sigma
/// Samplers without noise solve the ordinary differential equation
///     dz / dlog s = s epsilon,   z = x / alpha, s = sigma / alpha          (Song et al. 2021; Karras et al. 2022, Eq. (1))
/// so each of their samples has a place where it should arrive. Their error is the distance from there, its median, the place being
/// found by Runge and Kutta's method of fourth order in steps so small that they do not count. Samplers with noise have no such place. Of
/// theirs, as a set, we measure how far they are from as many true samples, by the sliced Wasserstein distance:
///     the mean over directions u, and over i, of |a_(i) - b_(i)|, where a and b are the sets' values of u . x in rising order
/// which is not 0 for two sets of true samples either: the range it has for 20 of those is what chance does.
///
/// All take the same levels, even in log s from the most to the least noise that the process has, and start from the same x.
#include <algorithm>  // std::max, std::min, std::sort
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <diffusion/diffusion.hpp>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "common/mixture.hpp"
#include "common/options.hpp"
#include "common/plot.hpp"

using namespace diffusion;
using Eigen::Index;
using example::ExactModel;
using example::Points;

/// Levels of n steps.
TimeGrid grid(Index n) {
  static const GaussianDiffusion<double> process(scaled_linear_beta_schedule(1000));
  const auto& sigmas = process.sqrt_recipm1_alphas_cumprod();
  return sigma_grid(process, lu_sigmas(n + 1, sigmas[0], sigmas[999]).head(n + 1));
}

/// A sampler that is given a number of calls of the model.
struct Method {
  std::string name;
  std::function<Points(Index calls, ExactModel&, const Points& x, PhiloxNoise&)> run;
};

/// One whose steps take `per_step` calls, and its first steps `extra` more in all.
template <class Sampler>
Method method(const std::string& name, const Sampler& sampler, Index per_step = 1, Index extra = 0) {
  return {name, [=](Index calls, ExactModel& model, const Points& x, PhiloxNoise& noise) {
            if (calls < extra + per_step) return Points();
            return sample(sampler, grid((calls - extra) / per_step), model, x, noise);
          }};
}

/// Every sampler but RePaint, which is Ddpm where nothing of a picture is known.
std::vector<Method> without_noise() {
  // The last steps are of low order by default, which is for grids that end clean.
  const auto full = [](auto sampler) {
    sampler.lower_order_final = false;
    return sampler;
  };
  const Method fast{"DpmSolverFast", [](Index calls, ExactModel& model, const Points& x, PhiloxNoise& noise) {
                      return sample(DpmSolverFast{calls}, grid(calls / 3 + 1), model, x, noise);
                    }};
  // Chooses its steps itself: the smallest tolerance that the calls are enough for.
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
  return {method("Ddim", Ddim{}),
          method("Euler", Euler{}),
          method("Heun", Heun{}, 2),
          method("FlowHeun", FlowHeun{}, 2),
          method("Dpm2", Dpm2{}, 2),
          method("Lms", Lms{}),
          method("Pndm", Pndm{}, 1, 1),
          method("Pndm, Runge-Kutta", Pndm{false}, 1, 9),
          method("Ipndm", Ipndm{}),
          method("Deis", full(Deis{})),
          method("DpmSolver", full(DpmSolver{})),
          method("DpmSolver, order 3", full(DpmSolver{3})),
          method("DpmSolverSinglestep", full(DpmSolverSinglestep{})),
          method("DpmSolverSinglestep, order 3", full(DpmSolverSinglestep{3})),
          fast,
          adaptive,
          method("DpmSolverPP", full(DpmSolverPP{})),
          method("DpmSolverPP, order 3", full(DpmSolverPP{3})),
          method("DpmSolverPP2SAncestral, eta 0", DpmSolverPP2SAncestral{0.0}, 2),
          method("DpmSolverPPSde, eta 0", DpmSolverPPSde{0.0}, 2),
          method("UniPc", full(UniPc{})),
          method("UniPc, order 3", full(UniPc{3}))};
}
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

  CLI::App app("Compares the samplers on a mixture of Gaussians, for which the model is exact.", "compare_samplers");
  app.add_option("--calls", calls, "of the model: one or more numbers, as in 10,100")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(2, 1000))
      ->capture_default_str();
  app.add_option("--samples", samples, "how many")->check(CLI::Range(10, 1000000))->capture_default_str();
  app.add_option("--seed", seed, "of the noise")->check(CLI::Range(Index(0), Index(4294967295)))->capture_default_str();
  app.add_option("--out", out, "the PNG file of the errors")->capture_default_str();
  app.add_option("--points", points_out, "the PNG file of the samples")->capture_default_str();

  return example::run(app, argc, argv, [&] {
    example::check_writable(out);
    example::check_writable(points_out);
    std::sort(calls.begin(), calls.end());
    ExactModel model;
    const NoiseLevel first = grid(1).levels().front(), last = grid(1).levels().back();
    const Points x = model.data.samples(samples, first, seed), truth = model.data.samples(samples, last, seed + 1);
    const Points arrival = example::solution(model, grid(800), x);
    const auto from_truth = [&](const Points& a) { return example::sliced_wasserstein(a, truth); };
    double floor = std::numeric_limits<double>::infinity(), ceiling = 0.0;  // the range of chance
    for (std::uint32_t i = 0; i < 20; ++i) {
      const double of_truth = from_truth(model.data.samples(samples, last, seed + 100 + i));
      floor = (std::min)(floor, of_truth), ceiling = (std::max)(ceiling, of_truth);
    }

    const auto curves = [&](const std::vector<Method>& methods, const auto& error) {
      std::vector<example::Curve> result;
      std::printf("%-30s", "calls of the model");
      for (const Index n : calls) std::printf(" %9ld", long(n));
      for (const Method& m : methods) {
        std::printf("\n%-30s", m.name.c_str());
        example::Curve curve{m.name, {}, {}};
        for (const Index n : calls) {
          PhiloxNoise noise(seed + 2);
          const Points got = m.run(n, model, x, noise);
          curve.x.push_back(double(n));
          curve.y.push_back(got.size() == 0 ? std::numeric_limits<double>::quiet_NaN() : error(got));
          got.size() == 0 ? std::printf("         -") : std::printf(" %9.1e", curve.y.back());
        }
        result.push_back(curve);
      }
      std::printf("\n");
      return result;
    };

    std::printf("Without noise: median distance from the solution of the differential equation\n\n");
    const auto followed =
        curves(without_noise(), [&](const Points& got) { return example::median_distance(got, arrival); });
    std::printf(
        "\nWith noise: sliced Wasserstein distance from true samples; of 20 more sets of those it is %.3f to %.3f\n\n",
        floor, ceiling);
    const auto drawn = curves(with_noise(), from_truth);

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
    example::plot_points(points_out, clouds, 3, 2.0);
    example::plot_curves(out, {{"Without noise: how far samples are from where the exact path leads",
                                "calls of the model", "median distance", followed},
                               {"With noise: how far samples, as a set, are from true ones",
                                "calls of the model",
                                "sliced Wasserstein distance",
                                drawn,
                                {floor, ceiling},
                                "20 sets of true samples"}});
    std::printf("\nThe chart is %s, the samples are %s\n", out.c_str(), points_out.c_str());
    return 0;
  });
}
