// What rotates features and finds their place in the cache, for all kernels that do.
#ifndef LOCKSTEP_WORKER_KERNELS_CUDA_ROPE_CUH_
#define LOCKSTEP_WORKER_KERNELS_CUDA_ROPE_CUH_

#include "worker/kernels/cuda/device.cuh"

namespace lockstep::worker::cuda {

// The pair of features `first` and `second` turned by an angle. Each operation rounds, and none is
// contracted with its neighbour, so that all kernels give the same bits.
template <typename T>
__device__ inline void RotatePair(float cos, float sin, T& first, T& second) {
  const float x = ToFloat(first);
  const float y = ToFloat(second);
  first = static_cast<T>(__fsub_rn(__fmul_rn(x, cos), __fmul_rn(y, sin)));
  second = static_cast<T>(__fadd_rn(__fmul_rn(y, cos), __fmul_rn(x, sin)));
}

// Where a token lies in the cache, if it does.
struct CachePlace {
  int64_t block;
  int64_t offset;
  bool exists;

  __device__ CachePlace(const RopeCacheArguments& a, int64_t slot) {
    exists = slot >= 0 && slot < a.num_slots;
    block = slot / a.block_size;
    offset = slot % a.block_size;
  }
  __device__ int64_t Index(const RopeCacheArguments& a, int head, int d) const {
    return ((block * a.num_kv_heads + head) * a.block_size + offset) * a.head_dim + d;
  }
};

}  // namespace lockstep::worker::cuda

#endif  // LOCKSTEP_WORKER_KERNELS_CUDA_ROPE_CUH_
