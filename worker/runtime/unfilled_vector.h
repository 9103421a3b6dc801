#ifndef LOCKSTEP_WORKER_RUNTIME_UNFILLED_VECTOR_H_
#define LOCKSTEP_WORKER_RUNTIME_UNFILLED_VECTOR_H_

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <new>
#include <utility>
#include <vector>

namespace lockstep::worker {

// Leaves new elements as the memory is, and takes large memory in huge pages, where the system
// gives them: for elements that are all written once, shortly after.
template <typename T>
struct UnfilledAllocator {
  using value_type = T;

  UnfilledAllocator() = default;
  template <typename U>
  UnfilledAllocator(const UnfilledAllocator<U>&) {}  // NOLINT(google-explicit-constructor)

  T* allocate(size_t num) {
    constexpr size_t kHugePage = size_t{2} << 20;
    const bool is_large = num >= kHugePage / sizeof(T);
    const size_t unit = is_large ? kHugePage : alignof(std::max_align_t);
    const size_t num_bytes = (num * sizeof(T) + unit - 1) / unit * unit;
    void* memory = std::aligned_alloc(unit, num_bytes);
    if (memory == nullptr) throw std::bad_alloc();
    if (is_large) madvise(memory, num_bytes, MADV_HUGEPAGE);  // refused: ordinary pages
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, size_t /*num*/) { std::free(memory); }

  // What a container makes without a value.
  template <typename U>
  void construct(U* element) {
    ::new (static_cast<void*>(element)) U;
  }
  template <typename U, typename... Values>
  void construct(U* element, Values&&... values) {
    ::new (static_cast<void*>(element)) U(std::forward<Values>(values)...);
  }

  bool operator==(const UnfilledAllocator&) const = default;
};

template <typename T>
using UnfilledVector = std::vector<T, UnfilledAllocator<T>>;

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_RUNTIME_UNFILLED_VECTOR_H_
