#ifndef LOCKSTEP_WORKER_COMM_ONE_SHOT_ALL_REDUCE_H_
#define LOCKSTEP_WORKER_COMM_ONE_SHOT_ALL_REDUCE_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/comm/communicator.h"
#include "worker/comm/peer_buffers.h"

namespace lockstep::worker {

// Sums small messages over the GPUs of one machine in one kernel (peer_all_reduce.cu), where that
// works and is faster than the way of a communicator, whose bits it gives.
//
// Thread safety and streams: the communicator's.
class OneShotAllReduce {
 public:
  // Takes nothing before Connect.
  explicit OneShotAllReduce(at::Device device) : device_(device) {}

  // Opens the ranks' memory to each other, compares results and measures both ways. The ranks
  // agree, by operations of `communicator`, on the sizes for which this way is taken; 0, and all
  // memory freed, where one of them cannot take part.
  //
  // Errors are the communicator's alone. After one, this must not be destroyed before what the
  // communicator has under way has been aborted.
  absl::Status Connect(Communicator& communicator);

  bool Takes(const at::Tensor& data) const { return max_size_ > 0 && data.numel() <= max_size_; }

  // Enqueues the sum of what it takes on the current stream. What follows a kernel is only of use
  // where there was no Abort.
  void AllReduceSum(at::Tensor& data) const { buffers_->AllReduceSum(data); }

  // Kernels that wait for other ranks end soon. From any thread, once Connect has returned.
  void Abort();

 private:
  // Whether all ranks have all memory open. A rank that has not writes the reason to the standard
  // error stream.
  absl::StatusOr<bool> Open(Communicator& communicator);
  // Whether on all ranks sums come, and the communicator's bits.
  absl::StatusOr<bool> IsRight(Communicator& communicator);
  // The largest size up to which this way is faster on all ranks.
  absl::StatusOr<int64_t> MeasureMaxSize(Communicator& communicator);
  // Frees all memory once no rank has it open.
  absl::Status Discard(Communicator& communicator);

  const at::Device device_;
  std::unique_ptr<PeerBuffers> buffers_;
  int64_t max_size_ = 0;  // floats
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_COMM_ONE_SHOT_ALL_REDUCE_H_
