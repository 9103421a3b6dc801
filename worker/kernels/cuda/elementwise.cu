#include "worker/kernels/cuda/device.cuh"

namespace lockstep::worker::cuda {
namespace {

constexpr int kThreads = 256;

template <typename T, int kSize>
__global__ void SiluMultiplyKernel(SiluMultiplyArguments a) {
  LetNextKernelBegin();
  AwaitEarlierKernels();
  const auto row = static_cast<int64_t>(blockIdx.x);
  const int i = (static_cast<int>(blockIdx.y) * kThreads + static_cast<int>(threadIdx.x)) * kSize;
  if (i >= a.ffn) return;
  const T* gate_row = static_cast<const T*>(a.gate_up) + row * a.gate_up_stride;
  const auto gate = *reinterpret_cast<const Pack<T, kSize>*>(gate_row + i);
  const auto up = *reinterpret_cast<const Pack<T, kSize>*>(gate_row + a.ffn + i);
  Pack<T, kSize> result;
  for (int j = 0; j < kSize; ++j) {
    const float g = ToFloat(gate.elements[j]);
    result.elements[j] = static_cast<T>(g / (1.0F + expf(-g)) * ToFloat(up.elements[j]));
  }
  *reinterpret_cast<Pack<T, kSize>*>(static_cast<T*>(a.out) + row * a.out_stride + i) = result;
}

// Grid: tokens, parts of their features. A thread moves one pack, so that no load waits for a
// store.
template <typename T, typename Out, int kSize>
__global__ void EmbeddingKernel(EmbeddingArguments a) {
  const auto token = static_cast<int64_t>(blockIdx.x);
  const int i = (static_cast<int>(blockIdx.y) * kThreads + static_cast<int>(threadIdx.x)) * kSize;
  if (i >= a.hidden) return;
  const int64_t id = a.wide_ids ? static_cast<const int64_t*>(a.token_ids)[token]
                                : static_cast<const int32_t*>(a.token_ids)[token];
  Pack<Out, kSize> result = {};
  if (id >= a.vocab_begin && id < a.vocab_end) {
    const T* row = static_cast<const T*>(a.table) + (id - a.vocab_begin) * a.hidden;
    const auto pack = *reinterpret_cast<const Pack<T, kSize>*>(row + i);
    for (int j = 0; j < kSize; ++j) {
      result.elements[j] = static_cast<Out>(ToFloat(pack.elements[j]));
    }
  }
  Out* out = static_cast<Out*>(a.out) + token * a.out_stride;
  *reinterpret_cast<Pack<Out, kSize>*>(out + i) = result;
}

// Added one after another, in the order of the parts: the bits do not depend on the grid.
template <int kSize>
__global__ void SumPartsKernel(SumPartsArguments a) {
  const int64_t i =
      (static_cast<int64_t>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x)) * kSize;
  if (i >= a.size) return;
  auto sum = *reinterpret_cast<const Pack<float, kSize>*>(a.parts + i);
  for (int part = 1; part < a.num_parts; ++part) {
    const auto next = *reinterpret_cast<const Pack<float, kSize>*>(a.parts + part * a.size + i);
    for (int j = 0; j < kSize; ++j) sum.elements[j] += next.elements[j];
  }
  *reinterpret_cast<Pack<float, kSize>*>(a.out + i) = sum;
}

__global__ void FillPendingTokensKernel(FillPendingTokensArguments a) {
  const int i = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (i >= a.num_tokens || a.token_ids[i] >= 0) return;
  a.token_ids[i] = a.last_tokens[-1 - a.token_ids[i]];
}

__global__ void StoreTokensKernel(StoreTokensArguments a) {
  const int i = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (i >= a.num_tokens) return;
  a.last_tokens[a.slots[i]] = static_cast<int32_t>(a.token_ids[i]);
}

dim3 GridFor(int size) { return dim3(static_cast<unsigned>((size + kThreads - 1) / kThreads)); }

}  // namespace

void LaunchSumParts(const SumPartsArguments& a, Stream stream) {
  if (a.size == 0) return;
  constexpr int kSize = 4;
  const bool packs = a.size % kSize == 0 && IsAligned(a.parts) && IsAligned(a.out);
  const int64_t per_block = kThreads * (packs ? kSize : 1);
  Launch(packs ? &SumPartsKernel<kSize> : &SumPartsKernel<1>,
         dim3(static_cast<unsigned>((a.size + per_block - 1) / per_block)), dim3(kThreads), stream,
         a);
}

void LaunchFillPendingTokens(const FillPendingTokensArguments& a, Stream stream) {
  if (a.num_tokens == 0) return;
  Launch(&FillPendingTokensKernel, GridFor(a.num_tokens), dim3(kThreads), stream, a);
}

void LaunchStoreTokens(const StoreTokensArguments& a, Stream stream) {
  if (a.num_tokens == 0) return;
  Launch(&StoreTokensKernel, GridFor(a.num_tokens), dim3(kThreads), stream, a);
}

void LaunchSiluMultiply(const SiluMultiplyArguments& a, Stream stream) {
  if (a.num_rows == 0) return;
  constexpr int kSize = 8;
  const bool packs = a.ffn % kSize == 0 && a.gate_up_stride % kSize == 0 &&
                     a.out_stride % kSize == 0 && IsAligned(a.gate_up) && IsAligned(a.out);
  DispatchElement(a.type, [&](auto element) {
    using T = decltype(element);
    const int per_block = kThreads * (packs ? kSize : 1);
    const dim3 grid(static_cast<unsigned>(a.num_rows),
                    static_cast<unsigned>((a.ffn + per_block - 1) / per_block));
    LaunchOverlapping(packs ? &SiluMultiplyKernel<T, kSize> : &SiluMultiplyKernel<T, 1>, grid,
                      dim3(kThreads), stream, a);
  });
}

void LaunchEmbedding(const EmbeddingArguments& a, Stream stream) {
  if (a.num_tokens == 0) return;
  constexpr int kSize = 8;
  const bool packs =
      a.hidden % kSize == 0 && a.out_stride % kSize == 0 && IsAligned(a.table) && IsAligned(a.out);
  DispatchElement(a.table_type, [&](auto element) {
    using T = decltype(element);
    const int per_block = kThreads * (packs ? kSize : 1);
    const dim3 grid(static_cast<unsigned>(a.num_tokens),
                    static_cast<unsigned>((a.hidden + per_block - 1) / per_block));
    if (a.out_type == Element::kFloat32) {
      Launch(packs ? &EmbeddingKernel<T, float, kSize> : &EmbeddingKernel<T, float, 1>, grid,
             dim3(kThreads), stream, a);
    } else {
      Launch(packs ? &EmbeddingKernel<T, T, kSize> : &EmbeddingKernel<T, T, 1>, grid,
             dim3(kThreads), stream, a);
    }
  });
}

}  // namespace lockstep::worker::cuda
