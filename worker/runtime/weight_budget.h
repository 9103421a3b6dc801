#ifndef LOCKSTEP_WORKER_RUNTIME_WEIGHT_BUDGET_H_
#define LOCKSTEP_WORKER_RUNTIME_WEIGHT_BUDGET_H_

#include <c10/core/ScalarType.h>

#include <cstdint>

#include "absl/status/status.h"
#include "worker/checkpoint/llama_config.h"
#include "worker/checkpoint/tensor_parallel.h"

namespace lockstep::worker {

// Bytes of the weights that a rank holds, less what the device's layout pads.
uint64_t WeightBytes(const LlamaConfig& config, const ShardPlan& plan, c10::ScalarType dtype);

// RESOURCE_EXHAUSTED, before anything is loaded, where a rank's weights alone are more than the
// `free_bytes` of its device: says what they take, and what would fit: more ranks, or a dtype of
// fewer bits.
absl::Status CheckWeightsFit(const LlamaConfig& config, const ShardPlan& plan,
                             c10::ScalarType dtype, uint64_t free_bytes);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_RUNTIME_WEIGHT_BUDGET_H_
