#ifndef LOCKSTEP_WORKER_RUNTIME_STEP_INPUTS_H_
#define LOCKSTEP_WORKER_RUNTIME_STEP_INPUTS_H_

#include <ATen/core/Tensor.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "worker/device/compute_device.h"
#include "worker/layers/step_batch.h"

namespace lockstep::worker {

struct StepSizes {
  int64_t num_tokens = 0;
  int64_t num_sequences = 0;
  int64_t num_logit_rows = 0;
};

// The memory that a step's tensors lie in: one buffer on the host, and for a GPU one on the device,
// so that a step's inputs travel in a single transfer, or two where long block tables are used in
// small part. A device that computes beside the host has
// two on the host, used in turn, so that a step's inputs are written while those of the step before
// may be on their way. Where a tensor lies depends on the step's sizes alone: steps of equal sizes
// have their inputs at equal addresses, which is what recorded graphs read.
class StepInputs {
 public:
  // For steps up to `largest`, whose sequences have at most `max_blocks` KV blocks each. Borrows
  // `device`.
  StepInputs(const ComputeDevice& device, const StepSizes& largest, int64_t max_blocks);

  // A batch whose tensors lie in the host's buffer, for the caller to write. Block tables are
  // [num_sequences, max_blocks]; only the entries of a sequence's context need be written. The
  // device must have done the step before the last one.
  StepBatch HostBatch(const StepSizes& sizes) const;

  // HostBatch's tensors on the device, once the work enqueued before is done; on the CPU, the batch
  // itself. Only the tensors change. Of the block tables, nothing reads more than the first
  // `num_blocks` entries of a row: what is behind them may stay as it was.
  StepBatch Upload(const StepBatch& host_batch, int64_t num_blocks);

  int64_t max_blocks() const { return max_blocks_; }

 private:
  const ComputeDevice& device_;
  const int64_t max_blocks_;
  std::array<at::Tensor, 2> hosts_;  // [num_bytes] uint8 each; the same one twice on the CPU
  size_t next_host_ = 0;
  at::Tensor there_;  // the same on the device; the host's own on the CPU
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_RUNTIME_STEP_INPUTS_H_
