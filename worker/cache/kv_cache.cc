#include "worker/cache/kv_cache.h"

#include <ATen/ops/zeros.h>
#include <c10/core/ScalarType.h>

#include "worker/kernels/huge_tensor.h"

namespace lockstep::worker {
namespace {

at::Tensor Zeros(at::IntArrayRef shape, const KvCacheGeometry& geometry) {
  // at::zeros would write every page at once.
  if (geometry.device.is_cpu()) return ZerosInHugePages(shape, geometry.dtype);
  return at::zeros(shape, at::TensorOptions(geometry.dtype).device(geometry.device));
}

}  // namespace

int64_t KvCacheGeometry::block_bytes() const {
  return 2 * num_layers * num_kv_heads * head_dim * block_size *
         static_cast<int64_t>(c10::elementSize(dtype));
}

KvCache::KvCache(const KvCacheGeometry& geometry, int64_t num_blocks)
    : num_blocks_(num_blocks), block_size_(geometry.block_size) {
  const KvCacheShapes shapes = GetKvCacheShapes(geometry.device, num_blocks, geometry.num_kv_heads,
                                                geometry.block_size, geometry.head_dim);
  for (int64_t layer = 0; layer < geometry.num_layers; ++layer) {
    layers_.push_back({.key = Zeros(shapes.key, geometry), .value = Zeros(shapes.value, geometry)});
  }
}

}  // namespace lockstep::worker
