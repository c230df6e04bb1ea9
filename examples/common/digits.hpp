/// @file digits.hpp
/// Reads and draws the handwritten digits of data/digits.csv, and measures the distance of
/// generated digits from them.
#pragma once

#include <cerrno>
#include <charconv>  // std::from_chars
#include <cmath>     // std::sqrt
#include <cstring>   // std::strerror
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "image.hpp"

namespace example {

/// A batch of grey digits, [N, 1, 8, 8], where -1 is paper and 1 is ink.
using Digits = Eigen::Tensor<double, 4, Eigen::RowMajor>;
constexpr Index digit_side = 8, digit_pixels = digit_side * digit_side;

/// The same values as a matrix with one row per digit, for matrix products.
using DigitRows = Eigen::Matrix<double, Eigen::Dynamic, digit_pixels, Eigen::RowMajor>;
inline Eigen::Map<const DigitRows> rows(const Digits& x) { return {x.data(), x.dimension(0), digit_pixels}; }
inline Eigen::Map<DigitRows> rows(Digits& x) { return {x.data(), x.dimension(0), digit_pixels}; }

/// Returns the digits at these indices, in the given order.
inline Digits selected(const Digits& x, const std::vector<Index>& indices) {
  Digits out(static_cast<Index>(indices.size()), 1, digit_side, digit_side);
  for (Index n = 0; n < out.dimension(0); ++n) rows(out).row(n) = rows(x).row(indices[static_cast<std::size_t>(n)]);
  return out;
}

/// Reads a CSV file of digits. After a heading, each line holds one digit: 64 integers from 0
/// (paper) to 16 (ink), followed by the class from 0 to 9, which is added to `labels`. Throws
/// std::runtime_error if a line is different or if there are fewer than 200 digits.
inline Digits read_digits(const std::string& path, std::vector<int>* labels = nullptr) {
  if (std::filesystem::is_directory(path)) throw std::runtime_error("cannot read " + path + ": it is a directory");
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot open " + path + ": " + std::strerror(errno));
  std::vector<double> values;
  std::string line;
  std::getline(file, line);
  for (Index number = 2; std::getline(file, line); ++number) {
    const char *at = line.data(), *end = at + line.size();
    Index column = 0;
    for (; column <= digit_pixels; ++column) {
      int value = -1;
      const auto [next, error] = std::from_chars(at, end, value);
      if (error != std::errc() || value < 0 || value > (column < digit_pixels ? 16 : 9)) break;
      if (column < digit_pixels) {
        values.push_back(value / 8.0 - 1.0);
      } else if (labels) {
        labels->push_back(value);
      }
      at = next != end && *next == ',' ? next + 1 : next;
    }
    if (column <= digit_pixels || (at != end && *at != '\r')) {
      throw std::runtime_error(path + ", line " + std::to_string(number) +
                               ": not 64 numbers from 0 to 16 followed by a class from 0 to 9");
    }
  }
  const auto count = static_cast<Index>(values.size()) / digit_pixels;
  if (count < 200)
    throw std::runtime_error(path + " has " + std::to_string(count) + " digits; at least 200 are needed");
  return Eigen::TensorMap<const Digits>(values.data(), count, 1, digit_side, digit_side);
}

/// Side of the picture that digit_grid draws, in pixels.
constexpr Index digit_grid_side(Index scale) { return (10 * (digit_side + 1) - 1) * scale; }
/// Draws the first 100 digits in ten rows of ten; each pixel is `scale` pixels wide and high.
inline Images digit_grid(const Digits& x, Index scale) {
  const Index side = digit_grid_side(scale), cell = (digit_side + 1) * scale;
  Images out(1, side, side, 1);
  out.setConstant(-0.4F);
  for (Index i = 0; i < out.dimension(1); ++i) {
    for (Index j = 0; j < out.dimension(2); ++j) {
      const Index n = 10 * (i / cell) + j / cell, row = i % cell / scale, column = j % cell / scale;
      if (row < digit_side && column < digit_side && n < x.dimension(0)) {
        out(0, i, j, 0) = static_cast<float>(x(n, 0, row, column));
      }
    }
  }
  return out;
}

/// Euclidean distance of each of N samples x from each of M digits, as a matrix [N, M].
inline Eigen::MatrixXd distances(const Digits& x, const Digits& digits) {
  Eigen::MatrixXd out(x.dimension(0), digits.dimension(0));
  for (Index n = 0; n < out.rows(); ++n) {
    out.row(n) = (rows(digits).rowwise() - rows(x).row(n)).rowwise().norm().transpose();
  }
  return out;
}

/// Index of the digit nearest to each sample, from the distances [N, M].
inline std::vector<Index> nearest(const Eigen::MatrixXd& distance) {
  std::vector<Index> out(static_cast<std::size_t>(distance.rows()));
  for (Index n = 0; n < distance.rows(); ++n) distance.row(n).minCoeff(&out[static_cast<std::size_t>(n)]);
  return out;
}

/// Mean and standard deviation of each pixel over a batch.
struct PixelMoments {
  explicit PixelMoments(const Digits& x)
      : mean(rows(x).colwise().mean()), deviation((rows(x).rowwise() - mean).colwise().norm()) {
    deviation /= std::sqrt(static_cast<double>(x.dimension(0)));
  }
  Eigen::RowVectorXd mean, deviation;
};

}  // namespace example
