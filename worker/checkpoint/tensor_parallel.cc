#include "worker/checkpoint/tensor_parallel.h"

#include "absl/strings/str_cat.h"

namespace lockstep::worker {
namespace {

absl::Status Refuse(int world_size, const char* field, int64_t value, const char* rule) {
  return absl::InvalidArgumentError(absl::StrCat("a tensor-parallel size of ", world_size,
                                                 " does not fit the model: ", field, " is ", value,
                                                 ", which ", rule));
}

Range Scale(const Range& range, int64_t factor) {
  return {range.begin * factor, range.end * factor};
}

}  // namespace

TensorSlice RankSlice(const LlamaConfig& config, const ShardPlan& plan,
                      const ExpectedTensor& tensor) {
  const Range all_rows = {0, tensor.shape[0]};
  const Range all_columns = {0, tensor.shape.size() > 1 ? tensor.shape[1] : 1};
  const auto is_part_of = [&](const char* layer) {
    return tensor.name.find(layer) != std::string::npos;
  };
  const Range head_features = Scale(plan.heads, config.head_dim);
  if (is_part_of(".q_proj.")) return {head_features, all_columns};
  if (is_part_of(".k_proj.") || is_part_of(".v_proj.")) {
    return {Scale(plan.kv_heads, config.head_dim), all_columns};
  }
  if (is_part_of(".gate_proj.") || is_part_of(".up_proj.")) return {plan.ffn, all_columns};
  if (is_part_of("embed_tokens.") || is_part_of("lm_head.")) return {plan.vocab, all_columns};
  if (is_part_of(".o_proj.") || is_part_of(".down_proj.")) {
    if (tensor.shape.size() == 1) return {plan.rank == 0 ? all_rows : Range{}, all_columns};
    return {all_rows, is_part_of(".o_proj.") ? head_features : plan.ffn};
  }
  return {all_rows, all_columns};
}

Range BalancedRange(int64_t size, int rank, int world_size) {
  return {size * rank / world_size, size * (rank + 1) / world_size};
}

ShardPlan MakeShardPlan(const LlamaConfig& config, int rank, int world_size) {
  ShardPlan plan;
  plan.rank = rank;
  plan.world_size = world_size;
  plan.heads = BalancedRange(config.num_attention_heads, rank, world_size);
  const int64_t group_size = config.num_attention_heads / config.num_key_value_heads;
  plan.kv_heads = {plan.heads.begin / group_size, (plan.heads.end - 1) / group_size + 1};
  plan.ffn = BalancedRange(config.intermediate_size, rank, world_size);
  plan.vocab = BalancedRange(config.vocab_size, rank, world_size);
  return plan;
}

absl::Status CheckTensorParallel(const LlamaConfig& config, int world_size) {
  if (world_size != 1 && world_size != 2 && world_size != 4 && world_size != 8) {
    return absl::InvalidArgumentError(
        absl::StrCat("the tensor-parallel size is ", world_size, "; it must be 1, 2, 4 or 8"));
  }
  if (config.num_attention_heads % world_size != 0) {
    return Refuse(world_size, "num_attention_heads", config.num_attention_heads,
                  "it does not divide");
  }
  const int64_t kv_heads = config.num_key_value_heads;
  if (kv_heads % world_size != 0 && world_size % kv_heads != 0) {
    return Refuse(world_size, "num_key_value_heads", kv_heads, "neither divides it nor is divided");
  }
  if (config.intermediate_size < world_size) {
    return Refuse(world_size, "intermediate_size", config.intermediate_size, "is smaller");
  }
  if (config.vocab_size < world_size) {
    return Refuse(world_size, "vocab_size", config.vocab_size, "is smaller");
  }
  return absl::OkStatus();
}

}  // namespace lockstep::worker
