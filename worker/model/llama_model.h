#ifndef LOCKSTEP_WORKER_MODEL_LLAMA_MODEL_H_
#define LOCKSTEP_WORKER_MODEL_LLAMA_MODEL_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "worker/cache/kv_cache.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/llama_config.h"
#include "worker/checkpoint/tensor_parallel.h"
#include "worker/comm/communicator.h"
#include "worker/kernels/kernel_context.h"
#include "worker/layers/attention_layer.h"
#include "worker/layers/mlp_layer.h"
#include "worker/layers/rotary_embedding.h"
#include "worker/layers/step_batch.h"
#include "worker/model/activations.h"

namespace lockstep::worker {

struct ModelOptions {
  at::ScalarType dtype = at::kFloat;  // float32, bfloat16 or float16
  at::Device device = at::kCPU;
  int64_t max_num_tokens = 0;  // of one step
  // Rows whose logits are computed at a time even where they take more than kMaxLogitBytes: those
  // that sample in one step, where all their tokens are chosen together.
  int64_t min_logit_rows = 1;
};

// Of the logits that are computed, and gathered on rank 0, at a time: 256 rows of the largest
// vocabularies, so that reading the head is paid for by hundreds of rows, in bounded memory.
inline constexpr int64_t kMaxLogitBytes = int64_t{128} << 20;

// What a cache for a rank of this plan is made of. Known before any weight is loaded.
KvCacheGeometry CacheGeometry(const LlamaConfig& config, const ShardPlan& plan,
                              const ModelOptions& options, int64_t block_size);

// One rank's shard of a LlamaForCausalLM. The residual stream and all sums over ranks are float32
// whatever the dtype; everything after an all-reduce is computed by every rank alike, so the ranks
// agree bit for bit.
//
// Not thread-safe. Methods throw c10::Error when a kernel fails.
class LlamaModel {
 public:
  // Reads this rank's slices. The context is borrowed. `progress` may be empty. Preconditions:
  // CheckTensorParallel holds and `checkpoint` was opened with `config`.
  LlamaModel(const LlamaConfig& config, const Checkpoint& checkpoint, const ShardPlan& plan,
             const ModelOptions& options, KernelContext& context,
             const std::function<void(uint64_t, uint64_t)>& progress);

  int64_t weight_bytes() const { return weight_bytes_; }
  int64_t vocab_size() const { return config_.vocab_size; }
  // Whether Forward may be recorded in graphs: not where the host computes frequencies for each
  // step.
  bool can_be_recorded() const { return !rotary_.is_dynamic(); }

  // Runs the batch through all layers with the other ranks. On return `hidden` is a view, valid
  // until the next call, of the final normalized rows that logits were asked for:
  // [num_logit_rows, hidden_size], equal on all ranks. Errors are the communicator's.
  absl::Status Forward(const StepBatch& batch, Communicator& communicator, KvCache& cache,
                       at::Tensor& hidden);

  // Rows whose logits are gathered at a time: what kMaxLogitBytes hold or min_logit_rows, at most a
  // step's.
  int64_t max_logit_rows() const { return max_logit_rows_; }

  // Logits of some of Forward's rows.
  //
  //   hidden  [num_rows <= max_logit_rows, hidden_size], rows of Forward's result
  //   logits  [num_rows, vocab_size] float32 on rank 0, on the model's device: where it is
  //   undefined,
  //           it becomes a view that is valid until the next call. Left alone on the other ranks.
  absl::Status Logits(const at::Tensor& hidden, Communicator& communicator, at::Tensor& logits);

  // This rank's columns of the logits of some of Forward's rows, which nobody gathers.
  //
  //   hidden  [num_rows, hidden_size], rows of Forward's result
  //   shard   [num_rows, shard_vocab_size] float32, on the model's device
  void LogitShard(const at::Tensor& hidden, at::Tensor& shard);
  int64_t shard_vocab_size() const { return plan_.vocab.size(); }

  // The same as the last step's `hidden`, summed up in a number: equal on all ranks.
  static uint64_t Checksum(const at::Tensor& hidden);

 private:
  struct DecoderLayer {
    at::Tensor input_norm;      // [hidden]
    at::Tensor post_attn_norm;  // [hidden]
    AttentionLayer attention;
    MlpLayer mlp;
  };

  void LoadLayers(WeightLoader& loader, const AttentionGeometry& geometry);
  // The weight of the norm that follows layer `index`: the next layer's, or the final one.
  const at::Tensor& NormAfter(size_t index) const;
  // Everything of a layer behind its attention, for the rows of `rows`.
  absl::Status FinishLayer(size_t index, const at::Tensor& attended, ActivationRows& rows,
                           Communicator& communicator);
  // Copies to `wanted` the residual stream of the rows that logits are wanted of, each from the
  // rank that has it. `wanted` may be the first of `rows`.
  absl::Status TakeRows(const StepBatch& batch, const ActivationRows& rows,
                        Communicator& communicator, ActivationRows& wanted) const;
  // Adds what the ranks have in `partial`, unless it has been, to the residual stream, and
  // normalizes that: `normed` is whole on every rank, the residual stream where the rows are its
  // own (Communicator::OwnRows).
  absl::Status AddAndNormalize(const at::Tensor& norm, ActivationRows& rows,
                               Communicator& communicator);
  // Whether a layer's results are added to the residual stream by the products that compute them:
  // on a GPU that has no other ranks to wait for.
  bool AddsToResidual() const;
  // Whether this rank's logits are computed where the gathered ones are. A GPU's products have
  // dense rows.
  bool ComputesInPlace() const;

  const LlamaConfig config_;
  const ShardPlan plan_;
  const ModelOptions options_;
  KernelContext& context_;
  RotaryEmbedding rotary_;
  AttentionGeometry geometry_;
  LinearWeight embedding_;  // this rank's part of the vocabulary
  LinearWeight head_;       // the same; shares embedding_'s memory where tied
  at::Tensor final_norm_;   // [hidden]
  std::vector<DecoderLayer> layers_;
  std::vector<int64_t> vocab_offsets_;  // [world_size + 1]
  int64_t weight_bytes_ = 0;
  int64_t max_logit_rows_ = 0;
  std::unique_ptr<Activations> activations_;
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_MODEL_LLAMA_MODEL_H_
