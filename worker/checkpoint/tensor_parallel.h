#ifndef LOCKSTEP_WORKER_CHECKPOINT_TENSOR_PARALLEL_H_
#define LOCKSTEP_WORKER_CHECKPOINT_TENSOR_PARALLEL_H_

#include <cstdint>

#include "absl/status/status.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/llama_config.h"

namespace lockstep::worker {

// A half-open range of rows, columns or heads.
struct Range {
  int64_t begin = 0;
  int64_t end = 0;

  int64_t size() const { return end - begin; }
  bool operator==(const Range&) const = default;
};

// Part `rank` of [0, size) split in `world_size` contiguous parts that are equal to within one.
Range BalancedRange(int64_t size, int rank, int world_size);

// What one rank holds under tensor parallelism (Shoeybi et al. 2019): q, k, v, gate and up split by
// output features, o and down by input features, embedding and head by the vocabulary. FFN and
// vocabulary may be split unevenly. With fewer KV heads than ranks, neighbouring ranks hold the
// same one.
struct ShardPlan {
  int rank = 0;
  int world_size = 1;
  Range heads;     // attention heads; their group's KV heads are `kv_heads`
  Range kv_heads;  // of at least one
  Range ffn;       // of intermediate_size
  Range vocab;     // of vocab_size
};

// Precondition: CheckTensorParallel is OK and 0 <= rank < world_size.
ShardPlan MakeShardPlan(const LlamaConfig& config, int rank, int world_size);

// The part of a weight that one rank reads. A vector (bias or norm) has rows alone; its columns are
// [0, 1).
struct TensorSlice {
  Range rows;
  Range columns;
};

// The slice of a tensor of ExpectedTensors. Norms are on every rank; the biases of o and down are
// on rank 0 alone, so that the all-reduce adds them once: elsewhere their slice is empty.
TensorSlice RankSlice(const LlamaConfig& config, const ShardPlan& plan,
                      const ExpectedTensor& tensor);

// INVALID_ARGUMENT, naming both numbers, unless `world_size` is 1, 2, 4 or 8, divides the attention
// heads, and the KV heads are a multiple or a divisor of it.
absl::Status CheckTensorParallel(const LlamaConfig& config, int world_size);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_CHECKPOINT_TENSOR_PARALLEL_H_
