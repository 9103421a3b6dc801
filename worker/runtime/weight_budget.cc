#include "worker/runtime/weight_budget.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "worker/checkpoint/checkpoint.h"

namespace lockstep::worker {
namespace {

constexpr int kMaxRanks = 8;  // of CheckTensorParallel

// What the caller may change so that the weights fit, largest first.
std::string WhatWouldFit(const LlamaConfig& config, const ShardPlan& plan, c10::ScalarType dtype,
                         uint64_t free_bytes) {
  for (int ranks = 2 * plan.world_size; ranks <= kMaxRanks; ranks *= 2) {
    if (!CheckTensorParallel(config, ranks).ok()) continue;
    const uint64_t bytes = WeightBytes(config, MakeShardPlan(config, 0, ranks), dtype);
    if (bytes > free_bytes) continue;
    return absl::StrCat("--tensor-parallel-size ", ranks, " needs ", bytes, " on each rank's own");
  }
  if (dtype == c10::kFloat && WeightBytes(config, plan, c10::kBFloat16) <= free_bytes) {
    return "--dtype bfloat16 takes half";
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
                             c10::ScalarType dtype, uint64_t free_bytes) {
  const uint64_t bytes = WeightBytes(config, plan, dtype);
  if (bytes <= free_bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("rank ", plan.rank, "'s share of the weights takes ", bytes, " bytes in ",
                   c10::toString(dtype), ", and its device has ", free_bytes,
                   " bytes of memory free: ", WhatWouldFit(config, plan, dtype, free_bytes)));
}

}  // namespace lockstep::worker
