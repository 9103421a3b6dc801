// The product of one row with a matrix, which is memory-bound: it takes as long as reading the
// matrix. cuBLAS' kernels, which are made for many rows, take up to a fifth longer.
#include "worker/kernels/cuda/rope.cuh"

namespace lockstep::worker::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpSize;
constexpr int kFeatures = 2;  // output features of a block
constexpr int kDepth = 2;     // of each, what a thread reads at once
constexpr int kPack = 8;
constexpr int kBlocksPerMultiprocessor = 6;  // at least: their loads hide the latency

using Words = Pack<uint32_t, kPack / 2>;  // a pack, as bits

struct Weights {
  Words packs[kDepth][kFeatures];
};

// The two elements of a word, the lower half first.
__device__ inline void Unpack(uint32_t word, c10::BFloat16, float (&pair)[2]) {
  pair[0] = __uint_as_float(word << 16);
  pair[1] = __uint_as_float(word & 0xFFFF0000U);
}
__device__ inline void Unpack(uint32_t word, c10::Half, float (&pair)[2]) {
  const auto halves = FromBits<Pack<c10::Half, 2>>({word});
  for (int i = 0; i < 2; ++i) pair[i] = ToFloat(halves.elements[i]);
}

// Behind the last pack the last is read, so that no load hangs on a branch.
__device__ inline Weights LoadWeights(const Words* const (&rows)[kFeatures], int index,
                                      int num_packs) {
  Weights weights;
  for (int d = 0; d < kDepth; ++d) {
    const int i = min(index + d * kThreads, num_packs - 1);
    for (int f = 0; f < kFeatures; ++f) weights.packs[d][f] = LoadOnce(rows[f] + i);
  }
  return weights;
}

// The first kNumPacks of a thread's packs; `x` is where its first one is. A number that the
// compiler knows lets all of x be on its way before the first product.
template <typename T, int kNumPacks>
__device__ void Accumulate(const Weights& weights, const Words* x, float (&sums)[kFeatures]) {
  Words in[kNumPacks];
  for (int d = 0; d < kNumPacks; ++d) in[d] = x[d * kThreads];
  for (int d = 0; d < kNumPacks; ++d) {
    for (int w = 0; w < kPack / 2; ++w) {
      float factors[2];
      Unpack(in[d].elements[w], T(), factors);
      for (int f = 0; f < kFeatures; ++f) {
        float elements[2];
        Unpack(weights.packs[d][f].elements[w], T(), elements);
        for (int i = 0; i < 2; ++i) sums[f] += elements[i] * factors[i];
      }
    }
  }
}

// The sums of the block's threads, in a fixed order; valid in thread 0.
__device__ void SumBlock(float (&sums)[kFeatures]) {
  __shared__ float parts[kWarps][kFeatures];
  for (int f = 0; f < kFeatures; ++f) {
    sums[f] = WarpSum(sums[f]);
    if (threadIdx.x % kWarpSize == 0) parts[threadIdx.x / kWarpSize][f] = sums[f];
  }
  __syncthreads();
  for (int f = 0; f < kFeatures; ++f) {
    sums[f] = 0.0F;
    for (int w = 0; w < kWarps; ++w) sums[f] += parts[w][f];
  }
}

// The products of the row x with `rows`, whose first weights are there or on their way; valid in
// thread 0.
template <typename T>
__device__ inline void Multiply(const Words* const (&rows)[kFeatures], int num_packs,
                                Weights& weights, const Words* x, float (&sums)[kFeatures]) {
  const int thread = static_cast<int>(threadIdx.x);
  for (int i = thread; i < num_packs; i += kDepth * kThreads) {
    if (i != thread) weights = LoadWeights(rows, i, num_packs);
    static_assert(kDepth == 2);
    if (i + kThreads < num_packs) {
      Accumulate<T, 2>(weights, x + i, sums);
    } else {
      Accumulate<T, 1>(weights, x + i, sums);
    }
  }
  SumBlock(sums);
}

__device__ inline const Words* RowOf(const LinearRowArguments& a, int feature) {
  return static_cast<const Words*>(a.weight) +
         static_cast<int64_t>(feature) * (a.in_features / kPack);
}

template <typename T>
__device__ float Biased(const LinearRowArguments& a, float sum, int feature) {
  return a.bias == nullptr ? sum : sum + ToFloat(static_cast<const T*>(a.bias)[feature]);
}

// Grid: pairs of output features; with kSiluMultiply a pair is a gate and its factor.
template <typename T, typename Out, LinearRowResult kResult>
__global__ void __launch_bounds__(kThreads, kBlocksPerMultiprocessor)
    LinearRowKernel(LinearRowArguments a) {
  constexpr bool kIsGated = kResult == LinearRowResult::kSiluMultiply;
  const int num_outputs = kIsGated ? a.out_features / 2 : a.out_features;
  LetNextKernelBegin();
  int features[kFeatures];
  const Words* rows[kFeatures];
  const int num_packs = a.in_features / kPack;
  for (int f = 0; f < kFeatures; ++f) {
    const int feature = static_cast<int>(blockIdx.x) * (kIsGated ? 1 : kFeatures);
    features[f] = kIsGated ? feature + f * num_outputs : min(feature + f, num_outputs - 1);
    rows[f] = RowOf(a, features[f]);
  }
  // No kernel writes weights: the first are on their way before the row that they meet is there.
  const int thread = static_cast<int>(threadIdx.x);
  Weights weights = LoadWeights(rows, thread, num_packs);
  AwaitEarlierKernels();
  const auto* x = static_cast<const Words*>(a.x);
  Out* out = static_cast<Out*>(a.out);
  float old[kFeatures] = {};
  if constexpr (kResult == LinearRowResult::kAdd) {
    for (int f = 0; f < kFeatures; ++f) old[f] = ToFloat(out[features[f]]);
  }
  float sums[kFeatures] = {};
  Multiply<T>(rows, num_packs, weights, x, sums);
  if (thread != 0) return;
  for (int f = 0; f < kFeatures; ++f) sums[f] = Biased<T>(a, sums[f], features[f]);
  if constexpr (kIsGated) {
    // As if both had been written and read again.
    const float gate = ToFloat(static_cast<T>(sums[0]));
    const float up = ToFloat(static_cast<T>(sums[1]));
    out[features[0]] = static_cast<Out>(gate / (1.0F + expf(-gate)) * up);
  } else {
    const int first = static_cast<int>(blockIdx.x) * kFeatures;
    for (int f = 0; f < kFeatures && first + f < num_outputs; ++f) {
      if constexpr (kResult == LinearRowResult::kAdd) sums[f] += old[f];
      out[first + f] = static_cast<Out>(sums[f]);
    }
  }
}

// The projection to heads of queries, keys and values, rotated and in its place. Grid: pairs of
// features that turn together. As if the product had been written and read again: what
// RopeAndCacheWrite makes of it, bit for bit.
template <typename T>
__global__ void __launch_bounds__(kThreads, kBlocksPerMultiprocessor)
    LinearRopeKernel(LinearRowArguments a, RopeCacheArguments r) {
  LetNextKernelBegin();
  const int head = static_cast<int>(blockIdx.x) / r.half;
  const int d = static_cast<int>(blockIdx.x) % r.half;
  const int feature = head * r.head_dim + d;
  const Words* const rows[kFeatures] = {RowOf(a, feature), RowOf(a, feature + r.half)};
  const int num_packs = a.in_features / kPack;
  Weights weights = LoadWeights(rows, static_cast<int>(threadIdx.x), num_packs);
  AwaitEarlierKernels();
  const float cos = r.cos_sin[d];
  const float sin = r.cos_sin[r.half + d];
  const int64_t slot = r.cache_slots[0];
  float sums[kFeatures] = {};
  Multiply<T>(rows, num_packs, weights, static_cast<const Words*>(a.x), sums);
  if (threadIdx.x != 0) return;
  auto first = static_cast<T>(Biased<T>(a, sums[0], feature));
  auto second = static_cast<T>(Biased<T>(a, sums[1], feature + r.half));
  const int first_value_head = r.num_heads + r.num_kv_heads;
  if (head < first_value_head) RotatePair(cos, sin, first, second);
  T* to = static_cast<T*>(r.qkv) + feature;
  if (head >= r.num_heads) {
    const CachePlace place(r, slot);
    if (!place.exists) return;
    to = head < first_value_head
             ? static_cast<T*>(r.key) + place.Index(r, head - r.num_heads, d)
             : static_cast<T*>(r.value) + place.Index(r, head - first_value_head, d);
  }
  to[0] = first;
  to[r.half] = second;
}

template <typename T, typename Out>
auto ChooseKernel(LinearRowResult result) {
  switch (result) {
    case LinearRowResult::kAdd:
      return &LinearRowKernel<T, Out, LinearRowResult::kAdd>;
    case LinearRowResult::kSiluMultiply:
      return &LinearRowKernel<T, Out, LinearRowResult::kSiluMultiply>;
    default:
      return &LinearRowKernel<T, Out, LinearRowResult::kStore>;
  }
}

}  // namespace

bool HasLinearRow(const LinearRowArguments& a) {
  return a.type != Element::kFloat32 && a.in_features >= kPack && a.in_features % kPack == 0 &&
         IsAligned(a.x) && IsAligned(a.weight);
}

void LaunchLinearRow(const LinearRowArguments& a, Stream stream) {
  const int num_blocks = (a.out_features + kFeatures - 1) / kFeatures;
  const dim3 grid(static_cast<unsigned>(num_blocks));
  DispatchElement(a.type, [&](auto element) {
    using T = decltype(element);
    if constexpr (sizeof(T) == 2) {
      const auto kernel = a.out_type == Element::kFloat32 ? ChooseKernel<T, float>(a.result)
                                                          : ChooseKernel<T, T>(a.result);
      LaunchOverlapping(kernel, grid, dim3(kThreads), stream, a);
    }
  });
}

void LaunchLinearRope(const LinearRowArguments& a, const RopeCacheArguments& rope, Stream stream) {
  const dim3 grid(static_cast<unsigned>(a.out_features / kFeatures));
  DispatchElement(a.type, [&](auto element) {
    using T = decltype(element);
    if constexpr (sizeof(T) == 2) {
      LaunchOverlapping(&LinearRopeKernel<T>, grid, dim3(kThreads), stream, a, rope);
    }
  });
}

}  // namespace lockstep::worker::cuda
