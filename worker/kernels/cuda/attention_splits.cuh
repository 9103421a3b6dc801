// How what the warps of a block have computed, and what the blocks of a row have, is put together:
// in a fixed order, so that repetitions are equal bit for bit.
#ifndef LOCKSTEP_WORKER_KERNELS_CUDA_ATTENTION_SPLITS_CUH_
#define LOCKSTEP_WORKER_KERNELS_CUDA_ATTENTION_SPLITS_CUH_

#include "worker/kernels/cuda/attention.cuh"

namespace lockstep::worker::cuda {
inline constexpr int kDecodeThreads = 128;
inline constexpr int kDecodeWarps = kDecodeThreads / kWarpSize;
inline constexpr int kHeadsPerBlock = 8;  // query heads of one block

// What the warps of a block leave for each other.
template <int kHeadDim>
struct DecodeBlock {
  float out[kDecodeWarps][kHeadsPerBlock][kHeadDim];
  float maximum[kDecodeWarps][kHeadsPerBlock];
  float sum[kDecodeWarps][kHeadsPerBlock];
  bool is_last;  // of the row's blocks
};

// One row, eight of its heads.
struct DecodePlace {
  int row;
  int kv_head;
  int first_head;
  int num_heads;
  int num_splits;
};

// A split's sum, not yet divided, then its maximum and its sum of weights, in scratch memory.
__device__ inline float* DecodePartial(const AttentionArguments& a, const DecodePlace& place,
                                       int head, int split) {
  const int64_t of_row = static_cast<int64_t>(place.row) * a.num_heads + place.first_head + head;
  return a.partials + (of_row * kMaxDecodeSplits + split) * (a.head_dim + 2);
}

// The result of a split: the row's, where it has no other, else one of its parts.
template <typename T, int kHeadDim>
__device__ void WriteDecodeBlock(const DecodeBlock<kHeadDim>& result, const AttentionArguments& a,
                                 const DecodePlace& place, int split) {
  for (int i = static_cast<int>(threadIdx.x); i < place.num_heads * kHeadDim; i += kDecodeThreads) {
    const int h = i / kHeadDim;
    const int d = i % kHeadDim;
    float maximum = kLowest;
    for (int w = 0; w < kDecodeWarps; ++w) maximum = fmaxf(maximum, result.maximum[w][h]);
    float value = 0.0F;
    float sum = 0.0F;
    for (int w = 0; w < kDecodeWarps; ++w) {
      const float scale = exp2f(result.maximum[w][h] - maximum);
      value += result.out[w][h][d] * scale;
      sum += result.sum[w][h] * scale;
    }
    if (place.num_splits == 1) {
      T* out = static_cast<T*>(a.out) + place.row * a.out_stride;
      out[(place.first_head + h) * kHeadDim + d] = static_cast<T>(sum > 0.0F ? value / sum : 0.0F);
      continue;
    }
    float* partial = DecodePartial(a, place, h, split);
    partial[d] = value;
    if (d == 0) {
      partial[kHeadDim] = maximum;
      partial[kHeadDim + 1] = sum;
    }
  }
}

// The parts of all splits, in order.
template <typename T, int kHeadDim>
__device__ void MergeDecodeSplits(const AttentionArguments& a, const DecodePlace& place) {
  for (int i = static_cast<int>(threadIdx.x); i < place.num_heads * kHeadDim; i += kDecodeThreads) {
    const int h = i / kHeadDim;
    const int d = i % kHeadDim;
    float maximum = kLowest;
    for (int s = 0; s < place.num_splits; ++s) {
      maximum = fmaxf(maximum, DecodePartial(a, place, h, s)[kHeadDim]);
    }
    float value = 0.0F;
    float sum = 0.0F;
    for (int s = 0; s < place.num_splits; ++s) {
      const float* partial = DecodePartial(a, place, h, s);
      const float scale = exp2f(partial[kHeadDim] - maximum);
      value += partial[d] * scale;
      sum += partial[kHeadDim + 1] * scale;
    }
    T* out = static_cast<T*>(a.out) + place.row * a.out_stride;
    out[(place.first_head + h) * kHeadDim + d] = static_cast<T>(value / sum);
  }
}

// Whether the parts of all splits are written, `num_written` of them by this block. Resets the
// counter.
template <int kHeadDim>
__device__ bool IsLastDecodeBlock(DecodeBlock<kHeadDim>& result, const AttentionArguments& a,
                                  const DecodePlace& place, int num_written) {
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    unsigned* counter = a.split_counters + place.row * gridDim.y + blockIdx.y;
    const auto written = static_cast<unsigned>(num_written);
    result.is_last =
        atomicAdd(counter, written) + written == static_cast<unsigned>(place.num_splits);
    if (result.is_last) *counter = 0;
  }
  __syncthreads();
  if (!result.is_last) return false;
  __threadfence();
  return true;
}

}  // namespace lockstep::worker::cuda

#endif  // LOCKSTEP_WORKER_KERNELS_CUDA_ATTENTION_SPLITS_CUH_
