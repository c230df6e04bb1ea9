// Tests of diffusion/sampling/samplers/*.hpp: properties of every sampler, on data whose exact
// denoiser is known.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include <diffusion/diffusion.hpp>

#include "matchers.hpp"
#include "sampler_list.hpp"

namespace samplers_tests {

using diffusion::add_noise;
using diffusion::Ending;
using diffusion::GaussianDiffusion;
using diffusion::Hooks;
using diffusion::NoiseLevel;
using diffusion::NoisePath;
using diffusion::NoNoise;
using diffusion::PhiloxNoise;
using diffusion::Prediction;
using diffusion::sample;
using diffusion::TimeGrid;
using diffusion::TimestepSpacing;
using Eigen::ArrayXd;
using Eigen::Index;

namespace {

using Tensor = Eigen::Tensor<double, 2, Eigen::RowMajor, Index>;
using FloatTensor = Eigen::Tensor<float, 2, Eigen::RowMajor, Index>;
using ColMajorTensor = Eigen::Tensor<double, 2, Eigen::ColMajor, Index>;

const GaussianDiffusion<double>& process() {
  static const GaussianDiffusion<double> process(diffusion::scaled_linear_beta_schedule(1000));
  return process;
}

TimeGrid grid(Index n, Ending ending = Ending::clean) {
  return timestep_grid(process(), TimestepSpacing::trailing, n, 0, ending);
}

/// The grid with alpha and sigma of every level multiplied by scale(alpha, sigma).
template <class Scale>
TimeGrid rescaled(const TimeGrid& grid, Scale scale) {
  const auto rescaled_level = [scale](NoiseLevel level) {
    const double by = scale(level.alpha, level.sigma);
    return NoiseLevel{level.t, by * level.alpha, by * level.sigma};
  };
  std::vector<NoiseLevel> levels;
  for (const NoiseLevel& level : grid.levels()) levels.push_back(rescaled_level(level));
  return {levels, NoisePath{[=](double half_log_snr) { return rescaled_level(grid.at(half_log_snr)); },
                            [=](double t) { return rescaled_level(grid.at_time(t)); }}};
}

/// The exact denoiser of data whose values are independent N(mean, deviation^2), E[x_0 | x]:
///
///     x_0 = mean + alpha deviation^2 / (alpha^2 deviation^2 + sigma^2) (x - alpha mean)
template <class T>
ErasedDenoiser<T> gaussian(double mean, double deviation) {
  return [=](const T& x, const NoiseLevel& level, Prediction<T>& out) {
    using Scalar = typename T::Scalar;
    const double a = level.alpha, s = level.sigma;
    const double variance = a * a * deviation * deviation + s * s, gain = a * deviation * deviation / variance;
    out.x_start = (x - Scalar(a * mean)) * Scalar(gain) + Scalar(mean);
    out.epsilon = (x - Scalar(a * mean)) * Scalar(s / variance);
  };
}

/// The exact denoiser of data that is one point.
template <class T>
ErasedDenoiser<T> point(double value) {
  return gaussian<T>(value, 0.0);
}

template <class T>
T start(Index batch, Index size, unsigned long long seed = 1) {
  T x(batch, size);
  PhiloxNoise noise(seed);
  noise(x);
  return x;
}

template <class T>
ErasedNoise<T> noise(unsigned long long seed = 2, unsigned long long first_sample = 0) {
  return [source = PhiloxNoise(seed, first_sample)](T& z) mutable { source(z); };
}

template <class T>
ErasedNoise<T> no_noise() {
  return [](T&) { throw std::logic_error("noise was asked for"); };
}

/// A nonlinear model, so that errors do not cancel by chance.
template <class T>
ErasedDenoiser<T> model() {
  const auto epsilon = [](const T& x, const Eigen::Tensor<typename T::Scalar, 1>& t, T& out) {
    using Scalar = typename T::Scalar;
    for (Index i = 0; i < x.size(); ++i) {
      out.data()[i] =
          Scalar(0.9) * x.data()[i] + Scalar(0.1) * std::sin(x.data()[i]) + Scalar(0.05) * std::cos(t(0) / 100);
    }
  };
  return diffusion::Denoiser(epsilon, diffusion::ModelMeanType::epsilon);
}

}  // namespace

TEST_CASE("every sampler returns the data exactly if all data is one point", "[samplers]") {
  for (const auto& sampler : all_samplers<Tensor>()) {
    for (const Index n : {1, 2, 3, 7, 20}) {
      INFO(sampler.name << ", " << n << " steps");
      const Tensor x = sampler.run(grid(n), point<Tensor>(0.7), start<Tensor>(2, 3), noise<Tensor>(), {});
      const Tensor expected = x.constant(0.7);
      CHECK_THAT(x, AllClose(expected, tolerance::exact_run));
    }
  }
}

TEST_CASE("a deterministic sampler keeps epsilon and draws no noise if all data is one point", "[samplers]") {
  for (const auto& sampler : all_samplers<Tensor>()) {
    if (sampler.stochastic) continue;
    for (const Index n : {1, 2, 3, 7, 20}) {
      INFO(sampler.name << ", " << n << " steps");
      // The grid ends at sigma / alpha = 0.5: at a small sigma, the rounding error of epsilon is
      // that of x divided by sigma.
      const TimeGrid levels = sigma_grid(process(), diffusion::lu_sigmas(n + 1, 0.5, 14.6).head(n + 1));
      const Tensor data = start<Tensor>(2, 3).constant(0.7), epsilon = start<Tensor>(2, 3);
      const Tensor first = add_noise(data, levels.levels().front(), epsilon);
      const Tensor last = add_noise(data, levels.levels().back(), epsilon);
      CHECK_THAT(sampler.run(levels, point<Tensor>(0.7), first, no_noise<Tensor>(), {}),
                 AllClose(last, tolerance::exact_run, tolerance::exact_run));
    }
  }
}

TEST_CASE("a deterministic sampler that can step up reaches pure noise", "[samplers]") {
  const TimeGrid whole = diffusion::flow_matching_grid(5, 1.0).reversed(), levels = whole.starting_at(1);
  REQUIRE(levels.levels().back().alpha == 0);
  const Tensor data = start<Tensor>(2, 3).constant(0.7), epsilon = start<Tensor>(2, 3);
  for (const auto& sampler : all_samplers<Tensor>()) {
    if (sampler.stochastic || !sampler.goes_up) continue;
    INFO(sampler.name);
    const Tensor first = add_noise(data, levels.levels().front(), epsilon);
    CHECK_THAT(sampler.run(levels, point<Tensor>(0.7), first, no_noise<Tensor>(), {}),
               AllClose(epsilon, tolerance::exact_run, tolerance::exact_run));
  }
}

TEST_CASE("the error of a run falls with the order of the sampler", "[samplers]") {
  // For Gaussian data, x - alpha mean stays proportional to the standard deviation of x, which is
  // sqrt(alpha^2 deviation^2 + sigma^2).
  const double mean = 0.3, deviation = 0.5;
  const auto spread = [&](const NoiseLevel& level) { return std::hypot(level.alpha * deviation, level.sigma); };
  std::printf("%-30s %10s %10s %10s %10s   order (claimed)\n", "error after steps", "90", "180", "360", "720");
  for (const auto& sampler : all_samplers<Tensor>()) {
    if (sampler.order == 0) continue;
    INFO(sampler.name);
    double errors[4];
    for (int i = 0; i < 4; ++i) {
      const Index n = 90 << i;
      const TimeGrid levels = diffusion::edm_grid(diffusion::lu_sigmas(n + 1, 0.1, 2.0).head(n + 1));
      Tensor x(1, 1);
      x.setConstant(3.0);
      const Tensor out = sampler.run(levels, gaussian<Tensor>(mean, deviation), x, no_noise<Tensor>(), {});
      const double exact = mean + (3.0 - mean) * spread(levels.levels().back()) / spread(levels.levels().front());
      errors[i] = std::abs(out(0, 0) - exact);
    }
    const double slope = std::log2(errors[2] / errors[3]);
    std::printf("%-30s %10.2e %10.2e %10.2e %10.2e   %.2f (%g)\n", sampler.name.c_str(), errors[0], errors[1],
                errors[2], errors[3], slope, sampler.order);
    CHECK(std::abs(slope - sampler.order) < tolerance::sampler_order);
  }
}

TEST_CASE("a stochastic sampler converges to the mean and variance of the data as steps get shorter", "[samplers]") {
  // For Gaussian data a run is linear in its start and its draws,
  //
  //     x = offset + a x_T + b_1 z_1 + b_2 z_2 + ...
  //
  // so the mean and variance of x are exactly
  //
  //     mean     = offset + a E[x_T]
  //     variance = a^2 Var[x_T] + b_1^2 + b_2^2 + ...
  //
  // Sample 0 of the batch gives offset, and each other sample has one input set to 1.
  const double mean = 0.3, deviation = 0.5;
  const auto moments = [&](const ListedSampler<Tensor>& sampler, Index n, const ErasedDenoiser<Tensor>& denoiser) {
    const TimeGrid levels = diffusion::edm_grid(diffusion::karras_sigmas(n, 0.01, 80.0));
    Tensor x(2 * n + 2, 1);
    x.setZero();
    x(1, 0) = 1;
    const auto impulses = [draw = Index(2)](Tensor& z) mutable { z.setZero(), z(draw++, 0) = 1; };
    const Tensor out = sampler.run(levels, denoiser, x, impulses, {});
    const double offset = out(0, 0), gain = out(1, 0) - offset, variance_x = 80.0 * 80.0 + deviation * deviation;
    std::array<double, 2> result{offset + gain * mean, gain * gain * variance_x};
    for (Index i = 2; i < out.size(); ++i) result[1] += (out(i, 0) - offset) * (out(i, 0) - offset);
    return result;
  };
  // A consistency sampler re-noises x_0. That is exact if x_0 is the end of the ODE from x.
  const ErasedDenoiser<Tensor> consistent = [&](const Tensor& x, const NoiseLevel& level, Prediction<Tensor>& out) {
    const double ratio = deviation / std::hypot(level.alpha * deviation, level.sigma);
    out.x_start = (x - level.alpha * mean) * ratio + mean;
    out.epsilon = (x - out.x_start * level.alpha) / level.sigma;
  };
  std::printf("%-30s %10s %10s %10s   error of the variance after steps\n", "", "200", "400", "800");
  for (const auto& sampler : all_samplers<Tensor>()) {
    if (!sampler.stochastic || !sampler.converges) continue;
    INFO(sampler.name);
    const ErasedDenoiser<Tensor> denoiser = sampler.consistency ? consistent : gaussian<Tensor>(mean, deviation);
    double errors[3], last_mean = 0;
    for (int i = 0; i < 3; ++i) {
      const auto [got, variance] = moments(sampler, 200 << i, denoiser);
      errors[i] = variance / (deviation * deviation) - 1;
      last_mean = got;
    }
    std::printf("%-30s %10.1e %10.1e %10.1e\n", sampler.name.c_str(), errors[0], errors[1], errors[2]);
    CHECK(std::abs(last_mean - mean) < tolerance::stochastic_mean);
    // The error falls at least as 1 / n. Extrapolation removes that term and leaves the second
    // order and the error of the last step.
    CHECK(std::abs(errors[2]) <= std::abs(errors[1]) * 0.6 + tolerance::last_variance);
    CHECK(std::abs(2 * errors[2] - errors[1]) < tolerance::stochastic_variance);
  }
}

TEST_CASE("the same seed gives the same bits for any batch and layout", "[samplers]") {
  const auto samplers = all_samplers<Tensor>();
  const auto in_columns = all_samplers<ColMajorTensor>();
  for (std::size_t i = 0; i < samplers.size(); ++i) {
    if (samplers[i].shares_steps) continue;
    INFO(samplers[i].name);
    const Tensor x = start<Tensor>(5, 7);
    const Tensor whole = samplers[i].run(grid(6), model<Tensor>(), x, noise<Tensor>(), {});
    CHECK_THAT(samplers[i].run(grid(6), model<Tensor>(), x, noise<Tensor>(), {}), AllEqual(whole));
    CHECK_THAT(in_columns[i].run(grid(6), model<ColMajorTensor>(), with_layout<Eigen::ColMajor>(x),
                                 noise<ColMajorTensor>(), {}),
               AllEqual(whole));
    const Eigen::array<Index, 2> from{2, 0}, size{3, 7};
    const Tensor part = samplers[i].run(grid(6), model<Tensor>(), x.slice(from, size), noise<Tensor>(2, 2), {});
    CHECK_THAT(part, AllEqual(Tensor(whole.slice(from, size))));
  }
}

TEST_CASE("a run does not depend on the scale of the path", "[samplers]") {
  for (const auto& sampler : all_samplers<Tensor>()) {
    INFO(sampler.name);
    const Tensor x = start<Tensor>(2, 5);
    const Tensor preserving = sampler.run(grid(8), model<Tensor>(), x, noise<Tensor>(), {});
    const auto in = [&](auto scale) {
      const TimeGrid other = rescaled(grid(8), scale);
      const double by = other.levels().front().alpha / grid(8).levels().front().alpha;
      return sampler.run(other, model<Tensor>(), x * by, noise<Tensor>(), {});
    };
    CHECK_THAT(in([](double alpha, double) { return 1 / alpha; }),
               AllClose(preserving, tolerance::exact_run, tolerance::exact_run));
    CHECK_THAT(in([](double alpha, double sigma) { return 1 / (alpha + sigma); }),
               AllClose(preserving, tolerance::exact_run, tolerance::exact_run));
  }
}

TEST_CASE("a run in float stays close to the run in double", "[samplers]") {
  const auto samplers = all_samplers<Tensor>();
  const auto in_float = all_samplers<FloatTensor>();
  for (std::size_t i = 0; i < samplers.size(); ++i) {
    INFO(samplers[i].name);
    const Tensor x = start<FloatTensor>(2, 5).cast<double>();
    const auto draws = [](auto& z) { static_assert(std::is_same_v<std::decay_t<decltype(z)>, FloatTensor>); };
    (void)draws;
    const auto source = [at = 0](auto& z) mutable {
      const FloatTensor drawn =
          start<FloatTensor>(z.dimension(0), z.dimension(1), static_cast<unsigned long long>(100 + at++));
      z = drawn.template cast<typename std::decay_t<decltype(z)>::Scalar>();
    };
    const Tensor expected = samplers[i].run(grid(10), model<Tensor>(), x, source, {});
    CHECK_THAT(in_float[i].run(grid(10), model<FloatTensor>(), x.cast<float>(), source, {}),
               AllClose(expected, tolerance::sampler_f32, tolerance::sampler_f32));
  }
}

TEST_CASE("no sampler allocates after its first step", "[samplers]") {
  const auto denoiser = [](const Tensor& x, const Eigen::Tensor<double, 1>&, Tensor& out) {
    for (Index i = 0; i < x.size(); ++i) out.data()[i] = 0.5 * x.data()[i];
  };
  for (const auto& sampler : all_samplers<Tensor>()) {
    INFO(sampler.name);
    long before = 0, in_later_steps = 0;
    Hooks<Tensor> hooks;
    hooks.observer = [&](const diffusion::Step& step, const Tensor&) {
      if (step.index > 0) in_later_steps += allocations() - before;
      before = allocations();
    };
    sampler.run(grid(8), diffusion::Denoiser(denoiser, diffusion::ModelMeanType::epsilon), start<Tensor>(2, 50),
                noise<Tensor>(), hooks);
    CHECK(in_later_steps == 0);
  }
}

TEST_CASE("two nested runs on shared objects equal two separate runs", "[samplers]") {
  for (const auto& sampler : all_samplers<Tensor>()) {
    INFO(sampler.name);
    const TimeGrid shared = grid(6);
    const ErasedDenoiser<Tensor> denoiser = model<Tensor>();
    const auto run = [&](unsigned long long seed, const Hooks<Tensor>& hooks) {
      return sampler.run(shared, denoiser, start<Tensor>(2, 3, seed), noise<Tensor>(seed), hooks);
    };
    const Tensor first = run(11, {}), second = run(12, {});
    Tensor inner;
    Hooks<Tensor> hooks;
    hooks.observer = [&](const diffusion::Step& step, const Tensor&) {
      if (step.index == 2) inner = run(12, {});
    };
    CHECK_THAT(run(11, hooks), AllEqual(first));
    CHECK_THAT(inner, AllEqual(second));
  }
}

TEST_CASE("a sampler runs on a reversed grid, or throws if it only goes from noise to data", "[samplers]") {
  const TimeGrid up = grid(20, Ending::sigma_min).reversed();
  for (const auto& sampler : all_samplers<Tensor>()) {
    INFO(sampler.name);
    const auto run = [&] {
      return sampler.run(up, gaussian<Tensor>(0.3, 0.5), start<Tensor>(1, 3), noise<Tensor>(), {});
    };
    if (!sampler.goes_up) {
      REQUIRE_THAT(error_message(run),
                   StartsWith("diffusion::sample: this sampler only goes from noise to data (Ddim can invert), but"));
    } else {
      const Tensor x = run();
      for (Index i = 0; i < x.size(); ++i) CHECK(std::abs(x.data()[i]) < 6);
    }
  }
}

TEST_CASE("a sampler inverts from clean data, or throws", "[samplers]") {
  const TimeGrid up = grid(20).reversed();
  REQUIRE(up.levels().front().sigma == 0.0);
  for (const auto& sampler : all_samplers<Tensor>()) {
    INFO(sampler.name);
    try {
      const Tensor x = sampler.run(up, gaussian<Tensor>(0.3, 0.5), start<Tensor>(1, 3), noise<Tensor>(), {});
      for (Index i = 0; i < x.size(); ++i) CHECK(std::abs(x.data()[i]) < 6);
      CHECK(sampler.starts_clean);
    } catch (const std::domain_error& error) {
      CHECK(!sampler.starts_clean);
      CHECK_THAT(error.what(), StartsWith("diffusion::sample: sigma = 0 at t = 0: this sampler cannot start without"));
    } catch (const std::invalid_argument& error) {
      CHECK_THAT(error.what(), StartsWith("diffusion::sample: this sampler only goes from noise to data"));
      CHECK(!sampler.goes_up);
    }
  }
}

TEST_CASE("a repeated last sigma draws no additional noise", "[samplers]") {
  ArrayXd sigmas(9);
  sigmas << 12, 6, 3, 1.5, 0.8, 0.4, 0.2, 0.1, 0.1;
  for (const auto& sampler : all_samplers<Tensor>()) {
    INFO(sampler.name);
    for (double scale = 0.3; scale < 1; scale *= 1.03) {
      long draws = 0;
      const auto counted = [&draws, source = noise<Tensor>()](Tensor& z) mutable { ++draws, source(z); };
      const auto run = [&](const ArrayXd& list) {
        return sampler.run(sigma_grid(process(), scale * list), gaussian<Tensor>(0.3, 0.5), start<Tensor>(2, 5),
                           counted, {});
      };
      const Tensor x = run(sigmas);
      bool finite = true;
      for (Index i = 0; i < x.size(); ++i) finite = finite && std::abs(x.data()[i]) < 4;
      REQUIRE(finite);
      const long with_repetition = draws;
      run(sigmas.head(8));
      // (The last block of a singlestep solver depends on the number of steps.)
      if (!sampler.redraws && !sampler.in_blocks) REQUIRE(draws == 2 * with_repetition);
    }
  }
}

TEST_CASE("DpmSolverFast stays within its grid in both directions and draws noise only if eta is positive",
          "[samplers]") {
  const auto grid_from = [](double least) {
    return sigma_grid(process(), diffusion::lu_sigmas(6, least, 10.0).head(6));
  };
  const Tensor x = start<Tensor>(1, 3);
  for (double least = 0.03; least < 0.5; least *= 1.01) {
    INFO(least);
    REQUIRE_NOTHROW(sample(diffusion::DpmSolverFast{12}, grid_from(least), gaussian<Tensor>(0.3, 0.5), x));
    long draws = 0;
    const auto counted = [&draws](Tensor& z) { ++draws, z.setConstant(0.5); };
    const Tensor out =
        sample(diffusion::DpmSolverFast{12, 1.0}, grid_from(least), gaussian<Tensor>(0.3, 0.5), x, counted);
    REQUIRE(draws == 4);  // in four of five steps: the last one adds no noise
    for (Index i = 0; i < out.size(); ++i) REQUIRE(std::abs(out.data()[i]) < 4);
    // With eta > 1, s_down alone would be below the grid.
    double lowest = 10.0;
    const ErasedDenoiser<Tensor> watched = [&, exact = gaussian<Tensor>(0.3, 0.5)](
                                               const Tensor& y, const NoiseLevel& level, Prediction<Tensor>& p) {
      lowest = (std::min)(lowest, noise_to_signal(level));
      exact(y, level, p);
    };
    (void)sample(diffusion::DpmSolverFast{12, 1.5}, grid_from(least), watched, x, counted);
    REQUIRE(lowest > least * (1 - tolerance::level));
  }
  // With eta = 1 and steps of unequal length, s_down alone would be below the grid too.
  ArrayXd uneven(5);
  uneven << 10, 1, 0.9, 0.6, 0.5;
  const ErasedDenoiser<Tensor> inside = [&, exact = gaussian<Tensor>(0.3, 0.5)](
                                            const Tensor& y, const NoiseLevel& level, Prediction<Tensor>& p) {
    REQUIRE(noise_to_signal(level) > 0.5 * (1 - tolerance::level));
    exact(y, level, p);
  };
  (void)sample(diffusion::DpmSolverFast{11, 1.0}, sigma_grid(process(), uneven), inside, x, noise<Tensor>());
  const TimeGrid levels = grid_from(0.05);
  const Tensor up = sample(diffusion::DpmSolverFast{12}, levels.reversed(), gaussian<Tensor>(0.3, 0.5), x);
  const Tensor back = sample(diffusion::DpmSolverFast{12}, levels, gaussian<Tensor>(0.3, 0.5), up);
  const Eigen::Tensor<double, 0, Eigen::RowMajor> worst = (back - x).abs().maximum();
  REQUIRE(worst(0) < 0.02);
}

TEST_CASE("a zero-length step of diffusers_ddim_grid keeps x and draws no noise", "[samplers]") {
  const TimeGrid theirs = diffusers_ddim_grid(process(), TimestepSpacing::leading, 1, 0, Ending::sigma_min);
  const Tensor x = start<Tensor>(2, 5);
  const Tensor out = sample(diffusion::Ddim{1.0}, theirs, gaussian<Tensor>(0.3, 0.5), x);
  CHECK_THAT(out, AllClose(x, tolerance::exact_run, tolerance::exact_run));
}

TEST_CASE("Tcd draws no noise for a step that ends at timestep 0", "[samplers]") {
  for (int k = 1; k <= 50; ++k) {
    const GaussianDiffusion<double> linear(diffusion::linear_beta_schedule(1000, 0.0001 * k, 0.03));
    const TimeGrid one_step = timestep_grid(linear, std::vector<Index>{999}, Ending::sigma_min);
    const Tensor x = start<Tensor>(1, 3);
    REQUIRE_NOTHROW(sample(diffusion::Tcd{0.3}, one_step, gaussian<Tensor>(0.3, 0.5), x));
  }
  // It draws none for a step that ends clean either, whatever the model time there.
  const TimeGrid down = grid(1);
  const TimeGrid clean({down.levels().front(), {500, 1, 0}},
                       {[&](double lambda) { return down.at(lambda); }, [&](double t) { return down.at_time(t); }});
  const Tensor x = start<Tensor>(1, 3);
  CHECK_THAT(sample(diffusion::Tcd{0.3}, clean, gaussian<Tensor>(0.3, 0.5), x),
             AllEqual(sample(diffusion::Ddim{}, down, gaussian<Tensor>(0.3, 0.5), x)));
}

TEST_CASE("every sampler can start from a level without signal", "[samplers]") {
  const GaussianDiffusion<double> zero_snr(
      diffusion::rescale_zero_terminal_snr(diffusion::scaled_linear_beta_schedule(1000)));
  const TimeGrid levels = timestep_grid(zero_snr, TimestepSpacing::trailing, 8);
  REQUIRE(levels.levels().front().alpha == 0.0);
  for (const auto& sampler : all_samplers<Tensor>()) {
    INFO(sampler.name);
    const Tensor x = sampler.run(levels, gaussian<Tensor>(0.3, 0.5), start<Tensor>(2, 5), noise<Tensor>(), {});
    for (Index i = 0; i < x.size(); ++i) CHECK(std::abs(x.data()[i]) < 4);
  }
}

TEST_CASE("a deterministic step from a level without signal keeps x_0 and epsilon", "[samplers]") {
  // At the first level x = 2 epsilon. All data is 0.7.
  const TimeGrid inside = grid(5);
  const TimeGrid levels({{999, 0, 2}, {500, 0.5, 0.8}}, {[&](double lambda) { return inside.at(lambda); },
                                                         [&](double t) { return inside.at_time(t); }});
  const Tensor x = start<Tensor>(2, 5), expected = x * (0.8 / 2) + 0.7 * 0.5;
  for (const auto& sampler : all_samplers<Tensor>()) {
    if (sampler.stochastic) continue;
    INFO(sampler.name);
    CHECK_THAT(sampler.run(levels, point<Tensor>(0.7), x, no_noise<Tensor>(), {}),
               AllClose(expected, tolerance::exact_run, tolerance::exact_run));
  }
  CHECK_THAT(sample(diffusion::Pndm{true, true}, levels, point<Tensor>(0.7), x),
             AllClose(expected, tolerance::exact_run, tolerance::exact_run));
}

TEST_CASE("Pndm along v does not depend on the scale of the path", "[samplers]") {
  const Tensor x = start<Tensor>(2, 5);
  for (const bool skip : {false, true}) {
    const diffusion::Pndm sampler{skip, true};
    const TimeGrid unscaled = rescaled(grid(8), [](double alpha, double) { return 1 / alpha; });
    const double by = 1 / grid(8).levels().front().alpha;
    CHECK_THAT(sample(sampler, unscaled, model<Tensor>(), x * by),
               AllClose(sample(sampler, grid(8), model<Tensor>(), x), tolerance::exact_run, tolerance::exact_run));
  }
}

}  // namespace samplers_tests
