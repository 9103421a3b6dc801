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
  std::string remedy;                                          // beside a lower --max-model-len
};

uint64_t BlocksPerSequence(const WorkerConfig& config) {
  return (uint64_t{config.max_model_len} + config.block_size - 1) / config.block_size;
}

std::string BesideWeights(uint64_t bytes_to_load) {
  if (bytes_to_load == 0) return "";
  return absl::StrCat(" beside the weights, which take ", bytes_to_load);
}

std::string DividedBy(int num_ranks) {
  return num_ranks > 1 ? absl::StrCat(", of what ", num_ranks, " ranks divide,") : "";
}

KvBudget GivenBudget(const WorkerConfig& config) {
  return {.bytes = config.kv_cache_bytes,
          .source = absl::StrCat("kv_cache_bytes = ", config.kv_cache_bytes),
          .remedy = "raise --kv-cache-memory"};
}

KvBudget HostBudget(const WorkerConfig& config, int num_ranks, uint64_t bytes_to_load,
                    uint64_t free_bytes) {
  const uint64_t share = free_bytes / 2 / static_cast<uint64_t>(num_ranks);
  return {.bytes = share,
          .max_blocks = config.max_num_seqs * BlocksPerSequence(config),
          .source = absl::StrCat("this rank's share of the available memory, ", share, " bytes",
                                 BesideWeights(bytes_to_load)),
          .remedy = "give more memory"};
}

KvBudget GpuBudget(const WorkerConfig& config, int num_ranks, uint64_t bytes_to_load,
                   const DeviceMemory& memory) {
  const auto limit = static_cast<uint64_t>(static_cast<double>(memory.total_bytes) *
                                           config.gpu_memory_utilization);
  const uint64_t used = memory.total_bytes - memory.free_bytes;
  const uint64_t taken = used + bytes_to_load;
  const uint64_t left = (limit > taken ? limit - taken : 0) / static_cast<uint64_t>(num_ranks);
  const std::string weights =
      bytes_to_load > 0 ? absl::StrCat(" and the weights' ", bytes_to_load) : "";
  return {.bytes = left,
          .source = absl::StrCat(
              "what gpu_memory_utilization = ", config.gpu_memory_utilization, " of the GPU's ",
              memory.total_bytes, " bytes leaves beside the ", used, " in use", weights,
              num_ranks > 1 ? ", divided by its ranks" : "", ", ", left, " bytes"),
          .remedy =
              "lower --max-num-batched-tokens, raise --gpu-memory-utilization, or split the model "
              "over more GPUs (--tensor-parallel-size)"};
}

// The largest length of a sequence that fits, as a number to pass; nothing where none does.
std::string LengthThatFits(uint64_t num_tokens) {
  if (num_tokens == 0) return "";
  return absl::StrCat("lower --max-model-len to ", num_tokens, ", or ");
}

}  // namespace

absl::StatusOr<uint64_t> ChooseNumKvBlocks(const WorkerConfig& config, int num_ranks,
                                           uint64_t block_bytes, const DeviceMemory& memory,
                                           uint64_t bytes_to_load) {
  const bool is_given = config.kv_cache_bytes > 0;
  const uint64_t free_bytes =
      memory.free_bytes > bytes_to_load ? memory.free_bytes - bytes_to_load : 0;
  if (const uint64_t share = free_bytes / static_cast<uint64_t>(num_ranks);
      is_given && config.kv_cache_bytes > share) {
    const uint64_t num_blocks = share / block_bytes;
    return absl::ResourceExhaustedError(absl::StrCat(
        "kv_cache_bytes is ", config.kv_cache_bytes, ", but this rank has only ", share,
        " bytes of memory available", DividedBy(num_ranks), BesideWeights(bytes_to_load),
        ": lower --kv-cache-memory to ", num_blocks * block_bytes, ", which hold ",
        num_blocks * config.block_size, " tokens"));
  }
  const KvBudget budget = is_given ? GivenBudget(config)
                          : config.device == "cuda"
                              ? GpuBudget(config, num_ranks, bytes_to_load, memory)
                              : HostBudget(config, num_ranks, bytes_to_load, free_bytes);
  const uint64_t num_blocks = std::min(budget.max_blocks, budget.bytes / block_bytes);
  const uint64_t blocks_per_seq = BlocksPerSequence(config);
  if (num_blocks >= blocks_per_seq) return num_blocks;
  const uint64_t num_tokens = num_blocks * config.block_size;
  return absl::ResourceExhaustedError(absl::StrCat(
      "the KV cache of one sequence of max_model_len = ", config.max_model_len, " tokens takes ",
      blocks_per_seq * block_bytes, " bytes per rank; ", budget.source, ", holds ", num_tokens,
      " tokens: ", LengthThatFits(num_tokens), budget.remedy));
}

}  // namespace lockstep::worker
