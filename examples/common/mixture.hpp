/// @file mixture.hpp
/// A mixture of Gaussians in the plane, its exact model, and measures of the error of samples.
#pragma once

#include <algorithm>  // std::nth_element, std::sort
#include <cmath>
#include <cstddef>  // std::size_t
#include <cstdint>
#include <diffusion/noise/philox_noise.hpp>
#include <diffusion/sampling/sample.hpp>
#include <random>
#include <vector>

namespace example {

using diffusion::NoiseLevel;
using Eigen::Index;
using Points = Eigen::Tensor<double, 2, Eigen::RowMajor>;  // [N, 2]

/// The distribution of x_0: N(m_k, s^2) with equal weights, where the means m_k lie on the two arms
/// of a spiral.
struct Mixture {
  static constexpr Index K = 24;
  static constexpr double s = 0.06;
  Eigen::Array<double, K, 2> m;

  Mixture() {
    for (Index k = 0; k < K; ++k) {
      const double arm = k % 2 == 0 ? 1.0 : -1.0, along = double(k / 2) / double(K / 2 - 1);
      const double radius = arm * (0.35 + 1.25 * along), angle = 4.2 * std::sqrt(along);
      m.row(k) << radius * std::cos(angle), radius * std::sin(angle);
    }
  }

  /// Draws n samples of x_0 and adds the noise of the level.
  Points samples(Index n, const NoiseLevel& level, std::uint32_t seed) const {
    std::mt19937 engine(seed);
    Points x(n, 2);
    diffusion::PhiloxNoise noise(seed);
    noise(x);
    for (Index i = 0; i < n; ++i) {
      const auto k = Index(engine()) % K;
      for (Index d = 0; d < 2; ++d) x(i, d) = m(k, d) + s * x(i, d);
    }
    return diffusion::add_noise(x, level, noise);
  }
};

/// The exact model of the mixture: x_start is E[x_0 | x]. It counts its calls.
struct ExactModel {
  Mixture data;
  Index calls = 0;

  void operator()(const Points& x, const NoiseLevel& level, diffusion::Prediction<Points>& out) {
    ++calls;
    out.x_start.resize(x.dimensions());
    const double a = level.alpha, v = a * a * data.s * data.s + level.sigma * level.sigma,
                 gain = a * data.s * data.s / v;
    for (Index n = 0; n < x.dimension(0); ++n) {
      const Eigen::Array<double, 1, 2> at(x(n, 0), x(n, 1));
      Eigen::Array<double, Mixture::K, 1> w =
          (a * data.m - at.replicate<Mixture::K, 1>()).square().rowwise().sum() / (-2.0 * v);
      w = (w - w.maxCoeff()).exp();
      w /= w.sum();
      for (Index d = 0; d < 2; ++d) {
        const double mean = (w * data.m.col(d)).sum();
        out.x_start(n, d) = mean + gain * (at(d) - a * mean);
      }
    }
    out.epsilon = (x - a * out.x_start) * (1.0 / level.sigma);
  }
};

/// Solves dz / dlog s = s epsilon from the first to the last level by the Runge-Kutta method of
/// fourth order. The levels must be equally spaced in log s, with an even number of steps: every
/// second level is the midpoint of a Runge-Kutta step.
inline Points solution(ExactModel& model, const diffusion::TimeGrid& levels, const Points& x) {
  diffusion::Prediction<Points> p;
  Points z = x * (1.0 / levels.levels()[0].alpha);
  const double h = diffusion::half_log_snr(levels.levels()[0]) - diffusion::half_log_snr(levels.levels()[2]);
  const auto slope = [&](const Points& at, const NoiseLevel& level) -> Points {
    model(at * level.alpha, level, p);
    return p.epsilon * diffusion::noise_to_signal(level);
  };
  for (std::size_t i = 0; i + 2 < levels.levels().size(); i += 2) {
    const NoiseLevel &from = levels.levels()[i], &middle = levels.levels()[i + 1], &to = levels.levels()[i + 2];
    const Points k1 = slope(z, from), k2 = slope(z + 0.5 * h * k1, middle), k3 = slope(z + 0.5 * h * k2, middle);
    const Points k4 = slope(z + h * k3, to);
    z += (k1 + 2.0 * k2 + 2.0 * k3 + k4) * (h / 6.0);
  }
  return z * levels.levels().back().alpha;
}

/// The median of |a_n - b_n|. A mean would be dominated by the few samples that end at another
/// mode, because two paths that start on different sides of a watershed end far apart.
inline double median_distance(const Points& a, const Points& b) {
  std::vector<double> distance;
  for (Index n = 0; n < a.dimension(0); ++n) distance.push_back(std::hypot(a(n, 0) - b(n, 0), a(n, 1) - b(n, 1)));
  const auto middle = distance.begin() + a.dimension(0) / 2;
  std::nth_element(distance.begin(), middle, distance.end());
  return *middle;
}

/// The sliced Wasserstein distance between two sets of equally many points, over 32 directions.
inline double sliced_wasserstein(const Points& a, const Points& b) {
  constexpr int directions = 32;
  const auto along = [](const Points& x, double angle) {
    const Eigen::Map<const Eigen::Matrix<double, Eigen::Dynamic, 2, Eigen::RowMajor>> rows(x.data(), x.dimension(0), 2);
    Eigen::VectorXd values = rows * Eigen::Vector2d(std::cos(angle), std::sin(angle));
    std::sort(values.data(), values.data() + values.size());
    return values;
  };
  double sum = 0.0;
  for (int i = 0; i < directions; ++i) {
    const double angle = i * 3.14159265358979 / directions;
    sum += (along(a, angle) - along(b, angle)).cwiseAbs().mean();
  }
  return sum / directions;
}

}  // namespace example
