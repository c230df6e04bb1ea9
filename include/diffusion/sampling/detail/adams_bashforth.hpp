/// @file adams_bashforth.hpp
/// The Adams-Bashforth step of Pndm and Ipndm.
#pragma once

#include <algorithm>  // std::min
#include <cstddef>    // std::size_t

#include "../../detail/kernel/linear_combination.hpp"
#include "../history.hpp"

namespace diffusion {
namespace detail {

/// Returns the weights of the last 1 to 4 epsilons. They assume steps of equal length:
///
///     1   e_0
///     2   (3 e_0 - e_1) / 2
///     3   (23 e_0 - 16 e_1 + 5 e_2) / 12
///     4   (55 e_0 - 59 e_1 + 37 e_2 - 9 e_3) / 24
inline const double* adams_bashforth_weights(std::size_t points) {
  static constexpr double weights[4][4] = {{1.0, 0.0, 0.0, 0.0},
                                           {3.0 / 2.0, -1.0 / 2.0, 0.0, 0.0},
                                           {23.0 / 12.0, -16.0 / 12.0, 5.0 / 12.0, 0.0},
                                           {55.0 / 24.0, -59.0 / 24.0, 37.0 / 24.0, -9.0 / 24.0}};
  return weights[points - 1];
}

/// out = of_x x + along e, where e is the Adams-Bashforth combination of the newest tensors of
/// `history`, at most `order` of them. out may be x.
template <class Tensor>
void adams_bashforth_step(Tensor& out, const Tensor& x, double of_x, double along, const History<Tensor, 4>& history,
                          std::size_t order, const DeviceRef& device) {
  const std::size_t points = (std::min)(order, history.size());
  const double* weights = adams_bashforth_weights(points);
  LinearCombination<Tensor> sum;
  sum.add(of_x, x);
  for (std::size_t j = 0; j < points; ++j) sum.add(along * weights[j], history[j]);
  sum.into(out, x, device);
}

}  // namespace detail
}  // namespace diffusion
