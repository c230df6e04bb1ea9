/// @file smooth_trajectories.hpp
/// A Gaussian distribution of smooth trajectories from a start to a goal, and its exact model.
#pragma once

#include <Eigen/Eigenvalues>
#include <diffusion/process/gaussian_diffusion.hpp>

namespace example {

using Eigen::Index;

constexpr Index H = 16, D = 7;                                  // the horizon and the number of joints
using Plan = Eigen::Tensor<float, 3, Eigen::RowMajor>;          // [1, H, D]; the range of each joint is [-1, 1]
using Waypoints = Eigen::Matrix<float, H, D, Eigen::RowMajor>;  // a plan as a matrix
using Posture = Eigen::Matrix<float, 1, D>;

inline Eigen::Map<Waypoints> waypoints(Plan& plan) { return Eigen::Map<Waypoints>(plan.data()); }
inline Eigen::Map<const Waypoints> waypoints(const Plan& plan) { return Eigen::Map<const Waypoints>(plan.data()); }

/// The inverse of the symmetric matrix that `solver` has decomposed.
inline Eigen::MatrixXd inverse(const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>& solver) {
  const Eigen::MatrixXd scaled = solver.eigenvectors() * solver.eigenvalues().cwiseInverse().asDiagonal();
  return scaled * solver.eigenvectors().transpose();
}

/// The exact model of smooth trajectories. For the waypoints x_{0,i} of one joint, i = 0 ... H - 1,
/// the distribution is, with the sum over i = 1 ... H - 2,
///
///     -log p(x_0) = sum_i (x_{0,i-1} - 2 x_{0,i} + x_{0,i+1})^2 / (2 a^2)
///                   + ((x_{0,0} - start)^2 + (x_{0,H-1} - goal)^2
///                      + (x_{0,H-1} - x_{0,H-2})^2) / (2 b^2)
///
/// up to a constant. The accelerations have the standard deviation a; the distances from start and
/// goal, and the last velocity, have the standard deviation b. This is N(mu, P^-1), where the
/// matrix P does not depend on start and goal:
///
///     mu = P^-1 (e_0 start + e_{H-1} goal) / b^2
///
/// With the eigendecomposition P^-1 = U diag(v) U^T, computed once, x = alpha x_0 + sigma epsilon
/// has the covariance U diag(alpha^2 v + sigma^2) U^T, and
///
///     E[epsilon | x] = sigma U diag(1 / (alpha^2 v + sigma^2)) U^T (x - alpha mu)
///
/// observe() chooses start and goal.
struct SmoothTrajectories {
  static constexpr double a = 0.02, b = 0.01;
  diffusion::GaussianDiffusion<float> process;
  Eigen::MatrixXd P = Eigen::MatrixXd::Zero(H, H);  // of dynamic size, which compiles faster
  Eigen::Matrix<float, H, H> U;
  Eigen::Array<float, H, 1> v;
  Eigen::Matrix<float, H, 2> to_mean;  // mu = to_mean (start, goal)
  Waypoints mu;

  explicit SmoothTrajectories(const diffusion::GaussianDiffusion<float>& forward_process) : process(forward_process) {
    using Row = Eigen::RowVectorXd;
    const auto add = [this](const Row& row, double deviation) { P += row.transpose() * row / (deviation * deviation); };
    for (Index i = 1; i + 1 < H; ++i) add(Row::Unit(H, i - 1) - 2.0 * Row::Unit(H, i) + Row::Unit(H, i + 1), a);
    add(Row::Unit(H, 0), b);
    add(Row::Unit(H, H - 1), b);
    add(Row::Unit(H, H - 1) - Row::Unit(H, H - 2), b);
    const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(P);
    U = solver.eigenvectors().cast<float>();
    v = solver.eigenvalues().cwiseInverse().cast<float>();
    const Eigen::MatrixXd covariance = inverse(solver);
    to_mean << (covariance.col(0) / (b * b)).cast<float>(), (covariance.col(H - 1) / (b * b)).cast<float>();
  }

  /// mu for a start and a goal.
  Waypoints mean(const Posture& start, const Posture& goal) const {
    return to_mean.col(0) * start + to_mean.col(1) * goal;
  }

  /// Sets mu for a start and a goal.
  void observe(const Posture& start, const Posture& goal) { mu = mean(start, goal); }

  /// Writes E[epsilon | x] at model time t into `out`.
  void operator()(const Plan& x, const Eigen::Tensor<float, 1>& t, Plan& out) {
    const auto at = static_cast<Index>(t(0));
    const auto alpha = static_cast<float>(process.sqrt_alphas_cumprod()[at]);
    const auto sigma = static_cast<float>(process.sqrt_one_minus_alphas_cumprod()[at]);
    const Waypoints coordinates = U.transpose() * (waypoints(x) - alpha * mu);
    waypoints(out).noalias() = U * (sigma / (alpha * alpha * v + sigma * sigma)).matrix().asDiagonal() * coordinates;
  }
};

}  // namespace example
