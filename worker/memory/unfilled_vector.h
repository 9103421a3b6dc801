#ifndef LOCKSTEP_WORKER_MEMORY_UNFILLED_VECTOR_H_
#define LOCKSTEP_WORKER_MEMORY_UNFILLED_VECTOR_H_

#include <cstddef>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "worker/memory/result_memory.h"

namespace lockstep::worker {

// Leaves new elements as the memory is, and takes large memory from ResultMemory::OfProcess(): for
// elements that are all written once, shortly after.
template <typename T>
struct UnfilledAllocator {
  using value_type = T;

  UnfilledAllocator() = default;
  template <typename U>
  UnfilledAllocator(const UnfilledAllocator<U>&) {}  // NOLINT(google-explicit-constructor)

  T* allocate(size_t num) {
    if (!IsLarge(num)) return std::allocator<T>().allocate(num);
    return static_cast<T*>(ResultMemory::OfProcess().Take(num * sizeof(T)));
  }
  void deallocate(T* memory, size_t num) {
    if (!IsLarge(num)) return std::allocator<T>().deallocate(memory, num);
    ResultMemory::OfProcess().GiveBack(memory);
  }

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

 private:
  static bool IsLarge(size_t num) { return num >= ResultMemory::kMinBytes / sizeof(T); }
};

template <typename T>
using UnfilledVector = std::vector<T, UnfilledAllocator<T>>;

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_MEMORY_UNFILLED_VECTOR_H_
