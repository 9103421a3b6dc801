#include "worker/runtime/weight_budget.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "worker/checkpoint/checkpoint.h"

namespace lockstep::worker {
namespace {

constexpr int kMaxRanks = 8;  // of CheckTensorParallel

// Whether each rank may have as much. The other ranks may have theirs already, so that what is free
// need not hold all of them.
bool Fits(uint64_t share, const WeightMemory& memory) {
  return share <= memory.bytes.free_bytes &&
         share <= memory.bytes.total_bytes / static_cast<uint64_t>(memory.num_ranks);
}

// The smallest number of ranks whose shares fit, each in a memory of its own; 0: none.
int RanksThatFit(const LlamaConfig& config, const ShardPlan& plan, c10::ScalarType dtype,
                 uint64_t free_bytes) {
  for (int ranks = 2 * plan.world_size; ranks <= kMaxRanks; ranks *= 2) {
    if (!CheckTensorParallel(config, ranks).ok()) continue;
    if (WeightBytes(config, MakeShardPlan(config, 0, ranks), dtype) <= free_bytes) return ranks;
  }
  return 0;
}

// What the caller may change so that the weights fit.
std::string WhatWouldFit(const LlamaConfig& config, const ShardPlan& plan, c10::ScalarType dtype,
                         const WeightMemory& memory) {
  if (!memory.is_shared) {
    if (const int ranks = RanksThatFit(config, plan, dtype, memory.bytes.free_bytes); ranks > 0) {
      const uint64_t bytes = WeightBytes(config, MakeShardPlan(config, 0, ranks), dtype);
      return absl::StrCat("--tensor-parallel-size ", ranks, " needs ", bytes,
                          " on each rank's own");
    }
  }
  if (dtype == c10::kFloat && Fits(WeightBytes(config, plan, c10::kBFloat16), memory)) {
    return "--dtype bfloat16 takes half";
  }
  if (memory.is_shared) {
    return "more ranks would share the same memory: free some, or take a smaller model";
  }
  return "no number of ranks up to 8 would do with as much on each: a smaller model is needed";
}

}  // namespace

uint64_t WeightBytes(const LlamaConfig& config, const ShardPlan& plan, c10::ScalarType dtype) {
  uint64_t num_elements = 0;
  for (const ExpectedTensor& tensor : ExpectedTensors(config)) {
    const TensorSlice slice = RankSlice(config, plan, tensor);
    num_elements += static_cast<uint64_t>(slice.rows.size() * slice.columns.size());
  }
  return num_elements * c10::elementSize(dtype);
}

absl::Status CheckWeightsFit(const LlamaConfig& config, const ShardPlan& plan,
                             c10::ScalarType dtype, const WeightMemory& memory) {
  const uint64_t bytes = WeightBytes(config, plan, dtype);
  if (Fits(bytes, memory)) return absl::OkStatus();
  std::string text = absl::StrCat("rank ", plan.rank, "'s share of the weights takes ", bytes,
                                  " bytes in ", c10::toString(dtype), ", and its device has ",
                                  memory.bytes.free_bytes, " bytes of memory free");
  if (memory.num_ranks > 1) {
    absl::StrAppend(&text, " of ", memory.bytes.total_bytes, " that ", memory.num_ranks,
                    " ranks divide");
  }
  return absl::ResourceExhaustedError(
      absl::StrCat(text, ": ", WhatWouldFit(config, plan, dtype, memory)));
}

}  // namespace lockstep::worker
