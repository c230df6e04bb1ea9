/// @file digit_network.hpp
/// A small network for handwritten digits: a perceptron with residual blocks, and embeddings of the
/// time and of the class.
#pragma once

#include <torch/torch.h>

#include <cmath>
#include <fstream>
#include <stdexcept>
#include <string>

#include "common/digits.hpp"

namespace example {

namespace nn = torch::nn;
constexpr Index width = 256, blocks = 3, frequencies = 32;
/// The label of a digit whose class is not given; the classes are 0 to 9.
constexpr Index no_class = 10;

/// A linear layer as a convolution of one pixel, [N, channels, 1, 1]: torch has fast convolutions
/// even where it has no fast BLAS.
inline nn::Conv2d linear(Index from, Index to) { return nn::Conv2d(nn::Conv2dOptions(from, to, 1)); }
/// Layer normalisation, as a group norm of one group.
inline nn::GroupNorm layer_norm() { return nn::GroupNorm(nn::GroupNormOptions(1, width)); }

/// Sets a layer to 0. The last layer of each branch starts at 0, so that a new residual block is
/// the identity and a new network returns 0.
inline nn::Conv2d zero(nn::Conv2d layer) {
  const torch::NoGradGuard no_grad;
  layer->weight.zero_();
  layer->bias.zero_();
  return layer;
}

/// A residual block that is conditioned on the embedding of t.
struct BlockImpl : nn::Module {
  nn::GroupNorm norm = register_module("norm", layer_norm());
  nn::Conv2d in = register_module("first", linear(width, width));
  nn::Conv2d time = register_module("time", linear(width, width));
  nn::Conv2d out = register_module("last", zero(linear(width, width)));

  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& t) {
    return x + out(torch::silu(in(norm(x)) + time(t)));
  }
};
TORCH_MODULE(Block);

/// The network: predicts v from x_t, t and the class of the digit.
struct NetworkImpl : nn::Module {
  nn::Conv2d in = register_module("first", linear(digit_pixels, width));
  nn::Conv2d time = register_module("time", linear(2 * frequencies, width));
  nn::Embedding label = register_module("label", nn::Embedding(no_class + 1, width));
  nn::ModuleList middle = register_module("middle", nn::ModuleList());
  nn::GroupNorm norm = register_module("norm", layer_norm());
  nn::Conv2d out = register_module("last", zero(linear(width, digit_pixels)));

  NetworkImpl() {
    for (Index k = 0; k < blocks; ++k) middle->push_back(Block());
  }

  /// x has shape [N, 1, 8, 8]; t and labels have shape [N].
  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& t, const torch::Tensor& labels) {
    const auto frequency = torch::exp(torch::arange(frequencies) * (-std::log(10000.0) / frequencies));
    const auto phase = t.unsqueeze(1) * frequency;
    const auto waves = torch::cat({phase.cos(), phase.sin()}, 1).unsqueeze(2).unsqueeze(3);
    const auto embedding = torch::silu(time(waves) + label(labels).unsqueeze(2).unsqueeze(3));
    auto h = in(x.reshape({x.size(0), digit_pixels, 1, 1}));
    for (const auto& block : *middle) h = block->as<Block>()->forward(h, embedding);
    return out(norm(h)).reshape_as(x);
  }
};
TORCH_MODULE(Network);

/// Calls work(), and reports an error of libtorch by the first line of its message, without the
/// stack trace.
template <class Work>
void in_one_line(const std::string& what, const Work& work) {
  try {
    work();
  } catch (const c10::Error& e) {
    const std::string message = e.what_without_backtrace();
    throw std::runtime_error(what + ": " + message.substr(0, message.find('\n')));
  }
}

/// Reads the weights that train_digits wrote. Throws std::runtime_error if it cannot.
inline void load_network(Network& network, const std::string& path) {
  if (!std::ifstream(path)) throw std::runtime_error("cannot open " + path);
  in_one_line("cannot read " + path + " as weights of this network", [&] { torch::load(network, path); });
}

}  // namespace example
