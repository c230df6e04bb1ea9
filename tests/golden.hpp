/// @file golden.hpp
/// Reads the recorded reference values in tests/golden. A line is one record,
/// `name rank d0 .. v0 v1 ..`, with the values in row-major order. A missing file or record, or a
/// record of another rank, throws std::runtime_error and so fails the test.
///
///     const Golden& g = golden("guided_forward.txt");
///     g.array("case/x_start");                              // all values as an ArrayXd
///     g.tensor<float, 4, Eigen::ColMajor>("case/x_start");  // same [n, c, h, w] in either layout
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <unsupported/Eigen/CXX11/Tensor>
#include <vector>

#include "layout.hpp"

/// The records of one file.
class Golden {
 public:
  explicit Golden(std::string path);

  bool contains(const std::string& name) const;
  /// Names of all records, in the order of the file.
  const std::vector<std::string>& names() const { return names_; }

  Eigen::Index rank(const std::string& name) const;

  const std::vector<Eigen::Index>& dims(const std::string& name) const;

  /// Values of a record of any rank, in row-major order.
  Eigen::ArrayXd array(const std::string& name) const;

  double scalar(const std::string& name) const;
  Eigen::Index integer(const std::string& name) const;

  template <class Scalar, int Rank, int Layout = Eigen::RowMajor>
  Eigen::Tensor<Scalar, Rank, Layout, Eigen::Index> tensor(const std::string& name) const {
    const Record& record = record_of_rank(name, static_cast<std::size_t>(Rank));
    Eigen::Tensor<Scalar, Rank, Eigen::RowMajor, Eigen::Index> out;
    Eigen::array<Eigen::Index, static_cast<std::size_t>(Rank)> dims;
    for (std::size_t d = 0; d < dims.size(); ++d) dims[d] = record.dims[d];
    out.resize(dims);
    for (std::size_t i = 0; i < record.values.size(); ++i) {
      out.data()[i] = static_cast<Scalar>(record.values[i]);
    }
    return with_layout<Layout>(out);
  }

  /// A record of rank 1, rounded to integers, as the library's timesteps.
  Eigen::Tensor<Eigen::Index, 1> timesteps(const std::string& name) const;

 private:
  struct Record {
    std::vector<Eigen::Index> dims;
    std::vector<double> values;
  };

  void parse(const std::string& line);
  const Record& at(const std::string& name) const;
  const Record& record_of_rank(const std::string& name, std::size_t rank) const;
  [[noreturn]] void throw_error(const std::string& name, const std::string& why) const;

  std::string path_;
  std::vector<std::string> names_;
  std::map<std::string, Record> records_;
};

/// Returns the records of a file in tests/golden, which is read once per program.
const Golden& golden(const std::string& file);
