#ifndef LOCKSTEP_WORKER_KERNELS_CPU_OPS_H_
#define LOCKSTEP_WORKER_KERNELS_CPU_OPS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "worker/kernels/kernel_context.h"
#include "worker/kernels/kv_cache_layout.h"
#include "worker/kernels/linear.h"
#include "worker/kernels/paged_attention.h"

// The CPU's implementations of the ops in worker/kernels/*.h, which have checked shapes, dtypes and
// devices.
namespace lockstep::worker::cpu {

void Linear(KernelContext& context, const at::Tensor& x, const LinearWeight& weight,
            const std::optional<at::Tensor>& bias, at::Tensor& out);

// As worker::GatedMlp without `adds` where that is done at once, else false.
bool GatedMlp(KernelContext& context, const at::Tensor& x, const MlpWeights& weights,
              at::Tensor& out);

// As worker::LinearSiluMultiply where a half of the features is whole panels, else false.
bool LinearSiluMultiply(KernelContext& context, const at::Tensor& x, const LinearWeight& weight,
                        const std::optional<at::Tensor>& bias, at::Tensor& out);

void EmbeddingLookup(KernelContext& context, const at::Tensor& token_ids, const LinearWeight& table,
                     int64_t vocab_begin, int64_t vocab_end, at::Tensor& out);

// `residual` null: RmsNorm, else AddRmsNorm.
void RmsNorm(KernelContext& context, const at::Tensor& x, at::Tensor* residual,
             const at::Tensor& weight, double epsilon, at::Tensor& out);

void ComputeRopeCosSin(KernelContext& context, const at::Tensor& positions,
                       const at::Tensor& inv_freq, double attention_scaling, at::Tensor& cos_sin);

void RopeAndCacheWrite(KernelContext& context, at::Tensor& qkv, const at::Tensor& cos_sin,
                       const at::Tensor& cache_slots, KvCacheView& cache);

void PagedAttention(KernelContext& context, const at::Tensor& q, const KvCacheView& cache,
                    const AttentionBatch& batch, double scale, at::Tensor& out);

void SiluMultiply(KernelContext& context, const at::Tensor& gate_up, at::Tensor& out);

}  // namespace lockstep::worker::cpu

#endif  // LOCKSTEP_WORKER_KERNELS_CPU_OPS_H_
