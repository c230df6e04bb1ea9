// Measures what a user's file costs to compile: processor time, memory and code size, compared with
// a file that includes only Eigen's Tensor header.
//
//     compile_cost <object file> <bare.cpp> <first program> <denoiser and run>
//                  <compiler> <flags>...
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

struct Cost {
  double seconds = 0, megabytes = 0, kilobytes_of_code = 0;
};

/// Compiles the source three times, one after another, and returns the shortest time.
Cost compile(std::vector<std::string> command, const std::string& source, const std::string& object) {
  command.insert(command.end(), {"-c", source, "-o", object});
  std::vector<char*> argv;
  for (std::string& argument : command) argv.push_back(argument.data());
  argv.push_back(nullptr);
  Cost least;
  for (int i = 0; i < 3; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      execvp(argv[0], argv.data());
      _exit(127);
    }
    int status = 0;
    rusage usage{};
    if (wait4(child, &status, 0, &usage) != child || status != 0) {
      std::fprintf(stderr, "%s does not compile\n", source.c_str());
      std::exit(1);
    }
    const double seconds =
        static_cast<double>(usage.ru_utime.tv_sec) + 1e-6 * static_cast<double>(usage.ru_utime.tv_usec);
    least.seconds = i == 0 ? seconds : (std::min)(least.seconds, seconds);
    least.megabytes = static_cast<double>(usage.ru_maxrss) / 1024;
  }
  if (FILE* const size = popen(("size " + object).c_str(), "r")) {
    char line[512];
    long text = 0;
    while (std::fgets(line, sizeof line, size)) {
      if (std::sscanf(line, "%ld", &text) == 1) least.kilobytes_of_code = static_cast<double>(text) / 1024;
    }
    pclose(size);
  }
  return least;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 6) return 2;
  const std::vector<std::string> command(argv + 5, argv + argc);
  const struct {
    const char* name;
    double aim;  // target: largest ratio of the times
  } programs[] = {{"Eigen's Tensor header alone", 0}, {"README's first program", 2.4}, {"a Denoiser and a run", 4.2}};
  std::printf("%-32s %8s %7s %10s %10s\n", "", "user, s", "ratio", "memory, MB", "code, KB");
  double bare = 0;
  for (int k = 0; k < 3; ++k) {
    const Cost cost = compile(command, argv[2 + k], argv[1]);
    if (k == 0) bare = cost.seconds;
    std::printf("%-32s %8.2f %7.2f %10.0f %10.0f", programs[k].name, cost.seconds, cost.seconds / bare, cost.megabytes,
                cost.kilobytes_of_code);
    const bool met = cost.seconds <= programs[k].aim * bare && cost.megabytes < 450 && cost.kilobytes_of_code < 90;
    std::puts(programs[k].aim == 0 ? "" : met ? "  met" : "  missed");
  }
}
