#include "worker/runtime/check_config.h"

#include "absl/strings/str_cat.h"

namespace lockstep::worker {
namespace {

constexpr uint32_t kMinBlockSize = 8;
constexpr uint32_t kMaxBlockSize = 256;

}  // namespace

absl::StatusOr<c10::ScalarType> ParseDtype(const std::string& name) {
  if (name == "float32") return c10::ScalarType::Float;
  if (name == "bfloat16") return c10::ScalarType::BFloat16;
  if (name == "float16") return c10::ScalarType::Half;
  return absl::InvalidArgumentError(
      absl::StrCat("dtype is \"", name, "\"; it must be float32, bfloat16 or float16"));
}

absl::Status CheckConfig(const WorkerConfig& config, int rank, int world_size) {
  if (rank < 0 || rank >= world_size) {
    return absl::InvalidArgumentError(
        absl::StrCat("the rank is ", rank, "; it must be from 0 to ", world_size - 1));
  }
  const uint32_t block_size = config.block_size;
  if (block_size < kMinBlockSize || block_size > kMaxBlockSize ||
      (block_size & (block_size - 1)) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("block_size is ", block_size,
                                                   "; it must be a power of two from ",
                                                   kMinBlockSize, " to ", kMaxBlockSize));
  }
  if (config.max_num_seqs == 0 || config.max_num_batched_tokens == 0 || config.max_model_len == 0 ||
      config.num_threads == 0 || config.collective_timeout_ms == 0) {
    return absl::InvalidArgumentError(
        "max_num_seqs, max_num_batched_tokens, max_model_len, num_threads and "
        "collective_timeout_ms must be positive");
  }
  if (config.max_num_batched_tokens < config.max_num_seqs) {
    return absl::InvalidArgumentError(absl::StrCat(
        "max_num_batched_tokens is ", config.max_num_batched_tokens, ", below max_num_seqs of ",
        config.max_num_seqs, ": a step must hold a token of every running sequence"));
  }
  if (!(config.gpu_memory_utilization > 0.0 && config.gpu_memory_utilization < 1.0)) {
    return absl::InvalidArgumentError(absl::StrCat("gpu_memory_utilization is ",
                                                   config.gpu_memory_utilization,
                                                   "; it must be above 0 and below 1"));
  }
  return absl::OkStatus();
}

}  // namespace lockstep::worker
