#ifndef LOCKSTEP_WORKER_RUNTIME_LARGEST_STEP_H_
#define LOCKSTEP_WORKER_RUNTIME_LARGEST_STEP_H_

#include <cstdint>

#include "absl/status/status.h"
#include "worker/cache/kv_cache.h"
#include "worker/device/compute_device.h"
#include "worker/model/llama_model.h"
#include "worker/runtime/step_inputs.h"

namespace lockstep::worker {

struct StepLimits {
  int64_t max_num_seqs = 0;
  int64_t max_num_batched_tokens = 0;
  int64_t max_model_len = 0;
};

// The rows of each sequence in the step that takes the most memory: all tokens that a step may
// have, in as many decodes as can be beside the prefills, decodes first. All are at least 1.
std::vector<int64_t> LargestStepRows(const StepLimits& limits);

// Runs that step with its logits on one rank alone, so that afterwards the device's allocator holds
// all the memory that a step will ever need: what is free then is free for the KV cache. The sums
// over the ranks are left out, the memory that they take is not. `geometry` is that of the cache to
// be. Errors are the device's, which is waited for as long as `timeout`; throws
// c10::OutOfMemoryError when the step does not fit.
absl::Status RunLargestStep(LlamaModel& model, const KvCacheGeometry& geometry,
                            const StepLimits& limits, int rank, int world_size, StepInputs& inputs,
                            ComputeDevice& device, absl::Duration timeout);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_RUNTIME_LARGEST_STEP_H_
