#ifndef LOCKSTEP_WORKER_RUNTIME_KV_BUDGET_H_
#define LOCKSTEP_WORKER_RUNTIME_KV_BUDGET_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "worker/runtime/step_plan.h"

namespace lockstep::worker {

// Memory that this process could still take, in bytes: what the kernel calls available, cut by the
// control group's limit where there is one.
uint64_t AvailableHostMemory();

// How many KV blocks of `block_bytes` this rank takes. With config.kv_cache_bytes: as many as that
// holds. Otherwise the smaller of
//   - what max_num_seqs sequences of max_model_len tokens need, and
//   - what fits in half of `available_bytes`, divided by the ranks, which share the machine. Half,
//     because the other ranks may still be loading and the page cache holds the checkpoint.
// RESOURCE_EXHAUSTED, with the numbers, when not even one sequence of max_model_len tokens fits, or
// when kv_cache_bytes is more than there is.
absl::StatusOr<uint64_t> ChooseNumKvBlocks(const WorkerConfig& config, int world_size,
                                           uint64_t block_bytes, uint64_t available_bytes);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_RUNTIME_KV_BUDGET_H_
