// Implements allocations.hpp.
#include "allocations.hpp"

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>  // malloc and related functions

// The sanitizers replace the allocator and offer a hook. With glibc, a program may define its own
// malloc and call the original. Elsewhere nothing is counted.
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

bool allocations_are_counted() {
#if defined(COUNT_BY_HOOK) || defined(COUNT_BY_MALLOC)
  return true;
#else
  return false;
#endif
}

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
