#ifndef LOCKSTEP_WORKER_COMM_SHM_SEGMENT_H_
#define LOCKSTEP_WORKER_COMM_SHM_SEGMENT_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace lockstep::worker {

inline constexpr int kMaxShmRanks = 8;
// What each rank can put into the segment at a time.
inline constexpr size_t kShmChunkBytes = 256 << 10;
// Chunks are written alternately to two buffers, so that a rank may be one chunk ahead.
inline constexpr int kNumShmBuffers = 2;

// One rank's words in the segment, on cache lines of their own.
struct alignas(128) ShmRankState {
  // Number of this rank's last arrival; wraps. Also the futex word that its peers sleep on.
  std::atomic<uint32_t> arrived;
  // Peers that sleep on `arrived` or are about to.
  std::atomic<uint32_t> num_sleepers;
};

// The segment begins with this; the buffers follow.
struct ShmHeader {
  std::atomic<uint64_t> magic;  // written last by the creator
  // 0, or 1 + the rank that aborted.
  std::atomic<uint32_t> aborted;
  std::atomic<uint32_t> num_attached;
  ShmRankState ranks[kMaxShmRanks];
};
static_assert(std::atomic<uint32_t>::is_always_lock_free);

// The mapped POSIX shared memory of one communicator. Rank 0 creates it under a name made of the
// communicator's id and removes the name once all ranks have it; then nothing is left behind,
// whichever process dies. Each rank holds an open-file-description lock on its byte of the file,
// which the kernel drops with the process: that is how peers learn of a death, across PID
// namespaces too.
class ShmSegment {
 public:
  // Returns when all ranks have attached. ALREADY_EXISTS: the id is in use. RESOURCE_EXHAUSTED:
  // /dev/shm is too small. DEADLINE_EXCEEDED names the ranks that did not come.
  static absl::StatusOr<std::unique_ptr<ShmSegment>> Attach(const std::string& communicator_id,
                                                            int rank, int world_size,
                                                            absl::Duration timeout);
  ~ShmSegment();
  ShmSegment(const ShmSegment&) = delete;
  ShmSegment& operator=(const ShmSegment&) = delete;

  ShmHeader& header() const { return *header_; }
  // kShmChunkBytes that `rank` fills when it is the turn of `buffer`.
  std::byte* buffer(int buffer, int rank) const;
  // Whether `rank`, which has attached, still runs.
  bool IsAlive(int rank) const;

 private:
  ShmSegment(std::string name, int rank, int world_size);
  absl::Status Create();
  absl::Status Open(absl::Time deadline);
  absl::Status Map();
  absl::Status LockOwnByte();
  absl::Status WaitForAll(absl::Time deadline);
  void RemoveName();

  const std::string name_;
  const int rank_;
  const int world_size_;
  const size_t size_;
  int fd_ = -1;
  bool has_name_ = false;
  void* mapping_ = nullptr;
  ShmHeader* header_ = nullptr;
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_COMM_SHM_SEGMENT_H_
