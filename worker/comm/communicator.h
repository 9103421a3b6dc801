#ifndef LOCKSTEP_WORKER_COMM_COMMUNICATOR_H_
#define LOCKSTEP_WORKER_COMM_COMMUNICATOR_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace lockstep::worker {

// The collectives of one rank. All ranks call the same operations with the same sizes in the same
// order; tensors are contiguous and on the communicator's device.
//
// Every wait for a peer ends: with OK, with DEADLINE_EXCEEDED naming the ranks that did not come
// within the timeout, with UNAVAILABLE naming a rank whose process has ended, or with CANCELLED
// after an Abort by any rank. After an error the communicator is only fit to be destroyed.
//
// Abort may be called from any thread; everything else from one thread at a time.
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int world_size() const = 0;

  // data[i] = sum over the ranks of their data[i], in the order of the ranks: the result is equal
  // on all ranks and in every repetition, bit for bit.
  //
  //   data  float32, any shape
  virtual absl::Status AllReduceSum(at::Tensor& data) = 0;

  // out[r] = rank r's `in`.
  //
  //   in   any dtype and shape
  //   out  [world_size, in's shape], in's dtype
  virtual absl::Status AllGather(const at::Tensor& in, at::Tensor& out) = 0;

  // Puts the ranks' columns side by side on rank 0.
  //
  //   shard           [num_rows, column_offsets[rank + 1] - column_offsets[rank]] float32
  //   column_offsets  [world_size + 1], ascending from 0: where each rank's columns begin
  //   out             [num_rows, column_offsets[world_size]] float32; read on rank 0 alone, may be
  //                   undefined elsewhere
  virtual absl::Status GatherColumns(const at::Tensor& shard,
                                     std::span<const int64_t> column_offsets, at::Tensor& out) = 0;

  // data = rank 0's data.
  virtual absl::Status Broadcast(at::Tensor& data) = 0;

  virtual absl::Status Barrier() = 0;

  // Makes every operation of every rank that is under way or comes later fail soon.
  virtual void Abort() = 0;
};

struct CommunicatorOptions {
  int rank = 0;
  int world_size = 1;
  // Unique for each start of a pool; at most 200 characters.
  std::string communicator_id;
  // The longest wait for a peer, in an operation and for attaching.
  absl::Duration timeout = absl::Seconds(60);
  // CPU threads of each rank: with more threads than processors, waiting ranks give theirs up soon.
  int num_threads_per_rank = 1;
};

// The communicator that fits: none is needed for one rank, shared memory connects CPU ranks of one
// machine. Returns when all ranks have attached.
absl::StatusOr<std::unique_ptr<Communicator>> CreateCommunicator(
    const CommunicatorOptions& options);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_COMM_COMMUNICATOR_H_
