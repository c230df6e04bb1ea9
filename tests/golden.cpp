#include "golden.hpp"

#include <cfloat>   // DBL_MAX
#include <cmath>    // std::llround, HUGE_VAL
#include <cstdlib>  // std::strtod, std::strtoll
#include <fstream>
#include <iterator>   // std::istreambuf_iterator
#include <stdexcept>  // std::runtime_error
#include <utility>

using Eigen::Index;

Golden::Golden(std::string path) : path_(std::move(path)) {
  std::ifstream file(path_, std::ios::binary);
  if (!file) throw std::runtime_error("golden: cannot open " + path_);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  for (std::size_t begin = 0, end = 0; begin < text.size(); begin = end + 1) {
    end = text.find('\n', begin);
    if (end == std::string::npos) end = text.size();
    if (end > begin) parse(text.substr(begin, end - begin));
  }
}

bool Golden::contains(const std::string& name) const { return records_.count(name) != 0; }

Index Golden::rank(const std::string& name) const { return static_cast<Index>(at(name).dims.size()); }

const std::vector<Index>& Golden::dims(const std::string& name) const { return at(name).dims; }

Eigen::ArrayXd Golden::array(const std::string& name) const {
  const auto& values = at(name).values;
  return Eigen::Map<const Eigen::ArrayXd>(values.data(), static_cast<Index>(values.size()));
}

double Golden::scalar(const std::string& name) const {
  const Record& record = at(name);
  if (!record.dims.empty()) throw_error(name, "is not a scalar");
  return record.values[0];
}

Index Golden::integer(const std::string& name) const { return static_cast<Index>(std::llround(scalar(name))); }

Eigen::Tensor<Index, 1> Golden::timesteps(const std::string& name) const {
  const Record& record = record_of_rank(name, 1);
  Eigen::Tensor<Index, 1> out(record.dims[0]);
  for (Index i = 0; i < out.size(); ++i) {
    out(i) = static_cast<Index>(std::llround(record.values[static_cast<std::size_t>(i)]));
  }
  return out;
}

void Golden::parse(const std::string& line) {
  const std::size_t blank = line.find(' ');
  const std::string name = line.substr(0, blank);
  if (blank == std::string::npos) throw_error(name, "has no rank");
  char* next = const_cast<char*>(line.c_str()) + blank;
  Record record;
  record.dims.resize(static_cast<std::size_t>(std::strtoll(next, &next, 10)));
  std::size_t size = 1;
  for (Index& d : record.dims) {
    d = static_cast<Index>(std::strtoll(next, &next, 10));
    size *= static_cast<std::size_t>(d);
  }
  record.values.reserve(size);
  for (char* end = next;; next = end) {
    const double value = std::strtod(next, &end);
    if (end == next) break;
    // The format cannot express infinity. The largest finite number stands for it.
    record.values.push_back(value == DBL_MAX ? HUGE_VAL : value == -DBL_MAX ? -HUGE_VAL : value);
  }
  if (record.values.size() != size) {
    throw_error(name, "has " + std::to_string(record.values.size()) + " values, not " + std::to_string(size));
  }
  if (!records_.emplace(name, std::move(record)).second) throw_error(name, "appears twice");
  names_.push_back(name);
}

const Golden::Record& Golden::at(const std::string& name) const {
  const auto found = records_.find(name);
  if (found == records_.end()) throw_error(name, "does not exist");
  return found->second;
}

const Golden::Record& Golden::record_of_rank(const std::string& name, std::size_t rank) const {
  const Record& record = at(name);
  if (record.dims.size() != rank) {
    throw_error(name, "has rank " + std::to_string(record.dims.size()) + ", not " + std::to_string(rank));
  }
  return record;
}

void Golden::throw_error(const std::string& name, const std::string& why) const {
  throw std::runtime_error("golden: record '" + name + "' of " + path_ + " " + why);
}

const Golden& golden(const std::string& file) {
  static std::map<std::string, Golden> files;
  const auto found = files.find(file);
  return found != files.end() ? found->second : files.emplace(file, Golden(GOLDEN_DIR "/" + file)).first->second;
}
