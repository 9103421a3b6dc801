// The file in which a worker leaves large results for a frontend on the same machine, which reads
// them where they lie: nothing is copied, and nothing is sent but where.
//
//   from 0                  ResultFileHeader
//   from kFirstResultBlock  blocks, one after the other; their numbers index the header
//
// A file in memory without a name. The frontend makes it, and hands it to the worker that it
// starts; the worker makes it longer, and never shorter: the file is sealed against that, so that a
// reader's mapping cannot come to lie beyond its end.
#ifndef LOCKSTEP_WORKER_MEMORY_RESULT_FILE_H_
#define LOCKSTEP_WORKER_MEMORY_RESULT_FILE_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace lockstep::worker {

struct ResultFileHeader {
  static constexpr size_t kMaxBlocks = 1024;

  // Of each block: parts that the frontend has been told of and may still read. The worker adds to
  // it before it tells, and writes to the block again once it is 0; the frontend subtracts.
  std::array<std::atomic<uint32_t>, kMaxBlocks> num_readers;
};
static_assert(std::atomic<uint32_t>::is_always_lock_free);  // two processes use them

// Blocks begin at multiples of this.
inline constexpr uint64_t kResultAlignment = uint64_t{2} << 20;
inline constexpr uint64_t kFirstResultBlock = kResultAlignment;
static_assert(sizeof(ResultFileHeader) <= kFirstResultBlock);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_MEMORY_RESULT_FILE_H_
