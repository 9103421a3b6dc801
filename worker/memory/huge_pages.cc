#include "worker/memory/huge_pages.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>
#include <utility>

namespace lockstep::worker {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kHugePage = size_t{2} << 20;

size_t RoundUp(size_t value, size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

// Only the begin is aligned: a huge page for the rest of a size would waste most of it.
HugePages::HugePages(size_t num_bytes) : size_(RoundUp(num_bytes, kPage)) {
  if (size_ == 0) return;
  void* mapping = mmap(nullptr, size_ + kHugePage, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) throw std::bad_alloc();
  char* begin = static_cast<char*>(mapping);
  const uintptr_t address = reinterpret_cast<uintptr_t>(begin);
  const size_t head = RoundUp(address, kHugePage) - address;
  if (head > 0) munmap(begin, head);
  if (head < kHugePage) munmap(begin + head + size_, kHugePage - head);
  data_ = begin + head;
  madvise(data_, size_, MADV_HUGEPAGE);  // refused: ordinary pages
}

HugePages::~HugePages() {
  if (data_ != nullptr) munmap(data_, size_);
}

HugePages::HugePages(HugePages&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

HugePages& HugePages::operator=(HugePages&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

}  // namespace lockstep::worker
