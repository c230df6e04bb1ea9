/// @file options.hpp
/// The common frame of the examples: the command line, read by CLI11 (options.cpp), and errors,
/// which end the program with one line on stderr and exit code 1.
#pragma once

#include <cstddef>  // std::ptrdiff_t
#include <cstdint>
#include <functional>
#include <memory>  // std::unique_ptr
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace example {

/// Throws std::runtime_error unless the file can be written. Call it before a long computation, so
/// that its result is not lost.
void check_writable(const std::string& path);

/// The command line of an example. add() names an option, such as "--steps", or an argument, such
/// as "picture". It sets `value`, whose initial value is the default.
class Options {
 public:
  /// A command line for the program `name`. Help and errors are printed only if `prints`, because
  /// under mpirun one process prints for all.
  Options(const std::string& name, const std::string& description, bool prints = true);
  ~Options();

  void add(const std::string& name, std::string& value, const std::string& help);
  /// An option with a value in [low, high].
  void add(const std::string& name, std::ptrdiff_t& value, const std::string& help, std::ptrdiff_t low,
           std::ptrdiff_t high);
  void add(const std::string& name, double& value, const std::string& help, double low, double high);
  /// A list, such as 10,100.
  void add(const std::string& name, std::vector<std::string>& values, const std::string& help);
  void add(const std::string& name, std::vector<std::ptrdiff_t>& values, const std::string& help, std::ptrdiff_t low,
           std::ptrdiff_t high);
  /// An option with one of these values.
  void add_choice(const std::string& name, std::string& value, const std::string& help,
                  const std::vector<std::string>& choices);
  /// The option --seed.
  void add_seed(std::uint32_t& seed, const std::string& help);
  void add_flag(const std::string& name, bool& value, const std::string& help);
  /// Refuses a command line with both options.
  void exclude(const std::string& name, const std::string& other);

  /// Reads the command line, runs `program`, which returns the exit code, and reports errors.
  int run(int argc, const char* const* argv, const std::function<int()>& program);

 private:
  std::unique_ptr<CLI::App> app_;
  bool prints_;
};

}  // namespace example
