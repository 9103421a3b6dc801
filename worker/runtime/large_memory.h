#ifndef LOCKSTEP_WORKER_RUNTIME_LARGE_MEMORY_H_
#define LOCKSTEP_WORKER_RUNTIME_LARGE_MEMORY_H_

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <mutex>
#include <new>
#include <utility>

namespace lockstep::worker {

// Memory for large results that come again and again, such as a prompt's logits at all positions,
// in huge pages where the system gives them. What was given back last is kept for the next taker,
// because new pages cost as much as filling them does; the system may have its pages back
// meanwhile, when memory is short. Any thread may call.
class LargeMemory {
 public:
  static constexpr size_t kPage = size_t{2} << 20;

  // At least `num_bytes`, aligned to kPage; contents are unspecified. Throws std::bad_alloc.
  static void* Take(size_t num_bytes) {
    const size_t size = WholePages(num_bytes);
    if (void* kept = TheKept().Take(size)) return kept;
    void* memory = std::aligned_alloc(kPage, size);
    if (memory == nullptr) throw std::bad_alloc();
    madvise(memory, size, MADV_HUGEPAGE);  // refused: ordinary pages
    return memory;
  }

  // `num_bytes` as they were taken.
  static void GiveBack(void* memory, size_t num_bytes) {
    const size_t size = WholePages(num_bytes);
    const bool is_reclaimable = madvise(memory, size, MADV_FREE) == 0;
    std::free(is_reclaimable ? TheKept().Keep(memory, size) : memory);
  }

 private:
  class Kept {
   public:
    // What is kept, if it has this size.
    void* Take(size_t size) {
      const std::lock_guard lock(mutex_);
      if (size != size_) return nullptr;
      size_ = 0;
      return std::exchange(memory_, nullptr);
    }
    // Returns what was kept before.
    void* Keep(void* memory, size_t size) {
      const std::lock_guard lock(mutex_);
      size_ = size;
      return std::exchange(memory_, memory);
    }

   private:
    std::mutex mutex_;
    void* memory_ = nullptr;
    size_t size_ = 0;
  };

  static Kept& TheKept() {
    static auto* const kept = new Kept;  // never destroyed: threads may outlive main
    return *kept;
  }

  static size_t WholePages(size_t num_bytes) { return (num_bytes + kPage - 1) / kPage * kPage; }
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_RUNTIME_LARGE_MEMORY_H_
