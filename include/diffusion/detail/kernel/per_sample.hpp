/// @file per_sample.hpp
/// Loops over the values of each sample of a batch, and means over them in double. The values are
/// visited in one fixed order, so that a sample's result has the same bits for every batch, layout
/// and device.
#pragma once

#include <algorithm>  // std::min
#include <array>
#include <cstddef>    // std::size_t
#include <stdexcept>  // std::invalid_argument
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>

#include "../../tensor.hpp"
#include "../arguments.hpp"
#include "../error.hpp"
#include "../shape.hpp"
#include "in_parallel.hpp"
#include "multiply_add.hpp"
#include "row_major.hpp"

namespace diffusion {
namespace detail {

/// For each sample n of a tensor of x's shape, runs
///
///     state = start(n);  visit(state, p, i) for each of its values;  finish(n, state)
///
/// where p counts the sample's values in logical row-major order and i is the offset of value p in
/// memory.
template <class Device, class X, class Start, class Visit, class Finish>
void for_each_value_by_sample(const Device& device, const X& x, const Start& start, const Visit& visit,
                              const Finish& finish) {
  using State = std::decay_t<std::invoke_result_t<const Start&, Index>>;
  const Index batch = shape(x)[0];
  if (batch == 0) return;
  const Index size = static_cast<Index>(x.size()) / batch;
  const double bytes = sizeof(typename Traits<X>::Scalar) * static_cast<double>(size);
  if constexpr (Traits<X>::layout == Eigen::RowMajor) {
    in_parallel(device, batch, bytes, [&](Index n, Index end) {
      for (; n < end; ++n) {
        State state = start(n);
        for (Index p = 0; p < size; ++p) visit(state, p, n * size + p);
        finish(n, state);
      }
    });
  } else {
    // ColMajor interleaves samples: process 64 at a time, so that their states stay in L1.
    constexpr std::size_t width = 64;
    in_parallel(device, batch, bytes, [&](Index first, Index end) {
      std::array<State, width> states;
      for (std::size_t samples; first < end; first += static_cast<Index>(samples)) {
        samples = static_cast<std::size_t>((std::min)(static_cast<Index>(width), end - first));
        for (std::size_t k = 0; k < samples; ++k) states[k] = start(first + static_cast<Index>(k));
        auto walk = row_major_walk<1>(x);
        for (Index p = 0; p < size; ++p) {
          const Index at = walk.next() + first;
          for (std::size_t k = 0; k < samples; ++k) visit(states[k], p, at + static_cast<Index>(k));
        }
        for (std::size_t k = 0; k < samples; ++k) finish(first + static_cast<Index>(k), states[k]);
      }
    });
  }
}

/// Calls result(n, means) for each sample n. means[k] is the mean of term(c, i)[k] over the
/// sample's values, where c = coefficients(n) and i is a value's offset in memory. A term is a
/// `std::array<double, K>`; where it adds a product it must use multiply_add. Throws
/// std::invalid_argument if the samples have no values, because the mean is then undefined.
template <class Device, class X, class Coefficients, class Term, class Result>
void per_sample_means(const char* where, const Device& device, const Argument<X>& x, const Coefficients& coefficients,
                      const Term& term, const Result& result) {
  using C = std::decay_t<std::invoke_result_t<const Coefficients&, Index>>;
  using Terms = std::decay_t<std::invoke_result_t<const Term&, const C&, Index>>;
  /// Four partial sums per mean, over the values with p mod 4 = 0, 1, 2, 3, so that additions do
  /// not wait for one another.
  struct State {
    C c;
    std::array<Terms, 4> sums{};
  };
  const Index batch = batch_size(where, x);
  const Index size = batch == 0 ? 1 : static_cast<Index>(x.tensor.size()) / batch;
  if (size == 0) {
    fail<std::invalid_argument>(where, x.name, " has shape ", shape_text(x.tensor), ": its samples have no values");
  }
  for_each_value_by_sample(
      device, x.tensor, [&](Index n) { return State{coefficients(n)}; },
      [&](State& state, Index p, Index i) {
        const Terms terms = term(state.c, i);
        Terms& sum = state.sums[static_cast<std::size_t>(p) % 4];
        // multiply_add, not +=: keeps the compiler from fusing this sum differently in different
        // places.
        for (std::size_t k = 0; k < sum.size(); ++k) sum[k] = multiply_add(terms[k], 1.0, sum[k]);
      },
      [&](Index n, const State& state) {
        Terms means;
        for (std::size_t k = 0; k < means.size(); ++k) {
          const auto& s = state.sums;
          means[k] = ((s[0][k] + s[1][k]) + (s[2][k] + s[3][k])) / static_cast<double>(size);
        }
        result(n, means);
      });
}

}  // namespace detail
}  // namespace diffusion
