#include "worker/kernels/kv_cache_layout.h"

#include <c10/util/Exception.h>

namespace lockstep::worker {

KvCacheShapes GetKvCacheShapes(at::Device device, int64_t num_blocks, int64_t num_kv_heads,
                               int64_t block_size, int64_t head_dim) {
  TORCH_CHECK(device.is_cpu() || device.is_cuda(), "no KV cache on ", device,
              ": there are kernels for the CPU and for NVIDIA GPUs");
  TORCH_CHECK(num_blocks >= 1 && num_kv_heads >= 1, "a KV cache of ", num_blocks, " blocks and ",
              num_kv_heads, " heads: both must be at least 1");
  TORCH_CHECK(block_size >= 8 && block_size <= 256 && (block_size & (block_size - 1)) == 0,
              "block_size is ", block_size, ", expected a power of two from 8 to 256");
  TORCH_CHECK(head_dim >= 8 && head_dim <= 256 && head_dim % 8 == 0, "head_dim is ", head_dim,
              ", expected a multiple of 8 up to 256");
  if (device.is_cuda()) {
    return {.key = {num_blocks, num_kv_heads, block_size, head_dim},
            .value = {num_blocks, num_kv_heads, block_size, head_dim}};
  }
  return {.key = {num_blocks, num_kv_heads, head_dim, block_size},
          .value = {num_blocks, num_kv_heads, block_size, head_dim}};
}

}  // namespace lockstep::worker
