// Fuzzes the configs of diffusers: any values of the arguments of any class, and any text as JSON.
// A config is refused by a documented exception, or gives a grid and a sampler that run.
#include <diffusion/diffusion.hpp>
#include <diffusion/interop/diffusers_config.hpp>
#include <string>
#include <vector>

#include "fuzz.hpp"

using namespace diffusion;
using namespace fuzz;
using nlohmann::json;

namespace {

json value(Input& in, int depth = 0) {
  const char* texts[] = {"linear",      "scaled_linear", "squaredcos_cap_v2", "epsilon",  "v_prediction",
                         "sample",      "leading",       "trailing",          "linspace", "zero",
                         "sigma_min",   "heun",          "midpoint",          "bh1",      "sde-dpmsolver++",
                         "fixed_large", "learned_range", "Infinity",          "x",        ""};
  switch (index(in, 0, depth < 2 ? 7 : 5)) {
    case 0:
      return nullptr;
    case 1:
      return in.ConsumeBool();
    case 2:
      return index(in, -2, 30);
    case 3:
      return in.ConsumeIntegral<std::int64_t>();
    case 4:
      return hostile(in);
    case 5:
      return texts[index(in, 0, 19)];
    case 6: {
      json list = json::array();
      for (Index i = index(in, 0, 5); i > 0; --i)
        list.push_back(in.ConsumeBool() ? json(in.ConsumeFloatingPointInRange<double>(0.0, 1.0))
                                        : value(in, depth + 1));
      return list;
    }
    default:
      return json{{"a", value(in, depth + 1)}};
  }
}

/// Some arguments of a function, with any values.
json arguments(Input& in, const json& known, Index most) {
  std::vector<std::string> names;
  for (const auto& argument : known.items()) names.push_back(argument.key());
  json out = json::object();
  if (names.empty()) return out;
  for (Index i = index(in, 0, most); i > 0; --i)
    out[names[static_cast<std::size_t>(index(in, 0, Index(names.size()) - 1))]] = value(in);
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using Tensor = Eigen::Tensor<double, 2>;
  Input in(data, size);
  documented([&] {
    if (index(in, 0, 7) == 0) {
      const json any = json::parse(in.ConsumeRemainingBytesAsString(), nullptr, false);
      if (!any.is_discarded()) static_cast<void>(read_diffusers_config(any));
      return;
    }
    const auto& classes = detail::diffusers_classes();
    const auto& row = classes[static_cast<std::size_t>(index(in, 0, Index(classes.size()) - 1))];
    json config = arguments(in, row.init, 4);
    // A large process takes long to compute; the time of a run is not what is tested here.
    if (index(in, 0, 9) > 0) config["num_train_timesteps"] = index(in, 1, 60);
    config["_class_name"] = row.name;
    const DiffusersConfig read = read_diffusers_config(config);
    const TimeGrid grid =
        read.grid(index(in, 0, 9) == 0 ? index(in, -2000, 2000) : index(in, 1, 6), arguments(in, row.set_timesteps, 2));
    const auto sampler = read.sampler<Tensor>(arguments(in, row.step, 2));
    const DenoiserOptions options = read.denoiser_options();
    if (options.learned_variance || grid.num_steps() > 20) return;
    const Denoiser denoiser([](const Tensor& x, const auto&) { return x * 0.1; }, read.mean_type(), options);
    Tensor x(1, 3);
    x.setConstant(0.5);
    static_cast<void>(sample(sampler, grid, denoiser, x, PhiloxNoise{1}));
  });
  return 0;
}
