/// @file golden.hpp
/// Reads the recorded reference values in tests/golden: one record a line, `name rank d0 .. v0 v1 ..`, values in
/// row-major order. A file or record that is missing, or of another rank, is an exception, and so fails the test.
///
///     const Golden& g = golden("guided_forward.txt");
///     g.array("case/x_start");                             // all values as an ArrayXd, whatever the rank
///     g.tensor<float, 4, Eigen::ColMajor>("case/x_start"); // element [n, c, h, w] is the record's in either layout
#pragma once

#include <cfloat>   // DBL_MAX
#include <cmath>    // std::llround, HUGE_VAL
#include <cstdlib>  // std::strtod, std::strtoll
#include <fstream>
#include <iterator>  // std::istreambuf_iterator
#include <map>
#include <stdexcept>  // std::runtime_error
#include <string>
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>
#include <vector>

#include "layout.hpp"

class Golden {
 public:
  explicit Golden(std::string path) : path_(std::move(path)) {
    std::ifstream file(path_, std::ios::binary);
    if (!file) throw std::runtime_error("golden: cannot open " + path_);
    const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    for (std::size_t begin = 0, end = 0; begin < text.size(); begin = end + 1) {
      end = text.find('\n', begin);
      if (end == std::string::npos) end = text.size();
      if (end > begin) parse(text.substr(begin, end - begin));
    }
  }

  bool contains(const std::string& name) const { return records_.count(name) != 0; }
  /// The names of all records, in the order of the file.
  const std::vector<std::string>& names() const { return names_; }

  Eigen::Index rank(const std::string& name) const { return static_cast<Eigen::Index>(at(name).dims.size()); }

  const std::vector<Eigen::Index>& dims(const std::string& name) const { return at(name).dims; }

  /// The values of a record of any rank, in row-major order.
  Eigen::ArrayXd array(const std::string& name) const {
    const auto& values = at(name).values;
    return Eigen::Map<const Eigen::ArrayXd>(values.data(), static_cast<Eigen::Index>(values.size()));
  }

  double scalar(const std::string& name) const {
    const Record& record = at(name);
    if (!record.dims.empty()) refuse(name, "is not a scalar");
    return record.values[0];
  }

  Eigen::Index integer(const std::string& name) const { return static_cast<Eigen::Index>(std::llround(scalar(name))); }

  template <class Scalar, int Rank, int Layout = Eigen::RowMajor>
  Eigen::Tensor<Scalar, Rank, Layout, Eigen::Index> tensor(const std::string& name) const {
    const Record& record = at(name);
    if (record.dims.size() != static_cast<std::size_t>(Rank)) {
      refuse(name, "has rank " + std::to_string(record.dims.size()) + ", not " + std::to_string(Rank));
    }
    Eigen::Tensor<Scalar, Rank, Eigen::RowMajor, Eigen::Index> out;
    Eigen::array<Eigen::Index, static_cast<std::size_t>(Rank)> dims;
    for (std::size_t d = 0; d < dims.size(); ++d) dims[d] = record.dims[d];
    out.resize(dims);
    for (std::size_t i = 0; i < record.values.size(); ++i) {
      out.data()[i] = static_cast<Scalar>(record.values[i]);
    }
    return with_layout<Layout>(out);
  }

  /// A record of rank 1 that holds whole numbers, as the library's timesteps.
  Eigen::Tensor<Eigen::Index, 1> timesteps(const std::string& name) const {
    const Record& record = at(name);
    if (record.dims.size() != 1) refuse(name, "is not of rank 1");
    Eigen::Tensor<Eigen::Index, 1> out(record.dims[0]);
    for (Eigen::Index i = 0; i < out.size(); ++i) {
      out(i) = static_cast<Eigen::Index>(std::llround(record.values[static_cast<std::size_t>(i)]));
    }
    return out;
  }

 private:
  struct Record {
    std::vector<Eigen::Index> dims;
    std::vector<double> values;
  };

  void parse(const std::string& line) {
    const std::size_t blank = line.find(' ');
    const std::string name = line.substr(0, blank);
    if (blank == std::string::npos) refuse(name, "has no rank");
    char* next = const_cast<char*>(line.c_str()) + blank;
    Record record;
    record.dims.resize(static_cast<std::size_t>(std::strtoll(next, &next, 10)));
    std::size_t size = 1;
    for (Eigen::Index& d : record.dims) {
      d = static_cast<Eigen::Index>(std::strtoll(next, &next, 10));
      size *= static_cast<std::size_t>(d);
    }
    record.values.reserve(size);
    for (char* end = next;; next = end) {
      const double value = std::strtod(next, &end);
      if (end == next) break;
      // The format has no word for infinity: it writes the largest finite number instead.
      record.values.push_back(value == DBL_MAX ? HUGE_VAL : value == -DBL_MAX ? -HUGE_VAL : value);
    }
    if (record.values.size() != size) {
      refuse(name, "has " + std::to_string(record.values.size()) + " values, not " + std::to_string(size));
    }
    if (!records_.emplace(name, std::move(record)).second) refuse(name, "appears twice");
    names_.push_back(name);
  }

  const Record& at(const std::string& name) const {
    const auto found = records_.find(name);
    if (found == records_.end()) refuse(name, "does not exist");
    return found->second;
  }

  [[noreturn]] void refuse(const std::string& name, const std::string& why) const {
    throw std::runtime_error("golden: record '" + name + "' of " + path_ + " " + why);
  }

  std::string path_;
  std::vector<std::string> names_;
  std::map<std::string, Record> records_;
};

/// The records of a file in tests/golden, read once in the life of the program.
inline const Golden& golden(const std::string& file) {
  static std::map<std::string, Golden> files;
  const auto found = files.find(file);
  return found != files.end() ? found->second : files.emplace(file, Golden(GOLDEN_DIR "/" + file)).first->second;
}
