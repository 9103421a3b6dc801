#ifndef LOCKSTEP_WORKER_CACHE_KV_CACHE_H_
#define LOCKSTEP_WORKER_CACHE_KV_CACHE_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "worker/kernels/kv_cache_layout.h"

namespace lockstep::worker {

// What one rank's paged KV cache is made of.
struct KvCacheGeometry {
  int64_t num_layers = 0;
  int64_t num_kv_heads = 0;  // of this rank
  int64_t head_dim = 0;      // a multiple of 8
  int64_t block_size = 0;    // tokens
  at::ScalarType dtype = at::kFloat;
  at::Device device = at::kCPU;

  // Bytes of one block in all layers, keys and values.
  int64_t block_bytes() const;
};

// The keys and values of all layers in blocks of `block_size` tokens (Kwon et al. 2023). Which
// block belongs to whom is the frontend's business.
class KvCache {
 public:
  // Memory is zero. On the CPU the kernel gives pages when they are first written, so that a large
  // cache costs nothing before it is used. Throws c10::Error when the address space or the device
  // memory is exhausted.
  KvCache(const KvCacheGeometry& geometry, int64_t num_blocks);

  KvCacheView& layer(int64_t index) { return layers_[static_cast<size_t>(index)]; }
  int64_t num_blocks() const { return num_blocks_; }
  int64_t block_size() const { return block_size_; }

 private:
  int64_t num_blocks_;
  int64_t block_size_;
  std::vector<KvCacheView> layers_;
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_CACHE_KV_CACHE_H_
