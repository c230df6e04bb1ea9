#include "options.hpp"

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstring>  // std::strerror
#include <exception>
#include <fstream>
#include <iostream>
#include <limits>
#include <new>  // std::bad_alloc
#include <stdexcept>

namespace example {

namespace {

/// Makes an option take one list with commas.
CLI::Option* list(CLI::Option* option) {
  return option->delimiter(',')->allow_extra_args(false)->capture_default_str();
}

}  // namespace

void check_writable(const std::string& path) {
  if (!std::ofstream(path, std::ios::app)) {
    throw std::runtime_error("cannot open " + path + " for writing: " + std::strerror(errno));
  }
}

Options::Options(const std::string& name, const std::string& description, bool prints)
    : app_(std::make_unique<CLI::App>(description, name)), prints_(prints) {}
Options::~Options() = default;

void Options::add(const std::string& name, std::string& value, const std::string& help) {
  CLI::Option* const option = app_->add_option(name, value, help);
  if (name[0] == '-') option->capture_default_str();
}
void Options::add(const std::string& name, std::ptrdiff_t& value, const std::string& help, std::ptrdiff_t low,
                  std::ptrdiff_t high) {
  app_->add_option(name, value, help)->check(CLI::Range(low, high))->capture_default_str();
}
void Options::add(const std::string& name, double& value, const std::string& help, double low, double high) {
  app_->add_option(name, value, help)->check(CLI::Range(low, high))->capture_default_str();
}
void Options::add(const std::string& name, std::vector<std::string>& values, const std::string& help) {
  list(app_->add_option(name, values, help));
}
void Options::add(const std::string& name, std::vector<std::ptrdiff_t>& values, const std::string& help,
                  std::ptrdiff_t low, std::ptrdiff_t high) {
  list(app_->add_option(name, values, help))->check(CLI::Range(low, high));
}
void Options::add_choice(const std::string& name, std::string& value, const std::string& help,
                         const std::vector<std::string>& choices) {
  app_->add_option(name, value, help)->check(CLI::IsMember(choices))->capture_default_str();
}
void Options::add_seed(std::uint32_t& seed, const std::string& help) {
  constexpr std::int64_t highest = (std::numeric_limits<std::uint32_t>::max)();
  app_->add_option("--seed", seed, help)->check(CLI::Range(std::int64_t(0), highest))->capture_default_str();
}
void Options::add_flag(const std::string& name, bool& value, const std::string& help) {
  app_->add_flag(name, value, help);
}
void Options::exclude(const std::string& name, const std::string& other) {
  app_->get_option(name)->excludes(app_->get_option(other));
}

int Options::run(int argc, const char* const* argv, const std::function<int()>& program) {
  std::string error;
  try {
    app_->parse(argc, argv);
    return program();
  } catch (const CLI::CallForHelp&) {
    if (prints_) std::cout << app_->help();
    return 0;
  } catch (const CLI::ParseError& e) {
    error = std::string(e.what()) + " (--help lists the options)";
  } catch (const std::bad_alloc&) {
    error = "out of memory";
  } catch (const std::exception& e) {
    error = e.what();
  }
  std::cout.flush();
  if (prints_) std::cerr << app_->get_name() << ": " << error << '\n';
  return 1;
}

}  // namespace example
