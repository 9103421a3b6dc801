#ifndef LOCKSTEP_WORKER_LAYERS_ATTENTION_LAYER_H_
#define LOCKSTEP_WORKER_LAYERS_ATTENTION_LAYER_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>

#include "worker/kernels/kernel_context.h"
#include "worker/kernels/kv_cache_layout.h"
#include "worker/kernels/linear.h"
#include "worker/layers/step_batch.h"
#include "worker/layers/weight_loader.h"

namespace lockstep::worker {

// One rank's heads as they lie in memory.
struct AttentionGeometry {
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t padded_head_dim = 0;
  double scale = 0.0;  // of the true head size

  int64_t q_size() const { return num_heads * padded_head_dim; }
  int64_t qkv_size() const { return (num_heads + 2 * num_kv_heads) * padded_head_dim; }
};

// Grouped-query attention over the paged cache, this rank's heads. q, k and v are one fused
// matrix; o is split by input features, so that its result is a partial sum over the ranks.
class AttentionLayer {
 public:
  // `prefix`: "model.layers.3.self_attn.".
  AttentionLayer(WeightLoader& loader, const std::string& prefix, bool has_bias,
                 const AttentionGeometry& geometry);

  // Attends; `out` is what OutputProjection takes.
  //
  //   x        [num_tokens, hidden], the model's dtype
  //   cos_sin  [num_tokens, head_dim] float32
  //   qkv      [num_tokens, qkv_size], the model's dtype, overwritten
  //   out      [num_tokens, q_size], the model's dtype
  void Attend(KernelContext& context, const StepBatch& batch, const at::Tensor& x,
              const at::Tensor& cos_sin, KvCacheView& cache, at::Tensor& qkv,
              at::Tensor& out) const;

  // This rank's part of the output projection, of all rows or some of them.
  //
  //   attended  [num_rows, q_size], the model's dtype
  //   out       [num_rows, hidden] float32; with `adds` the result is added to it
  void ProjectOutput(KernelContext& context, const at::Tensor& attended, bool adds,
                     at::Tensor& out) const;

  int64_t num_bytes() const { return qkv_.num_bytes() + o_.num_bytes(); }

 private:
  const AttentionGeometry geometry_;
  LinearWeight qkv_;
  LinearWeight o_;
  std::optional<at::Tensor> qkv_bias_;
  std::optional<at::Tensor> o_bias_;  // on rank 0 alone
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_LAYERS_ATTENTION_LAYER_H_
