#include "worker/memory/result_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <utility>

namespace lockstep::worker {
namespace {

size_t RoundUp(size_t num_bytes) {
  return (num_bytes + kResultAlignment - 1) / kResultAlignment * kResultAlignment;
}

}  // namespace

ResultMemory& ResultMemory::OfProcess() {
  static auto* const memory = new ResultMemory;  // never destroyed: threads may outlive main
  return *memory;
}

ResultMemory::~ResultMemory() {
  // What is lent stays in the file, for its readers.
  for (Blocks* blocks : {&taken_, &lent_, &kept_}) {
    for (const Block& block : *blocks) {
      if (block.place.has_value()) munmap(block.memory, block.size);
    }
  }
  if (header_ != nullptr) munmap(header_, sizeof(ResultFileHeader));
}

bool ResultMemory::UseFile(int fd) {
  const std::lock_guard lock(mutex_);
  if (ftruncate(fd, static_cast<off_t>(kFirstResultBlock)) != 0) return false;
  void* header = mmap(nullptr, sizeof(ResultFileHeader), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (header == MAP_FAILED) return false;
  header_ = static_cast<ResultFileHeader*>(header);
  fd_ = fd;
  file_size_ = kFirstResultBlock;
  for (uint32_t number = ResultFileHeader::kMaxBlocks; number > 0; --number) {
    free_numbers_.push_back(number - 1);
  }
  return true;
}

void* ResultMemory::Take(size_t num_bytes) {
  const size_t size = RoundUp(num_bytes);
  const std::lock_guard lock(mutex_);
  CollectRead();
  const auto fits = std::find_if(kept_.rbegin(), kept_.rend(),
                                 [size](const Block& block) { return block.size == size; });
  if (fits != kept_.rend()) {
    taken_.splice(taken_.end(), kept_, std::next(fits).base());
  } else {
    std::optional<Block> made = MakeInFile(size);
    taken_.push_back(made.has_value() ? *std::move(made) : MakePrivate(size));
  }
  return taken_.back().memory;
}

void ResultMemory::GiveBack(void* memory) {
  const std::lock_guard lock(mutex_);
  const Blocks::iterator block = FindTaken(memory);
  if (block->place.has_value()) {
    lent_.splice(lent_.end(), taken_, block);
    CollectRead();
  } else if (madvise(block->memory, block->size, MADV_FREE) == 0) {
    Keep(taken_, block);
  } else {
    taken_.erase(block);
  }
}

void ResultMemory::DropKept() {
  const std::lock_guard lock(mutex_);
  CollectRead();
  for (Block& block : kept_) Destroy(std::move(block));
  kept_.clear();
}

std::optional<ResultMemory::Place> ResultMemory::Lend(const void* memory, uint32_t num_readers) {
  const std::lock_guard lock(mutex_);
  const Blocks::iterator block = FindTaken(memory);
  if (block == taken_.end() || !block->place.has_value()) return std::nullopt;
  header_->num_readers[block->place->block].fetch_add(num_readers, std::memory_order_relaxed);
  return block->place;
}

ResultMemory::Blocks::iterator ResultMemory::FindTaken(const void* memory) {
  return std::find_if(taken_.begin(), taken_.end(),
                      [memory](const Block& block) { return block.memory == memory; });
}

std::optional<ResultMemory::Block> ResultMemory::MakeInFile(size_t size) {
  if (header_ == nullptr || free_numbers_.empty()) return std::nullopt;
  // Reserved now, so that a system without memory says so here, and not by a signal later.
  if (fallocate(fd_, 0, static_cast<off_t>(file_size_), static_cast<off_t>(size)) != 0) {
    return std::nullopt;
  }
  void* memory =
      mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, static_cast<off_t>(file_size_));
  Block block;
  block.place = Place{free_numbers_.back(), file_size_, size};
  block.size = size;
  free_numbers_.pop_back();
  file_size_ += size;
  if (memory == MAP_FAILED) {
    Destroy(std::move(block));
    return std::nullopt;
  }
  block.memory = static_cast<char*>(memory);
  madvise(memory, size, MADV_HUGEPAGE);  // refused: ordinary pages
  return block;
}

ResultMemory::Block ResultMemory::MakePrivate(size_t size) {
  Block block;
  block.pages = HugePages(size);
  block.memory = static_cast<char*>(block.pages.data());
  block.size = size;
  return block;
}

void ResultMemory::Destroy(Block block) {
  if (!block.place.has_value()) return;
  if (block.memory != nullptr) munmap(block.memory, block.size);
  fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
            static_cast<off_t>(block.place->offset), static_cast<off_t>(block.size));
  free_numbers_.push_back(block.place->block);
}

void ResultMemory::CollectRead() {
  for (auto block = lent_.begin(); block != lent_.end();) {
    const auto next = std::next(block);
    // Acquires what the readers did: they have read before we write.
    if (header_->num_readers[block->place->block].load(std::memory_order_acquire) == 0) {
      Keep(lent_, block);
    }
    block = next;
  }
}

void ResultMemory::Keep(Blocks& from, Blocks::iterator block) {
  const bool is_in_file = block->place.has_value();
  kept_.splice(kept_.end(), from, block);
  Trim(is_in_file, is_in_file ? max_kept_in_file_ : kMaxKept);
}

void ResultMemory::Trim(bool is_in_file, size_t max_bytes) {
  size_t num_bytes = 0;
  // From the latest on, what is beyond the limit goes.
  for (auto block = kept_.end(); block != kept_.begin();) {
    --block;
    if (block->place.has_value() != is_in_file) continue;
    num_bytes += block->size;
    if (num_bytes <= max_bytes) continue;
    Destroy(std::move(*block));
    block = kept_.erase(block);
  }
}

}  // namespace lockstep::worker
