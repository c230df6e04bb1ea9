/// @file catch.hpp
/// Includes Catch2 2.13 or 3.x. The tests use only features of both: TEST_CASE, TEMPLATE_TEST_CASE,
/// SECTION, GENERATE, REQUIRE_THROWS_AS, REQUIRE_THROWS_WITH, REQUIRE_THAT, and the matchers below.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
// Catch2 3.0 renamed the substring matcher. The tests use the new name.
namespace Catch {
namespace Matchers {
inline auto ContainsSubstring(const std::string& text) { return Contains(text); }
}  // namespace Matchers
}  // namespace Catch
#endif

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::EndsWith;
using Catch::Matchers::StartsWith;
using Catch::Matchers::WithinAbs;
using Catch::Matchers::WithinRel;
