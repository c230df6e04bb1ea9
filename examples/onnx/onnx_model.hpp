/// @file onnx_model.hpp
/// A network in an ONNX file as a model of this library, run by ONNX Runtime.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <array>
#include <cstddef>  // std::size_t
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <type_traits>  // std::is_same_v
#include <unsupported/Eigen/CXX11/Tensor>
#include <vector>

namespace example {

/// A network whose inputs are x, the time, and any number of context tensors, and whose output has
/// the shape of x. ONNX Runtime reads and writes the memory of the tensors: nothing is copied.
///
/// Bind the context, and pass the result wherever the library takes a model:
///
///     OnnxModel network("digits.onnx");
///     const auto model = [&](const X& x, const Times& t, X& v) { network(x, t, v, labels); };
///
/// Tensors are RowMajor, as in ONNX, and hold float or std::int64_t. The time may be either in the
/// file. Throws std::runtime_error if the file cannot be read or has other inputs, and
/// Ort::Exception if ONNX Runtime refuses a shape.
class OnnxModel {
 public:
  /// Loads a file. A call uses this number of threads; 0 stands for all processors.
  explicit OnnxModel(const std::string& path, int threads = 0)
      : path_(path), session_(nullptr), memory_(Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault)) {
    if (std::filesystem::is_directory(path) || !std::ifstream(path)) throw std::runtime_error("cannot read " + path);
    static const Ort::Env env(ORT_LOGGING_LEVEL_ERROR, "example");
    Ort::SessionOptions options;
    options.SetIntraOpNumThreads(threads);
    try {
      session_ = Ort::Session(env, std::filesystem::path(path).c_str(), options);
    } catch (const Ort::Exception&) {
      throw std::runtime_error(path + " is not a network that ONNX Runtime can run");
    }
    Ort::AllocatorWithDefaultOptions allocator;
    for (std::size_t i = 0; i < session_.GetInputCount(); ++i) {
      input_names_.emplace_back(session_.GetInputNameAllocated(i, allocator).get());
      types_.push_back(session_.GetInputTypeInfo(i).GetTensorTypeAndShapeInfo().GetElementType());
    }
    output_name_ = session_.GetOutputNameAllocated(0, allocator).get();
    if (types_.size() < 2) fail("must have the inputs x and time");
    if (types_[1] != float_type && types_[1] != int64_type) fail("must take the time as float or int64");
  }

  /// Writes the network's output for x at the times t to `out`, which has x's shape.
  template <class X, class Times, class... Contexts>
  void operator()(const X& x, const Times& t, X& out, const Contexts&... contexts) {
    constexpr std::size_t count = 2 + sizeof...(Contexts);
    if (types_.size() != count) {
      fail("has " + std::to_string(types_.size()) + " inputs, not " + std::to_string(count));
    }
    times_.assign(t.data(), t.data() + t.size());
    std::array<Ort::Value, count> inputs = {
        value(x), types_[1] == int64_type ? value(times_.data(), t.dimensions()) : value(t), value(contexts)...};
    const std::array<ONNXTensorElementDataType, count> types = {type_of<X>(), types_[1], type_of<Contexts>()...};
    for (std::size_t i = 0; i < count; ++i) {
      if (types_[i] != types[i]) fail("has an input of another element type: " + input_names_[i]);
    }
    std::array<const char*, count> names;
    for (std::size_t i = 0; i < count; ++i) names[i] = input_names_[i].c_str();
    const char* output_name = output_name_.c_str();
    Ort::Value output = value(out);
    session_.Run(Ort::RunOptions{nullptr}, names.data(), inputs.data(), count, &output_name, &output, 1);
  }

 private:
  static constexpr auto float_type = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  static constexpr auto int64_type = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;

  template <class Tensor>
  static constexpr ONNXTensorElementDataType type_of() {
    using Scalar = typename Tensor::Scalar;
    static_assert(std::is_same_v<Scalar, float> || std::is_same_v<Scalar, std::int64_t>,
                  "an OnnxModel takes tensors of float or std::int64_t");
    return std::is_same_v<Scalar, float> ? float_type : int64_type;
  }

  /// ONNX Runtime's view of a tensor's memory. It does not write to inputs, but its interface takes
  /// them without const.
  template <class Tensor>
  Ort::Value value(const Tensor& tensor) const {
    static_assert(Tensor::NumDimensions < 2 || int(Tensor::Layout) == int(Eigen::RowMajor),
                  "an OnnxModel takes RowMajor tensors");
    return value(const_cast<typename Tensor::Scalar*>(tensor.data()), tensor.dimensions());
  }
  template <class Scalar, class Sizes>
  Ort::Value value(Scalar* data, const Sizes& sizes) const {
    const std::vector<std::int64_t> shape(sizes.begin(), sizes.end());
    std::size_t size = 1;
    for (const std::int64_t side : shape) size *= static_cast<std::size_t>(side);
    return Ort::Value::CreateTensor<Scalar>(memory_, data, size, shape.data(), shape.size());
  }

  [[noreturn]] void fail(const std::string& message) const { throw std::runtime_error(path_ + " " + message); }

  std::string path_;
  Ort::Session session_;
  Ort::MemoryInfo memory_;
  std::vector<std::string> input_names_;
  std::vector<ONNXTensorElementDataType> types_;
  std::string output_name_;
  std::vector<std::int64_t> times_;
};

}  // namespace example
