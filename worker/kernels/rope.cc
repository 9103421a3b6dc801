#include "worker/kernels/rope.h"

#include "worker/kernels/cpu/ops.h"
#include "worker/kernels/cuda/ops.h"
#include "worker/kernels/tensor_checks.h"

namespace lockstep::worker {

void ComputeRopeCosSin(KernelContext& context, const at::Tensor& positions,
                       const at::Tensor& inv_freq, double attention_scaling, at::Tensor& cos_sin) {
  constexpr const char* kOp = "ComputeRopeCosSin";
  TORCH_CHECK(positions.defined() && inv_freq.defined(), kOp, ": undefined positions or inv_freq");
  CheckVector(positions, positions.numel(), at::kInt, kOp, "positions");
  CheckVector(inv_freq, inv_freq.numel(), at::kFloat, kOp, "inv_freq");
  CheckRows(cos_sin, positions.numel(), 2 * inv_freq.numel(), kOp, "cos_sin");
  CheckDtype(cos_sin, at::kFloat, kOp, "cos_sin");
  CheckDevices(kOp, cos_sin.device(), {&positions, &inv_freq});
  if (cos_sin.is_cuda()) {
    return cuda::ComputeRopeCosSin(positions, inv_freq, attention_scaling, cos_sin);
  }
  cpu::ComputeRopeCosSin(context, positions, inv_freq, attention_scaling, cos_sin);
}

void RopeAndCacheWrite(KernelContext& context, at::Tensor& qkv, const at::Tensor& cos_sin,
                       const at::Tensor& cache_slots, KvCacheView& cache) {
  constexpr const char* kOp = "RopeAndCacheWrite";
  TORCH_CHECK(qkv.defined() && qkv.dim() == 2 && cos_sin.defined() && cos_sin.dim() == 2, kOp,
              ": qkv or cos_sin is not a matrix");
  CheckKvCache(cache, kOp);
  const int64_t num_tokens = qkv.size(0), head_dim = cache.value.size(3),
                num_kv_heads = cache.value.size(1);
  CheckRows(qkv, num_tokens, qkv.size(1), kOp, "qkv");
  CheckDtype(qkv, cache.key.scalar_type(), kOp, "qkv");
  TORCH_CHECK(qkv.size(1) % head_dim == 0 && qkv.size(1) / head_dim > 2 * num_kv_heads, kOp,
              ": rows of ", qkv.size(1), " elements do not hold q heads and 2 x ", num_kv_heads,
              " heads of ", head_dim);
  CheckRows(cos_sin, num_tokens, cos_sin.size(1), kOp, "cos_sin");
  CheckDtype(cos_sin, at::kFloat, kOp, "cos_sin");
  TORCH_CHECK(cos_sin.size(1) % 2 == 0 && cos_sin.size(1) <= head_dim, kOp, ": rotary_dim is ",
              cos_sin.size(1), ", expected an even number up to head_dim ", head_dim);
  CheckVector(cache_slots, num_tokens, at::kLong, kOp, "cache_slots");
  CheckDevices(kOp, qkv.device(), {&cos_sin, &cache_slots, &cache.key, &cache.value});
  if (qkv.is_cuda()) return cuda::RopeAndCacheWrite(qkv, cos_sin, cache_slots, cache);
  cpu::RopeAndCacheWrite(context, qkv, cos_sin, cache_slots, cache);
}

void LinearRopeAndCacheWrite(KernelContext& context, const at::Tensor& x,
                             const LinearWeight& weight, const std::optional<at::Tensor>& bias,
                             const at::Tensor& cos_sin, const at::Tensor& cache_slots,
                             KvCacheView& cache, at::Tensor& qkv) {
  // What does not fit is left to the ops that say so.
  if (qkv.is_cuda() &&
      cuda::LinearRopeAndCacheWrite(x, weight.packed(), bias, cos_sin, cache_slots, cache, qkv)) {
    return;
  }
  Linear(context, x, weight, bias, qkv);
  RopeAndCacheWrite(context, qkv, cos_sin, cache_slots, cache);
}

}  // namespace lockstep::worker
