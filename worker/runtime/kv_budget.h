#ifndef LOCKSTEP_WORKER_RUNTIME_KV_BUDGET_H_
#define LOCKSTEP_WORKER_RUNTIME_KV_BUDGET_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "worker/device/compute_device.h"
#include "worker/runtime/step_plan.h"

namespace lockstep::worker {

// How many KV blocks of `block_bytes` this rank takes of its device's memory, which `num_ranks`
// ranks share, once this rank has loaded `bytes_to_load` more into it: its weights, where they are
// not there yet. What other ranks have still to load is left out of account, because some of it may
// be there: before loading the answer is an upper bound.
//
// With config.kv_cache_bytes: as many as that holds, at most this rank's share of the free memory.
//
// Otherwise, on the CPU, whose memory the ranks share: the smaller of
//   - what max_num_seqs sequences of max_model_len tokens need, and
//   - what fits in half of the free memory, divided by the ranks. Half, because the other ranks may
//     still be loading and the page cache holds the checkpoint.
// On a GPU: what gpu_memory_utilization of its memory leaves beside all that is in use now, by
// whomever, divided by the ranks that compute on it. More than all sequences need is of use too:
// blocks that nobody uses are cached prefixes.
//
// RESOURCE_EXHAUSTED, with the --max-model-len that would fit and what else to change, when not
// even one sequence of max_model_len tokens fits, or when kv_cache_bytes is more than there is.
absl::StatusOr<uint64_t> ChooseNumKvBlocks(const WorkerConfig& config, int num_ranks,
                                           uint64_t block_bytes, const DeviceMemory& memory,
                                           uint64_t bytes_to_load = 0);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_RUNTIME_KV_BUDGET_H_
