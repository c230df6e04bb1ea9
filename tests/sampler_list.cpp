#include "all_samplers.hpp"
#include "matchers.hpp"

template std::vector<ListedSampler<FloatRowMajor::Tensor<2>>> all_samplers();
template std::vector<ListedSampler<FloatColMajor::Tensor<2>>> all_samplers();
template std::vector<ListedSampler<DoubleRowMajor::Tensor<2>>> all_samplers();
template std::vector<ListedSampler<DoubleColMajor::Tensor<2>>> all_samplers();
