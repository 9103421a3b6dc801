#ifndef LOCKSTEP_WORKER_COMM_COMMUNICATOR_H_
#define LOCKSTEP_WORKER_COMM_COMMUNICATOR_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "worker/device/compute_device.h"

namespace lockstep::worker {

// Rows [begin, end) of a matrix.
struct RowRange {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
};

// Called with the first of some rows and their number.
using FinishRows = absl::FunctionRef<void(int64_t first_row, int64_t num_rows)>;

// The collectives of one rank. All ranks call the same operations with the same sizes in the same
// order; tensors are contiguous and on the communicator's device.
//
// On the CPU an operation is done when it returns. On a GPU it has been enqueued on the device's
// stream(), which has to be the current one, so that its result may be used there, and Wait tells
// whether it was carried out.
//
// Every wait for a peer ends: with OK, with DEADLINE_EXCEEDED naming, where they are known, the
// ranks that did not come within the timeout, with UNAVAILABLE naming a rank whose process has
// ended, or with CANCELLED after an Abort by this rank, or, through shared memory, by any. After an
// error the communicator is only fit to be destroyed.
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

  // Sums over the ranks as AllReduceSum's, and what is made of them row by row, which the ranks may
  // share among them (sequence parallelism, Korthikanti et al. 2022): of `partial`, the rows of
  // OwnRows become sums; for these `finish` is called, piece by piece in order, and makes the same
  // rows of `out`; in the end every rank has all rows of `out`.
  //
  //   partial  [num_rows, n] float32; rows that are not this rank's own stay as they are
  //   out      [num_rows, m], any dtype, rows may have gaps
  virtual absl::Status ReduceRows(at::Tensor& partial, FinishRows finish, at::Tensor& out) {
    if (absl::Status status = AllReduceSum(partial); !status.ok()) return status;
    finish(0, partial.size(0));
    return absl::OkStatus();
  }
  // The rows that this rank finishes in ReduceRows with such arguments. All where the ranks do not
  // share the work.
  virtual RowRange OwnRows(const at::Tensor& partial, const at::Tensor& out) const {
    return {0, partial.size(0)};
  }

  // out[r] = rank r's `in`.
  //
  //   in   any dtype and shape
  //   out  [world_size, in's shape], in's dtype
  virtual absl::Status AllGather(const at::Tensor& in, at::Tensor& out) = 0;

  // Puts the ranks' columns side by side on rank 0.
  //
  //   shard           [num_rows, column_offsets[rank + 1] - column_offsets[rank]] float32; on rank
  //   0
  //                   it may be its columns of `out`, which then stay as they are
  //   column_offsets  [world_size + 1], ascending from 0: where each rank's columns begin
  //   out             [num_rows, column_offsets[world_size]] float32; read on rank 0 alone, may be
  //                   undefined elsewhere
  virtual absl::Status GatherColumns(const at::Tensor& shard,
                                     std::span<const int64_t> column_offsets, at::Tensor& out) = 0;

  // data = rank 0's data.
  virtual absl::Status Broadcast(at::Tensor& data) = 0;

  // Returns when all ranks have come.
  virtual absl::Status Barrier() = 0;

  // Returns when all operations so far, and all else that was enqueued on the device's stream(),
  // are done. To be called before the host waits for the device in any other way, which would have
  // no deadline. Also INTERNAL, where the device fails. Not while the stream is being recorded.
  absl::Status Wait();
  // The same for what was enqueued before a mark of the device.
  absl::Status WaitForMark(StreamMark& mark);

  // The error of an operation that has failed by now; does not wait.
  virtual absl::Status Check() = 0;

  // Makes every operation of this rank that is under way or comes later fail soon; those of the
  // other ranks too, at the latest when their timeout has passed.
  virtual void Abort() = 0;

 protected:
  // The device is borrowed. `timeout`: the longest wait for a peer or the device.
  Communicator(ComputeDevice& device, absl::Duration timeout)
      : device_(device), timeout_(timeout) {}
  absl::Duration timeout() const { return timeout_; }

 private:
  ComputeDevice& device_;
  const absl::Duration timeout_;
};

struct CommunicatorOptions {
  int rank = 0;
  int world_size = 1;
  // What this rank computes on; the ranks' devices are all CPUs or all GPUs. Not null; outlives the
  // communicator.
  ComputeDevice* device = nullptr;
  // Unique for each start of a pool; at most 200 characters.
  std::string communicator_id;
  // What MakeCommunicatorHandle gave on rank 0.
  std::string handle;
  // The longest wait for a peer, in an operation and for attaching, and for the device.
  absl::Duration timeout = absl::Seconds(60);
  // CPU threads of each rank: with more threads than processors, waiting ranks give theirs up soon.
  int num_threads_per_rank = 1;
  // The cores that this rank may run on are no other rank's.
  bool has_own_cores = false;
};

// What the ranks need to find each other and rank 0 alone can make: to be passed on to all ranks,
// rank 0 included, which then stays until they have attached. Empty where communicator_id suffices.
// INTERNAL when the GPUs' library fails.
absl::StatusOr<std::string> MakeCommunicatorHandle(at::Device device, int world_size);

// The communicator that fits: none is needed for one rank, shared memory connects CPU ranks of one
// machine, NCCL connects GPUs anywhere. Returns when all ranks have attached.
//
// INVALID_ARGUMENT for options that do not fit together; FAILED_PRECONDITION where the
// build has no NCCL.
absl::StatusOr<std::unique_ptr<Communicator>> CreateCommunicator(
    const CommunicatorOptions& options);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_COMM_COMMUNICATOR_H_
