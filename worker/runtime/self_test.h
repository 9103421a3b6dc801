#ifndef LOCKSTEP_WORKER_RUNTIME_SELF_TEST_H_
#define LOCKSTEP_WORKER_RUNTIME_SELF_TEST_H_

#include <chrono>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/cache/kv_cache.h"
#include "worker/comm/communicator.h"
#include "worker/model/llama_model.h"

namespace lockstep::worker {

// What every rank runs, together with the others, before it reports ready. INTERNAL says what was
// computed and what it should have been.

// Sums and copies that a broken transport would get wrong, in sizes around its buffers'.
absl::Status TestCollectives(Communicator& communicator, at::Device device);

// What a sum over all ranks takes, the waits of this rank included.
struct CollectiveSpeed {
  std::chrono::duration<double> small{0};  // of kSmallSumBytes
  double bytes_per_second = 0;             // of kLargeSumBytes, each rank's
};
inline constexpr int64_t kSmallSumBytes = 16 << 10;  // what a decode of a large model sums
inline constexpr int64_t kLargeSumBytes = 8 << 20;   // a prefill's

// Sums of both sizes, some times each. All ranks together, of which there are several.
absl::StatusOr<CollectiveSpeed> MeasureCollectives(Communicator& communicator, at::Device device);

// "a sum over 2 ranks takes 12 us for 16 KiB, and 8 MiB go at 4.2 GB/s", with the likely reason
// where that is so slow that something must be wrong.
std::string DescribeSpeed(const CollectiveSpeed& speed, int world_size);

// A forward pass over a few tokens in block 0 of the cache: logits must be finite and all ranks
// must have computed the same, bit for bit. `num_tokens` is at most one block; `model_dir` is named
// where the weights are at fault.
absl::Status TestForward(LlamaModel& model, Communicator& communicator, KvCache& cache,
                         at::Device device, int64_t num_tokens, const std::string& model_dir);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_RUNTIME_SELF_TEST_H_
