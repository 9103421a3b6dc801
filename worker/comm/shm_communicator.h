#ifndef LOCKSTEP_WORKER_COMM_SHM_COMMUNICATOR_H_
#define LOCKSTEP_WORKER_COMM_SHM_COMMUNICATOR_H_

#include <atomic>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "worker/comm/communicator.h"
#include "worker/comm/shm_segment.h"

namespace lockstep::worker {

// Connects CPU ranks of one machine, 2 to 8, processes or threads, through shared memory.
//
// Every operation is cut in chunks. For a chunk a rank puts its part into its buffer, arrives
// (publishes the next number), waits until the ranks that it reads from have arrived, and reads.
// Chunks use two buffers in turn: a rank that has arrived in one chunk has finished reading the one
// before, so a buffer may be written again once all have arrived in the chunk since.
//
// A wait spins for a bounded time and then sleeps on a futex in slices, looking at each awakening
// for an abort, the deadline and dead peers.
class ShmCommunicator : public Communicator {
 public:
  static absl::StatusOr<std::unique_ptr<ShmCommunicator>> Create(
      const CommunicatorOptions& options);

  int rank() const override { return rank_; }
  int world_size() const override { return world_size_; }
  absl::Status AllReduceSum(at::Tensor& data) override;
  absl::Status ReduceRows(at::Tensor& partial, FinishRows finish, at::Tensor& out) override;
  RowRange OwnRows(const at::Tensor& partial, const at::Tensor& out) const override;
  absl::Status AllGather(const at::Tensor& in, at::Tensor& out) override;
  absl::Status GatherColumns(const at::Tensor& shard, std::span<const int64_t> column_offsets,
                             at::Tensor& out) override;
  absl::Status Broadcast(at::Tensor& data) override;
  absl::Status Barrier() override;
  absl::Status Check() override;
  void Abort() override;

 private:
  ShmCommunicator(const CommunicatorOptions& options, std::unique_ptr<ShmSegment> segment);

  // Every rank reads all parts and sums them: one wait.
  absl::Status ReduceOneShot(float* data, int64_t size);
  // Every rank sums its slice of all parts, then reads the other slices: two waits, but each rank
  // adds only its share.
  absl::Status ReduceTwoShot(float* data, int64_t size);
  // What GatherColumns moves in one operation: of the shard of every rank but 0 these rows, and the
  // columns from first_column on, as far as the shard has them.
  struct Block {
    int64_t first_row = 0;
    int64_t num_rows = 0;
    int64_t first_column = 0;
    int64_t max_columns = 0;
  };
  absl::Status GatherBlock(const at::Tensor& shard, std::span<const int64_t> column_offsets,
                           const Block& block, at::Tensor& out);

  // Begins the next chunk: returns once its buffer may be written.
  absl::Status Begin();
  // Publishes that this rank has done its part, as the next number, which it returns.
  uint32_t Arrive();
  absl::Status WaitForAll(uint32_t arrival);
  absl::Status WaitFor(int peer, uint32_t arrival);
  absl::Status SleepUntilArrived(int peer, uint32_t arrival);
  bool HasArrived(int peer, uint32_t arrival) const;
  absl::Status CheckAborted() const;
  // Why the wait for `arrival` is given up.
  absl::Status MissingRanks(uint32_t arrival) const;

  std::byte* Buffer(int rank) const { return segment_->buffer(buffer_, rank); }
  float* Floats(int rank) const { return reinterpret_cast<float*>(Buffer(rank)); }

  const int rank_;
  const int world_size_;
  const int max_spins_;
  // How long a wait spins: halved by waits for which spinning would have been in vain, because the
  // processors have other work, and doubled by short ones.
  int num_spins_;
  std::unique_ptr<ShmSegment> segment_;
  uint32_t last_arrival_ = 0;
  int buffer_ = 0;  // of the current chunk
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_COMM_SHM_COMMUNICATOR_H_
