#include "worker/runtime/kv_budget.h"

#include <algorithm>
#include <limits>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace lockstep::worker {
namespace {

// What the cache may take, and how to say so.
struct KvBudget {
  uint64_t bytes = 0;
  uint64_t max_blocks = std::numeric_limits<uint64_t>::max();  // more would be of no use
  std::string source;                                          // "…, holds 48 tokens"
  std::string remedy;
};

uint64_t BlocksPerSequence(const WorkerConfig& config) {
  return (uint64_t{config.max_model_len} + config.block_size - 1) / config.block_size;
}

KvBudget GivenBudget(const WorkerConfig& config) {
  return {.bytes = config.kv_cache_bytes,
          .source = absl::StrCat("kv_cache_bytes = ", config.kv_cache_bytes),
          .remedy = "lower max_model_len or raise kv_cache_bytes"};
}

KvBudget HostBudget(const WorkerConfig& config, int num_ranks, const DeviceMemory& memory) {
  const uint64_t share = memory.free_bytes / 2 / static_cast<uint64_t>(num_ranks);
  return {.bytes = share,
          .max_blocks = config.max_num_seqs * BlocksPerSequence(config),
          .source = absl::StrCat("this rank's share of the available memory, ", share, " bytes"),
          .remedy = "lower max_model_len or give more memory"};
}

KvBudget GpuBudget(const WorkerConfig& config, int num_ranks, const DeviceMemory& memory) {
  const auto limit = static_cast<uint64_t>(static_cast<double>(memory.total_bytes) *
                                           config.gpu_memory_utilization);
  const uint64_t used = memory.total_bytes - memory.free_bytes;
  const uint64_t left = (limit > used ? limit - used : 0) / static_cast<uint64_t>(num_ranks);
  return {.bytes = left,
          .source = absl::StrCat("what gpu_memory_utilization = ", config.gpu_memory_utilization,
                                 " of the GPU's ", memory.total_bytes, " bytes leaves beside the ",
                                 used, " in use", num_ranks > 1 ? ", divided by its ranks" : "",
                                 ", ", left, " bytes"),
          .remedy =
              "lower max_model_len or max_num_batched_tokens, raise gpu_memory_utilization, or "
              "split the model over more GPUs (tensor_parallel_size)"};
}

}  // namespace

absl::StatusOr<uint64_t> ChooseNumKvBlocks(const WorkerConfig& config, int num_ranks,
                                           uint64_t block_bytes, const DeviceMemory& memory) {
  const bool is_given = config.kv_cache_bytes > 0;
  if (is_given && config.kv_cache_bytes > memory.free_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("kv_cache_bytes is ", config.kv_cache_bytes, ", but this rank has only ",
                     memory.free_bytes, " bytes of memory available, which hold ",
                     memory.free_bytes / block_bytes * config.block_size, " tokens"));
  }
  const KvBudget budget = is_given                  ? GivenBudget(config)
                          : config.device == "cuda" ? GpuBudget(config, num_ranks, memory)
                                                    : HostBudget(config, num_ranks, memory);
  const uint64_t num_blocks = std::min(budget.max_blocks, budget.bytes / block_bytes);
  const uint64_t blocks_per_seq = BlocksPerSequence(config);
  if (num_blocks >= blocks_per_seq) return num_blocks;
  return absl::ResourceExhaustedError(absl::StrCat(
      "the KV cache of one sequence of max_model_len = ", config.max_model_len, " tokens takes ",
      blocks_per_seq * block_bytes, " bytes per rank; ", budget.source, ", holds ",
      num_blocks * config.block_size, " tokens: ", budget.remedy));
}

}  // namespace lockstep::worker
