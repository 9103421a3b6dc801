#include "worker/cache/kv_cache.h"

#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>
#include <c10/core/ScalarType.h>
#include <c10/util/Exception.h>
#include <sys/mman.h>

namespace lockstep::worker {
namespace {

// at::zeros writes every page at once; a fresh private mapping is zero without that.
at::Tensor LazyZeros(at::IntArrayRef shape, const at::TensorOptions& options) {
  if (options.device().type() != at::kCPU) return at::zeros(shape, options);
  size_t num_bytes = c10::elementSize(c10::typeMetaToScalarType(options.dtype()));
  for (const int64_t size : shape) num_bytes *= static_cast<size_t>(size);
  void* memory = mmap(nullptr, num_bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  TORCH_CHECK(memory != MAP_FAILED, "cannot reserve ", num_bytes, " bytes for the KV cache");
  madvise(memory, num_bytes,
          MADV_HUGEPAGE);  // advice: fewer page faults where the system offers it
  return at::from_blob(
      memory, shape, [num_bytes](void* data) { munmap(data, num_bytes); }, options);
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
  const at::TensorOptions options =
      at::TensorOptions().dtype(geometry.dtype).device(geometry.device);
  for (int64_t layer = 0; layer < geometry.num_layers; ++layer) {
    layers_.push_back(
        {.key = LazyZeros(shapes.key, options), .value = LazyZeros(shapes.value, options)});
  }
}

}  // namespace lockstep::worker
