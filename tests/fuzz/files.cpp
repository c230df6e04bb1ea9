// Fuzzes what reads files: pictures and digits of the examples, and configs of diffusers. A file is
// read, or refused by std::runtime_error or a documented exception.
#include <sys/mman.h>
#include <unistd.h>

#include <common/digits.hpp>
#include <common/image.hpp>
#include <diffusion/interop/diffusers_config.hpp>
#include <string>

#include "fuzz.hpp"

using namespace fuzz;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input in(data, size);
  const Index what = index(in, 0, 2);
  const std::string text = in.ConsumeRemainingBytesAsString();
  const int file = memfd_create("input", 0);
  require(write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size()), "the input was not written");
  const std::string path = "/proc/self/fd/" + std::to_string(file);
  try {
    documented([&] {
      if (what == 0) {
        const example::Images image = example::read_image(path);
        for (Index i = 0; i < image.size(); ++i) {
          require(image.data()[i] >= -1.0F && image.data()[i] <= 1.0F, "a pixel is outside [-1, 1]");
        }
      } else if (what == 1) {
        std::vector<int> labels;
        const auto digits = example::read_digits(path, &labels);
        require(static_cast<Index>(labels.size()) == digits.dimension(0), "the labels are not those of the digits");
      } else {
        static_cast<void>(diffusion::read_diffusers_config(path));
      }
    });
  } catch (const std::runtime_error&) {
  }
  close(file);
  return 0;
}
