/// Tests of diffusion/detail/math/phi.hpp.
#include "diffusion/detail/math/phi.hpp"

#include <cmath>

#include "catch.hpp"
#include "tolerance.hpp"

namespace phi_tests {

TEST_CASE("phi functions agree with quadrature near 0 and far from it", "[phi]") {
  for (const int k : {1, 2, 3, 4}) {
    for (const double z :
         {-20.0, -3.0, -1.0, -0.999, -0.1, -1e-3, -1e-8, 0.0, 1e-12, 1e-4, 0.3, 0.999, 1.0, 5.0, 20.0}) {
      // The integral of exp((1 - u) z) u^(k-1) / (k-1)! over u in [0, 1], by Simpson's rule.
      constexpr int n = 20000;
      long double factorial = 1, sum = 0;
      for (int i = 2; i < k; ++i) factorial *= i;
      for (int i = 0; i <= n; ++i) {
        const long double u = static_cast<long double>(i) / n;
        sum += (i == 0 || i == n ? 1
                : i % 2 == 1     ? 4
                                 : 2) *
               std::exp((1 - u) * static_cast<long double>(z)) * std::pow(u, static_cast<long double>(k - 1));
      }
      const double expected = static_cast<double>(sum / (3 * n) / factorial);
      INFO("phi_" << k << "(" << z << ")");
      REQUIRE(std::abs(diffusion::detail::phi(k, z) / expected - 1) < tolerance::phi);
    }
  }
}

}  // namespace phi_tests
