#ifndef LOCKSTEP_WORKER_RUNTIME_DEVICE_TOKENS_H_
#define LOCKSTEP_WORKER_RUNTIME_DEVICE_TOKENS_H_

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/comm/communicator.h"
#include "worker/device/compute_device.h"
#include "worker/runtime/batch_builder.h"
#include "worker/runtime/slot_masks.h"
#include "worker/runtime/slot_table.h"
#include "worker/runtime/step_plan.h"
#include "worker/sampling/device_sampler.h"

namespace lockstep::worker {

// Chooses a step's tokens on the device and keeps them there, where the next step reads them; the
// host learns them when it asks, which may be after that step has begun. Nothing here waits.
//
// Up to two steps may be under way: from Choose until Collect.
class DeviceTokens {
 public:
  // max_rows of the limits is the number of slots.
  DeviceTokens(const ComputeDevice& device, int rank, const DeviceSampler::Limits& limits);

  // Puts the tokens that slots chose last where a batch says so; see BuiltBatch.
  //
  //   token_ids  [num_tokens] int32, on the device
  void FillPending(at::Tensor& token_ids) const;

  // Chooses a token for each span, all of which are sampled, tells every rank, and keeps it for the
  // next step. Returns a ticket for Collect. Errors are the communicator's.
  //
  //   logits  [at least the spans' rows, vocab_size] float32, on the device; read on rank 0 alone
  //   masks   of the step's guided rows, on rank 0
  absl::StatusOr<int> Choose(const std::vector<LogitSpan>& spans, const SlotTable& slots,
                             const SlotMasks& masks, const at::Tensor& logits,
                             Communicator& communicator);

  // What Choose chose, once the device has done it, in the order of its spans. On ranks other than
  // 0 only token_id is filled in.
  std::vector<SampledChoice> Collect(int ticket);

 private:
  struct Batch {
    at::Tensor host_slots;      // [max_rows] int32
    at::Tensor host_token_ids;  // [max_rows] int64
    int64_t num_rows = 0;
    int sampler_ticket = 0;  // of rank 0's sampler
  };

  std::vector<DeviceSampler::Row> Rows(const std::vector<LogitSpan>& spans, const SlotTable& slots,
                                       const SlotMasks& masks) const;

  const std::unique_ptr<DeviceSampler> sampler_;  // on rank 0 alone
  at::Tensor slots_;                              // [max_rows] int32, on the device
  at::Tensor token_ids_;                          // [max_rows] int64, on the device
  at::Tensor last_tokens_;                        // [max_rows] int32, on the device
  std::array<Batch, 2> batches_;
  int next_ = 0;
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_RUNTIME_DEVICE_TOKENS_H_
