#include "worker/layers/attention_layer.h"

#include "worker/kernels/paged_attention.h"
#include "worker/kernels/rope.h"

namespace lockstep::worker {

AttentionLayer::AttentionLayer(WeightLoader& loader, const std::string& prefix, bool has_bias,
                               const AttentionGeometry& geometry)
    : geometry_(geometry) {
  qkv_ =
      loader.Matrix({prefix + "q_proj.weight", prefix + "k_proj.weight", prefix + "v_proj.weight"});
  o_ = loader.Matrix({prefix + "o_proj.weight"});
  if (!has_bias) return;
  qkv_bias_ =
      loader.Vector({prefix + "q_proj.bias", prefix + "k_proj.bias", prefix + "v_proj.bias"});
  if (at::Tensor bias = loader.Vector({prefix + "o_proj.bias"}); bias.defined()) o_bias_ = bias;
}

void AttentionLayer::Attend(KernelContext& context, const StepBatch& batch, const at::Tensor& x,
                            const at::Tensor& cos_sin, KvCacheView& cache, at::Tensor& qkv,
                            at::Tensor& out) const {
  LinearRopeAndCacheWrite(context, x, qkv_, qkv_bias_, cos_sin, batch.cache_slots, cache, qkv);
  PagedAttention(context, qkv.narrow(1, 0, geometry_.q_size()), cache, batch.attention,
                 geometry_.scale, out);
}

void AttentionLayer::ProjectOutput(KernelContext& context, const at::Tensor& attended, bool adds,
                                   at::Tensor& out) const {
  if (adds) return LinearAdd(context, attended, o_, o_bias_, out);
  Linear(context, attended, o_, o_bias_, out);
}

}  // namespace lockstep::worker
