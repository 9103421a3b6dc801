#ifndef LOCKSTEP_WORKER_RUNTIME_LARGE_MEMORY_H_
#define LOCKSTEP_WORKER_RUNTIME_LARGE_MEMORY_H_

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <deque>
#include <iterator>
#include <mutex>
#include <new>

namespace lockstep::worker {

// Memory for large results that come again and again, such as a prompt's logits at all positions,
// in huge pages where the system gives them. What is given back is kept for the next takers of the
// same size, because new pages cost as much as filling them does; the system may have its pages
// back meanwhile, when memory is short. Any thread may call.
class LargeMemory {
 public:
  static constexpr size_t kPage = size_t{2} << 20;
  // What is given back beyond this takes the place of what has been kept for longest.
  static constexpr size_t kMaxKept = size_t{1} << 30;

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
    if (madvise(memory, size, MADV_FREE) == 0) {
      TheKept().Keep(memory, size);
    } else {
      std::free(memory);
    }
  }

 private:
  class Kept {
   public:
    // Something of this size, or null.
    void* Take(size_t size) {
      const std::lock_guard lock(mutex_);
      const auto block =
          std::find_if(blocks_.rbegin(), blocks_.rend(),
                       [size](const Block& candidate) { return candidate.size == size; });
      if (block == blocks_.rend()) return nullptr;
      void* memory = block->memory;
      blocks_.erase(std::next(block).base());
      num_bytes_ -= size;
      return memory;
    }
    void Keep(void* memory, size_t size) {
      const std::lock_guard lock(mutex_);
      blocks_.push_back({memory, size});
      num_bytes_ += size;
      while (num_bytes_ > kMaxKept) {
        num_bytes_ -= blocks_.front().size;
        std::free(blocks_.front().memory);
        blocks_.pop_front();
      }
    }

   private:
    struct Block {
      void* memory;
      size_t size;
    };
    std::mutex mutex_;
    std::deque<Block> blocks_;  // the oldest first
    size_t num_bytes_ = 0;      // of all blocks
  };

  static Kept& TheKept() {
    static auto* const kept = new Kept;  // never destroyed: threads may outlive main
    return *kept;
  }

  static size_t WholePages(size_t num_bytes) { return (num_bytes + kPage - 1) / kPage * kPage; }
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_RUNTIME_LARGE_MEMORY_H_
