/// @file options.hpp
/// What the examples share around their main functions: the command line is read by CLI11, and whatever goes wrong ends
/// in one line on stderr and exit code 1.
#pragma once

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstring>  // std::strerror
#include <exception>
#include <fstream>
#include <iostream>
#include <new>  // std::bad_alloc
#include <stdexcept>
#include <string>

namespace example {

/// Lest long work be lost to a path that cannot be written. Throws std::runtime_error.
inline void check_writable(const std::string& path) {
  if (!std::ofstream(path, std::ios::app)) {
    throw std::runtime_error("cannot open " + path + " for writing: " + std::strerror(errno));
  }
}

/// Reads the command line into the options of `app`, then runs `program`, a callable that returns the exit code.
template <class Program>
int run(CLI::App& app, int argc, const char* const* argv, const Program& program) {
  std::string error;
  try {
    app.parse(argc, argv);
    return program();
  } catch (const CLI::CallForHelp&) {
    std::cout << app.help();
    return 0;
  } catch (const CLI::ParseError& e) {
    error = std::string(e.what()) + " (--help lists the options)";
  } catch (const std::bad_alloc&) {
    error = "out of memory";
  } catch (const std::exception& e) {
    error = e.what();
  }
  std::cout.flush();
  std::cerr << app.get_name() << ": " << error << '\n';
  return 1;
}

}  // namespace example
