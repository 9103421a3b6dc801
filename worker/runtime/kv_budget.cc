#include "worker/runtime/kv_budget.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace lockstep::worker {
namespace {

constexpr uint64_t kUnlimited = std::numeric_limits<uint64_t>::max();

uint64_t ReadNumber(const char* path) {
  std::ifstream file(path);
  uint64_t number = 0;
  return file >> number ? number : kUnlimited;  // "max", or no such file
}

uint64_t MemAvailable() {
  std::ifstream file("/proc/meminfo");
  std::string name;
  uint64_t kibibytes = 0;
  std::string unit;
  while (file >> name >> kibibytes) {
    std::getline(file, unit);
    if (name == "MemAvailable:") return kibibytes * 1024;
  }
  return kUnlimited;
}

uint64_t ControlGroupHeadroom() {
  const uint64_t limit = ReadNumber("/sys/fs/cgroup/memory.max");
  const uint64_t used = ReadNumber("/sys/fs/cgroup/memory.current");
  if (limit == kUnlimited || used == kUnlimited) return kUnlimited;
  return limit > used ? limit - used : 0;
}

}  // namespace

uint64_t AvailableHostMemory() { return std::min(MemAvailable(), ControlGroupHeadroom()); }

absl::StatusOr<uint64_t> ChooseNumKvBlocks(const WorkerConfig& config, int world_size,
                                           uint64_t block_bytes, uint64_t available_bytes) {
  const uint64_t blocks_per_seq =
      (uint64_t{config.max_model_len} + config.block_size - 1) / config.block_size;
  uint64_t num_blocks = 0;
  std::string budget;
  if (config.kv_cache_bytes > 0) {
    if (config.kv_cache_bytes > available_bytes) {
      return absl::ResourceExhaustedError(absl::StrCat("kv_cache_bytes is ", config.kv_cache_bytes,
                                                       ", but this rank has only ", available_bytes,
                                                       " bytes of memory available"));
    }
    num_blocks = config.kv_cache_bytes / block_bytes;
    budget = absl::StrCat("kv_cache_bytes = ", config.kv_cache_bytes);
  } else {
    const uint64_t share = available_bytes / 2 / static_cast<uint64_t>(world_size);
    num_blocks = std::min(config.max_num_seqs * blocks_per_seq, share / block_bytes);
    budget = absl::StrCat("this rank's share of the available memory, ", share);
  }
  if (num_blocks < blocks_per_seq) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the KV cache of one sequence of max_model_len = ", config.max_model_len, " tokens takes ",
        blocks_per_seq * block_bytes, " bytes per rank; ", budget, ", holds ",
        num_blocks * config.block_size, " tokens: lower max_model_len or give more memory"));
  }
  return num_blocks;
}

}  // namespace lockstep::worker
