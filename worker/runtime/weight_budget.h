#ifndef LOCKSTEP_WORKER_RUNTIME_WEIGHT_BUDGET_H_
#define LOCKSTEP_WORKER_RUNTIME_WEIGHT_BUDGET_H_

#include <c10/core/ScalarType.h>

#include <cstdint>

#include "absl/status/status.h"
#include "worker/checkpoint/llama_config.h"
#include "worker/checkpoint/tensor_parallel.h"
#include "worker/device/compute_device.h"

namespace lockstep::worker {

// Bytes of the weights that a rank holds, less what the device's layout pads.
uint64_t WeightBytes(const LlamaConfig& config, const ShardPlan& plan, c10::ScalarType dtype);

// Where a rank's weights go.
struct WeightMemory {
  DeviceMemory bytes;
  int num_ranks = 1;       // whose weights go there, about equally many of each
  bool is_shared = false;  // whether more ranks would have no memory of their own
};

// RESOURCE_EXHAUSTED, before anything is loaded, where the ranks' weights alone are more than the
// memory has room for: says what they take, and what would fit: more ranks, or a dtype of fewer
// bits.
absl::Status CheckWeightsFit(const LlamaConfig& config, const ShardPlan& plan,
                             c10::ScalarType dtype, const WeightMemory& memory);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_RUNTIME_WEIGHT_BUDGET_H_
