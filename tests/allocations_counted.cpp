// Tests of allocations.hpp.
#include <string>
#include <unsupported/Eigen/CXX11/Tensor>

#include "allocations.hpp"
#include "catch.hpp"

namespace allocations_counted_tests {

TEST_CASE("count_allocations counts operator new and the storage of tensors", "[allocations]") {
  if (!allocations_are_counted()) return;
  [[maybe_unused]] static const void* volatile used;  // keeps the allocation from being optimised away
  CHECK(count_allocations([] {}) == 0);
  CHECK(count_allocations([] { ::operator delete(::operator new(8)); }) == 1);
  CHECK(count_allocations([] { ::operator delete[](::operator new[](8)); }) == 1);
  CHECK(count_allocations([] {
          const std::string text(100, 'x');
          used = text.data();
        }) == 1);
  CHECK(count_allocations([] {
          const Eigen::Tensor<float, 2> x(3, 5);
          used = x.data();
        }) == 1);
}

}  // namespace allocations_counted_tests
