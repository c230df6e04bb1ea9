/// @file digit_model.hpp
/// The optimal model of handwritten digits: the exact minimiser of the training loss, which needs
/// no training. The examples use it where a program would call a network.
#pragma once

#include <algorithm>  // std::min
#include <cstddef>    // std::size_t
#include <diffusion/process/gaussian_diffusion.hpp>
#include <diffusion/sampling/time_grid.hpp>
#include <limits>
#include <utility>  // std::move
#include <vector>

#include "digits.hpp"

namespace example {

/// The best model that predicts x_0: it minimises the training loss E |model(x_t, t) - x_0|^2. The
/// minimiser is the posterior mean, known exactly if x_0 is one of M equally likely digits d_i:
///
///     x_t = alpha x_0 + sigma noise
///     E[x_0 | x_t] = sum_i w_i d_i,   w_i = exp(l_i) / sum_j exp(l_j)
///     l_i = -|x_t - alpha d_i|^2 / (2 sigma^2)
///
/// l_i falls to -1e6 where there is little noise, so the largest one is subtracted from all before
/// exp (log-sum-exp). The term |x_t|^2 is common to all l_i and is left out. All l_i of some
/// samples are then one matrix product, and their means are another.
///
/// With a label for each sample, the sum is over the digits of that class: the conditional model of
/// classifier-free guidance. A class without digits has no mean; its answer is NaN.
///
/// A sample's answer has the same bits in any batch. Eigen may add in another order if the size of
/// a matrix product or the alignment of a vector differs. So the batch is computed in groups of
/// four samples, the last of which is filled up, and the l of each sample in a vector of its own.
class DigitModel {
 public:
  /// A model for the timesteps of `process`, before any respacing. `labels` may be empty.
  DigitModel(const diffusion::GaussianDiffusion<double>& process, Digits digits, std::vector<int> labels = {})
      : DigitModel(diffusion::timestep_grid(process, std::vector<Index>{process.num_timesteps() - 1}),
                   std::move(digits), std::move(labels)) {}
  /// A model for the times of the path of this grid.
  DigitModel(diffusion::TimeGrid path, Digits digits, std::vector<int> labels = {})
      : digits_(std::move(digits)),
        labels_(std::move(labels)),
        half_square_(0.5 * rows(digits_).rowwise().squaredNorm()),
        path_(std::move(path)) {}

  /// Writes E[x_0 | x_t] to `out`. x and out are RowMajor, [N, 1, 8, 8]; t has shape [N].
  /// `labels[n]` is the class of sample n, or any_label.
  template <class X, class Times>
  void operator()(const X& x, const Times& t, X& out, const std::vector<int>& labels = {}) const {
    using Scalar = typename X::Scalar;
    using Column = Eigen::Matrix<Scalar, digit_pixels, 1>;
    Eigen::Matrix<double, digit_pixels, group> columns;
    Eigen::Matrix<double, Eigen::Dynamic, group> w(digits_.dimension(0), group);
    Eigen::VectorXd l(digits_.dimension(0));
    for (Index first = 0; first < x.dimension(0); first += group) {
      const auto sample = [&](Index k) { return (std::min)(first + k, x.dimension(0) - 1); };
      for (Index k = 0; k < group; ++k) {
        columns.col(k) = Eigen::Map<const Column>(x.data() + sample(k) * digit_pixels).template cast<double>();
      }
      w.noalias() = rows(digits_) * columns;  // d_i . x_t
      for (Index k = 0; k < group; ++k) {
        const Index n = sample(k);
        const diffusion::NoiseLevel level = path_.at_time(double(t(n)));
        l = (level.alpha * w.col(k) - level.alpha * level.alpha * half_square_) / (level.sigma * level.sigma);
        if (!labels.empty() && labels[std::size_t(n)] != any_label) exclude_others(labels[std::size_t(n)], l);
        l = (l.array() - l.maxCoeff()).exp();
        w.col(k) = l / l.sum();
      }
      columns.noalias() = rows(digits_).transpose() * w;
      for (Index k = 0; k < group; ++k) {
        Eigen::Map<Column>(out.data() + sample(k) * digit_pixels) = columns.col(k).template cast<Scalar>();
      }
    }
  }

  static constexpr int any_label = -1;  ///< the label of a sample whose class is not given

 private:
  static constexpr Index group = 4;

  /// Sets l_i of the digits of other classes to -infinity.
  void exclude_others(int label, Eigen::VectorXd& l) const {
    for (Index i = 0; i < l.size(); ++i) {
      if (labels_[std::size_t(i)] != label) l[i] = -std::numeric_limits<double>::infinity();
    }
  }

  Digits digits_;
  std::vector<int> labels_;      // the class of each digit
  Eigen::VectorXd half_square_;  // |d_i|^2 / 2
  diffusion::TimeGrid path_;     // the noise levels of the process, also between its timesteps
};

}  // namespace example
