/// @file smooth_trajectories.hpp
/// A Gaussian distribution of trajectories from a start to a goal, and the exact model of it.
#pragma once

#include <Eigen/Eigenvalues>
#include <Eigen/LU>  // inverse
#include <chrono>
#include <diffusion/process/gaussian_diffusion.hpp>

namespace example {

using Eigen::Index;

constexpr Index H = 16, D = 7;                                  // the horizon, the joints
using Plan = Eigen::Tensor<float, 3, Eigen::RowMajor>;          // [1, H, D], each joint's range being [-1, 1]
using Waypoints = Eigen::Matrix<float, H, D, Eigen::RowMajor>;  // the same
using Posture = Eigen::Matrix<float, 1, D>;

inline Eigen::Map<Waypoints> waypoints(Plan& plan) { return Eigen::Map<Waypoints>(plan.data()); }
inline Eigen::Map<const Waypoints> waypoints(const Plan& plan) { return Eigen::Map<const Waypoints>(plan.data()); }

/// With x_{0,i} the waypoints of one joint, i = 0 ... H - 1, let
///     -log p(x_0) = sum_i (x_{0,i-1} - 2 x_{0,i} + x_{0,i+1})^2 / (2 a^2)      smooth: accelerations have the deviation a
///                   + ((x_{0,0} - start)^2 + (x_{0,H-1} - goal)^2 + (x_{0,H-1} - x_{0,H-2})^2) / (2 b^2)
/// That is N(mu, P^-1), where the matrix P of the quadratic form is always the same and mu = P^-1 (e_0 start + e_{H-1} goal) / b^2.
/// With P^-1 = U diag(v) U^T, found once, x = alpha x_0 + sigma epsilon has the covariance U diag(alpha^2 v + sigma^2) U^T, and
///     E[epsilon | x] = sigma U diag(1 / (alpha^2 v + sigma^2)) U^T (x - alpha mu)
/// The model is told of start and goal by mu, and measures the time that it takes.
struct SmoothTrajectories {
  static constexpr double a = 0.02, b = 0.01;
  diffusion::GaussianDiffusion<float> process;
  Eigen::Matrix<double, H, H> P = Eigen::Matrix<double, H, H>::Zero();
  Eigen::Matrix<float, H, H> U;
  Eigen::Array<float, H, 1> v;
  Eigen::Matrix<float, H, 2> to_mean;  // mu = to_mean (start, goal)
  Waypoints mu;
  std::chrono::duration<double, std::micro> time{0};

  explicit SmoothTrajectories(const diffusion::GaussianDiffusion<float>& of) : process(of) {
    using Row = Eigen::Matrix<double, 1, H>;
    const auto add = [this](const Row& row, double deviation) { P += row.transpose() * row / (deviation * deviation); };
    for (Index i = 1; i + 1 < H; ++i) add(Row::Unit(i - 1) - 2.0 * Row::Unit(i) + Row::Unit(i + 1), a);
    add(Row::Unit(0), b);
    add(Row::Unit(H - 1), b);
    add(Row::Unit(H - 1) - Row::Unit(H - 2), b);
    const Eigen::SelfAdjointEigenSolver<Eigen::Matrix<double, H, H>> of_P(P);
    U = of_P.eigenvectors().cast<float>();
    v = of_P.eigenvalues().cwiseInverse().cast<float>();
    const Eigen::Matrix<double, H, H> covariance = P.inverse();
    to_mean << (covariance.col(0) / (b * b)).cast<float>(), (covariance.col(H - 1) / (b * b)).cast<float>();
  }

  Waypoints mean(const Posture& start, const Posture& goal) const {
    return to_mean.col(0) * start + to_mean.col(1) * goal;
  }

  void operator()(const Plan& x, const Eigen::Tensor<float, 1>& t, Plan& out) {
    const auto begin = std::chrono::steady_clock::now();
    const auto at = static_cast<Index>(t(0));
    const auto alpha = static_cast<float>(process.sqrt_alphas_cumprod()[at]);
    const auto sigma = static_cast<float>(process.sqrt_one_minus_alphas_cumprod()[at]);
    const Waypoints in_U = U.transpose() * (waypoints(x) - alpha * mu);
    waypoints(out).noalias() = U * (sigma / (alpha * alpha * v + sigma * sigma)).matrix().asDiagonal() * in_U;
    time += std::chrono::steady_clock::now() - begin;
  }
};

}  // namespace example
