/// Tests of diffusion/noise/numpy_noise.hpp. The expected values come from NumPy.
#include "diffusion/noise/numpy_noise.hpp"

#include <stdexcept>
#include <string>

#include "catch.hpp"
#include "lists.hpp"
#include "matchers.hpp"
#include "tolerance.hpp"

namespace numpy_noise_tests {

using diffusion::NumpyNoise;
using Eigen::ArrayXd;
using Eigen::Index;

namespace {

AllClose is_numpy(const ArrayXd& expected) { return AllClose(expected, tolerance::numpy_f64, tolerance::numpy_f64); }

}  // namespace

TEST_CASE("NumpyNoise equals RandomState(seed).standard_normal", "[numpy_noise]") {
  REQUIRE_THAT(draw<double>(NumpyNoise(1234567890), 6),
               is_numpy(list({1.34016345771863121, 1.73759122771936081, 1.498988344300628, -0.2286433324536169,
                              2.031033998682787, 2.17032494605655257})));
  REQUIRE_THAT(draw<double>(NumpyNoise(0), 4),
               is_numpy(list({1.764052345967664, 0.400157208367223, 0.978737984105739, 2.240893199201458})));
  REQUIRE_THAT(draw<double>(NumpyNoise(4294967295), 3),
               is_numpy(list({0.6484086742306527, 0.6693235306338161, -1.0805437227474493})));
}

TEST_CASE("NumpyNoise equals NumPy for a million values and where a fused multiply-add would change the radius",
          "[numpy_noise]") {
  const ArrayXd z = draw<double>(NumpyNoise(0), 1000000);
  REQUIRE_THAT(list({z[999], z[99999], z[999999]}),
               is_numpy(list({-0.35811407547985674, -1.2852076475754735, 1.37183066026284})));
  // Here x^2 + y^2 = 1 - 3.2e-6. A change of its last bit changes log(x^2 + y^2) by a relative
  // 3e-11.
  REQUIRE_THAT(list({z[702836], z[702837]}), is_numpy(list({-0.0023606690898643544, -0.0008596615774860037})));
  REQUIRE_THAT(list({draw<double>(NumpyNoise(42), 1000000)[999999]}), is_numpy(list({0.4764302546832209})));
}

TEST_CASE("NumpyNoise keeps the second value of a pair for the next call", "[numpy_noise]") {
  NumpyNoise noise(7);
  REQUIRE_THAT(draw<double>(noise, 1), is_numpy(list({1.690525703800356})));
  REQUIRE_THAT(draw<double>(noise, 0), is_numpy(list({})));
  REQUIRE_THAT(draw<double>(noise, 2), is_numpy(list({-0.4659373705408328, 0.0328201636785844})));
  NumpyNoise copy = noise;
  for (NumpyNoise* const source : {&noise, &copy}) {
    REQUIRE_THAT(draw<double>(*source, 3),
                 is_numpy(list({0.40751628299650783, -0.7889230286257386, 0.00206557290594813})));
  }
}

TEMPLATE_TEST_CASE("a tensor gets NumPy's doubles at the same indices in both layouts, rounded to its scalar type",
                   "[numpy_noise]", LAYOUTS, (Case<Eigen::half, Eigen::ColMajor>),
                   (Case<Eigen::bfloat16, Eigen::RowMajor>), (Case<long double, Eigen::ColMajor>)) {
  using Scalar = typename TestType::Scalar;
  typename TestType::template Tensor<3> x(3, 5, 7);
  NumpyNoise noise(8);
  noise(x);
  const ArrayXd expected = draw<double>(NumpyNoise(8), 105);
  REQUIRE_THAT(flat(x), AllEqual(ArrayXd(expected.unaryExpr(
                            [](double z) { return static_cast<double>(matchers::widen(static_cast<Scalar>(z))); }))));
}

TEST_CASE("NumpyNoise fills scalars, maps and tensors with int indices", "[numpy_noise]") {
  NumpyNoise noise(0);
  Eigen::Tensor<double, 0> scalar;
  Eigen::Tensor<double, 1, Eigen::RowMajor, int> of_int(2);
  double memory[1];
  noise(scalar);
  noise(of_int);
  noise(Eigen::TensorMap<Eigen::Tensor<double, 2>>(memory, 1, 1));
  REQUIRE_THAT(list({scalar(), of_int(0), of_int(1), memory[0]}), AllEqual(draw<double>(NumpyNoise(0), 4)));
}

TEST_CASE("NumpyNoise throws std::invalid_argument for a seed of 2^32", "[numpy_noise]") {
  REQUIRE_THROWS_AS(NumpyNoise(4294967296), std::invalid_argument);
  REQUIRE_THROWS_WITH(NumpyNoise(4294967296), "diffusion::NumpyNoise: seed = 4294967296 is outside [0, 2^32)");
}

}  // namespace numpy_noise_tests
