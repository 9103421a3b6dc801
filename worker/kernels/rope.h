#ifndef LOCKSTEP_WORKER_KERNELS_ROPE_H_
#define LOCKSTEP_WORKER_KERNELS_ROPE_H_

#include <ATen/core/Tensor.h>

#include <optional>

#include "worker/kernels/kernel_context.h"
#include "worker/kernels/kv_cache_layout.h"
#include "worker/kernels/linear.h"

namespace lockstep::worker {

// The rotation angles of a step's tokens, computed once per step as Hugging Face's
// LlamaRotaryEmbedding does: the angle is float32(position) · inv_freq, rounded to float32, and
// cosine and sine are multiplied by attention_scaling. Sequences with frequencies of their own
// (dynamic NTK) are slices of `positions` and `cos_sin`, one call each.
//
//   positions          [num_tokens] int32
//   inv_freq           [rotary_dim / 2] float32
//   attention_scaling  1 but for YaRN and LongRoPE
//   cos_sin            [num_tokens, rotary_dim] float32, rows may be strided: rotary_dim / 2
//   cosines, then as many sines
//
// Throws c10::Error when shapes, dtypes or devices do not fit.
void ComputeRopeCosSin(KernelContext& context, const at::Tensor& positions,
                       const at::Tensor& inv_freq, double attention_scaling, at::Tensor& cos_sin);

// Rotates q and k (Su et al. 2021, in Hugging Face's half-split convention: feature i pairs with i
// + rotary_dim / 2; features from rotary_dim on are left alone), in float32 with one rounding, and
// writes k and v to the cache.
//
//   qkv          [num_tokens, (num_heads + 2 · num_kv_heads) · head_dim], the cache's dtype, rows
//   may be strided: each row
//                is q heads, k heads, v heads. q is rotated in place; k and v keep their values
//   cos_sin      [num_tokens, rotary_dim] float32, rotary_dim even and <= head_dim
//   cache_slots  [num_tokens] int64: block · block_size + offset in the block; negative: not
//   written cache        written at cache_slots; num_kv_heads and head_dim are taken from its shape
//
// Throws c10::Error when shapes, dtypes or devices do not fit, or, on the CPU, a slot is beyond the
// cache; the GPU does not write there.
void RopeAndCacheWrite(KernelContext& context, at::Tensor& qkv, const at::Tensor& cos_sin,
                       const at::Tensor& cache_slots, KvCacheView& cache);

// Linear of x to qkv, then RopeAndCacheWrite, bit for bit, with k and v left out of qkv where one
// kernel does it all: a GPU's, of a single row. Shapes and errors are theirs.
void LinearRopeAndCacheWrite(KernelContext& context, const at::Tensor& x,
                             const LinearWeight& weight, const std::optional<at::Tensor>& bias,
                             const at::Tensor& cos_sin, const at::Tensor& cache_slots,
                             KvCacheView& cache, at::Tensor& qkv);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_KERNELS_ROPE_H_
