#ifndef LOCKSTEP_WORKER_RUNTIME_TOKEN_EXCHANGE_H_
#define LOCKSTEP_WORKER_RUNTIME_TOKEN_EXCHANGE_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/comm/communicator.h"
#include "worker/device/compute_device.h"
#include "worker/runtime/step_plan.h"

namespace lockstep::worker {

// Tells every rank what rank 0 sampled.
class TokenExchange {
 public:
  // For steps of at most `max_num_tokens` sampled tokens.
  TokenExchange(const ComputeDevice& device, int64_t max_num_tokens);

  // The ids of the step's `num_tokens` sampled tokens, on every rank, valid until the next call.
  // `sampled` is read on rank 0 alone. Everything enqueued on the device is then done. Errors are
  // those of Communicator::Wait.
  absl::StatusOr<std::span<const int64_t>> Share(const std::vector<SampledToken>& sampled,
                                                 int64_t num_tokens, Communicator& communicator);

 private:
  at::Tensor host_;       // [max_num_tokens] int64
  at::Tensor on_device_;  // the same on the device; host_ itself on the CPU
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_RUNTIME_TOKEN_EXCHANGE_H_
