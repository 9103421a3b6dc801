#ifndef LOCKSTEP_WORKER_KERNELS_KV_CACHE_LAYOUT_H_
#define LOCKSTEP_WORKER_KERNELS_KV_CACHE_LAYOUT_H_

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>

namespace lockstep::worker {

// The shapes in which the attention kernels read one layer's paged KV cache. Keys lie with the
// tokens innermost on the CPU, so that scores are computed for a vector of tokens at a time; on the
// GPU, and for values, the features are innermost.
struct KvCacheShapes {
  std::array<int64_t, 4> key;    // [num_blocks, num_kv_heads, head_dim, block_size], GPU: as value
  std::array<int64_t, 4> value;  // [num_blocks, num_kv_heads, block_size, head_dim]
};

// `block_size` is in tokens, a power of two from 8 to 256; `head_dim` a multiple of 8 up to 256;
// `num_kv_heads` is this rank's. Throws c10::Error otherwise. Allocate zero-filled: a cache's
// unwritten slots may be read (and are masked).
KvCacheShapes GetKvCacheShapes(at::Device device, int64_t num_blocks, int64_t num_kv_heads,
                               int64_t block_size, int64_t head_dim);

// One layer's cache of one rank, borrowed from the worker's cache memory. dtype: the model's.
struct KvCacheView {
  at::Tensor key;    // shape `key` of KvCacheShapes, contiguous
  at::Tensor value;  // shape `value` of KvCacheShapes, contiguous
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_KERNELS_KV_CACHE_LAYOUT_H_
