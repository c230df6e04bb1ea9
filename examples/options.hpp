/// @file options.hpp
/// What the examples share around their main functions: the command line is read by CLI11, and whatever goes wrong ends
/// in one line on stderr and exit code 1.
#pragma once

#include <CLI/CLI.hpp>
#include <exception>
#include <iostream>
#include <new>  // std::bad_alloc
#include <string>

namespace example {

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
