// token_weights.h for a block of threads: the same weights bit for bit, and sums that differ from
// the CPU's in the order of additions in float64 alone.
#ifndef LOCKSTEP_WORKER_SAMPLING_CUDA_WEIGHTS_CUH_
#define LOCKSTEP_WORKER_SAMPLING_CUDA_WEIGHTS_CUH_

#include "worker/sampling/cuda/block.cuh"

namespace lockstep::worker::cuda {

inline constexpr float kPlusInfinity = __builtin_huge_valf();
inline constexpr float kForbidden = -kPlusInfinity;

// Ordered as the values are, 0 and -0 alike. Not for NaN.
__device__ inline unsigned OrderedKey(float value) {
  const unsigned bits = __float_as_uint(value + 0.0F);
  return (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
}
__device__ inline float ValueOfKey(unsigned key) {
  return __uint_as_float((key & 0x80000000U) != 0 ? key & 0x7FFFFFFFU : ~key);
}

struct Maximum {
  float value;
  int index;      // the lowest that has the value
  bool is_valid;  // as RowMaximum's
};

__device__ inline Maximum FindMaximum(const Block& block, const float* row, int size) {
  float best = kForbidden;
  int index = 0;
  bool is_bad = false;
  block.ForEach(size, [&](int i) {
    const float value = row[i];
    is_bad = is_bad || !(value < kPlusInfinity);  // NaN compares false
    if (value > best) {
      best = value;
      index = i;
    }
  });
  constexpr unsigned long long kBad = ~0ULL;
  const unsigned long long key =
      static_cast<unsigned long long>(OrderedKey(best)) << 32 | ~static_cast<unsigned>(index);
  const unsigned long long largest = block.Max(is_bad ? kBad : key);
  const float value = ValueOfKey(static_cast<unsigned>(largest >> 32));
  return {.value = value,
          .index = static_cast<int>(~static_cast<unsigned>(largest)),
          .is_valid = largest != kBad && value > kForbidden};
}

// ExpWeights of one element; its steps are spelled out so that none is contracted.
__device__ inline float ExpWeight(float logit, float maximum, float temperature) {
  constexpr float kRounder = 12582912.0F;  // 1.5 · 2^23: adding it rounds to an integer
  const float x = __fdiv_rn(__fsub_rn(logit, maximum), temperature);
  if (!(x >= -87.0F)) return 0.0F;
  const float n = __fsub_rn(__fadd_rn(__fmul_rn(x, 1.44269504088896341F), kRounder), kRounder);
  const float high = __fsub_rn(x, __fmul_rn(n, 0.693359375F));
  const float r = __fsub_rn(high, __fmul_rn(n, -2.12194440e-4F));
  float p = 1.9875691500e-4F;
  p = __fadd_rn(__fmul_rn(p, r), 1.3981999507e-3F);
  p = __fadd_rn(__fmul_rn(p, r), 8.3334519073e-3F);
  p = __fadd_rn(__fmul_rn(p, r), 4.1665795894e-2F);
  p = __fadd_rn(__fmul_rn(p, r), 1.6666665459e-1F);
  p = __fadd_rn(__fmul_rn(p, r), 5.0000001201e-1F);
  const float mantissa = __fadd_rn(__fadd_rn(__fmul_rn(p, __fmul_rn(r, r)), r), 1.0F);
  const auto exponent = static_cast<unsigned>(static_cast<int>(n) + 127);
  return __fmul_rn(mantissa, __uint_as_float(exponent << 23));
}

// SumWeights of weight(i), which is called once for every i of [0, size) and may store it. The sums
// of the chunks stay in memory().chunk_sums.
template <typename Weight>
__device__ double SumWeights(const Block& block, int size, const Weight& weight) {
  constexpr int kLanes = 16;  // floats that each hold every 16th weight of a chunk
  constexpr int kGroups = kRowThreads / kLanes;
  const int lane = block.thread() % kLanes;
  const int num_chunks = (size + kChunk - 1) / kChunk;
  double* chunk_sums = block.memory().chunk_sums;
  __syncthreads();
  for (int first = 0; first < num_chunks; first += kGroups) {
    const int chunk = first + block.thread() / kLanes;
    const int begin = chunk * kChunk;
    const int chunk_size = chunk < num_chunks ? min(kChunk, size - begin) : 0;
    const int whole = chunk_size / kLanes * kLanes;
    float in_lane = 0.0F;
    for (int i = lane; i < whole; i += kLanes) in_lane = __fadd_rn(in_lane, weight(begin + i));
    double sum = in_lane;
    if (whole + lane < chunk_size) sum += weight(begin + whole + lane);
    for (int offset = kLanes / 2; offset > 0; offset /= 2) {
      sum += __shfl_xor_sync(kFullWarp, sum, offset);
    }
    if (lane == 0 && chunk < num_chunks) chunk_sums[chunk] = sum;
  }
  __syncthreads();
  return block.Sum(block.thread() < num_chunks ? chunk_sums[block.thread()] : 0.0);
}

// FindCumulative, after SumWeights of the same weights. `target` is in [0, their sum].
template <typename Weight>
__device__ int FindCumulative(const Block& block, int size, const Weight& weight, double target) {
  const int num_chunks = (size + kChunk - 1) / kChunk;
  const double* chunk_sums = block.memory().chunk_sums;
  const Block::Place chunk =
      block.FirstAbove(block.thread() < num_chunks ? chunk_sums[block.thread()] : 0.0, target);
  const int i = chunk.thread * kChunk + block.thread();
  const Block::Place place =
      block.FirstAbove(i < size ? static_cast<double>(weight(i)) : 0.0, target - chunk.before);
  return chunk.thread * kChunk + place.thread;
}

}  // namespace lockstep::worker::cuda

#endif  // LOCKSTEP_WORKER_SAMPLING_CUDA_WEIGHTS_CUH_
