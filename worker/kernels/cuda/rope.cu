#include "worker/kernels/cuda/rope.cuh"

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

// Features that a thread moves at once.
constexpr int kPack = 8;

// Rotates kPack pairs of features of a head of queries or keys.
template <typename T>
__device__ void RotatePacks(const RopeCacheArguments& a, int64_t token, const CachePlace& place,
                            int item) {
  const int packs_per_head = a.half / kPack;
  const int head = item / packs_per_head;
  const int d = item % packs_per_head * kPack;
  T* from = static_cast<T*>(a.qkv) + token * a.qkv_stride + head * a.head_dim + d;
  const float* cos = a.cos_sin + token * a.cos_sin_stride + d;
  const auto c = *reinterpret_cast<const Pack<float, kPack>*>(cos);
  const auto s = *reinterpret_cast<const Pack<float, kPack>*>(cos + a.half);
  auto first = *reinterpret_cast<const Pack<T, kPack>*>(from);
  auto second = *reinterpret_cast<const Pack<T, kPack>*>(from + a.half);
  for (int i = 0; i < kPack; ++i) {
    RotatePair(c.elements[i], s.elements[i], first.elements[i], second.elements[i]);
  }
  T* to = from;
  if (head >= a.num_heads) {
    if (!place.exists) return;
    to = static_cast<T*>(a.key) + place.Index(a, head - a.num_heads, d);
  }
  *reinterpret_cast<Pack<T, kPack>*>(to) = first;
  *reinterpret_cast<Pack<T, kPack>*>(to + a.half) = second;
}

// Copies kPack features of a head of values, or of what of a head of keys is not rotated.
template <typename T>
__device__ void CopyPacks(const RopeCacheArguments& a, int64_t token, const CachePlace& place,
                          int item, bool is_value) {
  if (!place.exists) return;
  const int first_feature = is_value ? 0 : 2 * a.half;
  const int packs_per_head = (a.head_dim - first_feature) / kPack;
  const int head = item / packs_per_head;
  const int d = first_feature + item % packs_per_head * kPack;
  const int heads_before = a.num_heads + (is_value ? a.num_kv_heads : 0);
  const T* from =
      static_cast<const T*>(a.qkv) + token * a.qkv_stride + (heads_before + head) * a.head_dim + d;
  T* to = static_cast<T*>(is_value ? a.value : a.key) + place.Index(a, head, d);
  *reinterpret_cast<Pack<T, kPack>*>(to) = *reinterpret_cast<const Pack<T, kPack>*>(from);
}

// Packs of one token that are rotated, then those of values, then those of keys that are not
// rotated.
struct RopeItems {
  int num_rotated;
  int num_values;
  int num_rest;

  __host__ __device__ explicit RopeItems(const RopeCacheArguments& a)
      : num_rotated((a.num_heads + a.num_kv_heads) * (a.half / kPack)),
        num_values(a.num_kv_heads * (a.head_dim / kPack)),
        num_rest(a.num_kv_heads * ((a.head_dim - 2 * a.half) / kPack)) {}
  __host__ __device__ int size() const { return num_rotated + num_values + num_rest; }
};

// Grid: tokens, parts of their packs. In place: both features of a pair belong to one thread.
template <typename T>
__global__ void RopePacksKernel(RopeCacheArguments a) {
  LetNextKernelBegin();
  AwaitEarlierKernels();
  const auto token = static_cast<int64_t>(blockIdx.x);
  const int item = static_cast<int>(blockIdx.y) * kThreads + static_cast<int>(threadIdx.x);
  const RopeItems items(a);
  const CachePlace place(a, a.cache_slots[token]);
  if (item < items.num_rotated) {
    RotatePacks<T>(a, token, place, item);
  } else if (item < items.num_rotated + items.num_values) {
    CopyPacks<T>(a, token, place, item - items.num_rotated, /*is_value=*/true);
  } else if (item < items.size()) {
    CopyPacks<T>(a, token, place, item - items.num_rotated - items.num_values, /*is_value=*/false);
  }
}

// Any sizes, one block per token.
template <typename T>
__global__ void RopeAndCacheWriteKernel(RopeCacheArguments a) {
  const auto token = static_cast<int64_t>(blockIdx.x);
  T* q = static_cast<T*>(a.qkv) + token * a.qkv_stride;
  const T* v = q + (a.num_heads + a.num_kv_heads) * a.head_dim;
  const float* cos = a.cos_sin + token * a.cos_sin_stride;
  const float* sin = cos + a.half;
  const CachePlace place(a, a.cache_slots[token]);
  const int thread = static_cast<int>(threadIdx.x);
  // In place: both features of a pair belong to one thread.
  for (int i = thread; i < (a.num_heads + a.num_kv_heads) * a.half; i += kThreads) {
    const int head = i / a.half;
    const int d = i % a.half;
    T* from = q + head * a.head_dim + d;
    T first = from[0];
    T second = from[a.half];
    RotatePair(cos[d], sin[d], first, second);
    T* to = from;
    if (head >= a.num_heads) {
      if (!place.exists) continue;
      to = static_cast<T*>(a.key) + place.Index(a, head - a.num_heads, d);
    }
    to[0] = first;
    to[a.half] = second;
  }
  if (!place.exists) return;
  const T* k = q + a.num_heads * a.head_dim;
  for (int i = thread; i < a.num_kv_heads * a.head_dim; i += kThreads) {
    const int head = i / a.head_dim;
    const int d = i % a.head_dim;
    const int64_t target = place.Index(a, head, d);
    if (d >= 2 * a.half) static_cast<T*>(a.key)[target] = k[i];
    static_cast<T*>(a.value)[target] = v[i];
  }
}

bool HasPacks(const RopeCacheArguments& a) {
  return a.half % kPack == 0 && a.head_dim % kPack == 0 && a.qkv_stride % kPack == 0 &&
         a.cos_sin_stride % 4 == 0 && IsAligned(a.qkv) && IsAligned(a.cos_sin) &&
         IsAligned(a.key) && IsAligned(a.value);
}

}  // namespace

void LaunchRopeCosSin(const RopeCosSinArguments& a, Stream stream) {
  if (a.num_tokens == 0) return;
  Launch(&RopeCosSinKernel, dim3(static_cast<unsigned>(a.num_tokens)), dim3(kThreads), stream, a);
}

void LaunchRopeAndCacheWrite(const RopeCacheArguments& a, Stream stream) {
  if (a.num_tokens == 0) return;
  const auto num_tokens = static_cast<unsigned>(a.num_tokens);
  DispatchElement(a.type, [&](auto element) {
    using T = decltype(element);
    if (HasPacks(a)) {
      const auto num_parts = static_cast<unsigned>((RopeItems(a).size() + kThreads - 1) / kThreads);
      LaunchOverlapping(&RopePacksKernel<T>, dim3(num_tokens, num_parts), dim3(kThreads), stream,
                        a);
    } else {
      Launch(&RopeAndCacheWriteKernel<T>, dim3(num_tokens), dim3(kThreads), stream, a);
    }
  });
}

}  // namespace lockstep::worker::cuda
