#ifndef LOCKSTEP_WORKER_KERNELS_PAGED_ATTENTION_H_
#define LOCKSTEP_WORKER_KERNELS_PAGED_ATTENTION_H_

#include <ATen/core/Tensor.h>

#include "worker/kernels/kernel_context.h"
#include "worker/kernels/kv_cache_layout.h"

namespace lockstep::worker {

// Which rows of a step belong to which sequence, and where its keys and values lie. Sequence s has
// rows [query_start_locations[s], query_start_locations[s + 1]), which are its last tokens:
// positions context_lengths[s] - num_rows .. context_lengths[s] - 1. A decode is a sequence with
// one row.
struct AttentionBatch {
  at::Tensor query_start_locations;  // [num_sequences + 1] int32, ascending from 0 to num_tokens
  at::Tensor context_lengths;  // [num_sequences] int32: tokens in the cache, this step's included
  at::Tensor
      block_tables;  // [num_sequences, max_blocks] int32: block of token t at [s, t / block_size]
  // The leading sequences that are decodes. The GPU divides their contexts among its processors; it
  // may be 0 without changing more than bits.
  int64_t num_decode_sequences = 0;
};

// Causal softmax attention over the paged KV cache (Dao 2023's online softmax), float32 inside,
// grouped queries sharing the heads of the cache. RopeAndCacheWrite has put this step's keys and
// values into the cache before.
//
//   q      [num_tokens, num_heads · head_dim], the cache's dtype, rows may be strided (q is the
//   front of the qkv rows) cache  one layer's; num_heads is a multiple of its num_kv_heads batch
//   the step's sequences scale  multiplies q · k, commonly 1 / sqrt(head_dim) out    [num_tokens,
//   num_heads · head_dim], the cache's dtype, rows may be strided; does not overlap q
//
// Keys are visited in tiles of 64 positions counted from position 0, so a row's result depends on
// its sequence's tokens alone: not on the chunking of the prompt, the block size, the other
// sequences or the number of threads; on the GPU also on whether it is a decode. Throws c10::Error
// when shapes, dtypes or devices do not fit, or, on the CPU, a block number or length is outside
// the cache.
void PagedAttention(KernelContext& context, const at::Tensor& q, const KvCacheView& cache,
                    const AttentionBatch& batch, double scale, at::Tensor& out);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_KERNELS_PAGED_ATTENTION_H_
