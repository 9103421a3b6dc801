#ifndef LOCKSTEP_WORKER_MEMORY_RESULT_MEMORY_H_
#define LOCKSTEP_WORKER_MEMORY_RESULT_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <list>
#include <mutex>
#include <optional>
#include <vector>

#include "worker/memory/huge_pages.h"
#include "worker/memory/result_file.h"

namespace lockstep::worker {

// Memory for large results that come again and again, such as a prompt's logits at all positions.
// What is given back is kept for the next takers of the same size, because new pages cost as much
// as filling them does. In huge pages, or, once UseFile has been called, in the file that the
// frontend reads results from. Thread-safe.
class ResultMemory {
 public:
  // What is smaller is not worth a block.
  static constexpr size_t kMinBytes = kResultAlignment;
  // What is given back beyond this takes the place of what has been kept for longest. The system
  // may have private memory back when it is short; a file's it may not.
  static constexpr size_t kMaxKept = size_t{1} << 30;
  static constexpr size_t kMaxKeptInFile = size_t{512} << 20;

  // The process's own: results outlive those who computed them.
  static ResultMemory& OfProcess();

  explicit ResultMemory(size_t max_kept_in_file = kMaxKeptInFile)
      : max_kept_in_file_(max_kept_in_file) {}
  // All that was taken has been given back, but by readers of the file.
  ~ResultMemory();
  ResultMemory(const ResultMemory&) = delete;
  ResultMemory& operator=(const ResultMemory&) = delete;

  // Takes from the file from now on; borrows it. False where the system does not let it: all stays
  // as it was.
  bool UseFile(int fd);

  // At least `num_bytes`, aligned to kResultAlignment; contents are unspecified. Where the file
  // cannot grow, private memory. Throws std::bad_alloc.
  void* Take(size_t num_bytes);
  // What Take has given.
  void GiveBack(void* memory);

  // Gives the system what is kept: for a process that has had nothing to do for a while.
  void DropKept();

  // Where memory that was taken lies in the file.
  struct Place {
    uint32_t block = 0;
    uint64_t offset = 0;
    uint64_t num_bytes = 0;
  };
  // Has the frontend read from there: also after GiveBack, the memory is not taken again before the
  // file says that `num_readers` more have read. Nothing if the memory is private.
  std::optional<Place> Lend(const void* memory, uint32_t num_readers);

 private:
  struct Block {
    char* memory = nullptr;
    size_t size = 0;
    HugePages pages;             // the memory, where it is private
    std::optional<Place> place;  // where it lies in the file, otherwise
  };
  using Blocks = std::list<Block>;  // the latest last

  Blocks::iterator FindTaken(const void* memory);
  std::optional<Block> MakeInFile(size_t size);
  static Block MakePrivate(size_t size);
  void Destroy(Block block);
  // Moves what has been read from `lent_` to `kept_`.
  void CollectRead();
  void Keep(Blocks& from, Blocks::iterator block);
  void Trim(bool is_in_file, size_t max_bytes);

  const size_t max_kept_in_file_;
  std::mutex mutex_;
  // All under mutex_.
  Blocks taken_;
  Blocks lent_;  // given back, and not read yet
  Blocks kept_;
  int fd_ = -1;
  ResultFileHeader* header_ = nullptr;
  uint64_t file_size_ = 0;
  std::vector<uint32_t> free_numbers_;  // of blocks in the file
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_MEMORY_RESULT_MEMORY_H_
