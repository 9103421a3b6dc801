#ifndef LOCKSTEP_WORKER_KERNELS_CUDA_OPS_H_
#define LOCKSTEP_WORKER_KERNELS_CUDA_OPS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "worker/kernels/cuda/launchers.h"
#include "worker/kernels/kv_cache_layout.h"
#include "worker/kernels/linear.h"
#include "worker/kernels/paged_attention.h"

// The GPU's implementations of the ops in worker/kernels/*.h, which have checked shapes, dtypes and
// devices. They start kernels on the current stream and return without waiting; nothing here reads
// device memory on the host, so that all of it can be captured in a graph. A build without CUDA has
// them too: there they throw.
namespace lockstep::worker::cuda {

// Zero-filled, [out_features, in_features].
at::Tensor AllocateWeight(int64_t out_features, int64_t in_features, at::ScalarType dtype,
                          at::Device device);

// As LinearWeight::PackRows, arguments checked.
void PackWeightRows(at::Tensor& packed, int64_t first_row, int64_t num_rows, const void* src,
                    at::ScalarType src_dtype, int64_t src_row_stride);

void Linear(const at::Tensor& x, const LinearWeight& weight, const std::optional<at::Tensor>& bias,
            at::Tensor& out);

void LinearAdd(const at::Tensor& x, const LinearWeight& weight,
               const std::optional<at::Tensor>& bias, at::Tensor& out);

// As worker::LinearSiluMultiply where it has a kernel of its own, else false.
bool LinearSiluMultiply(const at::Tensor& x, const LinearWeight& weight,
                        const std::optional<at::Tensor>& bias, at::Tensor& out);

// The product of one row, as LinearRowResult says; false where there is no kernel for it.
//
//   x       [1, in_features], float16 or bfloat16
//   weight  [out_features, in_features], x's dtype, dense
//   out     [1, out_features], or half as many with kSiluMultiply; x's dtype or float32
bool LinearRow(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
               LinearRowResult result, at::Tensor& out);

void EmbeddingLookup(const at::Tensor& token_ids, const LinearWeight& table, int64_t vocab_begin,
                     int64_t vocab_end, at::Tensor& out);

// `residual` null: RmsNorm, else AddRmsNorm.
void RmsNorm(const at::Tensor& x, at::Tensor* residual, const at::Tensor& weight, double epsilon,
             at::Tensor& out);

void ComputeRopeCosSin(const at::Tensor& positions, const at::Tensor& inv_freq,
                       double attention_scaling, at::Tensor& cos_sin);

void RopeAndCacheWrite(at::Tensor& qkv, const at::Tensor& cos_sin, const at::Tensor& cache_slots,
                       KvCacheView& cache);

// As worker::LinearRopeAndCacheWrite where all fits and there is a kernel for it, else false.
//
//   weight  [out_features, in_features], dense
bool LinearRopeAndCacheWrite(const at::Tensor& x, const at::Tensor& weight,
                             const std::optional<at::Tensor>& bias, const at::Tensor& cos_sin,
                             const at::Tensor& cache_slots, KvCacheView& cache, at::Tensor& qkv);

void PagedAttention(const at::Tensor& q, const KvCacheView& cache, const AttentionBatch& batch,
                    double scale, at::Tensor& out);

void SiluMultiply(const at::Tensor& gate_up, at::Tensor& out);

// Puts tokens that only the device knows into a step's inputs: token_ids[i] = last_tokens[slot]
// where token_ids[i] is -1 - slot.
//
//   last_tokens  [max_num_seqs] int32
//   token_ids    [num_tokens] int32
void FillPendingTokens(const at::Tensor& last_tokens, at::Tensor& token_ids);

// last_tokens[slots[i]] = token_ids[i].
//
//   token_ids    [num_tokens] int64
//   slots        [num_tokens] int32, all different
//   last_tokens  [max_num_seqs] int32
void StoreTokens(const at::Tensor& token_ids, const at::Tensor& slots, at::Tensor& last_tokens);

// out = parts[0] + parts[1] + …, added in this order; for the communicator.
//
//   parts  [num_parts, …] float32, contiguous, num_parts >= 1
//   out    […] float32, contiguous, of parts[0]'s size
void SumParts(const at::Tensor& parts, at::Tensor& out);

}  // namespace lockstep::worker::cuda

#endif  // LOCKSTEP_WORKER_KERNELS_CUDA_OPS_H_
