#ifndef LOCKSTEP_WORKER_MEMORY_HUGE_PAGES_H_
#define LOCKSTEP_WORKER_MEMORY_HUGE_PAGES_H_

#include <cstddef>

namespace lockstep::worker {

// A mapping of its own, zero-filled, in huge pages where the system gives them: what is walked in
// large strides waits for page tables otherwise. (Memory from malloc may lie among small pages that
// are in use already.) Pages that are never touched cost nothing.
class HugePages {
 public:
  HugePages() = default;
  // At least `num_bytes`, aligned to a huge page. Throws std::bad_alloc.
  explicit HugePages(size_t num_bytes);
  ~HugePages();
  HugePages(HugePages&& other) noexcept;
  HugePages& operator=(HugePages&& other) noexcept;

  void* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  void* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_MEMORY_HUGE_PAGES_H_
