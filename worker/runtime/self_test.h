#ifndef LOCKSTEP_WORKER_RUNTIME_SELF_TEST_H_
#define LOCKSTEP_WORKER_RUNTIME_SELF_TEST_H_

#include <cstdint>

#include "absl/status/status.h"
#include "worker/cache/kv_cache.h"
#include "worker/comm/communicator.h"
#include "worker/model/llama_model.h"

namespace lockstep::worker {

// What every rank runs, together with the others, before it reports ready. INTERNAL says what was
// computed and what it should have been.

// Sums and copies that a broken transport would get wrong, in sizes around its buffers'.
absl::Status TestCollectives(Communicator& communicator, at::Device device);

// A forward pass over a few tokens in block 0 of the cache: logits must be finite and all ranks
// must have computed the same, bit for bit. `num_tokens` is at most one block.
absl::Status TestForward(LlamaModel& model, Communicator& communicator, KvCache& cache,
                         at::Device device, int64_t num_tokens);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_RUNTIME_SELF_TEST_H_
