// The counter behind allocations.hpp, and the proof that it counts.
#include "allocations.hpp"

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>  // malloc and its kin
#include <string>
#include <unsupported/Eigen/CXX11/Tensor>

#include "catch.hpp"

// The sanitizers have an allocator of their own with a hook for such as us; glibc lets a program define its own malloc
// and lends it the original; elsewhere nothing is counted.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COUNT_BY_HOOK
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define COUNT_BY_HOOK
#endif
#endif
#if defined(__GLIBC__) && !defined(COUNT_BY_HOOK)
#define COUNT_BY_MALLOC
#endif

namespace {
std::atomic<long> count{0};
}

long allocations() { return count.load(); }

#ifdef COUNT_BY_HOOK

extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void*, std::size_t),
                                                         void (*on_free)(const volatile void*));
namespace {
[[maybe_unused]] const int hooks = __sanitizer_install_malloc_and_free_hooks(
    [](const volatile void*, std::size_t) { ++count; }, [](const volatile void*) {});
}

#elif defined(COUNT_BY_MALLOC)

extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);

void* malloc(std::size_t size) noexcept {
  ++count;
  return __libc_malloc(size);
}
void* calloc(std::size_t number, std::size_t size) noexcept {
  ++count;
  return __libc_calloc(number, size);
}
void* realloc(void* old, std::size_t size) noexcept {
  ++count;
  return __libc_realloc(old, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
  ++count;
  return __libc_memalign(alignment, size);
}
int posix_memalign(void** out, std::size_t alignment, std::size_t size) noexcept {
  ++count;
  *out = __libc_memalign(alignment, size);
  return *out ? 0 : ENOMEM;
}
}

#endif

#if defined(COUNT_BY_HOOK) || defined(COUNT_BY_MALLOC)
TEST_CASE("count_allocations sees operator new, and the storage of tensors", "[allocations]") {
  [[maybe_unused]] static const void* volatile used;  // or the optimizer takes the allocation away
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
#endif
