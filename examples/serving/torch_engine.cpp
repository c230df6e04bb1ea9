/// @file torch_engine.cpp
/// The network that train_digits has trained, as an engine for the server. A file of its own, so
/// that the rest of the example does not need libtorch.
#include <torch/torch.h>

#include <algorithm>  // std::copy_n, std::min
#include <cstddef>    // std::size_t
#include <cstdint>
#include <string>
#include <vector>

#include "serving/server.hpp"
#include "studies/digit_network.hpp"

namespace example {

/// Returns an engine that calls the network with the weights in this file, always with `size`
/// samples. It fills a smaller batch with zeros and splits a larger one. Throws std::runtime_error
/// if the file cannot be read.
///
/// libtorch may add in another order if the size of the batch differs. With a fixed size, a
/// sample's answer has the same bits in any batch. Engines that are compiled for static shapes,
/// such as those of TensorRT, and CUDA graphs have fixed sizes too. A size below 16 may be slower
/// than 16, because libtorch uses its fast convolutions from there on.
Engine network_engine(const std::string& path, Index size) {
  torch::set_num_threads(1);  // more gain little for batches this small
  Network network;
  load_network(network, path);
  network->eval();
  return [network, size](const Picture& x, const Eigen::Tensor<float, 1>& t, const std::vector<int>& labels,
                         Picture& out) mutable {
    const torch::NoGradGuard no_grad;
    const torch::Tensor input = torch::zeros({size, 1, digit_side, digit_side}), times = torch::zeros({size}),
                        classes = torch::full({size}, no_class, torch::kLong);
    for (Index first = 0; first < x.dimension(0); first += size) {
      const Index count = (std::min)(size, x.dimension(0) - first);
      std::copy_n(x.data() + first * digit_pixels, count * digit_pixels, input.data_ptr<float>());
      std::copy_n(t.data() + first, count, times.data_ptr<float>());
      for (Index n = 0; n < count; ++n) {
        const int label = labels[std::size_t(first + n)];
        classes.data_ptr<std::int64_t>()[n] = label == DigitModel::any_label ? no_class : Index(label);
      }
      const torch::Tensor output = network->forward(input, times, classes).contiguous();
      std::copy_n(output.data_ptr<float>(), count * digit_pixels, out.data() + first * digit_pixels);
    }
  };
}

}  // namespace example
