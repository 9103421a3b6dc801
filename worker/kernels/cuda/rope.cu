#include "worker/kernels/cuda/device.cuh"

namespace lockstep::worker::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void RopeCosSinKernel(RopeCosSinArguments a) {
  const auto row = static_cast<int64_t>(blockIdx.x);
  const auto position = static_cast<float>(a.positions[row]);
  float* out = a.cos_sin + row * a.stride;
  for (int i = static_cast<int>(threadIdx.x); i < a.half; i += kThreads) {
    const float angle = position * a.inv_freq[i];
    out[i] = cosf(angle) * a.scaling;
    out[a.half + i] = sinf(angle) * a.scaling;
  }
}

// Feature `d` of a head after the rotation.
template <typename T>
__device__ T Rotated(const T* head, const float* cos, const float* sin, int half, int d) {
  if (d >= 2 * half) return head[d];
  const int i = d < half ? d : d - half;
  const float first = ToFloat(head[i]);
  const float second = ToFloat(head[half + i]);
  return static_cast<T>(d < half ? first * cos[i] - second * sin[i]
                                 : second * cos[i] + first * sin[i]);
}

// One block per token.
template <typename T>
__global__ void RopeAndCacheWriteKernel(RopeCacheArguments a) {
  const auto token = static_cast<int64_t>(blockIdx.x);
  T* q = static_cast<T*>(a.qkv) + token * a.qkv_stride;
  const T* k = q + a.num_heads * a.head_dim;
  const T* v = k + a.num_kv_heads * a.head_dim;
  const float* cos = a.cos_sin + token * a.cos_sin_stride;
  const float* sin = cos + a.half;
  const int thread = static_cast<int>(threadIdx.x);
  // In place: both features of a pair belong to one thread.
  for (int i = thread; i < a.num_heads * a.half; i += kThreads) {
    T* head = q + i / a.half * a.head_dim;
    const int d = i % a.half;
    const T first = Rotated(head, cos, sin, a.half, d);
    const T second = Rotated(head, cos, sin, a.half, a.half + d);
    head[d] = first;
    head[a.half + d] = second;
  }
  const int64_t slot = a.cache_slots[token];
  if (slot < 0 || slot >= a.num_slots) return;
  const int64_t block = slot / a.block_size;
  const int64_t offset = slot % a.block_size;
  for (int i = thread; i < a.num_kv_heads * a.head_dim; i += kThreads) {
    const int head = i / a.head_dim;
    const int d = i % a.head_dim;
    const int64_t target =
        ((block * a.num_kv_heads + head) * a.block_size + offset) * a.head_dim + d;
    static_cast<T*>(a.key)[target] = Rotated(k + head * a.head_dim, cos, sin, a.half, d);
    static_cast<T*>(a.value)[target] = v[i];
  }
}

}  // namespace

void LaunchRopeCosSin(const RopeCosSinArguments& a, Stream stream) {
  if (a.num_tokens == 0) return;
  Launch(&RopeCosSinKernel, dim3(static_cast<unsigned>(a.num_tokens)), dim3(kThreads), stream, a);
}

void LaunchRopeAndCacheWrite(const RopeCacheArguments& a, Stream stream) {
  if (a.num_tokens == 0) return;
  DispatchElement(a.type, [&](auto element) {
    Launch(&RopeAndCacheWriteKernel<decltype(element)>, dim3(static_cast<unsigned>(a.num_tokens)),
           dim3(kThreads), stream, a);
  });
}

}  // namespace lockstep::worker::cuda
