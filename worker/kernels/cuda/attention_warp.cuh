// What the kernels for many rows of a sequence share: which rows a block has, and what a warp does
// with 16 of them between the products, after Dao 2023 (FlashAttention-2). The query heads that
// share a KV head are rows of one tile, so that what was read of the cache serves them all.
#ifndef LOCKSTEP_WORKER_KERNELS_CUDA_ATTENTION_WARP_CUH_
#define LOCKSTEP_WORKER_KERNELS_CUDA_ATTENTION_WARP_CUH_

#include "worker/kernels/cuda/attention.cuh"
#include "worker/kernels/cuda/matrix_units.cuh"

namespace lockstep::worker::cuda {

inline constexpr int kWarpRows = 16;

// A block's rows: some of one sequence and KV head, counted through the sequence's tokens and for
// each through the query heads of the group.
struct RowBlock {
  int sequence = -1;  // the block has no rows
  int kv_head = 0;
  int first_row = 0;
  int num_tokens = 0;  // of the sequence
  int first_seen = 0;  // what the first row sees ends here
  int end = 0;         // and what the last one sees here
};

// Blocks of `num_rows` rows. Every sequence may have one that is not full.
inline dim3 RowBlockGrid(const AttentionArguments& a, int num_rows) {
  const int group_size = a.num_heads / a.num_kv_heads;
  const int64_t all_rows = int64_t{a.num_rows - a.num_decode_sequences} * group_size;
  const int64_t num_sequences = a.num_sequences - a.num_decode_sequences;
  return dim3(static_cast<unsigned>(all_rows / num_rows + num_sequences),
              static_cast<unsigned>(a.num_kv_heads));
}

// The rows of this block of the grid, for a whole warp. The last rows of a sequence see most: they
// begin first.
template <int kBlockRows>
__device__ RowBlock FindRowBlock(const AttentionArguments& a) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int group_size = a.num_heads / a.num_kv_heads;
  const int index = static_cast<int>(gridDim.x - 1 - blockIdx.x);
  int num_before = 0;  // blocks of the sequences that were looked at
  for (int first = a.num_decode_sequences; first < a.num_sequences; first += kWarpSize) {
    int num_through = 0;  // blocks of this lane's sequence and of those of the lanes before
    if (const int s = first + lane; s < a.num_sequences) {
      const int num_tokens = a.query_start_locations[s + 1] - a.query_start_locations[s];
      num_through = (num_tokens * group_size + kBlockRows - 1) / kBlockRows;
    }
    for (int offset = 1; offset < kWarpSize; offset *= 2) {
      const int below = __shfl_up_sync(kFullWarp, num_through, static_cast<unsigned>(offset));
      if (lane >= offset) num_through += below;
    }
    const int num_passed = __popc(__ballot_sync(kFullWarp, num_before + num_through <= index));
    const int passed = __shfl_sync(kFullWarp, num_through, num_passed == 0 ? 0 : num_passed - 1);
    if (num_passed == kWarpSize) {
      num_before += passed;
      continue;
    }
    RowBlock block;
    block.sequence = first + num_passed;
    block.kv_head = static_cast<int>(blockIdx.y);
    block.first_row = (index - num_before - (num_passed == 0 ? 0 : passed)) * kBlockRows;
    block.num_tokens =
        a.query_start_locations[block.sequence + 1] - a.query_start_locations[block.sequence];
    const int num_cached = a.context_lengths[block.sequence] - block.num_tokens;
    block.first_seen = num_cached + block.first_row / group_size + 1;
    const int last_token = (block.first_row + kBlockRows - 1) / group_size;
    block.end = num_cached + min(last_token, block.num_tokens - 1) + 1;
    return block;
  }
  return {};
}

// A block's row.
struct RowPlace {
  int token;  // of the step; -1: none
  int head;
};

__device__ inline RowPlace FindRow(const AttentionArguments& a, const RowBlock& block, int row) {
  const int group_size = a.num_heads / a.num_kv_heads;
  const int in_sequence = block.first_row + row;
  const int token = in_sequence / group_size;
  if (token >= block.num_tokens) return {-1, 0};
  return {a.query_start_locations[block.sequence] + token,
          block.kv_head * group_size + in_sequence % group_size};
}

// One thread's part of its warp's 16 rows, of which it has rows g and g + 8 (matrix_units.cuh).
template <int kHeadDim>
struct WarpRows {
  float out[kHeadDim / 8][4];
  float maximum[2];  // of the scores
  float sum[2];      // of this thread's columns
  int position[2];   // of the row's token; -1: there is no such row
};

template <int kHeadDim>
__device__ void BeginRows(WarpRows<kHeadDim>& state, const AttentionArguments& a,
                          const RowBlock& block) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int group_size = a.num_heads / a.num_kv_heads;
  for (int half = 0; half < 2; ++half) {
    const int token = (block.first_row + warp * kWarpRows + lane / 4 + 8 * half) / group_size;
    state.position[half] = token < block.num_tokens
                               ? a.context_lengths[block.sequence] - block.num_tokens + token
                               : -1;
    state.maximum[half] = kLowest;
    state.sum[half] = 0.0F;
  }
  for (int i = 0; i < kHeadDim / 8; ++i) {
    for (int j = 0; j < 4; ++j) state.out[i][j] = 0.0F;
  }
}

// Scores of the positions from `begin` on, of which the rows see those up to their own, to weights
// relative to the rows' maximum so far; rescales what was accumulated before. Element [n][e] is
// position begin + 8n + 2t + e % 2 of row g + 8 · (e / 2).
template <int kHeadDim, int kGroups>
__device__ void ComputeWeights(WarpRows<kHeadDim>& state, const AttentionArguments& a,
                               const RowBlock& block, int begin, float (&scores)[kGroups][4]) {
  const int column = begin + static_cast<int>(threadIdx.x) % 4 * 2;
  const float scale = a.scale * kLog2E;
  const bool is_partly_hidden = begin + kGroups * 8 > block.first_seen;
  for (int half = 0; half < 2; ++half) {
    float maximum = state.maximum[half];
    for (int n = 0; n < kGroups; ++n) {
      for (int e = 0; e < 2; ++e) {
        float& score = scores[n][2 * half + e];
        if (is_partly_hidden && column + n * 8 + e > state.position[half]) score = kLowest;
        maximum = fmaxf(maximum, score);
      }
    }
    maximum = fmaxf(maximum, __shfl_xor_sync(kFullWarp, maximum, 1));
    maximum = fmaxf(maximum, __shfl_xor_sync(kFullWarp, maximum, 2));
    if (maximum != state.maximum[half]) {
      const float rescale = Exp2((state.maximum[half] - maximum) * scale);
      state.maximum[half] = maximum;
      state.sum[half] *= rescale;
      for (int i = 0; i < kHeadDim / 8; ++i) {
        state.out[i][2 * half] *= rescale;
        state.out[i][2 * half + 1] *= rescale;
      }
    }
    const float shift = maximum * scale;
    for (int n = 0; n < kGroups; ++n) {
      for (int e = 0; e < 2; ++e) {
        float& weight = scores[n][2 * half + e];
        weight = Exp2(fmaf(weight, scale, -shift));
        state.sum[half] += weight;
      }
    }
  }
}

// The weights of 16 positions from 16 · step on, rounded: the scores' fragments are those that the
// product with the values takes from the left.
template <typename T, int kGroups>
__device__ void PackWeights(const float (&weights)[kGroups][4], int step, uint32_t (&packed)[4]) {
  const float(&low)[4] = weights[2 * step];
  const float(&high)[4] = weights[2 * step + 1];
  packed[0] = PackPair<T>(low[0], low[1]);
  packed[1] = PackPair<T>(low[2], low[3]);
  packed[2] = PackPair<T>(high[0], high[1]);
  packed[3] = PackPair<T>(high[2], high[3]);
}

// What was accumulated, divided by the sums of weights.
template <int kHeadDim>
__device__ void EndRows(WarpRows<kHeadDim>& state) {
  for (int half = 0; half < 2; ++half) {
    float sum = state.sum[half];
    sum += __shfl_xor_sync(kFullWarp, sum, 1);
    sum += __shfl_xor_sync(kFullWarp, sum, 2);
    const float inverse = 1.0F / sum;
    for (int i = 0; i < kHeadDim / 8; ++i) {
      state.out[i][2 * half] *= inverse;
      state.out[i][2 * half + 1] *= inverse;
    }
  }
}

}  // namespace lockstep::worker::cuda

#endif  // LOCKSTEP_WORKER_KERNELS_CUDA_ATTENTION_WARP_CUH_
